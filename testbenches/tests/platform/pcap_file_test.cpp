// SPDX-License-Identifier: Apache-2.0
// Captures as bytes: both precisions and byte orders, bad files named with their record, and what is written reads back.
#include "platform/pcap_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "sim/error.h"

namespace {

/// Tests run in processes side by side: each has files of its own.
std::string file_of(const char* name) { return testing::TempDir() + std::to_string(::getpid()) + name; }

using platform::CapturedFrame;

struct Record {
  std::uint32_t seconds, fraction, captured, length;
  std::string bytes;
};

/// A capture file, written by hand.
class Capture {
 public:
  explicit Capture(bool nanoseconds = false, bool big_endian = false, std::uint32_t link_type = 1) : big_(big_endian) {
    put32(nanoseconds ? 0xA1B23C4D : 0xA1B2C3D4);
    put16(2);
    put16(4);
    put32(0);
    put32(0);
    put32(65535);
    put32(link_type);
  }
  Capture& add(const Record& r) {
    for (const std::uint32_t v : {r.seconds, r.fraction, r.captured, r.length}) put32(v);
    bytes_ += r.bytes;
    return *this;
  }
  void cut(std::size_t n) { bytes_.resize(bytes_.size() - n); }
  std::string save() const {
    const std::string path = file_of("capture.pcap");
    std::ofstream(path, std::ios::binary) << bytes_;
    return path;
  }

 private:
  void put16(std::uint16_t v) {
    const char low = static_cast<char>(v), high = static_cast<char>(v >> 8);
    bytes_ += big_ ? std::string{high, low} : std::string{low, high};
  }
  void put32(std::uint32_t v) {
    put16(static_cast<std::uint16_t>(big_ ? v >> 16 : v));
    put16(static_cast<std::uint16_t>(big_ ? v : v >> 16));
  }
  bool big_;
  std::string bytes_;
};

std::string error_of(const Capture& c) {
  try {
    platform::read_pcap(c.save());
  } catch (const sim::Error& e) {
    return e.what();
  }
  return "";
}

TEST(Pcap, BothPrecisionsAndByteOrders) {
  for (const bool nanoseconds : {false, true}) {
    for (const bool big : {false, true}) {
      Capture c(nanoseconds, big);
      c.add({100, 999'999, 60, 60, std::string(60, 'a')}).add({101, 5, 61, 61, std::string(61, 'b')});
      const auto frames = platform::read_pcap(c.save());
      ASSERT_EQ(frames.size(), 2u);
      EXPECT_EQ(frames[0].time, 0u);
      const sim::Tick unit = nanoseconds ? sim::kNanosecond : sim::kMicrosecond;
      EXPECT_EQ(frames[1].time, sim::kSecond + 5 * unit - 999'999 * unit);
      EXPECT_EQ(frames[1].bytes, std::vector<std::uint8_t>(61, 'b'));
    }
  }
}

TEST(Pcap, BadFilesAreNamedWithTheirRecord) {
  const Record good{1, 0, 60, 60, std::string(60, 'x')};
  const std::string path = file_of("capture.pcap") + ": ";
  Capture truncated;
  truncated.add(good).add(good);
  truncated.cut(10);
  EXPECT_THAT(error_of(truncated), testing::StartsWith(path + "record 2: "));
  Capture header;
  header.add(good).add(good);
  header.cut(70);
  EXPECT_THAT(error_of(header), testing::StartsWith(path + "record 2: "));
  EXPECT_EQ(error_of(Capture().add(good).add({2, 0, 40, 60, std::string(40, 'x')})),
            path + "record 2: only 40 of 60 bytes were captured (snap length)");
  EXPECT_EQ(error_of(Capture().add({1, 0, 0, 0, ""})), path + "record 1: 0 bytes are no Ethernet frame (1 to 16384)");
  EXPECT_EQ(error_of(Capture().add({1, 0, 20'000, 20'000, std::string(20'000, 'x')})),
            path + "record 1: 20000 bytes are no Ethernet frame (1 to 16384)");
  EXPECT_THAT(error_of(Capture().add({1, 0, 0x7FFFFFFF, 0x7FFFFFFF, ""})), testing::StartsWith(path + "record 1: "));
  EXPECT_EQ(error_of(Capture(false, false, 113)), path + "link type LINUX_SLL is not Ethernet (EN10MB)");
  EXPECT_EQ(error_of(Capture().add(good).add({100'000, 0, 60, 60, std::string(60, 'x')})),
            path + "record 2: more than 10,000 s after the first");
  std::ofstream(file_of("capture.pcap")) << "no capture at all, this";
  try {
    platform::read_pcap(file_of("capture.pcap"));
    FAIL();
  } catch (const sim::Error& e) {
    EXPECT_THAT(e.what(), testing::StartsWith(path + "not a capture: "));
  }
  EXPECT_THROW(platform::read_pcap("/nowhere/at/all.pcap"), sim::Error);
}

TEST(Pcap, WhatIsWrittenReadsBack) {
  const std::string path = file_of("written.pcap");
  nic::NicTracepoints trace;
  {
    platform::PcapWriter writer(path, trace);
    const std::vector<std::uint8_t> in(60, 1), out(100, 2);
    trace.packet_arrived.emit({1, in, 1'500 * sim::kNanosecond});
    trace.packet_sent.emit({out, 2'000'000'001 * sim::kNanosecond});
    EXPECT_EQ(writer.frames(), 2u);
    writer.close();
  }
  const auto frames = platform::read_pcap(path);
  ASSERT_EQ(frames.size(), 2u);
  EXPECT_EQ(frames[0].bytes, std::vector<std::uint8_t>(60, 1));
  EXPECT_EQ(frames[1].bytes, std::vector<std::uint8_t>(100, 2));
  EXPECT_EQ(frames[1].time, 1'999'998'501 * sim::kNanosecond);
  EXPECT_THROW(platform::PcapWriter("/nowhere/at/all.pcap", trace), sim::Error);
}

}  // namespace
