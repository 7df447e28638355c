// SPDX-License-Identifier: Apache-2.0
// Faults of hardware and its connections: IOMMU commands, PCIe, the NIC.
#include <utility>

#include "iommu/caches.h"
#include "iommu/commands.h"
#include "iommu/iommu.h"
#include "iommu/layout.h"
#include "testbenches/campaign/fault.h"
#include "testbenches/campaign/world.h"

namespace campaign {
namespace {

/// A command of the IOMMU's queue is not done as it should.
template <bool kFence>
class CommandGoesWrong final : public Fault {
 public:
  void parameters(platform::ParameterSet& set) override {
    if constexpr (!kFence) {
      set.choice("how", how_, {{"drop", How::kDrop}, {"too_small", How::kTooSmall}, {"delay", How::kDelay}},
                 "the invalidation is not done, only for its first page, or after its fence has completed");
      set.time("for", for_, 1, sim::kSecond, "delay");
    }
    set.integer("times", times_, 1, 1'000'000, "so many in a row");
  }
  std::vector<std::string> sites() const override { return {kSite}; }
  void inject(Injection& i) override {
    i.at(kSite);
    i.arm();
    i.world.machine().iommu().set_command_fault([this, &i, left = times_](iommu::Command& c) mutable {
      namespace cmd = iommu::cmd;
      const bool mine = kFence ? cmd::opcode(c) == cmd::kIofence : cmd::opcode(c) == cmd::kIotinval;
      if (!mine || left == 0) return iommu::CommandVerdict::kExecute;
      if (--left == 0) i.release();
      i.at(fmt::format("{} {:#x}", kSite, c.dw1));
      i.acted();
      if (how_ == How::kDelay) {
        i.arm();
        i.world.at(i.world.now() + for_, [&i, what = iommu::decode_iotinval(c)] {
          i.world.machine().iommu().caches().invalidate(what);
          i.release();
        });
      }
      return how_ == How::kTooSmall ? iommu::CommandVerdict::kOnePage : iommu::CommandVerdict::kIgnore;
    });
  }

 private:
  static constexpr const char* kSite = kFence ? "fence" : "invalidation";
  enum class How : std::uint8_t { kDrop, kTooSmall, kDelay };
  How how_ = How::kDrop;
  sim::Tick for_ = 10 * sim::kMicrosecond;
  unsigned times_ = 1;
};

/// Something happens to a transaction of the device on the PCIe link.
class TlpGoesWrong final : public Fault {
 public:
  void parameters(platform::ParameterSet& set) override {
    set.choice("of", of_, {{"write", Of::kWrite}, {"read", Of::kRead}, {"any", Of::kAny}},
               "which transactions");
    set.choice(
        "how", how_,
        {{"lose", How::kLose},
         {"duplicate", How::kDuplicate},
         {"delay", How::kDelay},
         {"reorder", How::kReorder},
         {"poison", How::kPoison},
         {"requester", How::kRequester},
         {"payload", How::kPayload}},
        "lost (a read: completion timeout), sent twice, late, behind the next one, poisoned, with another "
        "requester id, with a bit of its data flipped");
    set.time("for", for_, 1, sim::kSecond, "delay; of a lost read, the completion timeout");
    set.integer("times", times_, 1, 1'000'000, "so many in a row");
  }
  void validate() override {
    const bool writes = how_ == How::kDuplicate || how_ == How::kPoison || how_ == How::kPayload;
    if (writes && of_ != Of::kWrite) throw sim::Error("of: that happens to writes");
  }
  std::vector<std::string> sites() const override { return {"tlp"}; }
  void inject(Injection& i) override {
    i.at("tlp");
    i.arm();
    i.world.machine().link().set_tlp_fault([this, &i, left = times_](tlm::tlm_generic_payload& p,
                                                                     bool doorbell) mutable {
      if (doorbell || left == 0 || (p.is_read() && of_ == Of::kWrite) || (p.is_write() && of_ == Of::kRead)) {
        return platform::TlpVerdict{};
      }
      if (--left == 0) i.release();
      return hit(i, p);
    });
  }

 private:
  enum class Of : std::uint8_t { kWrite, kRead, kAny };
  enum class How : std::uint8_t { kLose, kDuplicate, kDelay, kReorder, kPoison, kRequester, kPayload };

