// SPDX-License-Identifier: Apache-2.0
// Reads the text that Linux prints in /sys/kernel/tracing/trace, plain or gzip, one event at a time.
//
// A capture is only believed when it is whole: the header must say that as many entries were written as are
// in the buffer, no "[LOST n EVENTS]" line may appear, and as many events must follow as the header
// announces. Everything else is a sim::Error with file and line. Event kinds that nobody asks for are skipped
// by the caller. Source: header and line format of kernel/trace/trace_output.c and trace.c as printed by 5.15
// - 6.18.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace replay {

/// What the CPU was doing, from the third latency-format character (h, H, z, Z; s; anything else).
enum class CpuContext : std::uint8_t { kThread, kSoftirq, kHardirq };

/// One line of a capture. The views live until the next FtraceReader::next().
struct TraceEvent {
  std::size_t line = 0;
  std::string_view task;
  std::uint32_t pid = 0;
  std::uint32_t cpu = 0;
  CpuContext context = CpuContext::kThread;
  std::uint64_t time_ns = 0;  ///< on the clock of the trace
  std::string_view name;      ///< e.g. "page_pool_state_hold"
  std::string_view fields;    ///< all that follows "name: "
  bool cut = false;           ///< the last line, without a newline: may be truncated
};

struct TraceHeader {
  std::uint64_t entries_in_buffer = 0;
  std::uint64_t entries_written = 0;
  std::uint32_t cpus = 0;  ///< #P; 0 = not stated
};

class FtraceReader {
 public:
  /// Opens and reads the header. Throws sim::Error: no such file, not a capture, lost events.
  explicit FtraceReader(std::string path);
  ~FtraceReader();
  FtraceReader(const FtraceReader&) = delete;
  FtraceReader& operator=(const FtraceReader&) = delete;

  /// The next event; false at the proper end. Throws sim::Error on a malformed, truncated or incomplete
  /// capture.
  bool next(TraceEvent& event);

  const TraceHeader& header() const { return header_; }
  const std::string& path() const { return path_; }
  std::size_t line() const { return line_; }

 private:
  bool read_line();
  void read_header();
  bool parse_comment();
  void parse_event(TraceEvent& event) const;
  [[noreturn]] void fail(std::string_view message) const;

  std::string path_;
  void* file_ = nullptr;  // gzFile
  std::string buffer_;
  std::size_t at_ = 0;
  std::size_t have_ = 0;
  bool end_of_file_ = false;
  bool cut_line_ = false;  // the present line has no newline
  std::string text_;       // the present line
  bool pending_ = false;
  std::size_t line_ = 0;
  std::uint64_t events_ = 0;
  bool counts_seen_ = false;
  TraceHeader header_;
};

/// Value of `key=` in the fields of an event, without a trailing comma. Exact key, first occurrence.
std::optional<std::string_view> field(std::string_view fields, std::string_view key);

/// Decimal or (0x or bare) hexadecimal number; nullopt when `text` is not one.
std::optional<std::uint64_t> parse_decimal(std::string_view text);
std::optional<std::uint64_t> parse_hex(std::string_view text);

}  // namespace replay
