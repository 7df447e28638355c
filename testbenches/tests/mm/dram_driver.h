// SPDX-License-Identifier: Apache-2.0
// Drives one DramChannel with requests at given cycles, under the eyes of the legality checker.
#pragma once
#include <algorithm>
#include <vector>

#include "mm/dram_legality.h"
#include "sim/random.h"

struct DramDriver {
  DramDriver(const mm::DramTiming& timing, const std::string& mapping, mm::DramChannelConfig config = {})
      : map(mapping, timing, 1, config.ranks), channel(timing, config), checker(timing, config.ranks) {
    channel.report_writes(true);
    channel.listen(&checker);
  }

  /// Accepted at `cycle` (so first seen by the scheduler one cycle later). In ascending order of time.
  void request(sim::Cycle cycle, bool write, const mm::DramAddress& a) {
    pending.push_back({cycle, write, a});
  }
  void request(sim::Cycle cycle, bool write, std::uint64_t offset) {
    request(cycle, write, map.decode(offset));
  }

  /// Runs until everything is done; every completion in order of its end.
  void run() {
    std::size_t next = 0;
    for (;;) {
      sim::Cycle t = std::min(channel.next_command(), channel.next_completion());
      if (next < pending.size() && channel.has_room(pending[next].write)) {
        t = std::min(t, std::max(pending[next].cycle + 1, now));
      }
      if (t == mm::DramChannel::kNone) break;
      now = t;
      channel.advance(now);
      while (next < pending.size() && pending[next].cycle < now && channel.has_room(pending[next].write)) {
        channel.enqueue(now, pending[next].write, pending[next].address, static_cast<std::uint32_t>(next));
        ++next;
      }
      channel.step(now);
      while (channel.next_completion() <= now) {
        done.push_back(channel.front());
        channel.pop();
      }
    }
    pending.clear();
  }

  struct Pending {
    sim::Cycle cycle;
    bool write;
    mm::DramAddress address;
  };
  mm::AddressMapping map;
  mm::DramChannel channel;
  mm::DramLegalityChecker checker;
  std::vector<Pending> pending;
  std::vector<mm::DramCompletion> done;
  sim::Cycle now = 0;
};