  platform::TlpVerdict hit(Injection& i, tlm::tlm_generic_payload& p) {
    using What = platform::TlpVerdict::What;
    sim::DmaTag* tag = nullptr;
    p.get_extension(tag);
    i.at(fmt::format("tlp {} {:#x} of {:#x}", p.is_read() ? "read" : "write", p.get_address(),
                     tag->requester.value));
    i.acted();
    switch (how_) {
      case How::kLose:
        return {What::kLose, for_};
      case How::kDelay:
        return {What::kDelay, for_};
      case How::kReorder:
        return {What::kDelay, 100 * sim::kNanosecond};
      case How::kDuplicate: {
        const std::vector<std::uint8_t> bytes(p.get_data_ptr(), p.get_data_ptr() + p.get_data_length());
        i.world.machine().link().inject_write(tag->requester, p.get_address(), bytes);
        return {};
      }
      case How::kPoison:
        tag->poisoned = true;
        return {};
      case How::kRequester:
        tag->requester = sim::RequesterId(tag->requester.value ^ 2);
        return {};
      case How::kPayload:
        p.get_data_ptr()[i.random.below(p.get_data_length())] ^=
            static_cast<std::uint8_t>(1u << i.random.below(8));
        return {};
    }
    return {};
  }

  Of of_ = Of::kWrite;
  How how_ = How::kLose;
  sim::Tick for_ = 10 * sim::kMicrosecond;
  unsigned times_ = 1;
};

/// The completion of a read never arrives: whoever asked finds out by its completion timeout.
class CompletionLost final : public Fault {
 public:
  void parameters(platform::ParameterSet& set) override {
    set.choice("of", core_, {{"device", false}, {"core", true}},
               "a read of memory by the device, or of a device register by a core");
    set.time("timeout", timeout_, sim::kMicrosecond, 64 * sim::kSecond,
             "of the device; that of the cores is root_port.completion_timeout");
    set.integer("times", times_, 1, 1'000'000, "so many in a row");
  }
  std::vector<std::string> sites() const override { return {"completion"}; }
  void inject(Injection& i) override {
    i.at("completion");
    i.arm();
    platform::Machine& m = i.world.machine();
    if (core_) {
      m.root_port().set_completion_fault(
          [this, &i, left = times_](std::uint64_t address, bool config) mutable {
            if (config || left == 0) return false;
            if (--left == 0) i.release();
            i.at(fmt::format("completion of a core's read of {:#x}", address));
            i.acted();
            return true;
          });
      return;
    }
    m.link().set_tlp_fault([this, &i, left = times_](tlm::tlm_generic_payload& p, bool doorbell) mutable {
      if (doorbell || left == 0 || !p.is_read()) return platform::TlpVerdict{};
      if (--left == 0) i.release();
      i.at(fmt::format("completion of read {:#x} by {:#x}", p.get_address(), sim::tag_of(p).requester.value));
      i.acted();
      return platform::TlpVerdict{platform::TlpVerdict::What::kLose, timeout_};
    });
  }

 private:
  bool core_ = false;
  sim::Tick timeout_ = 50 * sim::kMicrosecond;  // the shortest of the default range
  unsigned times_ = 1;
};

/// A core's write to a register of the device - a tail, a doorbell - is lost, late, or comes once more.
class DoorbellGoesWrong final : public Fault {
 public:
  void parameters(platform::ParameterSet& set) override {
    set.choice("how", how_, {{"lose", How::kLose}, {"late", How::kLate}, {"spurious", How::kSpurious}},
               "what happens");
    set.time("for", for_, 1, sim::kSecond, "how late");
  }
  std::vector<std::string> sites() const override { return {"doorbell"}; }
  void inject(Injection& i) override {
    platform::Machine& m = i.world.machine();
    i.at("doorbell");
    if (how_ == How::kSpurious) {
      for (const unsigned q : m.nic().enabled_queues()) {
        if (m.nic().corrupt_pointer(q, /*tail=*/true, 0)) i.acted();
      }
      return;
    }
    i.arm();
    m.link().set_tlp_fault([this, &i, done = false](tlm::tlm_generic_payload& p, bool doorbell) mutable {
      if (!doorbell || std::exchange(done, done || doorbell)) return platform::TlpVerdict{};
      i.release();
      i.at(fmt::format("doorbell {:#x}", p.get_address()));
      i.acted();
      return platform::TlpVerdict{
          how_ == How::kLose ? platform::TlpVerdict::What::kLose : platform::TlpVerdict::What::kDelay, for_};
    });
  }

