// SPDX-License-Identifier: Apache-2.0
// Bad input is refused with file, line and the reason; good input comes back field by field.
#include "testbenches/replay/ftrace_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <filesystem>
#include <fstream>

#include "sim/error.h"
#include "testbenches/replay/capture.h"

namespace replay {
namespace {

using ::testing::HasSubstr;

std::string header(std::size_t in_buffer, std::size_t written) {
  return "# tracer: nop\n#\n# entries-in-buffer/entries-written: " + std::to_string(in_buffer) + "/" +
         std::to_string(written) + "   #P:2\n#\n";
}

const std::string kMark =
    "            init-1       [001] .....    14.287609: tracing_mark_write: MARK bind it\n";

class CaptureFile : public ::testing::Test {
 protected:
  std::string write(const std::string& name, const std::string& text) {
    const auto path = std::filesystem::path(::testing::TempDir()) / (std::to_string(::getpid()) + name);
    std::ofstream(path, std::ios::binary) << text;
    paths_.push_back(path);
    return path;
  }
  std::string error_of(const std::string& path) {
    try {
      read_capture(path);
    } catch (const sim::Error& e) {
      return e.what();
    }
    return "no error";
  }
  void TearDown() override {
    for (const auto& p : paths_) std::filesystem::remove(p);
  }
  std::vector<std::filesystem::path> paths_;
};

TEST_F(CaptureFile, FieldsOfALine) {
  const auto path =
      write("fields.txt",
            header(3, 3) +
                "     Web Co-ntent [0]-77 (   12) [001] dNs1. 14.5: pp_put: (page_pool_put_page+0x4/0x9) "
                "pool=0xff00 "
                "netmem=0x1a0 sync=0xffffffff direct=1\n"
                "          <idle>-0       [000] ..h..     15.000000001: anything: of any=1 kind, x\n"
                "           insmod-9     [000]     16.25: page_pool_state_hold: page_pool=ff00 page=1a0 "
                "is_net_iov=0, pfn=0x5 hold=7\n");
  FtraceReader reader(path);
  EXPECT_EQ(reader.header().cpus, 2u);
  TraceEvent e;
  ASSERT_TRUE(reader.next(e));
  EXPECT_EQ(e.task, "Web Co-ntent [0]");
  EXPECT_EQ(e.pid, 77u);
  EXPECT_EQ(e.cpu, 1u);
  EXPECT_EQ(e.context, CpuContext::kSoftirq);
  EXPECT_EQ(e.time_ns, 14'500'000'000u);
  EXPECT_EQ(e.name, "pp_put");
  EXPECT_EQ(field(e.fields, "netmem"), "0x1a0");
  EXPECT_EQ(field(e.fields, "pfn"), std::nullopt);
  ASSERT_TRUE(reader.next(e));
  EXPECT_EQ(e.context, CpuContext::kHardirq);
  EXPECT_EQ(e.time_ns, 15'000'000'001u);
  EXPECT_EQ(field(e.fields, "any"), "1");
  ASSERT_TRUE(reader.next(e));  // without flags
  EXPECT_EQ(e.time_ns, 16'250'000'000u);
  EXPECT_EQ(field(e.fields, "is_net_iov"), "0");
  EXPECT_FALSE(reader.next(e));

  const Capture capture = read_capture(path);
  ASSERT_EQ(capture.events.size(), 2u);
  EXPECT_TRUE(capture.events[0].direct);
  EXPECT_EQ(capture.events[1].count, 7u);
  EXPECT_EQ(capture.put_function, "page_pool_put_page");
  EXPECT_EQ(capture.end_ns, 16'250'000'000u);
}

TEST_F(CaptureFile, MissingFileAndFolder) {
  EXPECT_THAT(error_of("/nowhere/x.txt"), HasSubstr("/nowhere/x.txt: No such file"));
  EXPECT_THAT(error_of(::testing::TempDir()), HasSubstr("directory"));
}

TEST_F(CaptureFile, EmptyAndForeignFiles) {
  EXPECT_THAT(error_of(write("empty.txt", "")), HasSubstr("empty"));
  EXPECT_THAT(error_of(write("foreign.txt", "hello\nworld\n")), HasSubstr("foreign.txt:1: not ftrace text"));
  EXPECT_THAT(error_of(write("nothing.txt", header(0, 0))), HasSubstr("no event"));
}

TEST_F(CaptureFile, LostEventsAreRefused) {
  EXPECT_THAT(error_of(write("lost.txt", header(1, 5) + kMark)),
              HasSubstr("lost.txt:3: the capture has lost events (1 of 5"));
  EXPECT_THAT(error_of(write("lost2.txt", header(2, 2) + kMark + "CPU:1 [LOST 123 EVENTS]\n" + kMark)),
              HasSubstr("lost2.txt:6: the capture has lost events (CPU:1 [LOST 123 EVENTS])"));
}

TEST_F(CaptureFile, TruncatedTextIsRefused) {
  EXPECT_THAT(error_of(write("cut.txt", header(2, 2) + kMark)),
              HasSubstr("cut.txt:5: the capture is truncated: the header announces 2 events, 1 are here"));
  EXPECT_THAT(error_of(write("cut2.txt", header(2, 2) + kMark + "            init-1       [001] ....")),
              HasSubstr("cut2.txt:6: malformed line"));
  EXPECT_THAT(error_of(write("cut3.txt", header(2, 2) + kMark + "            ini")),
              HasSubstr("cut3.txt:6: the capture is truncated"));
}

TEST_F(CaptureFile, TruncatedGzipIsRefused) {
  const auto path = write("whole.gz", "");
  gzFile file = gzopen(path.c_str(), "wb");
  std::string text = header(2000, 2000);
  for (int i = 0; i < 2000; ++i) text += kMark;
  gzwrite(file, text.data(), static_cast<unsigned>(text.size()));
  gzclose(file);
  EXPECT_EQ(read_capture(path).events.size(), 2000u);
  std::filesystem::resize_file(path, std::filesystem::file_size(path) / 2);
  EXPECT_THAT(error_of(path), HasSubstr("truncated"));
}

TEST_F(CaptureFile, MalformedFieldNamesEventAndLine) {
  const std::string bad =
      "            init-1       [001] .....    14.287609: pp_put: (f+0x4/0x9) pool=0xzz netmem=0x1 "
      "direct=1\n";
  EXPECT_THAT(error_of(write("bad.txt", header(1, 1) + bad)),
              HasSubstr("bad.txt:5: malformed or truncated line: pp_put with 'pool=0xzz'"));
  const std::string less =
      "            init-1       [001] .....    14.287609: pp_put: (f+0x4/0x9) pool=0x1\n";
  EXPECT_THAT(error_of(write("less.txt", header(1, 1) + less)), HasSubstr("pp_put without 'page='"));
  const std::string stamp = "            init-1       [001] .....    14x: pp_put: pool=0x1\n";
  EXPECT_THAT(error_of(write("stamp.txt", header(1, 1) + stamp)), HasSubstr("'14x' is not a time stamp"));
}

TEST_F(CaptureFile, NumbersOfAKprobeHaveTheBaseTheyShow) {
  // As Linux 6.12 with BTF prints fields without a type in the definition of the kprobe, and with one.
  const std::string at = "            init-1       [001] .....    14.287609: ";
  const Capture capture = read_capture(
      write("base.txt", header(4, 4) + at + "dma_map_ret: (f <- g) iova=4294904320\n" + at +
                            "dma_map_ret: (f <- g) iova=0xffff0a00\n" + at +
                            "pp_put: (f+0x4/0x9) pool=0x1 netmem=0x2 sync=0xffffffff direct=0x1\n" + at +
                            "pp_put: (f+0x4/0x9) pool=0x1 netmem=0x2 sync=0xffffffff direct=0\n"));
  EXPECT_EQ(capture.events[0].iova, 0xffff0a00u);
  EXPECT_EQ(capture.events[1].iova, 0xffff0a00u);
  EXPECT_TRUE(capture.events[2].direct);
  EXPECT_FALSE(capture.events[3].direct);
}

TEST_F(CaptureFile, ALastLineCutInsideItsFieldsIsRefused) {
  const std::string at = "            init-1       [001] .....    14.287609: ";
  const std::string unmap =
      at + "dma_unmap: (f+0x4/0x9) dev=0x1 drv=0x0 grp=0x0 iova=0xfff48000 size=0x1000 dir=0";
  EXPECT_THAT(
      error_of(write("cut4.txt", header(2, 2) + unmap + "\n" + unmap.substr(0, unmap.find("000 size")))),
      HasSubstr("cut4.txt:6: the capture is truncated inside this line"));
  EXPECT_EQ(read_capture(write("whole.txt", header(2, 2) + unmap + "\n" + unmap)).events.size(), 2u);
}

TEST_F(CaptureFile, HashedAddressesAreRefused) {
  const std::string at = "            init-1       [001] .....    14.287609: ";
  const std::string create = at + "pp_create: (f <- page_pool_create) pool=0xffff888005168800\n";
  const std::string hold = " is_net_iov=0, pfn=0x6443 hold=1\n";
  EXPECT_THAT(
      error_of(write("early.txt", header(2, 2) + create + at +
                                      "page_pool_state_hold: page_pool=(____ptrval____) "
                                      "netmem=(____ptrval____)" +
                                      hold)),
      HasSubstr("early.txt:6: page_pool_state_hold with 'page_pool=(____ptrval____)', which is hashed"));
  EXPECT_THAT(
      error_of(write("hash.txt", header(2, 2) + create + at +
                                     "page_pool_state_hold: page_pool=00000000a1b2c3d4 "
                                     "netmem=00000000d4c3b2a1" +
                                     hold)),
      HasSubstr("hash.txt:6: page_pool_state_hold with 'page_pool=00000000a1b2c3d4', which is hashed"));
}

TEST_F(CaptureFile, TimeMustNotGoBackwards) {
  const std::string later =
      "            init-1       [001] .....    14.187608: tracing_mark_write: MARK bind it\n";
  EXPECT_THAT(error_of(write("back.txt", header(2, 2) + kMark + later)),
              HasSubstr("back.txt:6: time goes backwards"));
}

}  // namespace
}  // namespace replay
