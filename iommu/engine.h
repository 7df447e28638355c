// SPDX-License-Identifier: Apache-2.0
// The timed inside of iommu::Iommu: the device pipeline (lookup, misses, order, forwarding), the walkers and
// the other users of the walker port, register accesses. One tick() does everything that is due at an edge.
//
// Visibility: what a socket brings in at time t is stamped with the first edge after t and looked at from
// that edge on.
#pragma once
#include <cstdint>
#include <deque>
#include <vector>

#include "iommu/core.h"
#include "iommu/iommu.h"
#include "sim/error.h"

namespace iommu {

class Engine final : public Surroundings {
 public:
  Engine(Iommu& iommu, sim::Simulation& simulation, const IommuConfig& config);

  // engine.cpp, engine_walker.cpp, engine_registers.cpp: what the sockets bring.
  tlm::tlm_sync_enum device_request(tlm::tlm_generic_payload& payload, tlm::tlm_phase& phase,
                                    sc_core::sc_time& delay);
  tlm::tlm_sync_enum downstream_response(tlm::tlm_generic_payload& payload, tlm::tlm_phase& phase,
                                         sc_core::sc_time& delay);
  tlm::tlm_sync_enum walker_response(tlm::tlm_generic_payload& payload, tlm::tlm_phase& phase,
                                     sc_core::sc_time& delay);
  tlm::tlm_sync_enum register_request(tlm::tlm_generic_payload& payload, tlm::tlm_phase& phase,
                                      sc_core::sc_time& delay);
  // engine_registers.cpp: untimed and loosely timed access.
  void device_b_transport(tlm::tlm_generic_payload& payload, sc_core::sc_time& delay);
  unsigned device_dbg(tlm::tlm_generic_payload& payload);
  void register_b_transport(tlm::tlm_generic_payload& payload, sc_core::sc_time& delay);
  unsigned register_dbg(tlm::tlm_generic_payload& payload);

  struct Message {
    PageRequest page_request;
    InvalidationCompletion completion;
    bool is_completion = false;
    sim::Cycle due = 0;
  };
  void receive(Message message);

  sim::Wakeup tick(sim::Cycle now);
  bool idle() const;
  /// Reset of the hardware: registers and caches as after power-up; statistics go on. Precondition: idle().
  void reset();
  /// The inside of a module, for test benches.
  static Engine& of(Iommu& iommu) { return *iommu.engine_; }
  Caches& caches() { return core_.caches; }
  void set_command_fault(CommandFault fault) { core_.commands.set_fault(std::move(fault)); }
  void stats(const std::function<void(std::string_view, double, std::string_view)>& visit) const;

  // Surroundings of the command processor.
  void invalidated(const Invalidate& event) override;
  void fence_done(const FenceDone& event) override;
  void fence_begins(bool pr, bool pw) override;
  bool fence_clear() override;
  void send(const AtsInvalidationRequest& message) override;
  void send(const PageRequestGroupResponse& message) override;

 private:
  static constexpr std::uint32_t kNone = ~0u;

  /// What an IOFENCE.C under way wants of a request that was translated before it.
  enum class Fenced : std::uint8_t { kNo, kUntilForwarded, kUntilAnswered };

  /// A device request inside the IOMMU. Found from its payload once that is forwarded (mark, take_marked): ours carry
  /// the number of the slot, foreign ones have it as an extension.
  struct Slot : tlm::tlm_extension<Slot> {
    enum class State : std::uint8_t { kFree, kQueued, kMiss, kWalking, kReady, kForwarded, kMrif };
    tlm::tlm_extension_base* clone() const override { return nullptr; }
    void copy_from(const tlm::tlm_extension_base&) override {}
    State state = State::kFree;
    bool write = false, posted = false, hit = false;
    Fenced fenced = Fenced::kNo;
    std::uint8_t page_shift = 12;
    std::uint32_t index = 0, next = kNone, previous = kNone;
    tlm::tlm_generic_payload* payload = nullptr;
    std::uint64_t phys = 0;  // or the memory-resident interrupt file
    sim::Cycle due = 0;      // kQueued: lookup, kReady: may leave
    std::uint64_t notice_address = 0;
    std::uint16_t notice_id = 0;
    std::uint16_t rcid = 0, mcid = 0;
    bool dtf = false;
    Request request;
  };

  /// A user of the walker port: one access at a time.
  struct Agent {
    enum class State : std::uint8_t { kIdle, kScheduled, kOutstanding, kAnswered };
    State state = State::kIdle;
    MemoryStatus status = MemoryStatus::kOk;
    sim::Cycle due = 0;  // kScheduled: leaves, kAnswered: is acted on
    MemoryAccess* access = nullptr;
    sim::Transaction* transaction = nullptr;
  };
  enum AgentIndex : std::uint32_t {
    kCommandAgent,
    kFaultAgent,
    kPageAgent,
    kInterruptAgent,
    kMrifAgent,
    kFirstWalker
  };

