// SPDX-License-Identifier: Apache-2.0
#include "waveforms/vcd.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <span>
#include <utility>

#include "sim/error.h"
#include "sim/timeline.h"
#include "waveforms/fst.h"
#include "waveforms/select.h"

namespace waveforms {
namespace {

constexpr std::size_t kBufferBytes = 256 * 1024;
constexpr std::size_t kMostOfAValue = 80, kMostOfATime = 256;  // bytes, $dumpvars included

/// Identifier code n: printable ASCII, base 94.
std::string identifier_code(std::uint32_t n) {
  std::string code;
  do {
    code += static_cast<char>('!' + n % 94);
    n /= 94;
  } while (n-- != 0);
  return code;
}

/// Of each byte, its binary digits.
constexpr auto kBinary = [] {
  std::array<std::array<char, 8>, 256> table{};
  for (unsigned byte = 0; byte < 256; ++byte) {
    for (unsigned bit = 0; bit < 8; ++bit) table[byte][bit] = static_cast<char>('0' + (byte >> (7 - bit) & 1));
  }
  return table;
}();

/// Of each number below 1000, its three decimal digits.
constexpr auto kDecimal = [] {
  std::array<std::array<char, 4>, 1000> table{};
  for (unsigned n = 0; n < 1000; ++n) {
    table[n] = {static_cast<char>('0' + n / 100), static_cast<char>('0' + n / 10 % 10), static_cast<char>('0' + n % 10)};
  }
  return table;
}();

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
    w.begin_time(now);
    if (now > w.options_.to) return;
  }
  value = probe.value();
  if (dirty) return;
  dirty = true;
  w.dirty_[w.dirty_count_++] = this;
}

[[gnu::noinline]] void VcdWriter::begin_time(sim::Tick now) {
  settle();
  time_ = now;
  if (now > options_.to) detach();
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
  // What is written between two looks at the buffer fits behind its end: a time and a value of each signal.
  if (fst_ == nullptr) buffer_.resize(kBufferBytes + 2 * kMostOfATime + signals_.size() * kMostOfAValue);
  at_ = buffer_.data();
  dirty_.resize(signals_.size());
  if (fst_ != nullptr) fst_changes_.resize(signals_.size());
  dirty_count_ = 0;
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
    const std::string tail = (s.bits == 1 ? "" : " ") + s.code + '\n';
    POOLSIM_ASSERT(tail.size() <= sizeof s.tail);  // codes of four characters are 78 million signals
    tail.copy(s.tail, sizeof s.tail);
    s.tail_bytes = static_cast<unsigned>(tail.size());
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
  at_ = buffer_.data();
  detach();
  if (!child_path.empty()) open(child_path);
}

void VcdWriter::trigger() {
  if (armed_ && trigger_at_ == sim::kNever) trigger_at_ = now();
}

/// The time stamp is over: what it changed is written, or kept.
void VcdWriter::settle() {
  if (dirty_count_ != 0) settle_changes();
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

inline void VcdWriter::write_time(sim::Tick t) {
  stamp_ = t;
  if (fst_ != nullptr) return fst_->time(t);
  append_time(t);
}

inline void VcdWriter::write_value(const Signal& s) {
  if (fst_ != nullptr) return fst_->value(s.index, s.written);
  append_value(s);
}

inline void VcdWriter::flush_if_full() {
  if (static_cast<std::size_t>(at_ - buffer_.data()) >= kBufferBytes) flush();
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
    flush_if_full();
  }
}

/// False: the value is the one that is in the file.
inline bool VcdWriter::take(Signal& s) {
  s.dirty = false;
  if (s.value == s.written) return false;
  s.written = s.value;
  return true;
}

inline void VcdWriter::settle_vcd(std::span<Signal*> dirty) {
  if (dirty.size() > 1) std::ranges::sort(dirty);  // in the order of the variables: they lie in one array
  std::uint64_t written = 0;
  for (Signal* const s : dirty) {
    if (!take(*s)) continue;
    if (written++ == 0) write_time(time_);
    s->changed = true;
    append_value(*s);
  }
  changes_ += written;
}

/// FST keeps each signal for itself: the order within a time does not reach the file.
inline void VcdWriter::settle_fst(std::span<Signal* const> dirty) {
  fst_change* const first = fst_changes_.data();
  fst_change* change = first;
  for (Signal* const s : dirty) {
    if (!take(*s)) continue;
    s->changed = true;
    *change++ = {s->index, s->written};
  }
  if (change == first) return;
  stamp_ = time_;
  fst_->changes(time_, {first, change});
  changes_ += static_cast<std::uint64_t>(change - first);
}

