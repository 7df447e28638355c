// SPDX-License-Identifier: Apache-2.0
// Faults of the modelled software and of its time: calls that fail, cores that stand still, devices that go.
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <memory>
#include <stdexcept>

#include "kernel/iommu_driver.h"
#include "testbenches/campaign/fault.h"
#include "testbenches/campaign/world.h"

namespace campaign {
namespace {

/// Changes nothing: what an experiment costs, and whether it is as the golden run.
class Nothing final : public Fault {
 public:
  std::vector<std::string> sites() const override { return {"nothing"}; }
  void inject(Injection& i) override {
    i.at("nothing");
    i.acted();
  }
};

/// Breaks this program and no machine: whether a campaign survives its experiments.
class SelfTest final : public Fault {
 public:
  void parameters(platform::ParameterSet& set) override {
    set.choice("how", how_,
               {{"crash", How::kCrash},
                {"hang", How::kHang},
                {"memory", How::kMemory},
                {"law", How::kLaw},
                {"exception", How::kException},
                {"exit", How::kExit}},
               "what goes wrong");
  }
  std::vector<std::string> sites() const override { return {"experiment"}; }
  void inject(Injection& i) override {
    i.at("experiment");
    i.acted();
    switch (how_) {
      case How::kCrash:
        ::raise(SIGSEGV);
        break;
      case How::kHang:
        for (volatile unsigned n = 0;;) n = n + 1;
      case How::kMemory:  // limited is the address space: nothing of it is touched, which would take CPU time
        for (std::vector<std::unique_ptr<char[]>> all;;) {
          all.push_back(std::make_unique_for_overwrite<char[]>(std::size_t{16} << 20));
        }
      case How::kLaw:
        POOLSIM_ASSERT(how_ != How::kLaw);
        break;
      case How::kException:
        throw std::runtime_error("as asked for");
      case How::kExit:
        ::_exit(7);
    }
  }

 private:
  enum class How : std::uint8_t { kCrash, kHang, kMemory, kLaw, kException, kExit };
  How how_ = How::kCrash;
};

/// The device goes as the scenario says (scenario.device), whatever is under way: VF disable, or hot removal.
class TakeAway final : public Fault {
 public:
  std::vector<std::string> sites() const override { return {"device"}; }
  void inject(Injection& i) override {
    World& w = i.world;
    i.at(fmt::format("device {} skbs outstanding", w.machine().stack().skbs().outstanding()));
    i.acted();
    w.machine().kernel().spawn(0, "vf-disable", [&w] { w.script().take_away(); });
  }
};

/// Asked at each call of a kind: whether this one fails. Passes Injection::pass first, then fails `times` in
/// a row.
class FailingCalls {
 public:
  FailingCalls(Injection& i, const char* site, unsigned times)
      : i_(i), site_(site), pass_(i.pass), left_(times) {
    i.at(site);
    i.arm();
  }
  bool fails() {
    if (pass_ > 0 || left_ == 0) {
      pass_ -= pass_ > 0 ? 1 : 0;
      return false;
    }
    if (--left_ == 0) i_.release();
    if (!i_.has_acted()) i_.at(fmt::format("{} in {}", site_, where()));
    i_.acted();
    return true;
  }

 private:
  static std::string where() {
    if (!kernel::in_kernel_code()) return "no code";
    const auto chain = kernel::this_cpu().call_chain();
    return chain.empty() ? "no function" : chain[0];
  }
  Injection& i_;
  const char* site_;
  std::uint64_t pass_;
  unsigned left_;
};

/// A call gets nothing: fail_nth, if triggered by on(its event, nth=all).
enum class Call : std::uint8_t { kPageAlloc, kDmaMap, kTrack };
template <Call kCall>
class CallFails final : public Fault {
 public:
  void parameters(platform::ParameterSet& set) override {
    set.integer("times", times_, 1, 1'000'000, "so many in a row");
  }
  std::string call() const override { return kEvent; }
  std::vector<std::string> sites() const override { return {kSite}; }
  void inject(Injection& i) override {
    const auto calls = std::make_shared<FailingCalls>(i, kSite, times_);
    platform::Machine& m = i.world.machine();
    if constexpr (kCall == Call::kPageAlloc) {
      m.pages().set_failure_hook([calls](unsigned, unsigned) { return calls->fails(); });
    } else if constexpr (kCall == Call::kDmaMap) {
      m.kernel().dma().set_map_fault([calls](const kernel::Device&) { return calls->fails(); });
    } else {
      m.pools().set_track_fault([calls] { return calls->fails(); });
    }
  }

