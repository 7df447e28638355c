// SPDX-License-Identifier: Apache-2.0
#include "testbenches/scenario/script.h"

namespace scenario {
namespace {

/// Largest TCP or IPv6 payload that fits a frame of our MTU with room for options.
constexpr unsigned kMaxSegment = 1440;
constexpr nic::MacAddress kPeerMac = {0x02, 0, 0, 0, 0, 0x99};
constexpr std::uint32_t kPeerIp = 0x0a000002, kOurIp = 0x0a000001, kOtherIp = 0x0a000102;

}  // namespace

Script::Script(platform::Machine& machine, const ScenarioConfig& config)
    : machine_(machine),
      config_(config),
      pf_driver_(machine.kernel(), machine.stack(), machine.memory_trace(), machine.bridge(), machine.config().driver),
      vf_driver_(machine.kernel(), machine.stack(), machine.memory_trace(), machine.bridge(), machine.config().driver,
                 machine.pools().factory()) {}

void Script::start() {
  kernel::Kernel& k = machine_.kernel();
  k.spawn(0, "admin", [this] { administrator(); });
}

void Script::administrator() {
  bind_error_ = bind();
  if (bind_error_ != 0) {
    machine_.kernel().printk("--- the driver could not be bound: error {}", bind_error_);
    finished_ = true;
    return machine_.simulation().timeline().stop();
  }
  read_ = &machine_.stack().bind_udp(kReadPort, config_.rcvbuf_bytes);
  open_held_sockets();
  const unsigned last = machine_.kernel().cores() - 1;
  machine_.kernel().spawn(last, "reader", [this] {
    while (read_->recvmsg_wait()) {
    }
  });
  if (config_.hotplug == Hotplug::kOffline) plug(true);
  steady_traffic();
  fragmented_traffic();
  captured_traffic();
  held_traffic();
  unbind_at_ = kernel::this_cpu().now();
  // An unbind may take for ever; the user of the socket and the end of the run do not wait for it.
  machine_.kernel().spawn(last, "app", [this] {
    kernel::sleep_until_tick(unbind_at_ + config_.close_delay);
    end_held_sockets();
  });
  if (config_.hotplug != Hotplug::kNone) {
    machine_.kernel().spawn(last, "hotplug", [this] {
      kernel::sleep_until_tick(unbind_at_ + config_.hotplug_delay);
      plug(config_.hotplug == Hotplug::kOnline);
    });
  }
  machine_.kernel().spawn(last, "end", [this] {
    kernel::sleep_until_tick(unbind_at_ + config_.end_delay);
    finished_ = true;
    machine_.simulation().timeline().stop();
  });
  unbind();
}

int Script::bind() {
  kernel::Kernel& k = machine_.kernel();
  if (k.config().dma_mode != kernel::DmaMode::kDirect) k.iommu().probe(machine_.config().iommu_registers);
  const auto requester = machine_.config().nic.pf_requester;
  pf_ = &k.devices().device_add(nic::pci_name(requester), requester);
  int error = k.devices().device_bind(*pf_, pf_driver_);
  if (error != 0) return error;
  if (config_.function == Function::kVf) {
    vf_ = pf_driver_.enable_sriov(config_.vfs).front();
    error = k.devices().device_bind(*vf_, vf_driver_);
    if (error == 0 && config_.held_forwarded + config_.held_redirected != 0) {
      error = pf_driver_.open_tx();
      if (error != 0) return error;
      machine_.stack().route(kOtherIp, pf_driver_.tx_ring().qdisc());
      if (config_.held_redirected != 0) machine_.stack().xdp_redirect(kRedirectPort, pf_driver_.tx_ring());
    }
  } else {
    error = pf_driver_.open(machine_.pools().factory());
  }
  return error;
}

platform::FrameStream Script::stream(platform::FrameKind kind, std::uint16_t port, std::uint64_t count,
                                     unsigned bytes) const {
  platform::FrameStream s;
  s.kind = kind;
  s.flow = {config_.function == Function::kVf ? vf_driver_.mac() : machine_.config().nic.mac_address, kPeerMac,
            kPeerIp, kOurIp, 40000, port};
  s.count = count;
  s.payload_bytes = bytes;
  s.interval = config_.interval;
  s.arrivals = config_.arrivals;
  s.burst = config_.burst;
  if (kind == platform::FrameKind::kUdp) s.flows = config_.flows;
  return s;
}

platform::FrameStream Script::fragments(std::uint16_t port, std::uint64_t datagrams, unsigned bytes) const {
  auto s = stream(platform::FrameKind::kFragments, port, datagrams * config_.datagram_fragments, bytes);
  s.fragments = config_.datagram_fragments;
  s.flows = config_.fragment_flows;
  s.lost_ppm = config_.fragment_loss_ppm;
  s.reordered_ppm = config_.fragment_reorder_ppm;
  return s;
}

void Script::wait_for_wire() {
  while (!machine_.wire().idle() || !machine_.nic().idle()) kernel::usleep(10);
  kernel::usleep(machine_.config().driver.itr_us + 10);  // the last moderated interrupt
}

void Script::captured_traffic() {
  if (capture_.capture == nullptr) return;
  // Unicast frames of somebody else's network would not pass our address filter.
  const auto mac = stream(platform::FrameKind::kUdp, kReadPort, 0, 18).flow.dst_mac;
  auto frames = *capture_.capture;
  for (auto& f : frames) {
    if (f.bytes.size() >= mac.size() && (f.bytes[0] & 1) == 0) std::copy(mac.begin(), mac.end(), f.bytes.begin());
  }
  capture_.capture = std::make_shared<const std::vector<platform::CapturedFrame>>(std::move(frames));
  machine_.wire().send(capture_);
  wait_for_wire();
}

void Script::steady_traffic() {
  if (config_.steady_packets == 0) return;
  kernel::usleep(20);  // the device has fetched its first descriptors
  const auto before = ring_counters();
  machine_.wire().send(
      stream(platform::FrameKind::kUdp, kReadPort, config_.steady_packets, config_.steady_payload_bytes));
  wait_for_wire();
  while (read_->queued() != 0) kernel::usleep(10);
  const auto after = ring_counters();
  if (after.packets != before.packets) {
    cycles_per_packet_ =
        static_cast<double>(after.poll_cycles - before.poll_cycles) / static_cast<double>(after.packets - before.packets);
  }
}

void Script::fragmented_traffic() {
  if (config_.steady_datagrams == 0) return;
  kernel::usleep(20);  // the device has fetched its first descriptors
  receive(fragments(kReadPort, config_.steady_datagrams, config_.steady_payload_bytes));
  while (read_->queued() != 0) kernel::usleep(10);
}

void Script::open_held_sockets() {
  auto& stack = machine_.stack();
  held_.push_back(&stack.bind_udp(kHeldPort, config_.rcvbuf_bytes));
  const auto connect = [&](std::uint16_t port) -> nic::Socket& {
    return stack.connect_tcp(port, config_.rcvbuf_bytes, kFirstSequence);
  };
  if (config_.held_tcp != 0) held_.push_back(&connect(kTcpPort));
  if (config_.held_tcp_ooo != 0) held_.push_back(&connect(kTcpGapPort));
  if (config_.held_gro != 0) held_.push_back(&connect(kGroPort));
  if (config_.held_sockets != SocketFate::kLeaked) return;
  for (nic::Socket* socket : held_) socket->leak_reference();
}

void Script::end_held_sockets() {
  kernel::Kernel& k = machine_.kernel();
  if (config_.held_sockets == SocketFate::kNever) return;
  k.printk("--- close of the unread socket{}", held_.size() == 1 ? "" : "s");
  for (nic::Socket* socket : held_) socket->close();
  if (config_.held_forwarded + config_.held_redirected != 0 && config_.egress_paused) pf_driver_.pause_tx(false);
}

platform::FrameStream Script::segments(std::uint16_t port, std::uint64_t count, std::uint32_t sequence) const {
  auto s = stream(platform::FrameKind::kTcp, port, count, std::min(config_.held_payload_bytes, kMaxSegment));
  s.tcp_seq = sequence;
  return s;
}

void Script::receive(platform::FrameStream stream) {
  if (stream.count == 0) return;
  machine_.wire().send(stream);
  wait_for_wire();
}

/// Segments that a process on the last core reads when the core that received them has become idle. The last step,
/// because any packet that this core receives empties its list.
void Script::defer() {
  if (config_.held_deferred == 0) return;
  nic::Socket& socket = machine_.stack().connect_tcp(kDeferPort, config_.rcvbuf_bytes, kFirstSequence);
  auto deferred = segments(kDeferPort, config_.held_deferred, kFirstSequence);
  deferred.tcp_push = true;  // one skb each
  receive(deferred);
  bool done = false;
  machine_.kernel().spawn(machine_.kernel().cores() - 1, "tcp-reader", [&] {
    while (socket.recvmsg()) {
    }
    done = true;
  });
  while (!done) kernel::usleep(10);
}

void Script::leaving_traffic() {
  if (config_.held_forwarded + config_.held_redirected == 0) return;
  if (config_.egress_paused) pf_driver_.pause_tx(true);
  receive(stream(platform::FrameKind::kUdp, kRedirectPort, config_.held_redirected, config_.held_payload_bytes));
  auto forwarded = stream(platform::FrameKind::kUdp, kReadPort, config_.held_forwarded, config_.held_payload_bytes);
  forwarded.flow.dst_ip = kOtherIp;
  receive(forwarded);
}

void Script::held_traffic() {
  const unsigned bytes = config_.held_payload_bytes, segment = std::min(bytes, kMaxSegment);
  if (config_.held_packet != 0) {
    nic::Socket& tap = machine_.stack().bind_packet(config_.rcvbuf_bytes);
    receive(stream(platform::FrameKind::kUdp, kReadPort, config_.held_packet, bytes));
    machine_.stack().mute(tap);
    held_.push_back(&tap);
    if (config_.held_sockets == SocketFate::kLeaked) tap.leak_reference();
  }
  machine_.wire().send(stream(platform::FrameKind::kUdp, kHeldPort, config_.held_udp, bytes));
  machine_.wire().send(stream(platform::FrameKind::kFirstFragment, kHeldPort, config_.held_fragments, bytes));
  machine_.wire().send(stream(platform::FrameKind::kFirstFragment6, kHeldPort, config_.held_fragments6, segment));
  machine_.wire().send(fragments(kHeldPort, config_.held_datagrams, bytes));
  machine_.wire().send(segments(kTcpPort, config_.held_tcp, kFirstSequence));
  machine_.wire().send(segments(kTcpGapPort, config_.held_tcp_ooo, kFirstSequence + segment));
  wait_for_wire();
  leaving_traffic();
  receive(segments(kGroPort, config_.held_gro, kFirstSequence));
  defer();
  kernel::sleep_until_tick(kernel::this_cpu().now() + config_.unbind_delay);
}

void Script::plug(bool in) {
  kernel::Kernel& k = machine_.kernel();
  const mm::MemoryRange& range = machine_.config().memory.frames.absent.front();
  const sim::Pfn start = sim::to_pfn(range.base);
  const std::uint64_t pages = range.bytes / sim::kPageSize;
  unsigned nid = 0;
  for (const mm::NodeConfig& node : machine_.config().memory.frames.nodes)
    if (range.base.value >= node.base.value) nid = node.nid;
  int error = in ? k.hotplug().add_memory(nid, start, pages) : k.hotplug().offline_pages(start, pages);
  if (error == 0) error = in ? k.hotplug().online_pages(start, pages) : k.hotplug().remove_memory(start, pages);
  k.printk("--- memory [{:#x}, {:#x}) {}: {}", range.base.value, range.base.value + range.bytes,
           in ? "plugged in" : "plugged out", error == 0 ? "done" : fmt::format("error {}", error));
}

nic::RxRing::Counters Script::ring_counters() const {
  if (config_.function == Function::kVf) return vf_driver_.ring().counters();
  return pf_driver_.ring_counters();
}

void Script::unbind() {
  kernel::Kernel& k = machine_.kernel();
  if (config_.late_packets != 0) {
    auto late = stream(platform::FrameKind::kUdp, kHeldPort, config_.late_packets, config_.held_payload_bytes);
    late.interval = config_.late_interval;
    machine_.wire().send(late);
  }
  pages_outstanding_ = machine_.stack().skbs().outstanding();
  k.printk("--- unbind with {} skbs outstanding", pages_outstanding_);
  take_away();
}

void Script::take_away() {
  if (going_) return;
  going_ = true;
  kernel::Kernel& k = machine_.kernel();
  kernel::Device& device = config_.function == Function::kVf ? *vf_ : *pf_;
  switch (config_.device) {
    case DeviceFate::kRemoved:
      if (config_.function == Function::kVf) {
        pf_driver_.disable_sriov();
      } else {
        k.devices().device_del(device);
      }
      break;
    case DeviceFate::kStays: k.devices().device_unbind(device); break;
    case DeviceFate::kRebound: {
      k.devices().device_unbind(device);
      kernel::Driver& driver = config_.function == Function::kVf ? static_cast<kernel::Driver&>(vf_driver_)
                                                                 : static_cast<kernel::Driver&>(pf_driver_);
      int error = k.devices().device_bind(device, driver);
      if (error == 0 && config_.function == Function::kPf) error = pf_driver_.open(machine_.pools().factory());
      if (error != 0) {
        k.printk("--- the driver could not be bound again: error {}", error);
        break;
      }
      rebound_at_ = kernel::this_cpu().now();
      machine_.wire().send(
          stream(platform::FrameKind::kUdp, kReadPort, config_.steady_packets, config_.steady_payload_bytes));
      break;
    }
  }
}

}  // namespace scenario
