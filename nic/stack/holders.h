// SPDX-License-Identifier: Apache-2.0
// Those outside the pool who can have a page of it, by the name under which mm::Trace::held() is told. What
// the number beside the name means, and what would make the holder let go, NetStack::lets_go() says.
#pragma once
#include <cstdint>
#include <string_view>

namespace nic::holder {

inline constexpr std::string_view kRxRing = "RX ring";                               ///< id: see rx_ring_id()
/// Descriptor, and in front of its four digits the queue.
constexpr std::uint64_t rx_ring_id(unsigned queue, unsigned descriptor) {
  return std::uint64_t{queue} * 10'000 + descriptor;
}
inline constexpr std::string_view kUdpSocket = "UDP socket receive queue";           ///< id: port
inline constexpr std::string_view kTcpSocket = "TCP socket receive queue";           ///< id: port
inline constexpr std::string_view kTcpOutOfOrder = "TCP socket out-of-order queue";  ///< id: port
inline constexpr std::string_view kPacketSocket =
    "packet socket receive queue";                                        ///< id: number of the socket
inline constexpr std::string_view kFragment4 = "IPv4 fragment queue";     ///< id: IP identification
inline constexpr std::string_view kFragment6 = "IPv6 fragment queue";     ///< id: identification
inline constexpr std::string_view kDeferList = "skb defer list of core";  ///< id: core
inline constexpr std::string_view kGro = "GRO list of NAPI";              ///< id: NAPI id
inline constexpr std::string_view kQdisc = "qdisc of ifindex";            ///< id: ifindex
inline constexpr std::string_view kTxRing = "TX ring of ifindex";         ///< id: ifindex
inline constexpr std::string_view kXdpTxRing = "TX ring (XDP redirect) of ifindex";  ///< id: ifindex

}  // namespace nic::holder
