// SPDX-License-Identifier: Apache-2.0
#include "platform/wire.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

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

/// What a receiver puts together: datagrams by identification, from whatever arrived of them.
struct Datagrams {
  struct Datagram {
    std::map<std::uint32_t, std::vector<std::uint8_t>> parts;
    std::uint32_t total = 0;  // known from the last fragment
    std::uint16_t port = 0;
  };
  void add(const std::vector<std::uint8_t>& frame) {
    const auto p = nic::parse_ipv4(frame);  // checks the header checksum
    ASSERT_TRUE(p);
    ASSERT_TRUE(p->is_fragment());
    Datagram& d = by_id[p->id];
    const auto begin = frame.begin() + static_cast<std::ptrdiff_t>(p->payload_offset);
    ASSERT_TRUE(d.parts
                    .emplace(p->fragment_offset,
                             std::vector(begin, begin + static_cast<std::ptrdiff_t>(p->payload_bytes)))
                    .second);
    if (!p->more_fragments) d.total = p->fragment_offset + static_cast<std::uint32_t>(p->payload_bytes);
    if (p->fragment_offset == 0) d.port = p->src_port;
  }
  /// The UDP datagram, nothing if something is missing.
  static std::vector<std::uint8_t> whole(const Datagram& d) {
    std::vector<std::uint8_t> bytes;
    for (const auto& [offset, part] : d.parts) {
      if (offset != bytes.size()) return {};
      bytes.insert(bytes.end(), part.begin(), part.end());
    }
    return bytes.size() == d.total ? bytes : std::vector<std::uint8_t>{};
  }
  std::map<std::uint32_t, Datagram> by_id;
};

Line& fragment_line(Line& l, std::uint64_t datagrams, std::uint32_t fragments, std::uint32_t flows) {
  l.stream.kind = platform::FrameKind::kFragments;
  l.stream.fragments = fragments;
  l.stream.count = datagrams * fragments;
  l.stream.payload_bytes = 1472;
  l.stream.flows = flows;
  return l;
}

TEST(WireGenerator, FragmentsMakeTheDatagramsThatWereSent) {
  Line l("l");
  fragment_line(l, 200, 5, 8).run();
  ASSERT_EQ(l.sink.frames.size(), 1000u);
  Datagrams got;
  bool interleaved = false;
  std::uint32_t last_id = 0;
  for (const auto& f : l.sink.frames) {
    EXPECT_EQ(f.size(), 14u + 20 + 1480);
    got.add(f);
    const std::uint32_t id = nic::parse_ipv4(f)->id;
    interleaved |= id < last_id;
    last_id = id;
  }
  EXPECT_TRUE(interleaved);
  ASSERT_EQ(got.by_id.size(), 200u);
  std::map<std::uint16_t, unsigned> of_port;
  for (const auto& [id, d] : got.by_id) {
    const auto udp = Datagrams::whole(d);
    ASSERT_EQ(udp.size(), 5u * 1480);
    std::uint64_t sequence = 0;
    EXPECT_TRUE(platform::verify_payload(std::span(udp).subspan(8), &sequence));
    EXPECT_EQ(sequence, id);
    std::uint32_t pseudo = 17 + static_cast<std::uint32_t>(udp.size());
    for (std::uint32_t a : {l.stream.flow.src_ip, l.stream.flow.dst_ip}) pseudo += (a >> 16) + (a & 0xffff);
    EXPECT_EQ(nic::internet_checksum(udp, pseudo), 0);
    ++of_port[d.port];
  }
  EXPECT_EQ(of_port.size(), 8u);
  // Line rate: 1514 + 24 bytes at 10 Gb/s are 1230.4 ns.
  EXPECT_NEAR(static_cast<double>(l.sink.times[999] - l.sink.times[0]) / 999 * 1e-6, 1230.4, 0.01);
}

