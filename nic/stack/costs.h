// SPDX-License-Identifier: Apache-2.0
// Computing cost of the driver's and the stack's own steps, in core cycles, without the memory, MMIO, DMA API
// and page_pool costs that those parts charge by themselves. No published figure exists for them one by one
// [I]; together they give about 1000 cycles for a UDP datagram to a socket, what a 2.5 GHz core spends on
// one.
#pragma once
#include "sim/types.h"

namespace nic {

struct StackCosts {
  sim::Cycle irq_handler = 60;  ///< igb_msix_ring / igbvf_intr_msix_rx
  sim::Cycle napi_schedule = 30;
  sim::Cycle napi_poll = 60;
  sim::Cycle napi_complete = 60;
  sim::Cycle rx_descriptor = 25;  ///< one turn of the clean loop
  sim::Cycle refill_descriptor = 12;
  sim::Cycle build_skb = 90;
  sim::Cycle eth_type_trans = 20;
  sim::Cycle netif_receive_skb = 90;
  sim::Cycle ip_rcv = 80;
  sim::Cycle ip_defrag = 120;
  sim::Cycle udp_rcv = 150;
  sim::Cycle tcp_rcv = 260;     ///< tcp_v4_rcv, tcp_rcv_established
  sim::Cycle gro_receive = 60;  ///< dev_gro_receive and its protocol callbacks, a segment
  sim::Cycle packet_rcv = 80;   ///< a packet socket takes its clone
  sim::Cycle ip_forward = 110;
  sim::Cycle dev_xmit = 140;  ///< qdisc and driver's transmit function, without map and doorbell
  sim::Cycle xdp_redirect = 45;
  sim::Cycle sock_queue = 60;
  sim::Cycle kfree_skb = 70;
  sim::Cycle recvmsg = 250;
  sim::Cycle copy_line = 6;  ///< copying 64 bytes to the user
};
inline constexpr StackCosts kStackCosts{};

}  // namespace nic
