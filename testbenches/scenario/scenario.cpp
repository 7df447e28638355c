// SPDX-License-Identifier: Apache-2.0
#include "testbenches/scenario/scenario.h"

#include <unistd.h>


namespace scenario {

void ScenarioConfig::validate() const {
  const auto refuse = [](const char* field, const std::string& why) {
    throw sim::Error(fmt::format("scenario.{}: {}", field, why));
  };
  for (const auto& [field, bytes] : {std::pair{"steady_payload", steady_payload_bytes},
                                     std::pair{"held_payload", held_payload_bytes}}) {
    if (bytes < 16 || bytes > 1472) refuse(field, fmt::format("{} B is not in 16..1472 B", bytes));
  }
  if (held_fragments != 0 && held_payload_bytes < 32) refuse("held_payload", "a first fragment needs 32 B or more");
  for (const auto& [field, count, bytes] :
       {std::tuple{"steady_payload", steady_datagrams, steady_payload_bytes},
        std::tuple{"held_payload", held_datagrams, held_payload_bytes}}) {
    const std::uint64_t datagram = std::uint64_t{datagram_fragments} * ((bytes + 8) / 8 * 8);
    if (count != 0 && datagram > 65'515) {
      refuse(field, fmt::format("{} fragments of it are a datagram of {} B, and IPv4 has at most 65515 B "
                                "(scenario.datagram_fragments)",
                                datagram_fragments, datagram));
    }
  }
  if (held_deferred != 0 && steady_payload_bytes > 1440) refuse("steady_payload", "TCP segments carry at most 1440 B");
  if (function == Function::kPf && held_forwarded + held_redirected != 0)
    refuse(held_forwarded != 0 ? "held_forwarded" : "held_redirected", "packets leave through the PF, so the pool must be a VF's");
  if (close_delay > end_delay) refuse("close_delay", "the socket would be closed after the end (scenario.end_delay)");
}

void register_all(platform::ParameterSet& set, RunConfig& config) {
  ScenarioConfig& s = config.scenario;
  constexpr sim::Tick kLong = 4 * 3600 * sim::kSecond;
  set.text("scenario.name", s.name, "name of the scenario in reports");
  set.choice("scenario.function", s.function, {{"vf", Function::kVf}, {"pf", Function::kPf}},
             "function whose driver holds the pool");
  set.integer("scenario.vfs", s.vfs, 1, 7, "VFs that sriov_numvfs makes; the first holds the pool, the others have no driver");
  set.choice("scenario.device", s.device,
             {{"stays", DeviceFate::kStays}, {"removed", DeviceFate::kRemoved}, {"rebound", DeviceFate::kRebound}},
             "after the unbind the device stays, is removed, or is bound again");
  set.integer("scenario.steady_packets", s.steady_packets, 0, 100'000'000, "datagrams read at once, before the unbind");
  set.size("scenario.steady_payload", s.steady_payload_bytes, 16, 1472, "UDP payload of these");
  set.integer("scenario.held_udp", s.held_udp, 0, 1'000'000, "datagrams that stay unread in a socket");
  set.integer("scenario.held_fragments", s.held_fragments, 0, 60'000, "first fragments whose rest never comes");
  set.integer("scenario.held_fragments6", s.held_fragments6, 0, 60'000, "the same over IPv6");
  set.integer("scenario.steady_datagrams", s.steady_datagrams, 0, 1'000'000,
              "IPv4 datagrams in fragments, each with steady_payload, after the steady packets; read at once "
              "if complete");
  set.integer(
      "scenario.held_datagrams", s.held_datagrams, 0, 1'000'000,
      "the same with held_payload, unread: complete ones wait in a socket, others in defragmentation");
  set.integer("scenario.datagram_fragments", s.datagram_fragments, 2, 2'729,
              "fragments of each of these datagrams");
  set.integer("scenario.fragment_flows", s.fragment_flows, 1, 20'000,
              "flows of one sender whose datagrams interleave, by source port");
  set.integer("scenario.fragment_loss", s.fragment_loss_ppm, 0, 1'000'000,
              "of the fragments of these datagrams, in a million, never arrive");
  set.integer("scenario.fragment_reorder", s.fragment_reorder_ppm, 0, 1'000'000,
              "of them, in a million, are overtaken by the next fragment");
  set.integer("scenario.held_tcp", s.held_tcp, 0, 1'000'000, "TCP segments in sequence that stay unread");
  set.integer("scenario.held_tcp_ooo", s.held_tcp_ooo, 0, 1'000'000, "TCP segments after a gap that is never filled");
  set.integer("scenario.held_packet", s.held_packet, 0, 1'000'000,
              "datagrams that were read, with a clone in a packet socket nobody reads");
  set.integer("scenario.held_deferred", s.held_deferred, 0, 1'000'000,
              "TCP segments read on the last core: freed by the core that received them, if it ever comes to it");
  set.integer("scenario.held_gro", s.held_gro, 0, 1'000'000,
              "TCP segments that arrive last: they wait in GRO for stack.gro_flush_timeout");
  set.integer("scenario.held_forwarded", s.held_forwarded, 0, 1'000'000,
              "datagrams for another host, forwarded through the PF: in its TX ring, what finds no room in its qdisc");
  set.integer("scenario.held_redirected", s.held_redirected, 0, 1'000'000,
              "datagrams that an XDP program redirects to the TX ring of the PF");
  set.boolean("scenario.egress_paused", s.egress_paused,
              "the PF's peer does not let it send, until the sockets are closed (never, if they never are)");
  set.choice("scenario.held_sockets", s.held_sockets,
             {{"closed", SocketFate::kClosed}, {"leaked", SocketFate::kLeaked}, {"never", SocketFate::kNever}},
             "close_delay after the unbind they are closed, closed with a leaked reference, or forgotten");
  set.size("scenario.held_payload", s.held_payload_bytes, 16, 1472, "UDP payload of the packets that stay");
  set.size("scenario.rcvbuf", s.rcvbuf_bytes, 2048, std::uint64_t{1} << 40, "SO_RCVBUF of the sockets");
  set.time("scenario.interval", s.interval, 0, kLong, "between starts of frames; 0 = line rate");
  set.choice("scenario.arrivals", s.arrivals,
             {{"constant", platform::Arrivals::kConstant},
              {"poisson", platform::Arrivals::kPoisson},
              {"bursts", platform::Arrivals::kBursts}},
             "frames every interval, at random with that mean, or in bursts with that mean");
  set.integer("scenario.burst", s.burst, 1, 65'536, "frames of a burst");
  set.integer("scenario.flows", s.flows, 1, 20'000, "UDP flows mixed at random, by source port");
  set.integer("scenario.late_packets", s.late_packets, 0, 1'000'000, "frames that arrive from the unbind on");
  set.time("scenario.late_interval", s.late_interval, 0, kLong, "between these");
  set.time("scenario.unbind_delay", s.unbind_delay, 0, kLong, "last held packet to unbind");
  set.time("scenario.close_delay", s.close_delay, 0, kLong, "unbind to close() of the unread socket");
  set.time("scenario.end_delay", s.end_delay, 0, kLong, "unbind to the end of the run");
  set.choice("scenario.hotplug", s.hotplug,
             {{"none", Hotplug::kNone}, {"online", Hotplug::kOnline}, {"offline", Hotplug::kOffline}},
             "memory.hotpluggable is plugged in, or out, hotplug_delay after the begin of the unbind");
  set.time("scenario.hotplug_delay", s.hotplug_delay, 0, kLong, "unbind to memory hotplug");
  set.boolean("scenario.stop_at_oops", s.stop_at_oops, "end the run at the first oops");

  platform::register_machine(set, config.machine);
}

void load(RunConfig& config, const std::string& file, const std::vector<std::string>& assignments) {
  platform::ParameterSet set;
  register_all(set, config);
  if (!file.empty()) set.load_file(file);
  set.load_environment(environ);
  for (const auto& a : assignments) set.assign(a);
  set.check([&] {
    config.scenario.validate();
    config.machine.finish();
    if (config.scenario.function == Function::kVf && config.machine.driver.queues != 1)
      throw sim::Error("nic.driver.queues: a VF has one queue (scenario.function=pf has several)");
    // The chip's rule: NumVFs stays below TotalVFs.
    if (config.scenario.function == Function::kVf && config.scenario.vfs >= config.machine.nic.total_vfs)
      throw sim::Error(fmt::format("scenario.vfs: {} VFs, but fewer than nic.total_vfs ({}) can be enabled",
                                   config.scenario.vfs, config.machine.nic.total_vfs));
    if (config.scenario.hotplug != Hotplug::kNone && config.machine.memory.frames.absent.empty())
      throw sim::Error("scenario.hotplug: there is nothing to plug (memory.hotpluggable)");
  });
}

}  // namespace scenario
