// SPDX-License-Identifier: Apache-2.0
// The probes of a DRAM channel: queues, row hits and misses, commands of each bank group.
#pragma once
#include <fmt/format.h>

#include <memory>
#include <string>
#include <vector>

#include "mm/dram_channel.h"
#include "sim/probe.h"

namespace mm {

/// What of a channel's state can be watched.
struct ChannelProbes {
  ChannelProbes(sim::ProbeHub& hub, const std::string& path, const DramTiming& timing)
      : read_queue(hub, path + ".read_queue", 8),
        write_queue(hub, path + ".write_queue", 8),
        row_hits(hub, path + ".row_hits"),
        row_misses(hub, path + ".row_misses") {
    for (unsigned g = 0; g < timing.bank_groups; ++g) {
      group_commands.push_back(std::make_unique<sim::Probe>(hub, fmt::format("{}.bg{}.commands", path, g)));
    }
  }
  void update(const DramChannel& channel) {
    if (channel.activity() == activity) return;
    activity = channel.activity();
    read_queue.set(channel.waiting(false));
    write_queue.set(channel.waiting(true));
    if (channel.bank_commands() == commands) return;
    commands = channel.bank_commands();
    const auto& c = channel.counters();
    row_hits.set(c.reads[0] + c.writes[0]);
    row_misses.set(c.reads[1] + c.reads[2] + c.writes[1] + c.writes[2]);
    for (std::size_t g = 0; g < group_commands.size(); ++g) group_commands[g]->set(c.group_commands[g]);
  }
  std::uint64_t activity = 0, commands = 0;
  sim::Probe read_queue, write_queue, row_hits, row_misses;
  std::vector<std::unique_ptr<sim::Probe>> group_commands;
};

}  // namespace mm
