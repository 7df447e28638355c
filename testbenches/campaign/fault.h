// SPDX-License-Identifier: Apache-2.0
// A kind of fault: its parameters in the campaign file, and what it does to the machine at its moment.
//
// One class a kind, in one of the kinds_*.cpp; fault_kinds() lists them. Everything random comes from
// Injection::random, which is keyed by the number of the fault and nothing else: the same fault is the same
// whoever runs it, in whatever order, on however many machines.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "platform/parameters.h"
#include "sim/random.h"
#include "testbenches/campaign/defuse.h"

namespace campaign {

class World;

/// What a fault has of the experiment that it belongs to.
class Injection {
 public:
  Injection(World& w, sim::RandomStream r) : world(w), random(r) {}
  World& world;
  sim::RandomStream random;
  /// Kinds that make a call fail: so many calls pass first.
  std::uint64_t pass = 0;
  /// Kinds that corrupt memory: this bit, and no drawing. Length 0: draw.
  Cell target{sim::PhysAddr(0), 0, {}};
  unsigned target_bit = 0;

  /// Where it went in: "pte iova=0x1000 bit 5". Shown in tables and in the map of the fault space.
  void at(std::string entity) { entity_ = std::move(entity); }
  /// The fault has happened: something of the machine is not as it was. From hooks, perhaps later than
  /// inject().
  void acted();
  /// A hook waits for its chance until release() or the end: the experiment may not be cut short.
  void arm() { ++armed_; }
  void release() { --armed_; }

  bool has_acted() const { return acted_; }
  bool armed() const { return armed_ > 0; }
  sim::Tick acted_at() const { return acted_at_; }
  const std::string& entity() const { return entity_; }

 private:
  std::string entity_;
  bool acted_ = false;
  sim::Tick acted_at_ = sim::kNever;
  int armed_ = 0;
};

class Fault {
 public:
  virtual ~Fault() = default;
  /// Adds its own keys of the campaign file. The fields bound live as long as the fault.
  virtual void parameters(platform::ParameterSet&) {}
  /// Called once all are set; throws sim::Error "key: what is wrong".
  virtual void validate() {}
  /// At the moment of injection; outside any process of the model, machine time is the moment.
  virtual void inject(Injection& injection) = 0;
  /// Kinds that corrupt memory: what they may hit now, for defuse(...); and the bits of it.
  virtual std::vector<Cell> cells(World&) const { return {}; }
  /// One bit is flipped, once.
  virtual bool corrupts_memory() const { return false; }
  struct BitRange {
    unsigned low = 0, high = 0;
  };
  virtual BitRange bits(const Cell&) const { return {}; }
  /// The event (trigger.h) whose n-th occurrence this kind makes fail, or "": `nth` of the file counts these.
  virtual std::string call() const { return ""; }
  /// Where it may go in, for the coverage of the report: every Injection::at() begins with one of them.
  virtual std::vector<std::string> sites() const = 0;
};

struct FaultKind {
  const char* key;
  const char* summary;
  std::unique_ptr<Fault> (*make)();
};
/// All kinds, in the order of the tables.
const std::vector<FaultKind>& fault_kinds();
/// sim::Error with the nearest kind when there is none.
const FaultKind& find_fault_kind(std::string_view key);

// The tables behind fault_kinds(), one a file.
std::vector<FaultKind> memory_kinds();
std::vector<FaultKind> kernel_kinds();
std::vector<FaultKind> device_kinds();

template <class T>
std::unique_ptr<Fault> make_fault() {
  return std::make_unique<T>();
}

}  // namespace campaign
