// SPDX-License-Identifier: Apache-2.0
// Faults of hardware and its connections: IOMMU commands, PCIe, the NIC.
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
      set.choice("how", verdict_,
                 {{"drop", iommu::CommandVerdict::kIgnore}, {"too_small", iommu::CommandVerdict::kOnePage}},
                 "the invalidation is not done, or only for its first page");
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
      return verdict_;
    });
  }

 private:
  static constexpr const char* kSite = kFence ? "fence" : "invalidation";
  iommu::CommandVerdict verdict_ = iommu::CommandVerdict::kIgnore;
  unsigned times_ = 1;
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
      {"surprise_removal", "the function is gone without notice", make_fault<SurpriseRemoval>},
  };
}

}  // namespace campaign
