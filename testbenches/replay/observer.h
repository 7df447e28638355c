// SPDX-License-Identifier: Apache-2.0
// Counts what the modelled kernel does to the pools of a plan, with the definitions of recorded.h.
#pragma once
#include <cstdint>
#include <map>
#include <unordered_map>
#include <vector>

#include "testbenches/replay/machine.h"
#include "testbenches/replay/model.h"

namespace replay {

class Observer {
 public:
  /// `begin` is the machine's time of the begin of the capture.
  Observer(RecordedMachine& machine, const Plan& plan, sim::Tick begin);

  /// Before the pool is used: `id` of the model is `pool` of the plan.
  void pool_is(unsigned id, std::size_t pool);
  void device_is(const kernel::Device& device, std::size_t planned);
  /// The removal of this device's driver begins now.
  void removal_begins(std::size_t device, sim::Tick now);
  /// A coherent allocation was made.
  void coherent_mapped(const kernel::Device& device, const kernel::CoherentBuffer& buffer);

  /// Pages still held at the pool, and whether its destroy has begun.
  bool destroyed(std::size_t pool) const { return state_[pool].destroying; }

  ModelResult finish();

 private:
  struct PoolState {
    PoolNumbers numbers;
    std::vector<PoolEvent> events;
    bool created = false;
    bool destroying = false;
    bool rounds_begun = false;
    sim::Tick last_release = sim::kNever;
    sim::Tick removal = sim::kNever;
    std::size_t device = kNone;
  };
  struct Held {
    std::size_t pool;
    sim::Pfn pfn;
  };
  struct Place {  // of an IOVA
    std::size_t space;
    std::uint64_t page;
    auto operator<=>(const Place&) const = default;
  };

  void hold(const pagepool::StateHold& e);
  void state_release(const pagepool::StateRelease& e);
  void round(const pagepool::Released& e);
  void unmapped(const kernel::DmaUnmapped& e);
  void handed_out(std::size_t space, std::uint64_t first, std::uint64_t last, std::uint64_t phys_page);
  std::size_t pool_of(unsigned id) const;
  std::uint64_t since_begin(sim::Tick t) const { return t > begin_ ? (t - begin_) / sim::kNanosecond : 0; }
  void add(std::size_t pool, PoolEvent::Kind kind, sim::Tick time, std::int64_t inflight = 0);

  RecordedMachine& machine_;
  const Plan& plan_;
  sim::Tick begin_;
  std::vector<PoolState> state_;
  std::vector<std::size_t> by_id_;  // model's pool id -> plan's pool
  std::map<const kernel::Device*, std::size_t> device_;
  std::multimap<Place, Held> mapped_;
};

}  // namespace replay