TEST(WireGenerator, FragmentsOfOneFlowComeInOrderAndTheLargestDatagramFits) {
  Line l("l");
  fragment_line(l, 20, 44, 1).run();  // 44 x 1480 = 65120 B
  ASSERT_EQ(l.sink.frames.size(), 880u);
  for (std::uint32_t i = 0; i < 880; ++i) {
    const auto p = nic::parse_ipv4(l.sink.frames[i]);
    ASSERT_TRUE(p);
    EXPECT_EQ(p->id, i / 44);
    EXPECT_EQ(p->fragment_offset, i % 44 * 1480);
    EXPECT_EQ(p->more_fragments, i % 44 != 43);
  }
}

TEST(WireGenerator, ShortFragmentsArePadded) {
  Line l("l");
  fragment_line(l, 10, 2, 1);
  l.stream.payload_bytes = 16;
  l.run();
  Datagrams got;
  for (const auto& f : l.sink.frames) {
    EXPECT_EQ(f.size(), nic::kMinFrameBytes);
    got.add(f);
  }
  std::uint64_t sequence = 0;
  for (const auto& [id, d] : got.by_id) {
    const auto udp = Datagrams::whole(d);
    ASSERT_EQ(udp.size(), 48u);
    EXPECT_TRUE(platform::verify_payload(std::span(udp).subspan(8), &sequence));
  }
}

TEST(WireGenerator, LostFragmentsLeaveTheirPlaceEmpty) {
  Line l("l");
  fragment_line(l, 4000, 3, 1).stream.lost_ppm = 100'000;
  l.run();
  Datagrams got;
  for (const auto& f : l.sink.frames) got.add(f);
  unsigned whole = 0;
  for (const auto& [id, d] : got.by_id) whole += Datagrams::whole(d).empty() ? 0 : 1;
  EXPECT_NEAR(static_cast<double>(l.sink.frames.size()) / 12'000, 0.9, 0.012);  // 4 sigma
  EXPECT_NEAR(whole / 4000.0, 0.9 * 0.9 * 0.9, 0.03);
  EXPECT_EQ(l.wire.frames_sent(), l.sink.frames.size());
  // Every frame that came, came when it would have without the loss: on the grid of 1230.4 ns, to the
  // sender's clock.
  for (const sim::Tick t : l.sink.times) {
    const double place = static_cast<double>(t - l.sink.times.front()) * 1e-6 / 1230.4;
    EXPECT_NEAR(place, std::round(place), 16 / 1230.4);
  }
}

TEST(WireGenerator, ReorderedFragmentsAreOvertakenByOneAndNoneIsMissing) {
  Line l("l");
  fragment_line(l, 1000, 4, 1).stream.reordered_ppm = 200'000;
  l.run();
  ASSERT_EQ(l.sink.frames.size(), 4000u);
  unsigned overtaken = 0;
  std::vector<bool> seen(4000);
  for (std::uint32_t i = 0; i < 4000; ++i) {
    const auto p = nic::parse_ipv4(l.sink.frames[i]);
    ASSERT_TRUE(p);
    const std::uint32_t n = p->id * 4 + p->fragment_offset / 1480;
    EXPECT_LE(n > i ? n - i : i - n, 1u) << i;
    overtaken += n + 1 == i ? 1 : 0;
    seen.at(n) = true;
  }
  EXPECT_EQ(std::count(seen.begin(), seen.end(), true), 4000);
  // A fragment that is sent late is not asked again: one in (1/p + 1) places.
  EXPECT_NEAR(overtaken / 4000.0, 0.2 / 1.2, 0.03);
}

TEST(WireGenerator, FragmentStreamsOfOneSeedAreEqualAndOfTwoSeedsAreNot) {
  Line a("a", 5), b("b", 5), c("c", 6);
  for (Line* l : {&a, &b, &c}) {
    fragment_line(*l, 50, 3, 4);
    l->stream.lost_ppm = l->stream.reordered_ppm = 100'000;
    l->wire.send(l->stream);
  }
  for (Line* l : {&a, &b, &c}) l->s.timeline().run_until(10 * sim::kMillisecond);
  EXPECT_EQ(a.sink.frames, b.sink.frames);
  EXPECT_EQ(a.sink.times, b.sink.times);
  EXPECT_NE(a.sink.frames, c.sink.frames);
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