  struct Walker {
    enum class For : std::uint8_t { kDevice, kDebug, kMessage };
    bool busy = false;
    For purpose = For::kDevice;
    bool overtaken = false;  // by an invalidation: nobody joins it, nothing is cached
    std::uint64_t serial = 0;
    sim::Cycle begun = 0;
    Walk walk;
    std::vector<std::uint32_t> waiting;  // slots, the first started it
    PageRequest message;
  };

  struct RegisterAccess {
    tlm::tlm_generic_payload* payload;
    sim::Cycle due;
  };

  // engine.cpp: device side
  sim::Cycle seen_at(sim::Tick arrival) const {
    const sim::Tick now = sim_.now();
    return arrival > now ? iommu_.clock().at_or_after(arrival) : iommu_.clock().after(now);
  }
  /// For anything but a device request that waits for its lookup.
  void wake_at(sim::Cycle cycle) {
    quiet_ = false;
    iommu_.tick_by(cycle);
  }
  Slot* allocate_slot();
  void free_slot(Slot& slot, sc_core::sc_time delay);
  void append(Slot& slot);
  void unlink(Slot& slot);
  static Request request_of(const tlm::tlm_generic_payload& payload, const sim::DmaTag& tag);
  static bool crosses_page(const tlm::tlm_generic_payload& payload);
  void lookups(sim::Cycle now);
  bool still_quiet() const;
  bool quiet_tick(sim::Cycle now);
  /// Lookups stop: too many requests wait for a walk.
  bool misses_full() const { return missing_ + walking_ >= miss_limit_; }
  void look_up(Slot& slot, sim::Cycle now);
  void resolve(Slot& slot, const Outcome& outcome, bool recorded, sim::Cycle leaves);
  void take_hit(Slot& slot, const Caches::Hit& hit);
  void make_ready(Slot& slot, std::uint64_t phys, sim::Cycle leaves);
  inline void mark(tlm::tlm_generic_payload& payload, Slot& slot) const;
  inline Slot& take_marked(tlm::tlm_generic_payload& payload);
  inline void unmark(tlm::tlm_generic_payload& payload) const;
  void miss(Slot& slot, sim::Cycle now);
  bool join_walk(Slot& slot);
  void start_walk(Slot& slot, sim::Cycle now);
  Walker& start_walker(Walker::For purpose, sim::Cycle now);
  void retry_misses(sim::Cycle now);
  void finish_walk(Walker& walker, sim::Cycle now);
  void emit_walked(const Walker& walker, sim::Cycle now) const;
  void forward_ready(sim::Cycle now);
  void forward(Slot& slot, sim::Cycle now);
  static void stamp(tlm::tlm_generic_payload& payload, const Slot& slot);
  void answer(Slot& slot, sc_core::sc_time delay);
  void respond(Slot& slot, tlm::tlm_generic_payload& payload, sc_core::sc_time delay);
  void respond(Slot& slot, tlm::tlm_generic_payload& payload) {
    respond(slot, payload, sim_.timeline().outgoing_delay());
  }
  void refuse(Slot& slot, Cause cause, std::uint64_t iotval2, bool recorded);
  void answer_ats(Slot& slot, const Outcome& outcome);
  void emit_fault(const Slot& slot, Cause cause, std::uint64_t iotval2, bool recorded);
  void update_probes();
  sim::Cycle next_due(sim::Cycle now) const;

  // engine_walker.cpp: users of the walker port
  void schedule(std::uint32_t agent, sim::Cycle due);
  void rest(Agent& agent);
  void act_agents(sim::Cycle now);
  void issue_agents(sim::Cycle now);
  void issue(std::uint32_t agent, sim::Cycle now);
  void stamp(sim::Transaction& transaction, std::uint32_t agent) const;
  void answered(Agent& agent, std::uint32_t index, MemoryStatus status, sim::Cycle seen);
  MemoryAccess* begin_access(std::uint32_t agent);
  void act(std::uint32_t agent, sim::Cycle now);
  void act_walk(Walker& walker, std::uint32_t agent, MemoryStatus status, sim::Cycle now);
  sim::Cycle reaction_cycles(std::uint32_t agent) const;
  MemoryStatus at_coherence_point(std::uint64_t address, tlm::tlm_command command, void* data,
                                  unsigned bytes);
  MemoryStatus compare_exchange(const MemoryAccess& access, bool& swapped);
  void poll_units(sim::Cycle now);
  void poll_commands(sim::Cycle now);
  void start_debug_walk(sim::Cycle now);
  void settle_fence_share(Slot& slot, sim::Cycle seen);
  void store_to_mrif(Slot& slot, const Outcome& outcome);
  MemoryAccess* begin_mrif();
  void act_mrif(MemoryStatus status);
  void end_mrif(Cause cause);

