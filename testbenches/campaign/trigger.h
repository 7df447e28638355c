// SPDX-License-Identifier: Apache-2.0
// When a fault goes in. Every trigger is a time in the end, found in the golden run: an experiment is forked
// off just before it.
//
//   12us                                  after the warm-up
//   uniform(0, 5ms)                       drawn, any time in it equally likely
//   on(dma_map_page, nth=3)               the third time that this happens after the warm-up
//   on(dma_map_page, nth=uniform(1,50))   drawn
//   on(dma_map_page, nth=all)             each in turn: experiment after experiment
//   probe(kernel.core0.context == 2)      the first time that this is so after the warm-up
//   defuse(0, 5ms)                        kinds that corrupt memory: classes between two accesses (defuse.h)
//   defuse(0, 5ms, each)                  every class in turn, once, weighted by its size
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "sim/random.h"
#include "sim/types.h"

namespace platform {
class Machine;
}

namespace campaign {

struct Trigger {
  enum class Kind : std::uint8_t { kTime, kEvent, kProbe, kDefUse };
  Kind kind = Kind::kTime;
  sim::Tick from = 0, to = 0;         ///< kTime, kDefUse: after the warm-up; a single time if equal
  std::string event;                  ///< kEvent: name; kProbe: path
  std::uint64_t first = 1, last = 1;  ///< kEvent: nth
  bool all = false;                   ///< kEvent: nth=all; kDefUse: each
  std::string relation;               ///< kProbe: one of == != >= <= > <
  std::uint64_t value = 0;

  /// What the golden run has to note for it, or "": event name, or "path relation value".
  std::string mark() const;
};
/// Throws sim::Error without place.
Trigger parse_trigger(const std::string& text);

/// An event that can be counted: a tracepoint, or a call that a fault can make fail.
struct Event {
  const char* name;
  void (*subscribe)(platform::Machine&, std::function<void()>);
};
const std::vector<Event>& events();
const Event& find_event(std::string_view name);

/// Calls `hit` each time the relation becomes true. Not for machines whose probes are recorded.
void watch_probe(platform::Machine& machine, const Trigger& trigger, std::function<void()> hit);

}  // namespace campaign
