// SPDX-License-Identifier: Apache-2.0
#include "waveforms/trace_events.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <iterator>

#include "sim/error.h"

namespace waveforms {
namespace {

constexpr std::size_t kBuffer = 256 * 1024;

void append_escaped(std::string& out, std::string_view text) {
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      fmt::format_to(std::back_inserter(out), "\\u{:04x}", static_cast<unsigned>(c));
    } else {
      out += c;
    }
  }
}

constexpr std::uint64_t nanoseconds(sim::Tick t) { return t / sim::kNanosecond; }

void append_time(std::string& out, std::uint64_t ns) {
  fmt::format_to(std::back_inserter(out), "{}.{:03}", ns / 1000, ns % 1000);
}

}  // namespace

void TraceArgs::key(std::string_view key) {
  if (!json_.empty()) json_ += ',';
  json_ += '"';
  json_ += key;
  json_ += "\":";
}

TraceArgs&& TraceArgs::add(std::string_view name, std::uint64_t value) && {
  key(name);
  fmt::format_to(std::back_inserter(json_), "{}", value);
  return std::move(*this);
}

TraceArgs&& TraceArgs::hex(std::string_view name, std::uint64_t value) && {
  key(name);
  fmt::format_to(std::back_inserter(json_), "\"{:#x}\"", value);
  return std::move(*this);
}

TraceArgs&& TraceArgs::add(std::string_view name, std::string_view text) && {
  key(name);
  json_ += '"';
  append_escaped(json_, text);
  json_ += '"';
  return std::move(*this);
}

TraceEventFile::TraceEventFile(const std::string& path, sim::Tick from, sim::Tick to)
    : path_(path), part_(path + ".part"), from_(from), to_(to), owner_(::getpid()) {
  if (from_ > to_) throw sim::Error(path, 0, "the window of the timeline ends before it begins");
  fd_ = ::open(part_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd_ < 0) throw sim::Error(part_, 0, std::strerror(errno));
  buffer_.reserve(kBuffer + 4096);
  buffer_ =
      "{\"displayTimeUnit\":\"ns\",\"otherData\":{\"producer\":\"poolsim\",\"clock\":\"simulated time\"},"
      "\"traceEvents\":[\n";
}

TraceEventFile::~TraceEventFile() {
  if (closed()) {
    if (fd_ >= 0) ::close(fd_);
    return;
  }
  try {
    sim::Tick last = from_;
    for (const Open& o : open_) {
      if (o.open) last = std::max(last, o.begin);
    }
    close(last);
  } catch (const sim::Error&) {
  }
}

bool TraceEventFile::closed() const { return fd_ < 0 || ::getpid() != owner_; }

void TraceEventFile::finish_event() {
  ++events_;
  if (buffer_.size() >= kBuffer) flush();
}

void TraceEventFile::flush() {
  if (closed()) {
    buffer_.clear();
    return;
  }
  std::string_view rest = buffer_;
  while (!rest.empty() && error_ == 0) {
    const ssize_t n = ::write(fd_, rest.data(), rest.size());
    if (n >= 0) {
      rest.remove_prefix(static_cast<std::size_t>(n));
    } else if (errno != EINTR) {
      error_ = errno;
    }
  }
  buffer_.clear();
}

void TraceEventFile::metadata(std::string_view what, std::uint32_t process, std::uint32_t thread,
                              std::string_view key, std::string_view value) {
  if (events_ != 0) buffer_ += ",\n";
  fmt::format_to(std::back_inserter(buffer_), R"({{"ph":"M","name":"{}","pid":{},"tid":{},"args":{{"{}":)",
                 what, process, thread, key);
  buffer_ += value;
  buffer_ += "}}";
  finish_event();
}

void TraceEventFile::process(std::uint32_t process, std::string_view name) {
  std::string quoted = "\"";
  append_escaped(quoted, name);
  quoted += '"';
  metadata("process_name", process, 0, "name", quoted);
  metadata("process_sort_index", process, 0, "sort_index", std::to_string(process));
}

Track TraceEventFile::thread(std::uint32_t process, std::string_view name) {
  const Track track{process, static_cast<std::uint32_t>(tracks_.size() + 1)};
  tracks_.push_back(track);
  open_.emplace_back();
  std::string quoted = "\"";
  append_escaped(quoted, name);
  quoted += '"';
  metadata("thread_name", process, track.thread, "name", quoted);
  metadata("thread_sort_index", process, track.thread, "sort_index", std::to_string(track.thread));
  return track;
}

