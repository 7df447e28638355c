// SPDX-License-Identifier: Apache-2.0
// Probes: named values that change (waveforms, counters). Tracepoints: typed events (the checker, text traces).
// With no listener a probe costs one predictable branch and a tracepoint one test.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "sim/types.h"

namespace sim {

class Probe;
class Timeline;

class ProbeListener {
 public:
  virtual ~ProbeListener() = default;
  /// `probe.value()` is the new value.
  virtual void on_change(const Probe& probe, Tick now) = 0;
};

/// All probes of a machine, in order of creation.
class ProbeHub {
 public:
  explicit ProbeHub(const Timeline& timeline) : timeline_(timeline) {}
  const std::vector<Probe*>& probes() const { return probes_; }
  const Timeline& timeline() const { return timeline_; }
  /// Whether anybody listens to any probe. While nobody does, a module may leave its probes as they are, if it has given
  /// a function that brings them up to date: they are, before the first listener comes.
  bool listened() const { return listened_ != 0; }
  /// The giver must outlive the last listener that comes.
  void refresh_with(std::function<void()> bring_up_to_date) { refreshers_.push_back(std::move(bring_up_to_date)); }

 private:
  friend class Probe;
  const Timeline& timeline_;
  void refresh() {
    for (const auto& bring_up_to_date : refreshers_) bring_up_to_date();
  }
  std::vector<Probe*> probes_;
  std::vector<std::function<void()>> refreshers_;
  unsigned listened_ = 0;
};

class Probe {
 public:
  /// `path` is hierarchical, e.g. "iommu.iotlb.hits"; `bits` 1..64. `states` names the values of a state machine.
  Probe(ProbeHub& hub, std::string path, unsigned bits = 32, std::vector<std::string> states = {});
  ~Probe();
  Probe(const Probe&) = delete;
  Probe& operator=(const Probe&) = delete;

  void set(std::uint64_t value) {
    if (value == value_) return;
    value_ = value;
    if (__builtin_expect(listener_ != nullptr, 0)) notify();
  }
  void add(std::int64_t n) { set(value_ + static_cast<std::uint64_t>(n)); }

  std::uint64_t value() const { return value_; }
  const std::string& path() const { return path_; }
  unsigned bits() const { return bits_; }
  const std::vector<std::string>& states() const { return states_; }
  /// Set by whoever records; one listener a probe (a recorder that fans out is a listener itself).
  void listen(ProbeListener* listener) {
    if (listener != nullptr && hub_.listened_ == 0) hub_.refresh();
    hub_.listened_ += (listener != nullptr) - (listener_ != nullptr);
    listener_ = listener;
  }

 private:
  void notify();
  ProbeHub& hub_;
  std::string path_;
  unsigned bits_;
  std::vector<std::string> states_;
  std::uint64_t value_ = 0;
  ProbeListener* listener_ = nullptr;
};

/// A typed event. `Event` is a plain struct; by convention it has `static constexpr const char* kName`.
template <class Event>
class Tracepoint {
 public:
  using Listener = std::function<void(const Event&)>;
  bool enabled() const { return !listeners_.empty(); }
  void subscribe(Listener listener) { listeners_.push_back(std::move(listener)); }
  void emit(const Event& event) const {
    for (const auto& l : listeners_) l(event);
  }

 private:
  std::vector<Listener> listeners_;
};

}  // namespace sim
