// SPDX-License-Identifier: Apache-2.0
// A DDR4/DDR5 memory controller with its devices, behind one TLM-2.0 target socket, in front of the
// SparseStore.
//
// Modelled: requests of 1..4096 bytes split into 64-byte bursts; channels, ranks, bank groups, banks, open
// rows; all timing constraints of mm/dram_timing.h; FCFS, or FR-FCFS with an age cap; separate read and write
// queues with write drain; open, closed and adaptive pages; all-bank and same-bank refresh (computed when
// needed: an idle controller costs nothing); back-pressure of each channel. See mm/dram_channel.h.
//
// Function and time: a write takes effect, and a read takes its data, at the moment its BEGIN_REQ is
// accepted, in the order of the calls (this is the machine's point of coherence). A call may be made ahead of its time, which
// its delay gives, if no later call is of an earlier time. The response then comes
//   - read: at the end of its last data burst,
//   - write: when all of it has entered the write queue (globally ordered). A posted one (DmaTag.posted, payloads of a
//     sim::PayloadPool) that has room there is answered at once with TLM_COMPLETED, and the time until then as delay.
// Unloaded, from acceptance to the end of data, in memory cycles: 1 + CL + BL/2 for an open row, + RCD for a
// closed bank, + RP for another open row.
//
// Errors (mm/memory_faults.h, faults()): a read that the codes cannot correct is answered with
// TLM_GENERIC_ERROR_RESPONSE and DmaTag::poisoned, with the data as they are; a write with DmaTag::poisoned
// leaves poison behind. With `disturbance_threshold`, rows next to much activated ones lose bits
// (mm/row_disturbance.h).
//
// Protocol (sim/payload.h): BEGIN_REQ -> TLM_UPDATED/END_REQ, or TLM_ACCEPTED when the queue of a channel
// that the request goes to has no room for it: then send nothing until END_REQ, which comes when it has
// entered. A full channel does not hold up requests that were accepted for others. Refused at once with
// TLM_COMPLETED: address outside the memory (ADDRESS_ERROR, completion status UR), length 0 or above 4096,
// streaming, bad byte enables (BURST_ERROR / BYTE_ENABLE_ERROR). An initiator may answer BEGIN_RESP with
// TLM_COMPLETED, or with TLM_ACCEPTED and a later END_RESP.
#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <systemc>
#include <tlm>

#include "mm/dram_channel.h"
#include "mm/dram_timing.h"
#include "mm/memory_faults.h"
#include "mm/sparse_store.h"
#include "sim/simulation.h"

namespace mm {

struct DramConfig {
  std::string standard =
      "DDR4-2400R";  ///< a row of dram_standards(): DDR4-2400R, DDR4-3200AA, DDR5-4800BN, ...
  std::optional<DramTiming> timing = {};  ///< instead of `standard`: a bin of one's own
  unsigned channels = 1;                  ///< power of two; a DDR5 subchannel is a channel
  unsigned ranks = 1;                     ///< per channel, power of two
  /// Least significant first, after the 6 bits of a burst: "il" = bank group, column, bank, row; "ro" =
  /// column, bank group, bank, row; "brc" = column, row, bank group, bank. Channel and rank bits: see
  /// AddressMapping.
  std::string mapping = "ro";
  unsigned read_queue = 32;   ///< bursts, per channel
  unsigned write_queue = 32;  ///< bursts, per channel
  unsigned write_high = 26;   ///< writes waiting that start a drain
  unsigned write_low = 6;     ///< a drain ends when reads wait and no more writes than this do
  std::uint64_t age_cap_cycles =
      1024;  ///< a request that waited longer is not passed by row hits of its bank
  bool refresh = true;
  bool same_bank_refresh = false;  ///< DDR5 only
  DramScheduler scheduler = DramScheduler::kFrFcfs;
  PagePolicy page_policy = PagePolicy::kOpen;
  EccConfig ecc{.secded = true, .on_die = true};  ///< on_die: only where the devices have it (DDR5)
  std::uint64_t disturbance_threshold =
      0;                         ///< activations next to a row that flip one of its bits; 0 = never
  std::uint64_t size_bytes = 0;  ///< of all channels, to be checked against the geometry; 0 = not stated

  const DramTiming& resolved_timing() const { return timing ? *timing : dram_standard(standard); }
  DramChannelConfig channel() const;
  void validate() const;  ///< throws sim::Error naming the field
};

class DramController final : public sc_core::sc_module,
                             public sim::Clocked,
                             public tlm::tlm_fw_transport_if<> {
 public:
  /// Addresses on `port` are physical addresses of `store`. `path` prefixes the probes.
  DramController(sc_core::sc_module_name name, sim::Simulation& sim, SparseStore& store,
                 const DramConfig& config = {}, const std::string& path = "dram");
  ~DramController() override;

  tlm::tlm_target_socket<64> port;

  /// Wrong bits: inject and count here.
  MemoryFaults& faults();
  /// Activations next to the row since it was last restored; 0 without a disturbance_threshold.
  std::uint64_t disturbance(const DramAddress& row) const;

  /// `command` is told of every command of every channel, with its time; that may be later than it was issued, and
  /// in order only within a channel. Refreshes of idle time included. Before a run; once.
  void watch_commands(std::function<void(unsigned channel, const DramCommandRecord& record)> command);
  /// Issues what was due before now: then the watcher has been told of all commands so far. Outside a run.
  void settle();
  const DramConfig& config() const;

  /// Calling context: outside a run.
  void stats(
      const std::function<void(std::string_view name, double value, std::string_view unit)>& out) const;

  sim::Wakeup tick(sim::Cycle now) override;

  tlm::tlm_sync_enum nb_transport_fw(tlm::tlm_generic_payload& payload, tlm::tlm_phase& phase,
                                     sc_core::sc_time& delay) override;
  void b_transport(tlm::tlm_generic_payload& payload, sc_core::sc_time& delay) override;
  unsigned transport_dbg(tlm::tlm_generic_payload& payload) override;
  bool get_direct_mem_ptr(tlm::tlm_generic_payload& payload, tlm::tlm_dmi& dmi) override;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mm
