// SPDX-License-Identifier: Apache-2.0
// A generic PCIe endpoint with one function that does DMA, translates addresses itself (ATS) and asks for
// pages (PRI). For testbenches and as an example of a device behind the link; the 82576 has neither
// capability.
//
// Sockets: `dma` (initiator, to PcieLink::from_device), `config` (target, from PcieLink::to_device_config;
// address = register). Messages: `send_message` (to PcieLink::send) and receive() (from
// PcieLink::message_to_device).
//
// Accesses leave in the order in which they were given; translations of later ones are asked for while the
// first waits. With ATS enabled a range that the ATC does not hold is asked for by a Translation Request
// (MRd, AT = 01b, 8 bytes for one translation), and the access leaves with AT = 10b. A completion without the
// permission that is needed leads to a Page Request, if PRI is enabled, and to another Translation Request
// when its group has been answered with success; else the access ends with Unsupported Request. An
// invalidation drops what it covers at once, and is completed when no read that uses it is outstanding;
// writes that use it left before, and the completion does not pass them.
//
// Source: PCIe Base specification, chapter 10 (ATS), and its capability structures. Not modelled: STU above 4
// KiB, more than one translation a request, NW, stop markers.
#pragma once
#include <deque>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "platform/pcie_message.h"
#include "platform/ports.h"
#include "sim/simulation.h"

namespace platform {

struct DmaDeviceConfig {
  sim::Clock clock = sim::Clock::from_hz(250'000'000);
  sim::RequesterId requester{0x100};
  unsigned atc_entries = 32;          ///< fully associative, LRU; 0: no ATS capability
  unsigned translation_requests = 8;  ///< outstanding
  unsigned page_request_groups = 4;   ///< outstanding; 0: no PRI capability
  unsigned page_request_tries = 3;    ///< of one access, then it fails

  /// Throws sim::Error naming the field.
  void validate() const;
};

class DmaDevice : public sc_core::sc_module, public sim::Clocked {
 public:
  /// What became of an access. Data of a read live as long as the call.
  struct Result {
    sim::CompletionStatus status = sim::CompletionStatus::kSuccess;
    bool translated = false;  ///< left with AT = 10b
    sim::Iova address;
    std::span<const std::uint8_t> data;
  };
  using Done = std::function<void(const Result&)>;
  static constexpr std::uint32_t kNoProcess = ~std::uint32_t{0};

  DmaDevice(sc_core::sc_module_name name, sim::Simulation& simulation, const DmaDeviceConfig& config);
  ~DmaDevice() override;

  InitiatorPort<DmaDevice> dma;
  TargetPort<DmaDevice> config;
  std::function<void(const PcieMessage&)> send_message;
  void receive(const PcieMessage& message);

  /// An access; must not cross 4 KiB. `done` of a write: it has left (posted), or failed. `pasid`: kNoProcess
  /// for none. Calling context: inside the Timeline or between runs.
  void write(sim::Iova address, std::span<const std::uint8_t> bytes, Done done = {},
             std::uint32_t pasid = kNoProcess);
  void read(sim::Iova address, std::size_t bytes, Done done = {}, std::uint32_t pasid = kNoProcess);

  /// A broken device: it completes invalidations and goes on using what they cover.
  void ignore_invalidations(bool ignore) { deaf_ = ignore; }

  /// Nothing queued, outstanding, or waiting for a page.
  bool idle() const;
  std::size_t atc_size() const { return atc_.size(); }
  void stats(const std::function<void(std::string_view name, double value, std::string_view unit)>&) const;

  sim::Wakeup tick(sim::Cycle now) override;

  // Registers (configuration space).
  static constexpr unsigned kCommand = 0x04, kAts = 0x100, kPri = 0x110;
  static constexpr unsigned kAtsControl = kAts + 6, kPriControl = kPri + 4, kPriStatus = kPri + 6,
                            kPriCapacity = kPri + 8, kPriAllocation = kPri + 12;
  static constexpr std::uint16_t kBusMaster = 1u << 2, kAtsEnable = 1u << 15, kPriEnable = 1u << 0,
                                 kPriResponseFailure = 1u << 0, kPriUnexpected = 1u << 1;

 private:
  friend class TargetPort<DmaDevice>;
  friend class InitiatorPort<DmaDevice>;

