// SPDX-License-Identifier: Apache-2.0
// The inside of nic::Nic: all engines together, the register side effects (csr.cpp, vf_csr.cpp),
// configuration space side effects and resets (core.cpp). Internal to nic/device.
#pragma once
#include <vector>

#include "nic/device/dma_port.h"
#include "nic/device/nic.h"
#include "nic/device/nvm_phy.h"
#include "sim/probe.h"

namespace nic {

class Nic::Core {
 public:
  Core(const std::string& name, sim::Simulation& sim, const NicConfig& config, DmaPort::Send send_tlp,
       TxEngine::Send send_frame);

  Device device;
  RxFilter filter;
  ControlQueue control;
  Interrupts irq;
  RxEngine rx;
  TxEngine tx;
  DmaPort port;
  Nvm nvm;
  Phy phy;

  /// A frame on the wire, complete at `end`.
  struct WireFrame {
    sim::Tick end = 0;
    sim::Cycle due = 0;
    std::vector<std::uint8_t> bytes;
  };
  std::vector<WireFrame> wire;  // ring
  std::size_t wire_first = 0, wire_count = 0;
  sim::Tick wire_free = 0;
  const sim::Tick wire_byte;  // time of a byte on the wire

  /// A request on config or mmio.
  struct Access {
    sim::Cycle due = 0;
    tlm::tlm_generic_payload* payload = nullptr;
    bool config = false;
  };
  std::vector<Access> accesses;  // ring
  std::size_t access_first = 0, access_count = 0;

  struct Answer {
    sim::Cycle due = 0;
    sim::Transaction* transaction = nullptr;
  };
  std::vector<Answer> answers;  // ring
  std::size_t answer_first = 0, answer_count = 0;
  sim::Cycle unblock_at = sim::kNeverCycle;
  /// No later than the first of all that comes from outside (and the end of auto-negotiation) is due.
  sim::Cycle arrival_due = sim::kNeverCycle;
  sim::Cycle next_arrival() const;
  bool link_up() const { return phy.link_up(); }
  /// Places in the rings above.
  static void step(std::size_t& first, std::size_t size) { first = first + 1 == size ? 0 : first + 1; }
  static std::size_t place(std::size_t n, std::size_t size) { return n < size ? n : n - size; }

  // Functional accesses, at the present cycle. False: nobody claims it (UR).
  bool config_access(std::uint64_t address, bool write, std::uint8_t* data, unsigned bytes,
                     bool side_effects);
  bool mmio_access(std::uint64_t address, bool write, std::uint8_t* data, unsigned bytes, bool side_effects);

  std::uint32_t io_read(std::uint32_t offset, bool side_effects);
  void io_write(std::uint32_t offset, std::uint32_t value);
  std::uint32_t csr_read(std::uint32_t offset, bool side_effects = true);
  void csr_write(std::uint32_t offset, std::uint32_t value);
  std::uint32_t vf_read(unsigned vf, std::uint32_t offset, bool side_effects = true);
  void vf_write(unsigned vf, std::uint32_t offset, std::uint32_t value);

  /// Does everything due at device.now.
  inline void run();
  void autonegotiation_due();
  inline sim::Cycle next_wakeup();
  bool idle() const;
  /// Calling context: outside a tick, before the device is changed. What ticks that were not worth it would
  /// have done.
  void catch_up();

  void set_probes();

 private:
  void send_due_messages();
  /// The first cycle that is still to come for whoever is not in a tick.
  sim::Cycle next_cycle() const { return device.clock.at_or_before(device.sim.now()) + 1; }

  // Configuration space.
  void config_written(FunctionIndex f, std::uint32_t offset, unsigned bytes);
  void set_vf_enable(bool enable);
  void flr(FunctionIndex f);
  void send_pending_messages(FunctionIndex f);
  void mastering_changed(FunctionIndex f, bool before);

  // Resets.
  void software_reset();
  void reset_vf(unsigned vf);
  void reset_vf_queues(unsigned vf);
  void load_station_address();

  // Register groups.
  std::uint32_t read_status() const;
  void write_ctrl(std::uint32_t value);
  void write_ctrl_ext(std::uint32_t value);
  void write_mdic(std::uint32_t value);
  void write_eerd(std::uint32_t value);
  void write_p2v(unsigned vf, std::uint32_t value);
  void write_v2p(unsigned vf, std::uint32_t value);
  std::uint32_t read_p2v(unsigned vf) const;
  std::uint32_t read_v2p(unsigned vf, bool side_effects);
  std::uint32_t mirror_read(unsigned vf, std::uint32_t block_offset, bool side_effects);
  void mirror_write(unsigned vf, std::uint32_t block_offset, std::uint32_t value);
  std::uint32_t free_running_timer() const;

  struct QueueProbes {
    QueueProbes(sim::ProbeHub& hub, const std::string& prefix);
    sim::Probe head, tail, cached, unwritten;
  };
  struct Probes {
    Probes(sim::ProbeHub& hub, const std::string& name);
    std::vector<std::unique_ptr<QueueProbes>> rx;
    sim::Probe packet_buffer, frames_arrived, frames_delivered, frames_dropped, tlps_written, reads,
        interrupts, link_blocked, vfs;
  } probes_;
  sim::Cycle autonegotiation_end_ = sim::kNeverCycle;
  std::uint32_t io_address_ = 0;  // IOADDR
};

}  // namespace nic
