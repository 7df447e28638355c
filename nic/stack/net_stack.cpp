// SPDX-License-Identifier: Apache-2.0
#include "nic/stack/net_stack.h"

#include <fmt/format.h>

#include <algorithm>

#include "nic/stack/costs.h"
#include "nic/stack/holders.h"

namespace nic {

NetStack::NetStack(kernel::Kernel& kernel, pagepool::PagePools& pools, const mm::Trace& trace,
                   const StackConfig& config)
    : kernel_(kernel),
      config_(config),
      softnet_(kernel, *this),
      skbs_(kernel, pools, trace, trace_),
      defer_(skbs_, config.skb_defer_max),
      defrag4_(skbs_, kernel,
               {holder::kFragment4, "ip_defrag", "ip_expire", config.ipfrag_time, config.ipfrag_max_dist}),
      defrag6_(skbs_, kernel,
               {holder::kFragment6, "ipv6_frag_rcv", "ip6_frag_expire", config.ip6frag_time, 0}) {}

void NetStack::napi_gro_receive(Napi& napi, Skb* skb) {
  if (napi.gro().dev_gro_receive(skb)) return;
  netif_receive_skb(skb);
}

void NetStack::netif_receive_skb(Skb* skb) {
  KFUNC("netif_receive_skb");
  kernel::work(kStackCosts.eth_type_trans + kStackCosts.netif_receive_skb);
  ++counters_.received;
  if (__builtin_expect(trace_.netif_received.enabled(), 0)) {
    trace_.netif_received.emit({skb, kernel::this_cpu().now()});
  }
  for (PacketSocket* tap : taps_) tap->packet_rcv(*skb);
  if (__builtin_expect(static_cast<bool>(keeper_), 0) && kept(skb)) return;
  ip_rcv(skb);
}

/// Somebody sits on the skb for a while: a task of its own, so that it lets go in process context.
bool NetStack::kept(Skb* skb) {
  const sim::Tick time = keeper_(*skb);
  if (time == 0) return false;
  skbs_.held(*skb, holder::kKeeper, 0);
  const sim::Tick until = kernel_.now() + time;
  kernel_.spawn(kernel::this_cpu().cpu(), "keeper", [this, skb, until] {
    kernel::sleep_until_tick(until);
    skbs_.kfree_skb(skb);
  });
  return true;
}

void NetStack::ip_rcv(Skb* skb) {
  KFUNC("ip_rcv");
  kernel::work(kStackCosts.ip_rcv);
  const auto packet = parse_ip(skbs_.bytes(*skb));
  if (!packet) return drop(skb, counters_.malformed, "IP_INHDR");
  skb->ip = *packet;
  if (const auto out = routes_.find(packet->dst_ip); packet->version == 4 && out != routes_.end()) {
    return ip_forward(skb, *out->second);
  }
  if (packet->is_fragment()) {
    skb = (packet->version == 6 ? defrag6_ : defrag4_).ip_defrag(skb);
    if (skb == nullptr) return;
  }
  switch (skb->ip.protocol) {
    case kProtocolUdp:
      return udp_rcv(skb);
    case kProtocolTcp:
      return tcp_rcv(skb);
    default:
      return drop(skb, counters_.no_port, "IP_NOPROTO");
  }
}

// ip_forward, neigh_output: one hop less to live, other Ethernet addresses, in place.
void NetStack::ip_forward(Skb* skb, Qdisc& out) {
  KFUNC("ip_forward");
  kernel::work(kStackCosts.ip_forward);
  std::uint8_t* frame = kernel_.store().host(sim::to_phys(skb->page) + skb->offset, skb->length);
  std::uint8_t* ip = frame + kEthernetHeaderBytes;
  constexpr unsigned kTtl = 8, kChecksum = 10;
  if (ip[kTtl] <= 1) return drop(skb, counters_.malformed, "IP_INHDR");
  --ip[kTtl];
  std::uint32_t sum = (std::uint32_t{ip[kChecksum]} << 8 | ip[kChecksum + 1]) + 0x0100;  // RFC 1624
  sum = (sum & 0xffff) + (sum >> 16);
  ip[kChecksum] = static_cast<std::uint8_t>(sum >> 8);
  ip[kChecksum + 1] = static_cast<std::uint8_t>(sum);
  std::copy_n(frame + 6, 6, frame);  // back to where it came from: the only neighbour there is
  const MacAddress mac = out.device().mac();
  std::copy(mac.begin(), mac.end(), frame + 6);
  ++counters_.forwarded;
  out.dev_queue_xmit(skb);
}

Transmitter* NetStack::run_xdp(std::span<const std::uint8_t> frame) {
  if (redirects_.empty()) return nullptr;
  KFUNC("bpf_prog_run_xdp");
  kernel::work(kStackCosts.xdp_redirect);
  const auto packet = parse_ip(frame);
  if (!packet || packet->protocol != kProtocolUdp) return nullptr;
  const auto out = redirects_.find(packet->dst_port);
  if (out == redirects_.end()) return nullptr;
  ++counters_.redirected;
  return out->second;
}

void NetStack::xdp_do_flush() {
  if (redirects_.empty()) return;
  KFUNC("xdp_do_flush");
  for (const auto& [port, out] : redirects_) out->flush();
}

void NetStack::udp_rcv(Skb* skb) {
  KFUNC("udp_rcv");
  kernel::work(kStackCosts.udp_rcv);
  const auto it = udp_ports_.find(skb->ip.dst_port);
  if (it == udp_ports_.end()) return drop(skb, counters_.no_port, "NO_SOCKET");
  it->second->udp_queue_rcv_skb(skb);
}

void NetStack::tcp_rcv(Skb* skb) {
  const auto it = tcp_ports_.find(skb->ip.dst_port);
  // A datagram put together from fragments has its header in the first one; nobody fragments TCP here.
  if (it == tcp_ports_.end() || skb->ip.tcp_header_bytes == 0 || skb->ip.is_fragment()) {
    return drop(skb, counters_.no_port, "NO_SOCKET");
  }
  if (skb->tcp_bytes == 0) {  // did not come through GRO
    skb->tcp_bytes = static_cast<std::uint32_t>(skb->ip.payload_bytes - skb->ip.tcp_header_bytes);
  }
  it->second->tcp_rcv(skb);
}

void NetStack::verify(const Skb& skb, std::size_t header_bytes) {
  if (!verify_ || skb.ip.payload_bytes <= header_bytes) return;
  std::uint64_t sequence = 0;
  const auto payload =
      skbs_.bytes(skb).subspan(skb.ip.payload_offset + header_bytes, skb.ip.payload_bytes - header_bytes);
  if (!verify_(payload, &sequence)) ++counters_.corrupt;
}

void NetStack::verify_datagram(const Skb& skb) {
  if (!verify_) return;
  std::vector<std::uint8_t> whole;
  for (const Skb* s = &skb; s != nullptr; s = s->frag_list) {
    const auto part = skbs_.bytes(*s).subspan(s->ip.payload_offset, s->ip.payload_bytes);
    whole.insert(whole.end(), part.begin(), part.end());
  }
  std::uint64_t sequence = 0;
  if (!verify_(std::span<const std::uint8_t>(whole).subspan(kUdpHeaderBytes), &sequence)) ++counters_.corrupt;
}

UdpSocket& NetStack::bind_udp(std::uint16_t port, std::uint64_t rcvbuf) {
  udp_sockets_.push_back(std::make_unique<UdpSocket>(*this, port, rcvbuf));
  udp_ports_[port] = udp_sockets_.back().get();
  return *udp_sockets_.back();
}

TcpSocket& NetStack::connect_tcp(std::uint16_t port, std::uint64_t rcvbuf, std::uint32_t rcv_nxt) {
  tcp_sockets_.push_back(std::make_unique<TcpSocket>(*this, port, rcvbuf, rcv_nxt));
  tcp_ports_[port] = tcp_sockets_.back().get();
  return *tcp_sockets_.back();
}

PacketSocket& NetStack::bind_packet(std::uint64_t rcvbuf) {
  const auto number = static_cast<unsigned>(packet_sockets_.size());
  packet_sockets_.push_back(std::make_unique<PacketSocket>(*this, number, rcvbuf));
  taps_.push_back(packet_sockets_.back().get());
  return *packet_sockets_.back();
}

std::string NetStack::lets_go(std::string_view holder, std::uint64_t id) const {
  const auto of_port = [id](const auto& sockets, bool out_of_order) -> std::string {
    for (auto it = sockets.rbegin(); it != sockets.rend(); ++it) {
      if ((*it)->port() == id) return (*it)->lets_go(out_of_order);
    }
    return "its socket is destroyed";
  };
  const auto fragment = [&](const IpDefrag& defrag, const char* expire) {
    const auto jiffy = defrag.expires(static_cast<std::uint32_t>(id));
    if (!jiffy) return std::string("its timeout");
    return fmt::format(
        "the other fragments come, or the timeout ({}) at {:.3f} s", expire,
        static_cast<double>(*jiffy) * static_cast<double>(kernel_.jiffy_tick()) / sim::kSecond);
  };
  if (holder == holder::kUdpSocket) return of_port(udp_sockets_, false);
  if (holder == holder::kTcpSocket) return of_port(tcp_sockets_, false);
  if (holder == holder::kTcpOutOfOrder) return of_port(tcp_sockets_, true);
  if (holder == holder::kPacketSocket) return packet_sockets_.at(id)->lets_go(false);
  if (holder == holder::kFragment4) return fragment(defrag4_, "ip_expire");
  if (holder == holder::kFragment6) return fragment(defrag6_, "ip6_frag_expire");
  if (holder == holder::kDeferList) {
    return fmt::format(
        "net_rx_action() on core {}: a packet received there, or {} skbs on the list (now {}); no timer", id,
        std::max(1u, defer_.max() / 2), defer_.count(static_cast<unsigned>(id)));
  }
  for (const Qdisc* out : transmitters_) {
    const Transmitter& device = out->device();
    if (device.ifindex() != id) continue;
    const std::string completion = fmt::format("{} completes a frame (it has {}, and {})", device.name(),
                                               device.in_use(), device.stopped() ? "no room" : "room");
    if (holder == holder::kQdisc)
      return fmt::format("{} and takes the next of the {} skbs that wait, or the device goes down (qdisc_reset)", completion,
                         out->length());
    if (holder == holder::kTxRing || holder == holder::kXdpTxRing)
      return fmt::format("{}, or its close (igb_clean_tx_ring); no timer", completion);
  }
  if (holder == holder::kGro) return "the NAPI instance completes, or is deleted";
  return {};
}

}  // namespace nic