 private:
  enum class How : std::uint8_t { kLose, kLate, kSpurious };
  How how_ = How::kLose;
  sim::Tick for_ = 10 * sim::kMicrosecond;
};

/// Message signalled interrupts on their way from the interconnect to a core.
class InterruptGoesWrong final : public Fault {
 public:
  void parameters(platform::ParameterSet& set) override {
    set.choice("how", how_, {{"lose", How::kLose}, {"late", How::kLate}, {"double", How::kDouble}},
               "what happens");
    set.time("for", for_, 1, sim::kSecond, "how late; between the two");
    set.integer("times", times_, 1, 1'000'000, "so many in a row");
  }
  std::vector<std::string> sites() const override { return {"interrupt"}; }
  void inject(Injection& i) override {
    i.at("interrupt");
    i.arm();
    kernel::Kernel& k = i.world.machine().kernel();
    i.world.machine().imsic().connect(
        [this, &i, &k, left = times_](unsigned core, std::uint32_t identity, sim::Tick arrival) mutable {
          const bool mine = left != 0;
          if (mine) {
            if (--left == 0) i.release();
            i.at(fmt::format("interrupt core {} identity {}", core, identity));
            i.acted();
          }
          if (!mine || how_ == How::kDouble) k.interrupts().raise(core, identity, arrival);
          if (!mine || how_ == How::kLose) return;
          i.arm();
          i.world.at(arrival + for_, [&i, &k, core, identity] {
            k.interrupts().raise(core, identity, i.world.now());
            i.release();
          });
        });
  }

 private:
  enum class How : std::uint8_t { kLose, kLate, kDouble };
  How how_ = How::kLose;
  sim::Tick for_ = 10 * sim::kMicrosecond;
  unsigned times_ = 1;
};

/// A write of the function that was under way is delivered after the function was reset or disabled.
class DmaAfterReset final : public Fault {
 public:
  void parameters(platform::ParameterSet& set) override {
    set.time("for", for_, 0, sim::kSecond, "after the reset");
  }
  std::vector<std::string> sites() const override { return {"late_write"}; }
  void inject(Injection& i) override {
    struct Last {
      sim::RequesterId requester{0};
      std::uint64_t address = 0;
      std::vector<std::uint8_t> bytes;
      bool done = false;
    };
    kernel::Device* device = i.world.script().ring().device();
    i.at("late_write");
    if (device == nullptr) return;
    i.arm();
    const auto last = std::make_shared<Last>();
    platform::Machine& m = i.world.machine();
    m.link().set_tlp_fault([last, of = device->requester()](tlm::tlm_generic_payload& p, bool doorbell) {
      if (!doorbell && p.is_write() && sim::tag_of(p).requester == of && p.get_data_length() > 4) {
        last->requester = of;
        last->address = p.get_address();
        last->bytes.assign(p.get_data_ptr(), p.get_data_ptr() + p.get_data_length());
      }
      return platform::TlpVerdict{};
    });
    const auto reset = [this, &i, last] {
      if (last->bytes.empty() || std::exchange(last->done, true)) return;
      i.world.at(i.world.now() + for_, [&i, last] {
        i.at(fmt::format("late_write {:#x} of {:#x}", last->address, last->requester.value));
        i.acted();
        i.world.machine().link().inject_write(last->requester, last->address, last->bytes);
        i.release();
      });
    };
    m.nic().trace().flr_done.subscribe([reset](const nic::FlrDone&) { reset(); });
    m.nic().trace().vf_disabled.subscribe([reset](const nic::VfDisabled&) { reset(); });
  }