void VcdWriter::settle_changes() {
  const std::span<Signal*> dirty(dirty_.data(), std::exchange(dirty_count_, 0));
  if (fst_ != nullptr && dumped_ && time_ <= options_.to && !armed_) return settle_fst(dirty);  // nearly always, with FST
  if (armed_) {
    std::ranges::sort(dirty);
    for (Signal* const s : dirty) keep(*s);
    forget_before(time_ - std::min(time_, options_.before));
    return;
  }
  const bool record = time_ >= begin_ && time_ <= options_.to;
  if (record && !dumped_ && time_ > begin_) write_dumpvars(begin_);
  if (!record || !dumped_) {
    for (Signal* const s : dirty) take(*s);
  } else if (fst_ != nullptr) {
    settle_fst(dirty);
  } else {
    settle_vcd(dirty);
  }
  if (record && !dumped_) write_dumpvars(begin_);
  flush_if_full();
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
  if (!options_.date.empty()) put(fmt::format("$date {} $end\n", options_.date));
  put("$version poolsim $end\n$timescale 1 fs $end\n");
  const auto write_scope = [this](const auto& self, const Scope& scope) -> void {
    put(fmt::format("$scope module {} $end\n", scope.name));
    for (const auto& [name, index] : scope.variables) {
      const Signal& s = signals_[index];
      put(s.bits == 1 ? fmt::format("$var wire 1 {} {} $end\n", s.code, name)
                      : fmt::format("$var wire {} {} {} [{}:0] $end\n", s.bits, s.code, name, s.bits - 1));
    }
    for (const auto& c : scope.children) self(self, c);
    put("$upscope $end\n");
  };
  write_scope(write_scope, root);
  put("$enddefinitions $end\n");
}

void VcdWriter::write_dumpvars(sim::Tick at) {
  dumped_ = true;
  write_time(at);
  if (fst_ == nullptr) put("$dumpvars\n");
  for (const Signal& s : signals_) write_value(s);
  if (fst_ == nullptr) put("$end\n");
  flush_if_full();
}

void VcdWriter::append_time(sim::Tick t) {
  // Nine digits are a microsecond: what is before them is seldom another than at the last stamp.
  constexpr sim::Tick kLow = 1'000'000'000;
  const sim::Tick high = t / kLow;
  if (high == 0) {
    return put(fmt::format("#{}\n", t));
  }
  if (high != stamp_high_) {
    stamp_high_ = high;
    stamp_text_ = fmt::format("#{}", high);
  }
  const auto low = static_cast<std::uint32_t>(t - high * kLow);
  std::memcpy(at_, stamp_text_.data(), stamp_text_.size());
  at_ += stamp_text_.size();
  std::memcpy(at_, kDecimal[low / 1'000'000].data(), 3);
  std::memcpy(at_ + 3, kDecimal[low / 1000 % 1000].data(), 3);
  std::memcpy(at_ + 6, kDecimal[low % 1000].data(), 3);
  at_[9] = '\n';
  at_ += 10;
}

/// The digits from the highest on, eight at a time, the identifier, the end of the line.
[[gnu::noinline]] void VcdWriter::append_value(const Signal& s) {
  char* p = at_;
  const std::uint64_t v = s.bits < 64 ? s.written & ((std::uint64_t{1} << s.bits) - 1) : s.written;
  if (s.bits == 1) {
    *p++ = static_cast<char>('0' + v);
  } else {
    *p++ = 'b';
    const int digits = v != 0 ? std::bit_width(v) : 1;
    std::uint64_t rest = v << (64 - digits);
    for (int done = 0; done < digits; done += 8, rest <<= 8) std::memcpy(p + done, kBinary[rest >> 56].data(), 8);
    p += digits;
  }
  std::memcpy(p, s.tail, sizeof s.tail);
  at_ = p + s.tail_bytes;
}

/// Text of any length.
void VcdWriter::put(std::string_view text) {
  while (!text.empty()) {
    flush_if_full();
    const std::string_view piece = text.substr(0, kMostOfATime);
    at_ = std::copy(piece.begin(), piece.end(), at_);
    text.remove_prefix(piece.size());
  }
}

void VcdWriter::flush() {
  std::string_view rest(buffer_.data(), static_cast<std::size_t>(at_ - buffer_.data()));
  while (!rest.empty() && error_ == 0) {
    const ssize_t n = ::write(fd_, rest.data(), rest.size());
    if (n >= 0) {
      rest.remove_prefix(static_cast<std::size_t>(n));
    } else if (errno != EINTR) {
      error_ = errno;
    }
  }
  at_ = buffer_.data();
}

}  // namespace waveforms
