// SPDX-License-Identifier: Apache-2.0
// Who holds the pages of a pool that cannot finish, for how long, and what ends it: derived from the facts
// about each holder (30 s and 60 s of defragmentation, no timer on deferred-free lists, sockets until they
// are closed), not from what the program printed.
#include "testbenches/scenario/holders.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <map>
#include <nlohmann/json.hpp>

#include "platform/pcap_file.h"
#include "testbenches/scenario/processes.h"
#include "testbenches/scenario/run.h"

namespace {

using scenario::HolderReport;

struct Outcome {
  explicit Outcome(std::vector<std::string> assignments, const char* file = "who_holds_it.yaml") {
    scenario::RunConfig config;
    scenario::load(config, std::string(POOLSIM_SOURCE_DIR "/testbenches/scenarios/") + file, assignments);
    run = std::make_unique<scenario::ScenarioRun>(config, scenario::RunOptions{});
    result = run->run();
    holders = scenario::who_holds(run->checker(), run->machine());
    for (const HolderReport& h : holders) pages[h.holder] += h.pages;
    now = run->machine().simulation().now();
  }
  const HolderReport* find(const std::string& holder) const {
    for (const HolderReport& h : holders)
      if (h.holder == holder) return &h;
    return nullptr;
  }
  std::unique_ptr<scenario::ScenarioRun> run;
  scenario::RunResult result;
  std::vector<HolderReport> holders;
  std::map<std::string, std::uint64_t> pages;
  sim::Tick now = 0;
};

const std::map<std::string, std::uint64_t> kForEver = {{"UDP socket receive queue", 20},
                                                       {"TCP socket receive queue", 20},
                                                       {"TCP socket out-of-order queue", 10},
                                                       {"packet socket receive queue", 10},
                                                       {"skb defer list of core", 24}};

TEST(Holders, FragmentsLeaveAfterTheirTimeoutsAndEverybodyElseStays) {
  auto expected = kForEver;
  expected["IPv4 fragment queue"] = expected["IPv6 fragment queue"] = 8;
  EXPECT_EQ(Outcome({"scenario.end_delay=29 s"}).pages, expected);
}
TEST(Holders, After30SecondsIpv4FragmentsAreGone) {
  auto expected = kForEver;
  expected["IPv6 fragment queue"] = 8;
  // The timer wheel may be late by 4096 jiffies at this distance, never early.
  EXPECT_EQ(Outcome({"scenario.end_delay=36 s"}).pages, expected);
}
TEST(Holders, After60SecondsOnlyThoseWithoutATimerAreLeft) {
  const Outcome o({});
  EXPECT_EQ(o.pages, kForEver);
  std::uint64_t in_flight = 0;
  for (const auto& [holder, pages] : o.pages) in_flight += pages;
  EXPECT_EQ(in_flight, o.run->checker().in_flight().size());  // each page has one holder, none is forgotten
  for (const HolderReport& h : o.holders) {
    EXPECT_GT(o.now - h.oldest, 100 * sim::kSecond) << h.holder;
    ASSERT_FALSE(h.path.empty()) << h.holder;
    EXPECT_EQ(h.path.back().holder, h.holder);
    EXPECT_EQ(h.path.back().since, h.oldest);
  }
  EXPECT_NE(o.find("skb defer list of core")->lets_go.find("core 0"), std::string::npos);
  EXPECT_NE(o.find("TCP socket out-of-order queue")->lets_go.find("sequence 1000"), std::string::npos);
}

TEST(Holders, TheReportSaysItInTextJsonAndDump) {
  const Outcome o({"scenario.end_delay=29 s"});
  const std::string text = o.run->report(), dump = o.run->dump_pools();
  for (const auto* part : {"24 pages", "skb defer list of core 0", "UDP socket receive queue 9000",
                           "ip6_frag_expire", "lets go", "path"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part;
    EXPECT_NE(dump.find(part), std::string::npos) << part;
  }
  const auto json = o.run->report_json();
  ASSERT_EQ(json["who_holds"].size(), o.holders.size());
  for (const auto& h : json["who_holds"]) {
    EXPECT_FALSE(h["lets_go"].get<std::string>().empty());
    EXPECT_FALSE(h["path"].empty());
    EXPECT_GT(h["age_s"].get<double>(), 29.0);
  }
}

TEST(Holders, ClosedSocketsLetGoButOutOfOrderDataWaitsForTheOrphan) {
  const Outcome o({"scenario.held_sockets=closed", "scenario.end_delay=70 s"});
  const std::map<std::string, std::uint64_t> left = {{"TCP socket out-of-order queue", 10},
                                                     {"skb defer list of core", 24}};
  EXPECT_EQ(o.pages, left);
  EXPECT_NE(o.find("TCP socket out-of-order queue")->lets_go.find("FIN_WAIT1"), std::string::npos);
}
TEST(Holders, TheOrphanGivesUpAfterItsRetransmissions) {
  const Outcome later({"scenario.held_sockets=closed", "scenario.end_delay=125 s"});
  EXPECT_EQ(later.pages, (std::map<std::string, std::uint64_t>{{"skb defer list of core", 24}}));
}

TEST(Holders, ALeakedReferenceKeepsTheDatagramsOfAClosedUdpSocket) {
  const Outcome o({"scenario.held_sockets=leaked", "scenario.end_delay=70 s"});
  EXPECT_EQ(o.pages.at("UDP socket receive queue"), 20u);
  EXPECT_EQ(o.pages.count("TCP socket receive queue"), 0u);  // tcp_close() purges whatever the references
  EXPECT_NE(o.find("UDP socket receive queue")->lets_go.find("never put"), std::string::npos);
}

TEST(Holders, TheDeferListIsFlushedByTheNextPacketOfItsCoreAndByNothingElse) {
  // Bound again, the device receives on core 0: net_rx_action() empties the list.
  const Outcome o({"scenario.device=rebound", "scenario.end_delay=70 s"});
  EXPECT_EQ(o.pages.count("skb defer list of core"), 0u);
  EXPECT_EQ(o.pages.at("UDP socket receive queue"), 20u);
}

TEST(Holders, TheDeferListIsKickedAtHalfOfItsLimit) {
  // At most 64; the 32nd kicks the core, which empties the list. So 40 are never all there, and less than
  // half stay.
  const Outcome o({"scenario.held_deferred=40", "scenario.end_delay=70 s"});
  EXPECT_LT(o.run->machine().stack().defer().count(0), 32u);
  EXPECT_EQ(o.run->machine().stack().defer().kicks(), 1u);
  EXPECT_EQ(o.run->machine().stack().defer().deferred(), 40u);
}
TEST(Holders, JustBelowTheKickIsForEver) {
  const Outcome o({"scenario.held_deferred=31", "scenario.end_delay=70 s"});
  EXPECT_EQ(o.pages.at("skb defer list of core"), 31u);
  EXPECT_EQ(o.run->machine().stack().defer().kicks(), 0u);
}
TEST(Holders, WithoutDeferringTheReaderFrees) {
  const Outcome off({"stack.skb_defer_max=0", "scenario.end_delay=70 s"});
  EXPECT_EQ(off.pages.count("skb defer list of core"), 0u);
}

constexpr const char* kForwarding = "forwarding_at_unbind.yaml";

TEST(Holders, ForwardedPagesWaitInTheTransmitRingAndWhatFindsNoRoomInTheQdisc) {
  const Outcome o({"scenario.end_delay=50 s"}, kForwarding);
  // 32 descriptors, of which one separates head and tail and the queue is stopped when less than two are left: 30
  // frames. The redirected ones came first.
  EXPECT_EQ(o.pages, (std::map<std::string, std::uint64_t>{
                         {"TX ring (XDP redirect) of ifindex", 10}, {"TX ring of ifindex", 20}, {"qdisc of ifindex", 28}}));
  for (const HolderReport& h : o.holders) {
    EXPECT_EQ(h.id, 3u) << h.holder;
    EXPECT_GT(o.now - h.oldest, 49 * sim::kSecond) << h.holder;
    EXPECT_NE(h.lets_go.find("igb-tx0"), std::string::npos) << h.lets_go;
    ASSERT_GE(h.path.size(), 2u) << h.holder;
    EXPECT_EQ(h.path.back().holder, h.holder);
  }
  EXPECT_NE(o.find("qdisc of ifindex")->lets_go.find("28 skbs"), std::string::npos);
  // A forwarded packet was in the qdisc before it was in the ring.
  const auto& path = o.find("TX ring of ifindex")->path;
  EXPECT_EQ(path[path.size() - 2].holder, "qdisc of ifindex");
  EXPECT_TRUE(o.result.findings.empty());
}

TEST(Holders, OnceThePortMaySendTheTransmitCompletionsLetGo) {
  for (const char* strategy : {"xarray_merged", "stock"}) {
    const std::string dir = ::testing::TempDir() + std::to_string(::getpid()) + strategy + ".pcap";
    const std::string text = scenario::in_process([&] {
      scenario::RunConfig config;
      scenario::load(config, std::string(POOLSIM_SOURCE_DIR "/testbenches/scenarios/") + kForwarding,
                     {"scenario.held_sockets=closed", "scenario.end_delay=20 s", std::string("pool.strategy=") + strategy});
      scenario::RunOptions options;
      options.pcap = dir;
      return scenario::ScenarioRun(config, options).run().to_json().dump();
    });
    const auto r = scenario::RunResult::from_json(nlohmann::ordered_json::parse(text));
    EXPECT_EQ(r.held_by, "");
    // Each page was mapped twice: for the VF, whose mapping is the strategy's to undo, and for the PF.
    EXPECT_EQ(r.late_unmaps, std::string(strategy) == "stock" ? 58u : 0u);
    // What was on the wire: an IPv4 header that is right, with one hop less when the stack forwarded it.
    unsigned forwarded = 0, redirected = 0;
    for (const auto& frame : platform::read_pcap(dir)) {
      const auto packet = nic::parse_ipv4(frame.bytes);
      if (!packet) continue;
      const std::uint8_t ttl = frame.bytes[nic::kEthernetHeaderBytes + 8];
      forwarded += packet->dst_ip == 0x0a000102 && ttl == 63;
      redirected += packet->dst_port == 9200;
    }
    EXPECT_EQ(forwarded, 48u);
    EXPECT_EQ(redirected, 2 * 10u);  // in and out
  }
}

TEST(Holders, APortThatSendsHoldsNothingAtTheUnbind) {
  const Outcome o({"scenario.egress_paused=false", "scenario.end_delay=7 s"}, kForwarding);
  EXPECT_EQ(o.result.pages_outstanding, 0u);
  EXPECT_TRUE(o.pages.empty());
  EXPECT_EQ(o.run->machine().stack().counters().forwarded, 48u);
  EXPECT_EQ(o.run->machine().stack().counters().redirected, 10u);
}

TEST(Holders, ForwardingBouncesBothWays) {
  const Outcome o({"kernel.dma_mode=swiotlb", "kernel.dma_debug=true", "scenario.held_sockets=closed", "scenario.end_delay=20 s"},
                  kForwarding);
  EXPECT_TRUE(o.pages.empty());
  EXPECT_TRUE(o.result.findings.empty()) << o.result.findings_text();
  EXPECT_EQ(o.result.dma_debug_errors, 0u);
}

TEST(Holders, SeveralQueuesHaveAPoolEachAndAllAreNamed) {
  const Outcome o({"scenario.held_sockets=never"}, "queues_at_unbind.yaml");
  EXPECT_EQ(o.result.pools, 4u);
  std::map<unsigned, std::uint64_t> by_pool;
  for (const HolderReport& h : o.holders) {
    EXPECT_EQ(h.holder, "UDP socket receive queue");
    by_pool[h.pool] += h.pages;
  }
  EXPECT_EQ(by_pool.size(), 4u);  // RSS has spread the flows
  EXPECT_EQ(o.pages.at("UDP socket receive queue"), 200u);
}

}  // namespace
