// SPDX-License-Identifier: Apache-2.0
// The script of a scenario as tasks of the modelled kernel: an administrator on core 0 who binds, enables the VF,
// waits for the traffic and unbinds; a reader on the last core; the closing of the unread socket.
#pragma once
#include <memory>

#include "testbenches/scenario/scenario.h"

namespace scenario {

class Script {
 public:
  Script(platform::Machine& machine, const ScenarioConfig& config);

  /// Spawns the tasks. Before the run.
  void start();
  /// A capture that arrives after the steady traffic, addressed to the interface whatever it was addressed to. Before
  /// the run.
  void replay(platform::FrameStream capture) { capture_ = std::move(capture); }

  bool finished() const { return finished_; }
  /// Time the driver began to go; kNever before.
  sim::Tick unbind_at() const { return unbind_at_; }
  /// Time the driver had been bound again; kNever: it was not.
  sim::Tick rebound_at() const { return rebound_at_; }
  /// errno with which the first bind failed; the script ends there. 0: it did not.
  int bind_error() const { return bind_error_; }
  double cycles_per_packet() const { return cycles_per_packet_; }
  std::uint64_t pages_outstanding() const { return pages_outstanding_; }

  // The steps, for benchmarks and tests that arrange them otherwise. Task context, but stream().
  /// 0, or the negative errno of the driver's probe.
  int bind();
  /// The function whose driver holds the pool. After bind().
  kernel::Device& device() { return config_.function == Function::kVf ? *vf_ : *pf_; }
  platform::FrameStream stream(platform::FrameKind kind, std::uint16_t port, std::uint64_t count, unsigned bytes) const;
  /// The device goes as the scenario says, now; no effect if it is going already. Task context.
  void take_away();
  nic::RxRing& ring() { return config_.function == Function::kVf ? vf_driver_.ring() : pf_driver_.ring(); }
  /// Of all receive rings together.
  nic::RxRing::Counters ring_counters() const;

 private:
  static constexpr std::uint16_t kReadPort = 9001, kHeldPort = 9000;                                        // UDP
  static constexpr std::uint16_t kTcpPort = 9100, kTcpGapPort = 9101, kDeferPort = 9102, kGroPort = 9103;
  static constexpr std::uint16_t kRedirectPort = 9200;  // UDP
  static constexpr std::uint32_t kFirstSequence = 1000;  // of every TCP connection

  void administrator();
  void steady_traffic();
  void fragmented_traffic();
  void captured_traffic();
  void held_traffic();
  void open_held_sockets();
  void defer();
  void end_held_sockets();
  /// Datagrams that leave again through the PF, which may be kept from sending.
  void leaving_traffic();
  /// Sends, and waits until the stack has it.
  void receive(platform::FrameStream stream);
  platform::FrameStream fragments(std::uint16_t port, std::uint64_t datagrams, unsigned bytes) const;
  platform::FrameStream segments(std::uint16_t port, std::uint64_t count, std::uint32_t sequence) const;
  void unbind();
  /// The first hotpluggable range comes on line, or goes.
  void plug(bool in);
  void wait_for_wire();

  platform::Machine& machine_;
  ScenarioConfig config_;
  nic::IgbDriver pf_driver_;
  nic::IgbvfDriver vf_driver_;
  kernel::Device* pf_ = nullptr;
  kernel::Device* vf_ = nullptr;
  nic::UdpSocket* read_ = nullptr;
  std::vector<nic::Socket*> held_;
  platform::FrameStream capture_;
  sim::Tick unbind_at_ = sim::kNever, rebound_at_ = sim::kNever;
  double cycles_per_packet_ = 0;
  std::uint64_t pages_outstanding_ = 0;
  int bind_error_ = 0;
  bool finished_ = false, going_ = false;
};

}  // namespace scenario
