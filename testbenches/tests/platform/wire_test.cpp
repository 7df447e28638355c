// SPDX-License-Identifier: Apache-2.0
#include "platform/wire.h"

#include <gtest/gtest.h>

#include <cmath>

namespace {

/// Takes every frame and remembers when it began.
struct Sink : sc_core::sc_module, tlm::tlm_fw_transport_if<> {
  Sink(sc_core::sc_module_name name, sim::Timeline& t) : sc_module(name), timeline(t) { socket.bind(*this); }
  tlm::tlm_target_socket<64> socket{"socket"};
  tlm::tlm_sync_enum nb_transport_fw(tlm::tlm_generic_payload& p, tlm::tlm_phase&,
                                     sc_core::sc_time& d) override {
    times.push_back(timeline.incoming(d));
    frames.emplace_back(p.get_data_ptr(), p.get_data_ptr() + p.get_data_length());
    p.set_response_status(tlm::TLM_OK_RESPONSE);
    return tlm::TLM_COMPLETED;
  }
  void b_transport(tlm::tlm_generic_payload&, sc_core::sc_time&) override {}
  bool get_direct_mem_ptr(tlm::tlm_generic_payload&, tlm::tlm_dmi&) override { return false; }
  unsigned transport_dbg(tlm::tlm_generic_payload&) override { return 0; }
  sim::Timeline& timeline;
  std::vector<sim::Tick> times;
  std::vector<std::vector<std::uint8_t>> frames;
};

TEST(WireGenerator, LineRateIsExactAndPayloadsVerify) {
  sim::Simulation s;
  platform::WireGenerator wire("wire", s, 10'000'000'000);
  Sink sink("sink", s.timeline());
  wire.wire.bind(sink.socket);
  const nic::Ipv4Flow flow{{2, 0, 0, 0, 0, 1}, {2, 0, 0, 0, 0, 2}, 0x0a000002, 0x0a000001, 40000, 9000};
  wire.send({platform::FrameKind::kUdp, flow, 1000, 18, 0, 0});
  wire.send({platform::FrameKind::kFirstFragment, flow, 10, 1472, 0, 0});
  s.timeline().run_until(10 * sim::kMillisecond);
  ASSERT_EQ(sink.frames.size(), 1010u);
  EXPECT_TRUE(wire.idle());
  // 60 + 24 bytes at 10 Gb/s are 67.2 ns; the average of 999 intervals is that to one clock edge.
  const double mean = static_cast<double>(sink.times[999] - sink.times[0]) / 999;
  EXPECT_NEAR(mean, 67.2e6, 8e6 / 999 + 1);
  for (std::size_t i = 0; i < sink.frames.size(); ++i) {
    const auto& f = sink.frames[i];
    const auto p = nic::parse_ipv4(f);
    ASSERT_TRUE(p) << i;
    std::uint64_t sequence = 0;
    EXPECT_TRUE(platform::verify_payload({&f[p->payload_offset + 8], p->payload_bytes - 8}, &sequence));
    EXPECT_EQ(sequence, i);
    EXPECT_EQ(p->id, static_cast<std::uint16_t>(i));
    EXPECT_EQ(p->more_fragments, i >= 1000);
    if (!p->more_fragments) {
      std::uint32_t pseudo = 17 + static_cast<std::uint32_t>(p->payload_bytes);
      for (std::uint32_t a : {flow.src_ip, flow.dst_ip}) pseudo += (a >> 16) + (a & 0xffff);
      EXPECT_EQ(nic::internet_checksum({&f[p->payload_offset], p->payload_bytes}, pseudo), 0);
    }
    auto damaged = f;
    damaged[p->payload_offset + 8 + 17 % (p->payload_bytes - 8)] ^= 1;
    EXPECT_FALSE(
        platform::verify_payload({&damaged[p->payload_offset + 8], p->payload_bytes - 8}, &sequence));
  }
}

struct Line {
  explicit Line(const char* name, std::uint64_t seed = 1)
      : s(name, {seed, 0, {}}),
        wire((std::string(name) + "_wire").c_str(), s, 10'000'000'000),
        sink((std::string(name) + "_sink").c_str(), s.timeline()) {
    wire.wire.bind(sink.socket);
    stream.flow = {{2, 0, 0, 0, 0, 1}, {2, 0, 0, 0, 0, 2}, 0x0a000002, 0x0a000001, 40000, 9000};
  }
  void run() {
    wire.send(stream);
    while (!wire.idle()) s.timeline().run_until(s.now() + sim::kMillisecond);
  }
  double gap_ns(std::size_t i) const { return static_cast<double>(sink.times[i + 1] - sink.times[i]) * 1e-6; }
  sim::Simulation s;
  platform::WireGenerator wire;
  Sink sink;
  platform::FrameStream stream;
};

TEST(WireGenerator, PoissonArrivalsHaveTheMeanAndTheSpreadOfAnExponential) {
  Line l("l");
  l.stream.count = 20'001;
  l.stream.interval = 2 * sim::kMicrosecond;
  l.stream.arrivals = platform::Arrivals::kPoisson;
  l.run();
  const std::size_t n = 20'000;
  double sum = 0, above_mean = 0, squares = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const double g = l.gap_ns(i);
    EXPECT_GE(g, 67.2 - 8);  // the line's limit, to one edge of the sender's clock
    sum += g;
    squares += g * g;
    above_mean += g > 2000 ? 1 : 0;
  }
  const double mean = sum / n;
  EXPECT_NEAR(mean / 2000, 1.0, 0.03);
  EXPECT_NEAR(above_mean / n, std::exp(-1.0), 0.02);
  EXPECT_NEAR(std::sqrt(squares / n - mean * mean) / mean, 1.0, 0.05);
}

TEST(WireGenerator, StreamsOfOneSeedAreEqualAndOfTwoSeedsAreNot) {
  Line a("a", 5), b("b", 5), c("c", 6);
  for (Line* l : {&a, &b, &c}) {
    l->stream.count = 50;
    l->stream.interval = sim::kMicrosecond;
    l->stream.arrivals = platform::Arrivals::kPoisson;
    l->stream.flows = 7;
    l->wire.send(l->stream);
  }
  for (Line* l : {&a, &b, &c}) l->s.timeline().run_until(sim::kMillisecond);
  EXPECT_EQ(a.sink.times, b.sink.times);
  EXPECT_EQ(a.sink.frames, b.sink.frames);
  EXPECT_NE(a.sink.times, c.sink.times);
}

TEST(WireGenerator, BurstsAreBackToBackAndKeepTheMean) {
  Line l("l");
  l.stream.count = 800;
  l.stream.interval = sim::kMicrosecond;
  l.stream.arrivals = platform::Arrivals::kBursts;
  l.stream.burst = 8;
  l.run();
  for (std::size_t i = 0; i + 1 < 800; ++i) {
    if (i % 8 != 7) {
      EXPECT_NEAR(l.gap_ns(i), 67.2, 8) << i;
    } else {
      EXPECT_NEAR(l.gap_ns(i), 8000 - 7 * 67.2, 16) << i;
    }
  }
}

TEST(WireGenerator, MixedFlowsAllOccurAndTheirChecksumsAreRight) {
  Line l("l");
  l.stream.count = 2000;
  l.stream.flows = 16;
  l.run();
  std::vector<unsigned> seen(16);
  for (const auto& f : l.sink.frames) {
    const auto p = nic::parse_ipv4(f);
    ASSERT_TRUE(p);
    ASSERT_GE(p->src_port, 40000);
    ASSERT_LT(p->src_port, 40016);
    ++seen[p->src_port - 40000u];
    std::uint32_t pseudo = 17 + static_cast<std::uint32_t>(p->payload_bytes);
    for (std::uint32_t a : {p->src_ip, p->dst_ip}) pseudo += (a >> 16) + (a & 0xffff);
    EXPECT_EQ(nic::internet_checksum({&f[p->payload_offset], p->payload_bytes}, pseudo), 0);
  }
  for (const unsigned n : seen) EXPECT_NEAR(n, 125, 60);
}

TEST(WireGenerator, ACaptureKeepsItsTimingOrTakesARate) {
  std::vector<platform::CapturedFrame> frames;
  const sim::Tick times[] = {0, 5 * sim::kMicrosecond, 5 * sim::kMicrosecond, 4 * sim::kMicrosecond,
                             30 * sim::kMicrosecond};
  for (unsigned i = 0; i < 5; ++i) frames.push_back({times[i], std::vector<std::uint8_t>(60 + i, std::uint8_t(i))});
  Line own("own"), rate("rate");
  for (Line* l : {&own, &rate}) {
    l->stream.capture = std::make_shared<const std::vector<platform::CapturedFrame>>(frames);
  }
  rate.stream.recorded_times = false;
  rate.stream.interval = 800 * sim::kNanosecond;
  for (Line* l : {&own, &rate}) l->wire.send(l->stream);
  for (Line* l : {&own, &rate}) l->s.timeline().run_until(sim::kMillisecond);
  for (Line* l : {&own, &rate}) {
    ASSERT_EQ(l->sink.frames.size(), 5u);
    for (unsigned i = 0; i < 5; ++i) EXPECT_EQ(l->sink.frames[i], frames[i].bytes);
  }
  EXPECT_NEAR(own.gap_ns(0), 5000, 8);
  EXPECT_NEAR(own.gap_ns(1), 68, 9);  // at the same time: as close as the line allows
  EXPECT_NEAR(own.gap_ns(2), 68, 9);  // earlier than the one before it: as soon as possible
  EXPECT_NEAR(own.gap_ns(3), 26'000, 8);
  for (unsigned i = 0; i < 4; ++i) EXPECT_NEAR(rate.gap_ns(i), 800, 8);
}

}  // namespace
