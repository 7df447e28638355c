// SPDX-License-Identifier: Apache-2.0
// A scenario: what happens around the machine - traffic, who holds packets, when and how the driver goes, when the
// holders let go. It names no strategy and no result; the same file runs with every strategy.
//
//   1. bind: PF driver, one VF, its driver with its page_pool; sockets
//   2. steady traffic, read at once (recycling; the cost of a packet is measured here)
//   3. traffic that stays: unread datagrams and segments, first fragments of datagrams whose rest never comes, clones
//      in a packet socket, skbs on the deferred-free list of a core, segments in GRO
//   4. unbind with those skbs outstanding; the device stays, is removed, or is bound again
//   5. the sockets are closed, leaked, or forgotten; fragments time out after 30 s and 60 s; the end
#pragma once
#include <string>

#include "platform/machine.h"
#include "platform/parameters.h"

namespace scenario {

enum class Function : std::uint8_t { kVf, kPf };
enum class DeviceFate : std::uint8_t {
  kStays,    ///< the driver is unbound, the function stays on the bus
  kRemoved,  ///< VF disable / hot removal: the driver is unbound and the device deleted
  kRebound   ///< the driver is bound again at once, traffic goes on
};

/// What becomes of the sockets in which packets wait.
enum class SocketFate : std::uint8_t {
  kClosed,  ///< close() after close_delay
  kLeaked,  ///< the same, but somebody has leaked a reference to each struct sock
  kNever    ///< the process neither reads nor closes
};

/// What is done to memory.hotpluggable (its first range) after the unbind has begun.
enum class Hotplug : std::uint8_t {
  kNone,
  kOnline,  ///< it is added and brought on line
  kOffline  ///< it has been on line from the beginning; now it is taken off line and removed
};

struct ScenarioConfig {
  std::string name = "unnamed";
  Function function = Function::kVf;
  unsigned vfs = 1;  ///< that sriov_numvfs makes; the first one's driver is bound, the others are idle
  DeviceFate device = DeviceFate::kRemoved;

  std::uint64_t steady_packets = 4096;
  unsigned steady_payload_bytes = 18;
  std::uint64_t held_udp = 200;       ///< datagrams nobody reads
  std::uint64_t held_fragments = 56;  ///< first fragments without the rest
  std::uint64_t held_fragments6 = 0;  ///< the same over IPv6
  std::uint64_t steady_datagrams = 0;  ///< datagrams in fragments, read at once where no fragment got lost
  std::uint64_t held_datagrams = 0;    ///< the same, unread: in a socket, or in defragmentation
  unsigned datagram_fragments = 2;     ///< fragments of each of these
  unsigned fragment_flows = 1;         ///< flows whose datagrams interleave on the line
  unsigned fragment_loss_ppm = 0, fragment_reorder_ppm = 0;  ///< shares of these fragments
  std::uint64_t held_tcp = 0;         ///< TCP segments in sequence, unread
  std::uint64_t held_tcp_ooo = 0;     ///< TCP segments after a gap that is never filled
  std::uint64_t held_packet = 0;      ///< datagrams that were read, with a clone in a packet socket nobody reads
  std::uint64_t held_deferred = 0;    ///< TCP segments read on another core than the one that received them
  std::uint64_t held_gro = 0;         ///< TCP segments that arrive last (in GRO, if gro_flush_timeout is long)
  std::uint64_t held_forwarded = 0;   ///< datagrams for another host, forwarded through the PF
  std::uint64_t held_redirected = 0;  ///< datagrams that XDP redirects to the PF's transmit ring
  bool egress_paused = true;          ///< from the held traffic on the PF does not send, until the sockets are closed
  SocketFate held_sockets = SocketFate::kClosed;
  unsigned held_payload_bytes = 1472;
  std::uint64_t rcvbuf_bytes = std::uint64_t{8} << 20;
  sim::Tick interval = 0;             ///< between frames; 0 = line rate
  platform::Arrivals arrivals = platform::Arrivals::kConstant;
  unsigned burst = 1;  ///< frames of a burst
  unsigned flows = 1;  ///< UDP flows mixed at random, by source port
  /// Frames that still arrive while the driver goes and afterwards, one every `late_interval`.
  std::uint64_t late_packets = 0;
  sim::Tick late_interval = 10 * sim::kMicrosecond;

  sim::Tick unbind_delay = sim::kMillisecond;     ///< from the last held packet to the unbind
  sim::Tick close_delay = 5 * sim::kSecond;       ///< from the unbind to close() of the unread socket
  sim::Tick end_delay = 40 * sim::kSecond;        ///< from the unbind to the end of the run
  bool stop_at_oops = true;
  Hotplug hotplug = Hotplug::kNone;
  sim::Tick hotplug_delay = sim::kMillisecond;    ///< from the begin of the unbind

  void validate() const;
};

/// Everything a run needs, with its parameters.
struct RunConfig {
  platform::MachineConfig machine;
  ScenarioConfig scenario;
};

/// All parameters of `config`; it must outlive the set.
void register_all(platform::ParameterSet& set, RunConfig& config);

/// File (may be empty: defaults), environment and assignments in their order of precedence, then validation.
/// Throws sim::Error.
void load(RunConfig& config, const std::string& file, const std::vector<std::string>& assignments);

}  // namespace scenario