 private:
  static constexpr const char* kEvent = kCall == Call::kPageAlloc ? "page_alloc_call"
                                        : kCall == Call::kDmaMap  ? "dma_map_call"
                                                                  : "track_call";
  static constexpr const char* kSite = kCall == Call::kPageAlloc ? "page_alloc"
                                       : kCall == Call::kDmaMap  ? "dma_map"
                                                                 : "track";
  unsigned times_ = 1;
};

/// A core does nothing for a while: firmware, a hypervisor, a long handler.
class CoreStalls final : public Fault {
 public:
  void parameters(platform::ParameterSet& set) override {
    set.integer("core", core_, 0, 31, "which");
    set.time("for", for_, sim::kMicrosecond, 10 * sim::kSecond, "how long");
  }
  std::vector<std::string> sites() const override { return {"core"}; }
  void inject(Injection& i) override {
    kernel::Kernel& k = i.world.machine().kernel();
    i.at(fmt::format("core {}", core_ % k.cores()));
    i.acted();
    k.timers(core_ % k.cores()).arm_hrtimer(i.world.now() + 1, [us = for_ / sim::kMicrosecond] {
      kernel::udelay(us);
    });
  }

 private:
  unsigned core_ = 0;
  sim::Tick for_ = 100 * sim::kMicrosecond;
};

/// Somebody sits on received skbs for a while and drops them then.
class SkbKept final : public Fault {
 public:
  void parameters(platform::ParameterSet& set) override {
    set.time("shortest", shortest_, sim::kMicrosecond, kLong,
             "drawn between these, each order of magnitude alike");
    set.time("longest", longest_, sim::kMicrosecond, kLong,
             "drawn between these, each order of magnitude alike");
    set.integer("count", count_, 1, 1'000'000, "skbs in a row");
  }
  void validate() override {
    if (shortest_ > longest_) throw sim::Error("shortest: is longer than the longest");
  }
  std::vector<std::string> sites() const override { return {"skb"}; }
  void inject(Injection& i) override {
    // 2^x with x uniform, in steps that are exact everywhere.
    sim::Tick time = shortest_;
    unsigned doublings = 0;
    while ((shortest_ << (doublings + 1)) <= longest_) ++doublings;
    time <<= i.random.below(doublings + 1);
    time += i.random.below(std::max<sim::Tick>(1, std::min(time, longest_ - time)));
    i.at(fmt::format("skb for {}", checker::format_time(time)));
    i.arm();
    i.world.machine().stack().set_keeper([&i, time, left = count_](const nic::Skb&) mutable -> sim::Tick {
      if (left == 0) return 0;
      if (--left == 0) i.release();
      i.acted();
      return time;
    });
  }

 private:
  static constexpr sim::Tick kLong = 3600 * sim::kSecond;
  sim::Tick shortest_ = sim::kMicrosecond, longest_ = 30 * sim::kSecond;
  unsigned count_ = 1;
};

/// Timers that are armed from now on fire late.
class TimerLate final : public Fault {
 public:
  void parameters(platform::ParameterSet& set) override {
    set.integer("jiffies", jiffies_, 1, 1'000'000, "how late");
    set.integer("count", count_, 1, 1'000'000, "timers in a row");
  }
  std::vector<std::string> sites() const override { return {"timer"}; }
  void inject(Injection& i) override {
    i.at("timer");
    i.arm();
    kernel::Kernel& k = i.world.machine().kernel();
    const auto left = std::make_shared<unsigned>(count_);
    for (unsigned cpu = 0; cpu < k.cores(); ++cpu) {
      k.timers(cpu).set_lateness([&i, left, jiffies = jiffies_]() -> std::uint64_t {
        if (*left == 0) return 0;
        if (--*left == 0) i.release();
        i.acted();
        return jiffies;
      });
    }
  }

