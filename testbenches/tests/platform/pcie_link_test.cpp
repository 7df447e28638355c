// SPDX-License-Identifier: Apache-2.0
// The link against closed forms: bytes per TLP and the bandwidth table of the published pcie-bench model.
#include "platform/pcie_link.h"

#include <gtest/gtest.h>

#include <cstring>

#include "harness.h"

namespace {

using platform::PcieLink;
using platform::PcieLinkConfig;
using sim::Tick;

constexpr auto kRead = tlm::TLM_READ_COMMAND;
constexpr auto kWrite = tlm::TLM_WRITE_COMMAND;
constexpr std::uint64_t kHigh = 0x1'0000'0000;  // 4 DW headers

PcieLinkConfig link_config(unsigned generation, unsigned width, unsigned mps, unsigned mrrs) {
  PcieLinkConfig c;
  c.generation = generation;
  c.width = width;
  c.max_payload_bytes = mps;
  c.max_read_request_bytes = mrrs;
  return c;
}

double ceil_div(double a, double b) { return std::ceil(a / b); }

// Published formulas, written independently of the model.
double write_share(double size, double mps) { return size / (size + 24 * ceil_div(size, mps)); }
double read_share(double size, double mps, double mrrs) {
  return std::min(size / (size + 20 * ceil_div(size, mps)), size / (24 * ceil_div(size, mrrs)));
}
double mixed_share(double size, double mps, double mrrs) {
  const double up = size + 24 * ceil_div(size, mps) + 24 * ceil_div(size, mrrs);
  return std::min(size / up, size / (size + 20 * ceil_div(size, mps)));
}

TEST(TlpArithmetic, BandwidthTable) {
  struct Row {
    unsigned generation, width, mps, mrrs;
    double raw, tlp, mwr64, mrd64, mwr1500, mrd1500, mwr4096, mrd4096;  // Gb/s
  };
  const Row rows[] = {
      {1, 4, 128, 512, 8.00, 6.23, 4.53, 4.74, 5.22, 5.37, 5.24, 5.38},
      {1, 4, 512, 512, 8.00, 7.15, 5.20, 5.45, 6.82, 6.87, 6.83, 6.88},
      {3, 8, 256, 512, 63.02, 57.88, 42.10, 44.10, 52.81, 53.60, 52.92, 53.69},
      {3, 16, 256, 512, 126.03, 113.70, 82.69, 86.63, 103.74, 105.28, 103.95, 105.46},
      {4, 16, 256, 512, 252.06, 227.40, 165.38, 173.26, 207.48, 210.56, 207.91, 210.92},
      {5, 16, 512, 4096, 504.12, 458.49, 333.45, 349.33, 437.49, 440.86, 437.96, 441.26},
  };
  for (const Row& r : rows) {
    const PcieLinkConfig c = link_config(r.generation, r.width, r.mps, r.mrrs);
    const double tlp = platform::tlp_bits_per_second(c) / 1e9;
    EXPECT_NEAR(platform::raw_bits_per_second(c) / 1e9, r.raw, 0.006);
    EXPECT_NEAR(tlp, r.tlp, 0.006);
    const auto write = [&](unsigned n) {
      return tlp * n / static_cast<double>(write_wire_bytes(c, kHigh, n));
    };
    const auto read = [&](unsigned n) {
      return tlp * n / static_cast<double>(completion_wire_bytes(c, kHigh, n));
    };
    EXPECT_NEAR(write(64), r.mwr64, 0.006);
    EXPECT_NEAR(read(64), r.mrd64, 0.006);
    EXPECT_NEAR(write(1500), r.mwr1500, 0.006);
    EXPECT_NEAR(read(1500), r.mrd1500, 0.006);
    EXPECT_NEAR(write(4096), r.mwr4096, 0.006);
    EXPECT_NEAR(read(4096), r.mrd4096, 0.006);
  }
}

TEST(TlpArithmetic, AckLatencyLimits) {
  // Ack transmission latency limits of the specification, symbol times: payloads 128..4096 by x1, x4, x8,
  // x16.
  const unsigned widths[] = {1, 4, 8, 16};
  const unsigned gen1[6][4] = {{237, 73, 67, 48},     {416, 118, 107, 72},   {559, 154, 86, 86},
                               {1071, 282, 150, 150}, {2095, 538, 278, 278}, {4143, 1050, 534, 534}};
  for (unsigned m = 0; m < 6; ++m) {
    for (unsigned w = 0; w < 4; ++w) {
      PcieLinkConfig c = link_config(1, widths[w], 128u << m, 512);
      EXPECT_EQ(platform::ack_latency_limit(c), gen1[m][w]) << (128u << m) << " x" << widths[w];
      c.generation = 3;
      EXPECT_NEAR(platform::ack_latency_limit(c), gen1[m][w] + 96, 1);
    }
  }
}

TEST(TlpArithmetic, CompletionsEndOnReadCompletionBoundaries) {
  PcieLinkConfig c = link_config(3, 8, 256, 512);
  EXPECT_EQ(completion_tlps(c, 0x1000, 256), 1u);
  EXPECT_EQ(completion_tlps(c, 0x1000, 257), 2u);
  EXPECT_EQ(completion_tlps(c, 0x1004, 256), 2u);  // 252 up to 0x1100, then 4
  EXPECT_EQ(completion_tlps(c, 0x103c, 4), 1u);
  EXPECT_EQ(completion_tlps(c, 0x1000, 4096), 16u);
  c.split_at_rcb = true;
  EXPECT_EQ(completion_tlps(c, 0x1000, 256), 4u);
  EXPECT_EQ(completion_tlps(c, 0x103c, 8), 2u);
  c.read_completion_boundary_bytes = 128;
  EXPECT_EQ(completion_tlps(c, 0x1000, 256), 2u);
}

TEST(TlpArithmetic, ImpossibleLinksAreRefused) {
  PcieLinkConfig c;
  c.max_payload_bytes = 100;
  try {
    c.validate();
    FAIL();
  } catch (const sim::Error& e) {
    EXPECT_STREQ(e.what(), "link.max_payload: 100 is not possible (a power of two, 128 to 4096 bytes)");
  }
}

/// A device and a root complex with a link between.
struct Bench {
  explicit Bench(PcieLinkConfig config, const char* name = "s", sim::TimeMode mode = {})
      : s(name, {1, 0, mode}),
        device((std::string(name) + "_device").c_str(), s, sim::Clock(100 * sim::kPicosecond)),
        cpu((std::string(name) + "_cpu").c_str(), s, sim::Clock(400 * sim::kPicosecond)),
        cfg((std::string(name) + "_cfg").c_str(), s, sim::Clock(400 * sim::kPicosecond)),
        link((std::string(name) + "_link").c_str(), s, config),
        root((std::string(name) + "_root").c_str(), s, sim::Clock(sim::kNanosecond)),
        bar((std::string(name) + "_bar").c_str(), s, sim::Clock(4 * sim::kNanosecond)),
        space((std::string(name) + "_space").c_str(), s, sim::Clock(4 * sim::kNanosecond)) {
    device.socket.bind(link.from_device);
    link.to_root.bind(root.socket);
    cpu.socket.bind(link.from_root_mmio);
    cfg.socket.bind(link.from_root_config);
    link.to_device_mmio.bind(bar.socket);
    link.to_device_config.bind(space.socket);
  }
  void run() {
    for (Tick t = s.now(); !(device.idle() && cpu.idle() && cfg.idle());) {
      t += 10 * sim::kMicrosecond;
      ASSERT_LT(t, 100 * sim::kMillisecond) << "stuck";
      s.timeline().run_until(t);
    }
  }
  sim::Simulation s;
  harness::Source device, cpu, cfg;
  PcieLink link;
  harness::Sink root, bar, space;
};

Tick span(const std::vector<harness::Event>& e) { return e.back().time - e.front().time; }

/// Every size of 1..4096 bytes, in sixteen tests: sizes of one residue each.
class Efficiency : public testing::TestWithParam<unsigned> {
 protected:
  template <class F>
  void for_each_size(F&& f) {
    for (unsigned size = 1 + GetParam(); size <= 4096; size += 16) f(size);
  }
};
INSTANTIATE_TEST_SUITE_P(Sizes, Efficiency, testing::Range(0u, 16u));

TEST_P(Efficiency, WritesFollowTheByteArithmetic) {
  Bench b(link_config(3, 8, 256, 512));
  const double tlp = platform::tlp_bits_per_second(b.link.config());
  for_each_size([&](unsigned size) {
    b.root.requests.clear();
    const unsigned n = size < 256 ? 200 : 40;
    for (unsigned i = 0; i <= n; ++i) b.device.send(kWrite, kHigh, size);
    b.run();
    ASSERT_EQ(b.root.requests.size(), n + 1);
    const double rate = 8.0 * size * n / (static_cast<double>(span(b.root.requests)) * 1e-15);
    EXPECT_NEAR(rate / (tlp * write_share(size, 256)), 1.0, 0.01) << size;
  });
}

TEST_P(Efficiency, ReadsFollowTheByteArithmetic) {
  Bench b(link_config(3, 8, 256, 512));
  b.root.latency = 20;
  const double tlp = platform::tlp_bits_per_second(b.link.config());
  for_each_size([&](unsigned size) {
    b.device.answers.clear();
    // Enough requests that the pipe is full; measured from when it is.
    const unsigned warm = size < 256 ? 300 : 40, n = size < 256 ? 400 : 80;
    for (unsigned i = 0; i <= warm + n; ++i) b.device.send(kRead, kHigh, size);
    b.run();
    ASSERT_EQ(b.device.answers.size(), warm + n + 1);
    const Tick time = b.device.answers.back().time - b.device.answers[warm].time;
    const double rate = 8.0 * size * n / (static_cast<double>(time) * 1e-15);
    EXPECT_NEAR(rate / (tlp * read_share(size, 256, 512)), 1.0, 0.01) << size;
  });
}

TEST_P(Efficiency, MixedTrafficFollowsTheByteArithmetic) {
  Bench b(link_config(3, 8, 256, 512));
  b.root.latency = 20;
  const double tlp = platform::tlp_bits_per_second(b.link.config());
  for_each_size([&](unsigned size) {
    b.root.requests.clear();
    const unsigned n = size < 512 ? 300 : 100;
    for (unsigned i = 0; i <= n; ++i) {
      b.device.send(kWrite, kHigh, size);
      b.device.send(kRead, kHigh, size);
    }
    b.run();
    std::erase_if(b.root.requests, [](const harness::Event& e) { return !e.write; });
    const double rate = 8.0 * size * n / (static_cast<double>(span(b.root.requests)) * 1e-15);
    EXPECT_NEAR(rate / (tlp * mixed_share(size, 256, 512)), 1.0, 0.01) << size;
  });
}

/// Time from the first bit of a TLP of `bytes` on the wire until its credit may be spent again: both ways on the link,
/// each end on its clock, and the UpdateFC.
double round_trip_ns(const PcieLinkConfig& c, double bytes) {
  const double there = 8e9 * bytes / platform::tlp_bits_per_second(c) + 125;
  const double back = 8e9 * 8 / platform::raw_bits_per_second(c) + 125;
  return std::ceil(there) + std::ceil(back);  // clock of 1 GHz
}

class PostedHeaders : public testing::TestWithParam<unsigned> {};
INSTANTIATE_TEST_SUITE_P(Windows, PostedHeaders, testing::Values(1u, 2u, 4u, 6u, 64u));

TEST_P(PostedHeaders, LimitWritesToWindowOverRoundTrip) {
  PcieLinkConfig c = link_config(3, 8, 256, 512);
  c.root_credits.posted_headers = GetParam();
  Bench b(c);
  const unsigned n = 600;
  for (unsigned i = 0; i <= n; ++i) b.device.send(kWrite, kHigh + 256 * i, 256);
  b.run();
  ASSERT_EQ(b.root.requests.size(), n + 1);
  for (unsigned i = 0; i <= n; ++i) ASSERT_EQ(b.root.requests[i].address, kHigh + 256 * i);
  const double ns = static_cast<double>(span(b.root.requests)) * 1e-6 / n;
  const double line = 8e9 * 280 / platform::tlp_bits_per_second(c);
  EXPECT_NEAR(ns / std::max(line, round_trip_ns(c, 280) / GetParam()), 1.0, 0.02);
}

TEST(Credits, PostedDataLimitsWrites) {
  // 40 credits are 640 bytes: two TLPs of 256 in flight, not three.
  PcieLinkConfig c = link_config(3, 8, 256, 512);
  c.root_credits.posted_data = 40;
  Bench b(c);
  const unsigned n = 400;
  for (unsigned i = 0; i <= n; ++i) b.device.send(kWrite, kHigh, 256);
  b.run();
  const double ns = static_cast<double>(span(b.root.requests)) * 1e-6 / n;
  EXPECT_NEAR(ns / (round_trip_ns(c, 280) / 2), 1.0, 0.02);
}

TEST(Credits, ALargeTransactionLeavesTlpByTlp) {
  // 4096 bytes are 16 TLPs; with credits for one at a time it takes 16 round trips but the last.
  PcieLinkConfig c = link_config(3, 8, 256, 512);
  c.root_credits.posted_headers = 1;
  c.root_credits.posted_data = 16;
  Bench b(c);
  b.device.send(kWrite, kHigh, 4096, 0x100, sim::kMicrosecond);
  b.run();
  ASSERT_EQ(b.root.requests.size(), 1u);
  const double ns = static_cast<double>(b.root.requests[0].time - sim::kMicrosecond) * 1e-6;
  EXPECT_NEAR(ns / (15 * round_trip_ns(c, 280) + 125 + 39), 1.0, 0.02);
  EXPECT_EQ(b.s.payloads().outstanding(), 0u);
}

TEST(Credits, NonPostedHeadersLimitReadsAndPostedWritesPassThem) {
  PcieLinkConfig c = link_config(3, 8, 256, 512);
  c.root_credits.nonposted_headers = 1;
  Bench b(c);
  b.root.latency = 2000;
  for (unsigned i = 0; i < 20; ++i) b.device.send(kRead, kHigh + 64 * i, 64);
  b.device.send(kWrite, kHigh + 0x8000, 64);
  b.run();
  ASSERT_EQ(b.root.requests.size(), 21u);
  unsigned place = 0;
  while (!b.root.requests[place].write) ++place;
  EXPECT_LT(place, 4u);  // it did not wait for the reads before it
  const double ns = static_cast<double>(b.root.requests[20].time - b.root.requests[10].time) * 1e-6 / 10;
  EXPECT_NEAR(ns / round_trip_ns(c, 24), 1.0, 0.02);
}

TEST(Credits, NothingPassesAPostedWriteThatWaitsForCredits) {
  PcieLinkConfig c = link_config(3, 8, 256, 512);
  c.root_credits = {1, 16, 4, 0, 2, 0};
  c.device_credits = {2, 16, 2, 0, 1, 16};
  Bench b(c);
  b.root.latency = 9;
  b.root.write_latency = 5;
  b.bar.latency = 3;
  for (unsigned i = 0; i < 200; ++i) {
    b.device.send(i % 3 == 2 ? kRead : kWrite, kHigh + 4096 * i, 1 + 97 * i % 1500);
    if (i % 8 == 0) b.cpu.send(kRead, 0x4000'0000 + 4 * i, 4);
  }
  b.run();
  ASSERT_EQ(b.root.requests.size(), 200u);
  // A read may be passed by later writes, a write by nothing: each read comes after all writes sent before it.
  unsigned writes = 0;
  for (const auto& e : b.root.requests) {
    const auto i = static_cast<unsigned>((e.address - kHigh) / 4096);
    const unsigned before = i - i / 3;  // writes among 0..i-1
    if (e.write) {
      EXPECT_EQ(before, writes) << "write " << i;
      ++writes;
    } else {
      EXPECT_GE(writes, before) << "read " << i;
    }
  }
  EXPECT_EQ(b.cpu.answers.size(), 25u);
  EXPECT_EQ(b.s.payloads().outstanding(), 0u);
  EXPECT_TRUE(b.link.idle());
}

TEST(Credits, CompletionCreditsHoldBackTheAnswersOfReads) {
  PcieLinkConfig c = link_config(3, 8, 256, 512);
  c.device_credits.completion_headers = 1;
  Bench b(c);
  b.root.latency = 10;
  const unsigned n = 100;
  for (unsigned i = 0; i <= n; ++i) b.device.send(kRead, kHigh, 64);
  b.run();
  const Tick time = b.device.answers.back().time - b.device.answers[10].time;
  EXPECT_NEAR(static_cast<double>(time) * 1e-6 / (n - 10) / round_trip_ns(c, 84), 1.0, 0.02);
}

TEST(Credits, UpdateFcIsSentNoMoreOftenThanItsInterval) {
  PcieLinkConfig c = link_config(3, 8, 256, 512);
  c.root_credits.posted_headers = 64;
  c.update_fc_symbols = 1000;
  Bench b(c);
  for (unsigned i = 0; i < 400; ++i) b.device.send(kWrite, kHigh, 64);
  b.run();
  double updates = 0, seconds = 0;
  b.link.stats([&](std::string_view name, double v, std::string_view) {
    if (name == "up.update_fc") updates = v;
  });
  seconds = static_cast<double>(span(b.root.requests)) * 1e-15;
  EXPECT_GE(updates, 2);
  EXPECT_LE(updates, seconds / (static_cast<double>(platform::symbol_time(c)) * 1e-15 * 1000) + 2);
}

TEST(Credits, TooFewForTheLargestPayloadAreRefused) {
  PcieLinkConfig c = link_config(3, 8, 256, 512);
  c.root_credits.posted_data = 15;
  try {
    c.validate();
    FAIL();
  } catch (const sim::Error& e) {
    EXPECT_STREQ(e.what(),
                 "link.root_credits.posted_data: 15 is too few (0 = infinite, else at least 16: the largest payload)");
  }
}

TEST(PcieLink, LatencyOfOneWriteAndOneRead) {
  PcieLinkConfig c = link_config(3, 8, 256, 512);
  c.dllp_overhead = false;
  Bench b(c);
  b.root.latency = 10;
  b.device.send(kWrite, kHigh, 64, 0x100, 1000 * sim::kNanosecond);
  b.device.send(kRead, kHigh, 64, 0x100, 2000 * sim::kNanosecond);
  b.run();
  // Seen one edge after; 88 bytes at 7.877 bytes/ns = 11.17 ns; 125 ns; rounded up to the edge.
  EXPECT_EQ(b.root.requests[0].time, 1138 * sim::kNanosecond);
  // Request: 24 bytes = 3.05 ns: arrives 2130. Root answers 10 edges later; the link sees it at 2141; 84
  // bytes.
  EXPECT_EQ(b.root.requests[1].time, 2130 * sim::kNanosecond);
  const auto& read = b.device.answers.back();
  EXPECT_FALSE(read.write);
  EXPECT_EQ(read.data, kHigh);
  EXPECT_EQ(read.time, 2277 * sim::kNanosecond);
}

TEST(PcieLink, AWriteIsDoneForItsDeviceWhenItIsTakenAndKeptUntilItIsThere) {
  Bench b(link_config(3, 8, 256, 512));
  b.root.write_latency = 100;
  for (std::uint64_t i = 1; i <= 300; ++i) b.device.send(kWrite, kHigh + 64 * i, 64, 0x100, 0, i);
  b.run();
  ASSERT_EQ(b.device.answers.size(), 300u);
  ASSERT_EQ(b.root.requests.size(), 300u);
  EXPECT_GT(b.device.stalls, 0u);  // what filled the transmitter is answered later
  EXPECT_LT(b.device.answers.front().time, b.root.requests.front().time);
  for (std::uint64_t i = 1; i <= 300; ++i) EXPECT_EQ(b.root.requests[i - 1].data, i);
  EXPECT_EQ(b.s.payloads().outstanding(), 0u);
}

TEST(PcieLink, NothingPassesAPostedWrite) {
  Bench b(link_config(1, 4, 128, 512));
  b.root.write_latency = 5;
  b.root.latency = 7;
  for (unsigned i = 0; i < 200; ++i) {
    b.device.send(i % 3 == 2 ? kRead : kWrite, kHigh + 64 * i, i % 3 == 1 ? 4 : 64);
  }
  b.run();
  ASSERT_EQ(b.root.requests.size(), 200u);
  for (unsigned i = 0; i < 200; ++i) EXPECT_EQ(b.root.requests[i].address, kHigh + 64 * i);
}

TEST(PcieLink, PostedWritesPassReadsThatWaitForATag) {
  PcieLinkConfig c = link_config(3, 8, 256, 512);
  c.tags = 32;
  Bench b(c);
  b.root.latency = 2000;
  for (unsigned i = 0; i < 40; ++i) b.device.send(kRead, kHigh + 64 * i, 64);
  b.device.send(kWrite, kHigh + 0x8000, 64);
  b.run();
  ASSERT_EQ(b.root.requests.size(), 41u);
  EXPECT_TRUE(b.root.requests[32].write);
  EXPECT_FALSE(b.root.requests[40].write);
}

TEST(PcieLink, ACompletionPushesPostedWrites) {
  // The device has sent eight writes when it answers an MMIO read; the root takes one of them a microsecond.
  Bench b(link_config(3, 8, 256, 512));
  b.root.write_latency = 1000;
  b.root.capacity = 1;
  b.bar.latency = 1;
  for (unsigned i = 0; i < 8; ++i) b.device.send(kWrite, kHigh + 128 * i, 128);
  b.cpu.send(kRead, 0x4000'0000, 4);
  b.run();
  ASSERT_EQ(b.cpu.answers.size(), 1u);
  EXPECT_EQ(b.cpu.answers[0].data, 0x4000'0000u);
  EXPECT_LT(b.bar.requests[0].time, sim::kMicrosecond);
  ASSERT_EQ(b.root.requests.size(), 8u);
  EXPECT_GT(b.root.requests[7].time, 7 * sim::kMicrosecond);
  EXPECT_GE(b.cpu.answers[0].time, b.root.requests[7].time);
}

TEST(PcieLink, BackPressureReachesTheDeviceAndLosesNothing) {
  PcieLinkConfig c = link_config(3, 8, 256, 512);
  c.receive_buffer_requests = 8;
  Bench b(c);
  b.root.capacity = 2;
  b.root.write_latency = 100;
  for (unsigned i = 0; i < 300; ++i) b.device.send(kWrite, kHigh + 64 * i, 64);
  b.run();
  ASSERT_EQ(b.root.requests.size(), 300u);
  EXPECT_GT(b.device.stalls, 100u);
  for (unsigned i = 0; i < 300; ++i) EXPECT_EQ(b.root.requests[i].address, kHigh + 64 * i);
  EXPECT_EQ(b.s.payloads().outstanding(), 0u);
}

TEST(PcieLink, ConfigurationWritesAreAnsweredMemoryWritesAreNot) {
  Bench b(link_config(3, 8, 256, 512));
  b.space.write_latency = 10;
  b.cfg.send(kWrite, 0x4, 4);
  b.cpu.send(kWrite, 0x4000'0010, 4);
  b.run();
  ASSERT_EQ(b.cfg.answers.size(), 1u);
  EXPECT_GT(b.cfg.answers[0].time, b.space.requests[0].time + 165 * sim::kNanosecond);
  EXPECT_EQ(b.cpu.answers[0].time, b.bar.requests[0].time);  // only frees the payload
}

TEST(PcieLink, ADeviceNeverLearnsThatItsWriteFailed) {
  Bench b(link_config(3, 8, 256, 512));
  b.root.status = sim::CompletionStatus::kUnsupportedRequest;
  b.device.send(kWrite, kHigh, 64);
  b.device.send(kRead, kHigh, 64);
  b.run();
  ASSERT_EQ(b.device.answers.size(), 2u);
  EXPECT_EQ(b.device.answers[0].status, sim::CompletionStatus::kSuccess);
  EXPECT_EQ(b.device.answers[1].status, sim::CompletionStatus::kUnsupportedRequest);
  EXPECT_EQ(b.device.answers[1].response, tlm::TLM_ADDRESS_ERROR_RESPONSE);
}

TEST(PcieLink, ARequestAcrossAPageIsMalformed) {
  Bench b(link_config(3, 8, 256, 512));
  b.device.send(kWrite, kHigh + 0xff0, 32);
  b.run();
  EXPECT_TRUE(b.root.requests.empty());
  EXPECT_EQ(b.device.answers[0].status, sim::CompletionStatus::kCompleterAbort);
}

/// With credits unlimited, and short of all six kinds.
class LinkModes : public testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(Credits, LinkModes, testing::Bool());

TEST_P(LinkModes, AllTimeModesGiveOneDigest) {
  PcieLinkConfig c = link_config(2, 4, 128, 256);
  c.tags = 32;
  c.receive_buffer_requests = 16;
  if (GetParam()) {
    c.root_credits = {3, 24, 2, 1, 2, 16};
    c.device_credits = {2, 16, 1, 1, 3, 24};
    c.update_fc_symbols = 40;
  }
  Bench skip(c, "skip"), every(c, "every", {true, true}), step(c, "step", {false, false});
  for (Bench* b : {&skip, &every, &step}) {
    b->root.latency = 30;
    b->root.write_latency = 12;
    b->root.capacity = 3;
    b->bar.latency = 4;
    b->space.latency = 9;
    for (unsigned i = 0; i < 400; ++i) {
      const Tick when = (i / 40) * 3 * sim::kMicrosecond;
      b->device.send(i % 4 == 1 ? kRead : kWrite, kHigh + 4096 * i, 1 + (i * 37) % 1500, 0x100, when);
      if (i % 5 == 0) b->cpu.send(i % 2 ? kRead : kWrite, 0x4000'0000 + 4 * i, 4, 0, when);
      if (i % 7 == 0) b->cfg.send(kRead, 4 * i, 4, 0, when);
    }
  }
  for (Tick t = 50 * sim::kMicrosecond; t <= 400 * sim::kMicrosecond; t += 50 * sim::kMicrosecond) {
    for (Bench* b : {&skip, &every, &step}) b->s.timeline().run_until(t);
  }
  EXPECT_EQ(skip.root.requests.size(), 400u);
  EXPECT_TRUE(skip.device.idle() && skip.cpu.idle() && skip.cfg.idle());
  EXPECT_GT(skip.device.stalls, 10u);
  EXPECT_EQ(skip.s.digest().hex(), every.s.digest().hex());
  EXPECT_EQ(skip.s.digest().hex(), step.s.digest().hex());
}

}  // namespace