  struct Access {
    bool write = false;
    std::uint64_t address = 0;
    std::uint32_t pasid = kNoProcess;
    std::vector<std::uint8_t> data;
    Done done;
    unsigned page_requests = 0;
    sim::Cycle due = 0;         ///< not looked at before
    bool untranslated = false;  ///< the completion said U
    bool missed = false;
    bool failed = false;
    sim::CompletionStatus status = sim::CompletionStatus::kUnsupportedRequest;
    std::uint64_t page() const { return address >> 12; }
  };
  struct Entry {
    std::uint64_t first_page = 0, pages = 1;  // of the IOVA
    std::uint64_t target = 0;                 // address of first_page
    std::uint32_t pasid = kNoProcess;
    bool read = false, write = false, global = false;
    std::uint64_t used = 0;  // LRU
  };
  /// A translation or a page that has been asked for.
  struct Pending {
    enum class State : std::uint8_t { kTranslation, kPage } state = State::kTranslation;
    std::uint64_t page = 0;
    std::uint32_t pasid = kNoProcess;
    std::uint16_t group = 0;
    bool stale = false;  // invalidated on its way
  };
  struct Outstanding {
    sim::Transaction* transaction = nullptr;
    Access access;
    bool translated = false;
    bool translation_request = false;
    std::uint64_t sequence = 0;
  };
  struct Invalidation {
    PcieMessage message;
    std::uint64_t first_page = 0, pages = 1, before = 0;  // requests sent before it
    bool covers(std::uint64_t first, std::uint64_t count, std::uint32_t pasid) const;
  };

  tlm::tlm_sync_enum request(unsigned port, tlm::tlm_generic_payload&, tlm::tlm_phase&, sc_core::sc_time&);
  void blocking(unsigned port, tlm::tlm_generic_payload&, sc_core::sc_time&);
  unsigned debug(unsigned port, tlm::tlm_generic_payload&);
  tlm::tlm_sync_enum response(unsigned port, tlm::tlm_generic_payload&, tlm::tlm_phase&, sc_core::sc_time&);

  std::uint16_t word(unsigned offset) const;
  void put(unsigned offset, std::uint32_t value, unsigned bytes);
  void reset_configuration();
  void configuration_access(tlm::tlm_generic_payload& p);

  bool ats_on() const;
  bool pri_on() const;
  Entry* lookup(std::uint64_t page, std::uint32_t pasid);
  Pending* pending(std::uint64_t page, std::uint32_t pasid);
  void insert(const Entry& entry);
  void add(Access access);
  bool ask_for_translation(sim::Cycle now);
  bool issue_front(sim::Cycle now);
  void send(Outstanding request);
  void translation_completed(const Outstanding& request);
  void fault(std::uint64_t page, std::uint32_t pasid);
  void page_answered(const PcieMessage& message);
  void fail(std::uint64_t page, std::uint32_t pasid, sim::CompletionStatus status);
  void answered(tlm::tlm_generic_payload& p);
  void finish(const Access& access, sim::CompletionStatus status, bool translated,
              std::span<const std::uint8_t> data);
  void start_invalidation(const PcieMessage& message);
  void complete_invalidations();

  sim::Simulation& simulation_;
  DmaDeviceConfig config_;
  std::vector<std::uint8_t> registers_;
  std::deque<Access> accesses_;
  std::vector<Entry> atc_;
  std::vector<Pending> pending_;
  std::vector<Outstanding> outstanding_;
  std::deque<std::pair<sim::Cycle, tlm::tlm_generic_payload*>> answers_;  // to be looked at from a cycle on
  std::deque<std::pair<sim::Cycle, PcieMessage>> messages_;
  std::vector<Invalidation> invalidations_;
  sim::Cycle open_from_ = 0;  // kNeverCycle: the link is full
  bool deaf_ = false;
  std::uint64_t sequence_ = 0, uses_ = 0;
  std::uint16_t next_group_ = 0;
  std::uint64_t hits_ = 0, misses_ = 0, translations_ = 0, page_requests_ = 0, page_failures_ = 0,
                invalidated_ = 0, refused_ = 0;
  sim::Probe hits_probe_, misses_probe_, entries_probe_;
};

}  // namespace platform
