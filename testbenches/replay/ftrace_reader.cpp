// SPDX-License-Identifier: Apache-2.0
#include "testbenches/replay/ftrace_reader.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <zlib.h>

#include <cerrno>
#include <charconv>
#include <cstring>

#include "sim/error.h"

namespace replay {
namespace {

constexpr std::size_t kChunk = 256 * 1024;
constexpr std::size_t kLongestLine = 64 * 1024;

bool is_digit(char c) { return c >= '0' && c <= '9'; }

std::string_view trim(std::string_view s) {
  while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
  while (!s.empty() && (s.back() == ' ' || s.back() == '\t' || s.back() == '\r')) s.remove_suffix(1);
  return s;
}

std::optional<std::uint64_t> number(std::string_view text, int base) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc{} || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return value;
}

/// "14.287609" in nanoseconds.
std::optional<std::uint64_t> parse_time(std::string_view text) {
  const std::size_t dot = text.find('.');
  if (dot == std::string_view::npos) return std::nullopt;
  const std::string_view fraction = text.substr(dot + 1);
  const auto seconds = number(text.substr(0, dot), 10);
  auto nanoseconds = number(fraction, 10);
  if (!seconds || !nanoseconds || fraction.size() > 9 || *seconds > 1'000'000'000) return std::nullopt;
  for (std::size_t digits = fraction.size(); digits < 9; ++digits) *nanoseconds *= 10;
  return *seconds * 1'000'000'000 + *nanoseconds;
}

/// Position of the '[' of "TASK-PID  [CPU]": task names may hold spaces, dashes and brackets themselves.
std::size_t find_cpu(std::string_view line) {
  for (std::size_t at = line.find('['); at != std::string_view::npos; at = line.find('[', at + 1)) {
    std::size_t close = at + 1;
    while (close < line.size() && is_digit(line[close])) ++close;
    if (close == at + 1 || close >= line.size() || line[close] != ']') continue;
    std::string_view before = trim(line.substr(0, at));
    if (!before.empty() && before.back() == ')') {  // "(  tgid)" of the record-tgid option
      const std::size_t open = before.rfind('(');
      if (open == std::string_view::npos) continue;
      before = trim(before.substr(0, open));
    }
    const std::size_t dash = before.rfind('-');
    if (dash != std::string_view::npos && number(before.substr(dash + 1), 10)) return at;
  }
  return std::string_view::npos;
}

}  // namespace

std::optional<std::uint64_t> parse_decimal(std::string_view text) { return number(text, 10); }

std::optional<std::uint64_t> parse_hex(std::string_view text) {
  if (text.starts_with("0x") || text.starts_with("0X")) text.remove_prefix(2);
  return number(text, 16);
}

std::optional<std::string_view> field(std::string_view fields, std::string_view key) {
  for (std::size_t at = fields.find(key); at != std::string_view::npos; at = fields.find(key, at + 1)) {
    const std::size_t equals = at + key.size();
    if (equals >= fields.size() || fields[equals] != '=') continue;
    if (at != 0 && fields[at - 1] != ' ') continue;
    std::string_view value = fields.substr(equals + 1);
    value = value.substr(0, value.find(' '));
    if (!value.empty() && value.back() == ',') value.remove_suffix(1);
    return value;
  }
  return std::nullopt;
}

FtraceReader::FtraceReader(std::string path) : path_(std::move(path)), buffer_(kChunk, '\0') {
  struct stat status {};
  if (::stat(path_.c_str(), &status) != 0) throw sim::Error(path_, 0, std::strerror(errno));
  if (S_ISDIR(status.st_mode)) throw sim::Error(path_, 0, "is a directory, not a capture");
  file_ = gzopen(path_.c_str(), "rb");
  if (file_ == nullptr) throw sim::Error(path_, 0, std::strerror(errno));
  try {
    read_header();
  } catch (...) {
    gzclose(static_cast<gzFile>(file_));
    throw;
  }
}

FtraceReader::~FtraceReader() { gzclose(static_cast<gzFile>(file_)); }

void FtraceReader::fail(std::string_view message) const { throw sim::Error(path_, line_, message); }

bool FtraceReader::read_line() {
  text_.clear();
  for (;;) {
    if (at_ == have_) {
      if (end_of_file_) break;
      const int got =
          gzread(static_cast<gzFile>(file_), buffer_.data(), static_cast<unsigned>(buffer_.size()));
      int error = Z_OK;
      const char* message = gzerror(static_cast<gzFile>(file_), &error);
      if (got < 0 || (error != Z_OK && error != Z_STREAM_END && error != Z_BUF_ERROR)) {
        fail(fmt::format("the capture is damaged here: {}",
                         error == Z_ERRNO ? std::strerror(errno) : message));
      }
      if (error == Z_BUF_ERROR && got == 0) {
        ++line_;
        fail("the gzip file ends too early: the capture is truncated");
      }
      at_ = 0;
      have_ = static_cast<std::size_t>(got);
      if (got == 0) {
        end_of_file_ = true;
        break;
      }
    }
    const char* begin = buffer_.data() + at_;
    const char* newline = static_cast<const char*>(std::memchr(begin, '\n', have_ - at_));
    const std::size_t length = newline != nullptr ? static_cast<std::size_t>(newline - begin) : have_ - at_;
    text_.append(begin, length);
    at_ += length + (newline != nullptr ? 1 : 0);
    if (text_.size() > kLongestLine) {
      ++line_;
      fail("line longer than 64 KiB: not ftrace text");
    }
    if (newline != nullptr) {
      ++line_;
      return true;
    }
  }
  if (text_.empty()) return false;
  cut_line_ = true;
  ++line_;
  return true;
}

bool FtraceReader::parse_comment() {
  const std::string_view line = trim(text_);
  if (line.starts_with("CPU:") && line.find("[LOST") != std::string_view::npos) {
    fail(fmt::format("the capture has lost events ({}): counts cannot be trusted", line));
  }
  if (!line.empty() && line.front() != '#') return false;
  constexpr std::string_view kEntries = "entries-in-buffer/entries-written:";
  if (const std::size_t at = line.find(kEntries); at != std::string_view::npos) {
    std::string_view rest = trim(line.substr(at + kEntries.size()));
    const std::size_t slash = rest.find('/');
    const std::string_view counts = rest.substr(0, rest.find(' '));
    if (slash == std::string_view::npos || slash >= counts.size()) fail("malformed entries-in-buffer line");
    const auto in_buffer = number(counts.substr(0, slash), 10);
    const auto written = number(counts.substr(slash + 1), 10);
    if (!in_buffer || !written) fail("malformed entries-in-buffer line");
    header_.entries_in_buffer = *in_buffer;
    header_.entries_written = *written;
    if (const std::size_t p = rest.find("#P:"); p != std::string_view::npos) {
      header_.cpus = static_cast<std::uint32_t>(number(trim(rest.substr(p + 3)), 10).value_or(0));
    }
    counts_seen_ = true;
    if (*in_buffer != *written) {
      fail(
          fmt::format("the capture has lost events ({} of {} written are in the buffer): counts cannot be "
                      "trusted; record again with a larger buffer_size_kb",
                      *in_buffer, *written));
    }
  }
  return true;
}

void FtraceReader::read_header() {
  while (read_line()) {
    if (parse_comment()) continue;
    if (!counts_seen_) {
      fail("not ftrace text: no '# entries-in-buffer/entries-written:' line before the first event");
    }
    pending_ = true;
    return;
  }
  if (line_ == 0) throw sim::Error(path_, 0, "the file is empty");
  if (!counts_seen_) fail("not ftrace text: no '# entries-in-buffer/entries-written:' line");
}

bool FtraceReader::next(TraceEvent& event) {
  for (;;) {
    if (!pending_ && !read_line()) break;
    const bool first = pending_;
    pending_ = false;
    if (!first && parse_comment()) continue;
    if (trim(text_).starts_with("=> ")) continue;  // a line of a recorded stack
    ++events_;
    parse_event(event);
    return true;
  }
  if (events_ < header_.entries_in_buffer) {
    fail(fmt::format("the capture is truncated: the header announces {} events, {} are here",
                     header_.entries_in_buffer, events_));
  }
  return false;
}

void FtraceReader::parse_event(TraceEvent& event) const {
  const std::string_view line = text_;
  const std::size_t open = find_cpu(line);
  if (open == std::string_view::npos) {
    fail(cut_line_ ? "the capture is truncated inside this line" : "malformed line: no 'TASK-PID [CPU]'");
  }
  const std::size_t close = line.find(']', open);
  std::string_view task = trim(line.substr(0, open));
  if (task.ends_with(')')) task = trim(task.substr(0, task.rfind('(')));
  const std::size_t dash = task.rfind('-');
  event.line = line_;
  event.cut = cut_line_;
  event.task = task.substr(0, dash);
  const auto pid = number(task.substr(dash + 1), 10);
  const auto cpu = number(line.substr(open + 1, close - open - 1), 10);
  if (!pid || *pid > 0xffff'ffff || !cpu || *cpu > 0xffff) fail("malformed line: pid or CPU out of range");
  event.pid = static_cast<std::uint32_t>(*pid);
  event.cpu = static_cast<std::uint32_t>(*cpu);

  // "FLAGS  TIMESTAMP: event: fields"; the flags are missing when the irq-info option is off.
  std::string_view rest = trim(line.substr(close + 1));
  const std::size_t first_colon = rest.find(": ");
  if (first_colon == std::string_view::npos) fail("malformed line: no time stamp");
  std::string_view stamp = rest.substr(0, first_colon);
  std::string_view flags;
  if (const std::size_t space = stamp.rfind(' '); space != std::string_view::npos) {
    flags = trim(stamp.substr(0, stamp.find(' ')));
    stamp = stamp.substr(space + 1);
  }
  const auto time = parse_time(stamp);
  if (!time) fail(fmt::format("malformed line: '{}' is not a time stamp in seconds", stamp));
  event.time_ns = *time;
  event.context = CpuContext::kThread;
  if (flags.size() >= 4) {
    const char c = flags[2];
    if (c == 'h' || c == 'H' || c == 'z' || c == 'Z') event.context = CpuContext::kHardirq;
    if (c == 's') event.context = CpuContext::kSoftirq;
  }
  rest.remove_prefix(first_colon + 2);
  const std::size_t colon = rest.find(':');
  const bool named =
      colon != std::string_view::npos && rest.substr(0, colon).find(' ') == std::string_view::npos;
  event.name = named ? rest.substr(0, colon) : std::string_view{};
  event.fields = named ? trim(rest.substr(colon + 1)) : rest;
}

}  // namespace replay
