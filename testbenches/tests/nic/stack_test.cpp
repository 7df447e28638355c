// SPDX-License-Identifier: Apache-2.0
// The stack's holders one by one: TCP queues and window, clones, GRO, defragmentation, on packets built by
// hand.
#include "nic/stack/net_stack.h"
#include "testbenches/tests/pagepool/sim_harness.h"

namespace {

using nic::IpAddress;
using testing_pagepool::mapped_params;
using testing_pagepool::PoolMachine;

const nic::Ipv4Flow kFlow = {{2, 0, 0, 0, 0, 1}, {2, 0, 0, 0, 0, 2}, 0x0a000002, 0x0a000001, 40000, 80};
const std::vector<std::uint8_t> kData(100, 0x5a);

struct StackTest : ::testing::Test {
  /// Runs `body` as a task of core 0 with a pool to receive into.
  void run(std::function<void()> body, nic::StackConfig config = {}) {
    stack = std::make_unique<nic::NetStack>(m.k, m.pools, m.mm_trace, config);
    napi = std::make_unique<nic::Napi>(stack->softnet(), "test", [](int) { return 0; });
    m.run_bound(kernel::DmaMode::kDirect, 200, [&](kernel::Device& device) {
      pool = m.pools.create(device, mapped_params());
      body();
      done = true;
    });
    EXPECT_TRUE(done);
  }
  nic::Skb* skb(const std::vector<std::uint8_t>& frame) {
    const sim::Pfn page = *pool->alloc_page();
    std::copy(frame.begin(), frame.end(), m.store.host(sim::to_phys(page), frame.size()));
    return stack->skbs().build_skb(page, 0, static_cast<std::uint32_t>(frame.size()));
  }
  void receive(const std::vector<std::uint8_t>& frame) {
    kernel::local_bh_disable();
    stack->netif_receive_skb(skb(frame));
    kernel::local_bh_enable();
  }
  void segment(std::uint32_t seq, std::size_t bytes = 100) {
    receive(nic::build_tcp_frame(kFlow, 1, seq, nic::kTcpAck, {kData.data(), bytes}));
  }
  void gro(std::uint32_t seq, std::uint8_t flags = nic::kTcpAck) {
    kernel::local_bh_disable();
    stack->napi_gro_receive(*napi, skb(nic::build_tcp_frame(kFlow, 1, seq, flags, kData)));
    kernel::local_bh_enable();
  }
  std::uint64_t held() const { return stack->skbs().outstanding(); }