 private:
  std::uint64_t jiffies_ = 10;
  unsigned count_ = 1;
};

/// The worker of a core is busy with something else: work that is queued behind waits.
class WorkerLate final : public Fault {
 public:
  void parameters(platform::ParameterSet& set) override {
    set.integer("core", core_, 0, 31, "which");
    set.time("for", for_, sim::kMicrosecond, 10 * sim::kSecond, "how long");
  }
  std::vector<std::string> sites() const override { return {"worker"}; }
  void inject(Injection& i) override {
    kernel::Kernel& k = i.world.machine().kernel();
    const unsigned cpu = core_ % k.cores();
    i.at(fmt::format("worker core {}", cpu));
    i.acted();
    // The work item outlives the fault: it belongs to the machine, which ends with its process.
    auto* work = new kernel::Work("injected_delay", [us = for_ / sim::kMicrosecond] { kernel::udelay(us); });
    k.timers(cpu).arm_hrtimer(i.world.now() + 1, [work] { work->queue(); });
  }

 private:
  unsigned core_ = 0;
  sim::Tick for_ = 100 * sim::kMicrosecond;
};

/// An interrupt that no device sent.
class SpuriousInterrupt final : public Fault {
 public:
  void parameters(platform::ParameterSet& set) override {
    set.integer("core", core_, 0, 31, "which");
    set.integer("vector", vector_, 0, 255, "identity; 0: drawn");
  }
  std::vector<std::string> sites() const override { return {"interrupt"}; }
  void inject(Injection& i) override {
    kernel::Kernel& k = i.world.machine().kernel();
    const unsigned vector = vector_ != 0 ? vector_ : 1 + static_cast<unsigned>(i.random.below(8));
    i.at(fmt::format("interrupt core {} identity {}", core_ % k.cores(), vector));
    i.acted();
    k.interrupts().raise(core_ % k.cores(), vector, i.world.now());
  }

 private:
  unsigned core_ = 0, vector_ = 0;
};

/// The last section of memory goes off line and comes back.
class MemoryHotplugs final : public Fault {
 public:
  std::vector<std::string> sites() const override { return {"memory"}; }
  void inject(Injection& i) override {
    World& w = i.world;
    i.at("memory last section");
    i.acted();
    kernel::Kernel& k = w.machine().kernel();
    k.spawn(k.cores() - 1, "hotplug", [&w, &k] {
      constexpr std::uint64_t kSection = (std::uint64_t{128} << 20) >> sim::kPageShift;
      const mm::SparseStore& store = w.machine().store();
      const sim::Pfn start(((store.end().value >> sim::kPageShift) / kSection - 1) * kSection);
      if (k.hotplug().offline_pages(start, kSection) == 0) k.hotplug().online_pages(start, kSection);
    });
  }
};

}  // namespace

std::vector<FaultKind> kernel_kinds() {
  return {
      {"none", "changes nothing: cost of an experiment, check of the method", make_fault<Nothing>},
      {"self_test", "breaks the experiment itself: crash, hang, memory", make_fault<SelfTest>},
      {"take_away", "the device goes now: VF disable or hot removal", make_fault<TakeAway>},
      {"page_alloc", "a page allocation gets nothing (fail_nth: on(page_alloc_call, nth=all))",
       make_fault<CallFails<Call::kPageAlloc>>},
      {"dma_map", "a dma_map_page fails (fail_nth: on(dma_map_call, nth=all))",
       make_fault<CallFails<Call::kDmaMap>>},
      {"track", "memory that a strategy tracks mappings in is not there (fail_nth: on(track_call, nth=all))",
       make_fault<CallFails<Call::kTrack>>},
      {"skb_kept", "received skbs are kept for a drawn time, then dropped", make_fault<SkbKept>},
      {"timer_late", "timers fire late", make_fault<TimerLate>},
      {"worker_late", "the worker of a core is busy for a while", make_fault<WorkerLate>},
      {"core_stall", "a core stands still for a while", make_fault<CoreStalls>},
      {"irq_spurious", "an interrupt that nobody sent", make_fault<SpuriousInterrupt>},
      {"memory_hotplug", "a section of memory goes off line and comes back", make_fault<MemoryHotplugs>},
  };
}

}  // namespace campaign