void TraceEventFile::head(char phase, std::string_view name, std::uint32_t process, std::uint32_t thread,
                          sim::Tick t) {
  if (events_ != 0) buffer_ += ",\n";
  buffer_ += "{\"ph\":\"";
  buffer_ += phase;
  buffer_ += '"';
  if (!name.empty()) {
    buffer_ += ",\"name\":\"";
    append_escaped(buffer_, name);
    buffer_ += '"';
  }
  fmt::format_to(std::back_inserter(buffer_), ",\"pid\":{}", process);
  if (thread != 0) fmt::format_to(std::back_inserter(buffer_), ",\"tid\":{}", thread);
  buffer_ += ",\"ts\":";
  append_time(buffer_, nanoseconds(t));
}

void TraceEventFile::tail(const TraceArgs& args) {
  if (!args.json().empty()) {
    buffer_ += ",\"args\":{";
    buffer_ += args.json();
    buffer_ += '}';
  }
  buffer_ += '}';
  finish_event();
}

void TraceEventFile::slice(Track track, std::string_view name, sim::Tick begin, sim::Tick end,
                           const TraceArgs& args) {
  if (closed() || begin > to_ || end < from_) return;
  head('X', name, track.process, track.thread, begin);
  buffer_ += ",\"dur\":";
  append_time(buffer_, nanoseconds(std::max(begin, end)) - nanoseconds(begin));
  tail(args);
}

void TraceEventFile::begin(Track track, std::string_view name, sim::Tick t, const TraceArgs& args) {
  if (closed()) return;
  Open& o = open_[track.thread - 1];
  if (o.open) end(track, t);
  o = {true, in_window(t), t, std::string(name), std::string(args.json())};
  if (!o.written) return;  // outside the window, so far
  head('B', name, track.process, track.thread, t);
  tail(args);
}

void TraceEventFile::end(Track track, sim::Tick t) {
  if (closed()) return;
  Open& o = open_[track.thread - 1];
  if (!o.open) return;
  o.open = false;
  if (o.written) {
    head('E', {}, track.process, track.thread, t);
    tail({});
  } else if (t >= from_ && o.begin <= to_) {
    head('X', o.name, track.process, track.thread, o.begin);
    buffer_ += ",\"dur\":";
    append_time(buffer_, nanoseconds(t) - nanoseconds(o.begin));
    if (!o.args.empty()) buffer_ += ",\"args\":{" + o.args + "}";
    tail({});
  }
}

void TraceEventFile::instant(Track track, std::string_view name, sim::Tick t, InstantScope scope,
                             const TraceArgs& args) {
  if (closed() || !in_window(t)) return;
  head('i', name, track.process, track.thread, t);
  buffer_ += ",\"s\":\"";
  buffer_ += static_cast<char>(scope);
  buffer_ += '"';
  tail(args);
}

void TraceEventFile::flow(FlowStep step, Track track, std::string_view name, std::uint64_t id, sim::Tick t) {
  if (closed()) return;
  head(static_cast<char>(step), name, track.process, track.thread, t);
  fmt::format_to(std::back_inserter(buffer_), ",\"cat\":\"flow\",\"id\":\"{:#x}\"", id);
  if (step != FlowStep::kStart) buffer_ += ",\"bp\":\"e\"";
  tail({});
}

void TraceEventFile::async_begin(std::uint32_t process, std::string_view name, std::uint64_t id, sim::Tick t,
                                 const TraceArgs& args) {
  if (closed()) return;
  head('b', name, process, 0, t);
  fmt::format_to(std::back_inserter(buffer_), ",\"cat\":\"held\",\"id\":\"{:#x}\"", id);
  tail(args);
}

void TraceEventFile::async_end(std::uint32_t process, std::string_view name, std::uint64_t id, sim::Tick t) {
  if (closed()) return;
  head('e', name, process, 0, t);
  fmt::format_to(std::back_inserter(buffer_), ",\"cat\":\"held\",\"id\":\"{:#x}\"", id);
  tail({});
}

void TraceEventFile::counter(std::uint32_t process, std::string_view name, std::string_view unit, sim::Tick t,
                             double value) {
  if (closed() || !in_window(t)) return;
  head('C', name, process, 0, t);
  fmt::format_to(std::back_inserter(buffer_), ",\"args\":{{\"{}\":{:g}}}}}", unit, value);
  finish_event();
}

void TraceEventFile::close(sim::Tick now) {
  if (closed()) return;
  for (std::size_t i = 0; i < open_.size(); ++i) {
    if (open_[i].open) end(tracks_[i], std::max(now, open_[i].begin));
  }
  buffer_ += "\n]}\n";
  flush();
  if (::close(fd_) != 0 && error_ == 0) error_ = errno;
  fd_ = -1;
  if (error_ == 0 && std::rename(part_.c_str(), path_.c_str()) != 0) error_ = errno;
  if (error_ != 0) throw sim::Error(path_, 0, std::strerror(error_));
}

}  // namespace waveforms