 private:
  sim::Tick for_ = sim::kMicrosecond;
};

/// Bits of head or tail of a receive queue, as the device has them.
class PointerCorrupted final : public Fault {
 public:
  void parameters(platform::ParameterSet& set) override {
    set.choice("which", tail_, {{"head", false}, {"tail", true}}, "pointer");
    set.integer("bits", bits_, 1, 16, "drawn from the lowest so many");
  }
  std::vector<std::string> sites() const override { return {"pointer"}; }
  void inject(Injection& i) override {
    nic::Nic& nic = i.world.machine().nic();
    const std::vector<unsigned> queues = nic.enabled_queues();
    i.at("pointer");
    if (queues.empty()) return;
    const unsigned queue = queues[i.random.below(queues.size())];
    const auto flips = static_cast<std::uint16_t>(1u << i.random.below(bits_));
    i.at(fmt::format("pointer {} of queue {} flips {:#x}", tail_ ? "tail" : "head", queue, flips));
    if (nic.corrupt_pointer(queue, tail_, flips)) i.acted();
  }

 private:
  bool tail_ = true;
  unsigned bits_ = 8;
};

/// The Ethernet cable is out for a while.
class LinkDown final : public Fault {
 public:
  void parameters(platform::ParameterSet& set) override {
    set.time("for", for_, 1, 100 * sim::kSecond, "how long");
  }
  std::vector<std::string> sites() const override { return {"cable"}; }
  void inject(Injection& i) override {
    i.at("cable");
    i.acted();
    i.arm();
    i.world.machine().nic().set_cable(false);
    i.world.at(i.world.now() + for_, [&i] {
      i.world.machine().nic().set_cable(true);
      i.release();
    });
  }

 private:
  sim::Tick for_ = 100 * sim::kMicrosecond;
};

/// Flow control credits of the device's requests never come back.
class CreditsLost final : public Fault {
 public:
  void parameters(platform::ParameterSet& set) override {
    set.choice("class", class_,
               {{"posted", platform::CreditClass::kPosted}, {"nonposted", platform::CreditClass::kNonPosted}},
               "of which");
    set.integer("headers", headers_, 1, 1024, "header credits");
    set.integer("data", data_, 0, 1024, "data credits with each");
  }
  std::vector<std::string> sites() const override { return {"credits"}; }
  void inject(Injection& i) override {
    i.at("credits");
    if (i.world.machine().link().lose_credits(class_, headers_, data_)) i.acted();
  }

 private:
  platform::CreditClass class_ = platform::CreditClass::kPosted;
  unsigned headers_ = 1, data_ = 0;
};

/// The function is pulled out: nothing answers any more, nobody was asked.
class SurpriseRemoval final : public Fault {
 public:
  std::vector<std::string> sites() const override { return {"function"}; }
  void inject(Injection& i) override {
    kernel::Device* device = i.world.script().ring().device();
    if (device == nullptr) return i.at("function");
    i.at(fmt::format("function {}", device->name()));
    i.acted();
    i.world.machine().root_port().remove(device->requester());
  }
};

}  // namespace

std::vector<FaultKind> device_kinds() {
  return {
      {"invalidation", "an IOTLB invalidation is dropped, or too small", make_fault<CommandGoesWrong<false>>},
      {"fence_early", "a fence completes without waiting for older requests",
       make_fault<CommandGoesWrong<true>>},
      {"tlp",
       "a transaction of the device is lost, doubled, late, reordered, poisoned, of another requester, or "
       "wrong",
       make_fault<TlpGoesWrong>},
      {"completion_lost", "a read's completion never arrives: the completion timeout of who asked",
       make_fault<CompletionLost>},
      {"doorbell", "a core's write to a device register is lost, late, or comes once more",
       make_fault<DoorbellGoesWrong>},
      {"interrupt", "an interrupt is lost, late, or comes twice", make_fault<InterruptGoesWrong>},
      {"dma_after_reset", "a write of the device arrives after its function was reset or disabled",
       make_fault<DmaAfterReset>},
      {"pointer", "head or tail of a receive queue has a wrong bit", make_fault<PointerCorrupted>},
      {"link_down", "the Ethernet cable is out for a while", make_fault<LinkDown>},
      {"credits", "flow control credits are lost (they must be limited: link.root_credits.*)",
       make_fault<CreditsLost>},
      {"surprise_removal", "the function is gone without notice", make_fault<SurpriseRemoval>},
  };
}

}  // namespace campaign