  // engine_registers.cpp
  void registers(sim::Cycle now);
  void access_register(tlm::tlm_generic_payload& payload);
  void sync_cycles();
  void schedule_cycles_overflow();
  void messages(sim::Cycle now);
  void expire_invalidations(sim::Cycle now);

  class BlockingMemory;
  class DebugMemory;

  Iommu& iommu_;
  sim::Simulation& sim_;
  const IommuConfig config_;
  Core core_;
  const bool qos_;                  // capabilities.QOSID
  const std::uint32_t miss_limit_;  // requests that may wait for a walk before lookups stop

  const bool numbered_;  // a payload of ours can carry the number of a slot
  std::vector<Slot> slots_;
  std::vector<std::uint32_t> free_slots_;
  std::vector<std::uint32_t> queue_;  // ring of slots before their lookup
  std::size_t queue_first_ = 0, queue_count_ = 0;
  std::uint32_t pending_first_ = kNone, pending_last_ = kNone;  // after lookup, not yet gone; arrival order
  std::uint32_t pending_ = 0, ready_ = 0, missing_ = 0;         // all of these, kReady, kMiss
  std::uint32_t walking_ = 0;                                   // kWalking
  sim::Cycle next_lookup_ = 0;
  sim::Cycle next_forward_ = 0;
  sim::Cycle forward_wake_ = sim::kNeverCycle;
  std::vector<std::uint32_t> posted_ahead_;      // scratch of forward_ready
  tlm::tlm_generic_payload* stalled_ = nullptr;  // answered TLM_ACCEPTED, waits for END_REQ
  bool downstream_busy_ = false;
  Walk scratch_;

  std::vector<Walker> walkers_;
  std::uint32_t busy_walkers_ = 0;
  std::uint64_t walk_serial_ = 0;
  bool debug_walking_ = false;
  std::vector<Agent> agents_;
  std::uint32_t active_agents_ = 0;
  bool walker_busy_ = false;
  bool look_again_ = false;  // in the next cycle, whatever else is due
  bool quiet_ = false;       // since the last whole tick nothing but device requests has come, and there was nothing else
  sim::Cycle walker_next_ = 0;
  sim::Cycle execute_at_ = sim::kNeverCycle;  // the command that was read takes effect
  std::vector<std::uint32_t> mrif_queue_;     // ring of slots that write to an interrupt file
  std::size_t mrif_first_ = 0, mrif_count_ = 0;
  bool mrif_notice_ = false;  // the pending bit is set, the notice goes out
  MemoryAccess mrif_access_;

  // IOFENCE.C under way
  std::vector<bool> old_walks_;     // scratch of fence_begins: slots whose walk an invalidation has overtaken
  sim::Cycle now_ = 0;              // the edge being ticked
  sim::Tick answered_until_ = 0;    // of all responses so far, the time of the last: it may lie ahead
  std::uint64_t walk_barrier_ = 0;  // walks with a smaller serial must end
  std::uint32_t fence_share_ = 0;   // device requests it still waits for
  sim::Cycle fence_seen_ = 0;       // first edge at which share and walks may be judged
  bool fence_timing_ = false;
  sim::Cycle fence_due_ = 0;

  std::vector<RegisterAccess> register_queue_;
  std::size_t register_first_ = 0, register_count_ = 0;
  tlm::tlm_generic_payload* register_stalled_ = nullptr;
  std::deque<Message> messages_;
  std::array<sim::Cycle, InvalidationTags::kTags> expiry_{};
  sim::Cycle hpm_synced_ = 0;
  sim::Cycle cycles_overflow_at_ = sim::kNeverCycle;  // iohpmcycles sets its OF at this edge
  std::uint32_t wires_ = 0;

  struct Counters {
    std::uint64_t requests = 0, forwarded = 0, refused = 0, dropped_writes = 0, merged = 0, walks = 0,
                  debug_walks = 0, waited_for_walker = 0, commands = 0, fences = 0, msis = 0,
                  unexpected_completions = 0, invalidations = 0;
  } counters_;

  sim::Probe lookups_, hits_, misses_, walks_in_flight_, faults_, cqh_, cqt_, fqt_, waiting_;
};

}  // namespace iommu
