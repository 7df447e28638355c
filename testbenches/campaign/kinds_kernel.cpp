// SPDX-License-Identifier: Apache-2.0
// Faults of the modelled software and of its time: calls that fail, cores that stand still, devices that go.
#include <unistd.h>

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
      case How::kCrash: {
        volatile int* nowhere = reinterpret_cast<int*>(8);
        *nowhere = 1;
        break;
      }
      case How::kHang:
        for (volatile unsigned n = 0;; n = n + 1) {
        }
      case How::kMemory:
        for (std::vector<std::vector<char>> all;;) all.emplace_back(std::size_t{16} << 20);
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

/// A page allocation gets nothing.
class PageAllocFails final : public Fault {
 public:
  void parameters(platform::ParameterSet& set) override {
    set.integer("times", times_, 1, 1'000'000, "so many in a row");
  }
  std::string call() const override { return "mm_page_alloc"; }
  std::vector<std::string> sites() const override { return {"mm_page_alloc"}; }
  void inject(Injection& i) override {
    i.at("mm_page_alloc");
    i.arm();
    i.world.machine().pages().set_failure_hook(
        [&i, left = times_, pass = i.pass](unsigned order, unsigned) mutable {
          if (pass > 0 || left == 0) {
            pass -= pass > 0 ? 1 : 0;
            return false;
          }
          if (--left == 0) i.release();
          i.at(fmt::format("mm_page_alloc order {} in {}", order, where(i)));
          i.acted();
          return true;
        });
  }

 private:
  static std::string where(Injection&) {
    return kernel::in_kernel_code() && !kernel::this_cpu().call_chain().empty()
               ? kernel::this_cpu().call_chain()[0]
               : "?";
  }
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
      {"page_alloc", "page allocations that get nothing (fail_nth with on(mm_page_alloc, nth=all))",
       make_fault<PageAllocFails>},
      {"core_stall", "a core stands still for a while", make_fault<CoreStalls>},
      {"irq_spurious", "an interrupt that nobody sent", make_fault<SpuriousInterrupt>},
      {"memory_hotplug", "a section of memory goes off line and comes back", make_fault<MemoryHotplugs>},
  };
}

}  // namespace campaign