  PoolMachine m;
  std::unique_ptr<nic::NetStack> stack;
  std::unique_ptr<nic::Napi> napi;
  std::shared_ptr<pagepool::Pool> pool;
  bool done = false;
};

TEST_F(StackTest, TcpPutsSegmentsInOrderWhateverTheOrderOfArrival) {
  run([&] {
    auto& s = stack->connect_tcp(80, 1 << 20, 1000);
    segment(1200);
    segment(1300);
    EXPECT_EQ(s.queued(), 0u);
    EXPECT_EQ(s.out_of_order(), 2u);
    EXPECT_EQ(s.rcv_nxt(), 1000u);
    segment(1100);
    EXPECT_EQ(s.out_of_order(), 3u);
    segment(1000);  // fills the gap: everything moves over
    EXPECT_EQ(s.queued(), 4u);
    EXPECT_EQ(s.out_of_order(), 0u);
    EXPECT_EQ(s.rcv_nxt(), 1400u);
    EXPECT_EQ(held(), 4u);
    while (s.recvmsg()) {
    }
    EXPECT_EQ(held(), 0u);
  });
}
TEST_F(StackTest, TcpDropsWhatIsOldDuplicateOrBeyondTheWindow) {
  run([&] {
    auto& s = stack->connect_tcp(80, 64 << 10, 1000);
    segment(1000);
    segment(1000);
    segment(1200);
    segment(1200);
    EXPECT_EQ(held(), 2u);
    EXPECT_EQ(s.dropped(), 2u);
    segment(s.rcv_nxt() + s.window());  // the first byte that may not come
    EXPECT_EQ(s.dropped(), 3u);
    segment(s.rcv_nxt() + s.window() - 1);
    EXPECT_EQ(s.dropped(), 3u);
  });
}
TEST_F(StackTest, TcpSequenceNumbersWrap) {
  run([&] {
    auto& s = stack->connect_tcp(80, 1 << 20, 0xffff'ffce);
    segment(50);
    segment(0xffff'ffce);
    EXPECT_EQ(s.queued(), 2u);
    EXPECT_EQ(s.rcv_nxt(), 150u);
  });
}
TEST_F(StackTest, TcpWindowClosesWithUnreadDataAndOpensWithReading) {
  run([&] {
    auto& s = stack->connect_tcp(80, 64 << 10, 1000);
    const auto open = s.window();
    std::uint32_t seq = 1000;
    for (int i = 0; i < 14; ++i, seq += 100) segment(seq);
    EXPECT_EQ(s.queued(), 14u);
    EXPECT_LE(s.window(), open);
    segment(seq);  // 15 x 4352 B of truesize are more than is left of 64 KiB
    segment(seq + 100);
    EXPECT_LE(s.queued(), 15u);
    EXPECT_GE(stack->counters().rcvbuf_errors + s.dropped(), 1u);
    while (s.recvmsg()) {
    }
    const auto rcv_nxt = s.rcv_nxt();
    segment(rcv_nxt);
    EXPECT_EQ(s.queued(), 1u);
    EXPECT_EQ(s.rcv_nxt(), rcv_nxt + 100);
  });
}
TEST_F(StackTest, TcpPrunesOutOfOrderDataWhenDataInOrderNeedsTheMemory) {
  run([&] {
    auto& s = stack->connect_tcp(80, 44 << 10, 1000);
    for (std::uint32_t i = 2; i < 20; ++i) segment(1000 + 100 * i);
    const auto full = s.out_of_order();
    EXPECT_EQ(full, (44u << 10) / 4352);
    segment(1000);
    EXPECT_EQ(s.queued(), 1u);
    EXPECT_EQ(s.pruned(), 1u);
    EXPECT_EQ(s.out_of_order(), full - 1);
  });
}
TEST_F(StackTest, TcpCloseWithUnreadDataResetsAndFreesEverything) {
  run([&] {
    auto& s = stack->connect_tcp(80, 1 << 20, 1000);
    segment(1000);
    segment(1200);
    s.close();
    EXPECT_EQ(s.resets(), 1u);
    EXPECT_EQ(held(), 0u);
    segment(1100);
    EXPECT_EQ(s.resets(), 2u);
    EXPECT_EQ(held(), 0u);
  });
}

TEST_F(StackTest, ACloneKeepsThePageUntilTheLastOneGoes) {
  run([&] {
    auto& udp = stack->bind_udp(80, 1 << 20);
    auto& tap = stack->bind_packet(1 << 20);
    auto& second = stack->bind_packet(1 << 20);
    receive(nic::build_udp_frame(kFlow, 1, kData));
    EXPECT_EQ(held(), 3u);
    const int before =
        static_cast<int>(pool->state().stats.recycle_ring + pool->state().stats.recycle_cached);
    EXPECT_TRUE(second.recvmsg());
    EXPECT_TRUE(udp.recvmsg());
    EXPECT_EQ(held(), 1u);
    const auto returned = [&] {
      return static_cast<int>(pool->state().stats.recycle_ring + pool->state().stats.recycle_cached) - before;
    };
    EXPECT_EQ(returned(), 0);
    tap.close();
    EXPECT_EQ(held(), 0u);
    EXPECT_EQ(returned(), 1);
  });
}
TEST_F(StackTest, ALeakedReferenceOutlivesCloseAndAnOrdinaryOneDoesNot) {
  run([&] {
    auto& leaked = stack->bind_udp(80, 1 << 20);
    leaked.leak_reference();
    receive(nic::build_udp_frame(kFlow, 1, kData));
    leaked.close();
    EXPECT_EQ(held(), 1u);
    receive(nic::build_udp_frame(kFlow, 2, kData));  // no port any more
    EXPECT_EQ(held(), 1u);
    auto& ordinary = stack->bind_udp(80, 1 << 20);
    receive(nic::build_udp_frame(kFlow, 3, kData));
    EXPECT_EQ(held(), 2u);
    ordinary.close();
    EXPECT_EQ(held(), 1u);
  });
}

TEST_F(StackTest, GroMergesSegmentsInSequenceUntilNapiCompletes) {
  run([&] {
    auto& s = stack->connect_tcp(80, 1 << 20, 1000);
    for (std::uint32_t i = 0; i < 5; ++i) gro(1000 + 100 * i);
    EXPECT_EQ(s.queued(), 0u);
    EXPECT_EQ(napi->gro().merged(), 4u);
    kernel::local_bh_disable();
    napi->gro().napi_gro_flush(false);
    kernel::local_bh_enable();
    EXPECT_EQ(s.queued(), 1u);  // one packet of five segments
    EXPECT_EQ(s.rcv_nxt(), 1500u);
    EXPECT_TRUE(s.recvmsg());
    EXPECT_EQ(held(), 0u);
  });
}
TEST_F(StackTest, GroPassesOnAtPushAtAGapAtSeventeenSegmentsAndFreesAtDelete) {
  run([&] {
    auto& s = stack->connect_tcp(80, 1 << 20, 1000);
    gro(1000);
    gro(1100, nic::kTcpAck | nic::kTcpPsh);
    EXPECT_EQ(s.rcv_nxt(), 1200u);
    gro(1200);
    gro(1500);  // a gap: what was held goes first
    EXPECT_EQ(s.rcv_nxt(), 1300u);
    EXPECT_EQ(held(), 4u);
    napi->netif_napi_del();
    EXPECT_EQ(held(), 3u);
    for (std::uint32_t i = 0; i < 18; ++i) gro(1300 + 100 * i);
    EXPECT_EQ(s.rcv_nxt(), 1300u + 17 * 100);
    EXPECT_FALSE(napi->gro().empty());
  });
}

TEST_F(StackTest, Ipv6FragmentsWait60Seconds) {
  run([&] {
    receive(nic::build_first_fragment6(kFlow, 7, kData));
    EXPECT_EQ(stack->defrag6().fragments_waiting(), 1u);
    kernel::msleep(54'000);
    EXPECT_EQ(held(), 1u);
    kernel::msleep(15'000);
    EXPECT_EQ(held(), 0u);
    EXPECT_EQ(stack->defrag6().timeouts(), 1u);
  });
}
TEST_F(StackTest, Ipv4ReinitDropsWhatWasThereAndStartsTheTimeAnew) {
  run([&] {
    receive(nic::build_first_fragment(kFlow, 7, kData));
    kernel::msleep(20'000);
    // 65 other fragments of the peer: number 7 is somebody else by now.
    for (std::uint16_t id = 100; id < 165; ++id) receive(nic::build_first_fragment(kFlow, id, kData));
    receive(nic::build_first_fragment(kFlow, 7, kData));
    EXPECT_EQ(stack->defrag().reinits(), 1u);
    EXPECT_EQ(stack->defrag().fragments_waiting(), 66u);
    kernel::msleep(15'000);  // 35 s after the first, 15 s after the reinit
    EXPECT_TRUE(stack->defrag().expires(7).has_value());
    kernel::msleep(20'000);
    EXPECT_EQ(held(), 0u);
  });
}
TEST_F(StackTest, Ipv4FragmentsWithin64OthersAreOfTheSameDatagram) {
  run([&] {
    receive(nic::build_first_fragment(kFlow, 7, kData));
    for (std::uint16_t id = 100; id < 163; ++id) receive(nic::build_first_fragment(kFlow, id, kData));
    receive(nic::build_first_fragment(kFlow, 7, kData));  // a duplicate
    EXPECT_EQ(stack->defrag().reinits(), 0u);
    EXPECT_EQ(stack->defrag().drops(), 1u);
  });
}

TEST(Packet, Ipv6AndTcpFramesParseAsTheyWereBuiltAndNothingCutDoes) {
  const auto six = nic::build_first_fragment6(kFlow, 0x12345678, kData);
  const auto p = nic::parse_ip(six);
  ASSERT_TRUE(p.has_value());
  EXPECT_EQ(p->version, 6);
  EXPECT_EQ(p->id, 0x12345678u);
  EXPECT_TRUE(p->more_fragments);
  EXPECT_EQ(p->fragment_offset, 0u);
  EXPECT_EQ(p->protocol, nic::kProtocolUdp);
  EXPECT_EQ(p->dst_port, 80u);
  EXPECT_EQ(p->payload_bytes % 8, 0u);
  EXPECT_FALSE(nic::parse_ipv4(six).has_value());
  const auto tcp = nic::build_tcp_frame(kFlow, 3, 0xdeadbeef, nic::kTcpAck | nic::kTcpPsh, kData);
  const auto t = nic::parse_ip(tcp);
  ASSERT_TRUE(t.has_value());
  EXPECT_EQ(t->tcp_seq, 0xdeadbeefu);
  EXPECT_EQ(t->tcp_flags, nic::kTcpAck | nic::kTcpPsh);
  EXPECT_EQ(t->payload_bytes - t->tcp_header_bytes, kData.size());
  for (std::size_t n = 0; n < 54 + 100; ++n) EXPECT_FALSE(nic::parse_ip({tcp.data(), n})) << n;
  for (std::size_t n = 0; n < six.size(); ++n) EXPECT_FALSE(nic::parse_ip({six.data(), n})) << n;
}

}  // namespace
