// SPDX-License-Identifier: Apache-2.0
#include "waveforms/vcd.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "sim/error.h"
#include "sim/timeline.h"
#include "waveforms/fst.h"
#include "waveforms/select.h"

namespace waveforms {
namespace {

constexpr std::size_t kBufferBytes = 256 * 1024;

/// Identifier code n: printable ASCII, base 94.
std::string identifier_code(std::uint32_t n) {
  std::string code;
  do {
    code += static_cast<char>('!' + n % 94);
    n /= 94;
  } while (n-- != 0);
  return code;
}

/// The scopes of the file as a tree, in order of first appearance.
struct Scope {
  std::string name;
  std::vector<Scope> children;
  std::vector<std::pair<std::string, std::uint32_t>> variables;  // leaf name, signal

  Scope& child(std::string_view wanted) {
    for (auto& c : children) {
      if (c.name == wanted) return c;
    }
    children.push_back({std::string(wanted), {}, {}});
    return children.back();
  }
};

void write_fst_header(FstFile& fst, const Scope& scope, const std::vector<sim::Probe*>& probes) {
  fst.scope(scope.name);
  for (const auto& [name, index] : scope.variables) {
    const sim::Probe& p = *probes[index];
    fst.variable(index, p.bits() == 1 ? name : fmt::format("{} [{}:0]", name, p.bits() - 1), p.bits(), p.states());
  }
  for (const Scope& c : scope.children) write_fst_header(fst, c, probes);
  fst.upscope();
}

}  // namespace

void VcdWriter::Signal::on_change(const sim::Probe& probe, sim::Tick now) {
  VcdWriter& w = *writer;
  if (now != w.time_) {
    w.settle();
    w.time_ = now;
    if (now > w.options_.to) {
      w.detach();
      return;
    }
  }
  value = probe.value();
  if (!dirty) {
    dirty = true;
    w.dirty_.push_back(index);
  }
}

VcdWriter::VcdWriter(const sim::ProbeHub& hub, const std::string& path, VcdOptions options)
    : hub_(hub), options_(std::move(options)), probes_(select_probes(hub, options_.select)) {
  if (options_.from > options_.to) throw sim::Error(path, 0, "the waveform window ends before it begins");
  signals_.resize(probes_.size());
  open(path);
}

VcdWriter::~VcdWriter() {
  try {
    close();
  } catch (const sim::Error&) {
    // Said by close() to whoever asks.
  }
}

void VcdWriter::open(const std::string& path) {
  path_ = path;
  fst_ = path.ends_with(".fst") ? FstFile::create(path) : nullptr;
  fd_ = ::open(path.c_str(), O_WRONLY | O_CREAT | (fst_ != nullptr ? 0 : O_TRUNC) | O_CLOEXEC, 0666);
  if (fd_ < 0) throw sim::Error(path, 0, fmt::format("cannot write the waveform: {}", std::strerror(errno)));
  armed_ = options_.before != sim::kNever;
  trigger_at_ = sim::kNever;
  kept_.clear();
  buffer_.clear();
  buffer_.reserve(kBufferBytes + 4096);
  dirty_.clear();
  dumped_ = false;
  error_ = 0;
  time_ = now();
  begin_ = std::max(options_.from, time_);
  for (std::uint32_t i = 0; i < signals_.size(); ++i) {
    Signal& s = signals_[i];
    s.writer = this;
    s.code = identifier_code(i);
    s.index = i;
    s.bits = probes_[i]->bits();
    s.dirty = s.changed = false;
    s.value = s.written = s.last = probes_[i]->value();
  }
  write_header();
  if (time_ > options_.to) return;
  for (std::uint32_t i = 0; i < signals_.size(); ++i) probes_[i]->listen(&signals_[i]);
}

bool VcdWriter::changed(std::size_t index) const { return signals_[index].changed; }

sim::Tick VcdWriter::now() const { return hub_.timeline().now(); }

void VcdWriter::detach() {
  // Only probes that still live: modules may be gone before their recorder.
  for (sim::Probe* p : hub_.probes()) {
    if (std::ranges::find(probes_, p) != probes_.end()) p->listen(nullptr);
  }
}

void VcdWriter::close() {
  if (fd_ < 0) return;
  settle();
  detach();
  if (armed_) begin_ = now();  // the trigger never came: the values of the end, so that the file is one
  if (now() >= begin_ && begin_ <= options_.to) {
    if (!dumped_) write_dumpvars(begin_);
    if (const sim::Tick end = std::min(now(), options_.to); end > stamp_) write_time(end);
  }
  flush();
  if (fst_ != nullptr) fst_->close();
  if (::close(fd_) != 0 && error_ == 0) error_ = errno;
  fd_ = -1;
  if (error_ != 0) {
    throw sim::Error(path_, 0, fmt::format("cannot write the waveform: {}", std::strerror(error_)));
  }
}

void VcdWriter::on_fork(const std::string& child_path) {
  if (fd_ < 0) return;
  ::close(fd_);
  fd_ = -1;
  if (fst_ != nullptr) fst_->abandon();
  buffer_.clear();
  detach();
  if (!child_path.empty()) open(child_path);
}

void VcdWriter::trigger() {
  if (armed_ && trigger_at_ == sim::kNever) trigger_at_ = now();
}

/// The time stamp is over: what it changed is written, or kept.
void VcdWriter::settle() {
  if (!dirty_.empty()) settle_changes();
  if (armed_ && trigger_at_ != sim::kNever) write_kept();
}

void VcdWriter::keep(Signal& s) {
  s.dirty = false;
  if (s.value == s.last) return;
  s.last = s.value;
  kept_.push_back({time_, s.value, s.index});
}

void VcdWriter::forget_before(sim::Tick t) {
  for (; !kept_.empty() && kept_.front().time < t; kept_.pop_front()) {
    signals_[kept_.front().signal].written = kept_.front().value;
  }
}

/// The trigger has come: everything that was kept goes into the file, and recording goes on from here.
void VcdWriter::write_kept() {
  armed_ = false;
  begin_ = std::max(begin_, trigger_at_ - std::min(trigger_at_, options_.before));
  options_.from = begin_;
  options_.to = std::min(options_.to, trigger_at_ + std::min(options_.after, sim::kNever - trigger_at_));
  forget_before(begin_);
  write_dumpvars(begin_);
  for (; !kept_.empty(); kept_.pop_front()) {
    const Kept& k = kept_.front();
    if (k.time > options_.to) continue;
    if (k.time != stamp_) write_time(k.time);
    Signal& s = signals_[k.signal];
    s.written = k.value;
    s.changed = true;
    ++changes_;
    write_value(s);
    if (buffer_.size() >= kBufferBytes) flush();
  }
}

void VcdWriter::settle_changes() {
  if (armed_) {
    std::ranges::sort(dirty_);
    for (const std::uint32_t i : dirty_) keep(signals_[i]);
    dirty_.clear();
    forget_before(time_ - std::min(time_, options_.before));
    return;
  }
  const bool record = time_ >= begin_ && time_ <= options_.to;
  if (record && !dumped_ && time_ > begin_) write_dumpvars(begin_);
  // FST keeps each signal for itself: the order within a time does not reach the file.
  if (fst_ == nullptr) std::ranges::sort(dirty_);
  bool stamped = false;
  for (const std::uint32_t i : dirty_) {
    Signal& s = signals_[i];
    s.dirty = false;
    if (s.value == s.written) continue;
    s.written = s.value;
    if (!record || !dumped_) continue;
    if (!stamped) write_time(time_);
    stamped = true;
    write_value(s);
    s.changed = true;
    ++changes_;
  }
  dirty_.clear();
  if (record && !dumped_) write_dumpvars(begin_);
  if (buffer_.size() >= kBufferBytes) flush();
}

void VcdWriter::write_header() {
  Scope root{options_.top, {}, {}};
  for (std::uint32_t i = 0; i < probes_.size(); ++i) {
    std::string_view path = probes_[i]->path();
    Scope* scope = &root;
    for (std::size_t dot; (dot = path.find('.')) != std::string_view::npos; path.remove_prefix(dot + 1)) {
      scope = &scope->child(path.substr(0, dot));
    }
    scope->variables.emplace_back(path, i);
  }
  if (fst_ != nullptr) return write_fst_header(*fst_, root, probes_);
  if (!options_.date.empty()) buffer_ += fmt::format("$date {} $end\n", options_.date);
  buffer_ += "$version poolsim $end\n$timescale 1 fs $end\n";
  const auto write_scope = [this](const auto& self, const Scope& scope) -> void {
    buffer_ += fmt::format("$scope module {} $end\n", scope.name);
    for (const auto& [name, index] : scope.variables) {
      const Signal& s = signals_[index];
      buffer_ += s.bits == 1
                     ? fmt::format("$var wire 1 {} {} $end\n", s.code, name)
                     : fmt::format("$var wire {} {} {} [{}:0] $end\n", s.bits, s.code, name, s.bits - 1);
    }
    for (const auto& c : scope.children) self(self, c);
    buffer_ += "$upscope $end\n";
  };
  write_scope(write_scope, root);
  buffer_ += "$enddefinitions $end\n";
}

void VcdWriter::write_dumpvars(sim::Tick at) {
  dumped_ = true;
  write_time(at);
  if (fst_ == nullptr) buffer_ += "$dumpvars\n";
  for (const Signal& s : signals_) write_value(s);
  if (fst_ == nullptr) buffer_ += "$end\n";
}

void VcdWriter::write_time(sim::Tick t) {
  stamp_ = t;
  if (fst_ != nullptr) return fst_->time(t);
  const fmt::format_int digits(t);
  buffer_ += '#';
  buffer_.append(digits.data(), digits.size());
  buffer_ += '\n';
}

void VcdWriter::write_value(const Signal& s) {
  if (fst_ != nullptr) return fst_->value(s.index, s.written);
  const std::uint64_t v = s.bits < 64 ? s.written & ((std::uint64_t{1} << s.bits) - 1) : s.written;
  if (s.bits == 1) {
    buffer_ += v != 0 ? '1' : '0';
  } else {
    char digits[66];
    char* const end = digits + sizeof digits;
    char* p = end;
    *--p = ' ';
    std::uint64_t rest = v;
    do {
      *--p = static_cast<char>('0' + (rest & 1));
      rest >>= 1;
    } while (rest != 0);
    *--p = 'b';
    buffer_.append(p, end);
  }
  buffer_ += s.code;
  buffer_ += '\n';
}

void VcdWriter::flush() {
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

}  // namespace waveforms
