// SPDX-License-Identifier: Apache-2.0
#include "testbenches/checker/finding.h"

#include <fmt/format.h>

#include <algorithm>

#include "sim/error.h"

namespace checker {

const FindingClassInfo& info(FindingClass c) {
  static constexpr std::array<FindingClassInfo, kFindingClasses> kInfo{{
      {"late_unmap", "DMA unmapped for a device whose driver is gone"},
      {"late_dma_api", "DMA mapped or synced for a device whose driver is gone"},
      {"null_domain_oops", "the unmap found no IOMMU domain any more: NULL dereference"},
      {"oops", "the modelled kernel oopsed"},
      {"kernel_warning", "the modelled kernel warned"},
      {"iommu_fault", "the IOMMU refused an access of a device"},
      {"stale_iotlb", "an access went through an IOTLB entry that the page table no longer has"},
      {"dma_not_owned", "a device wrote into memory that is not its buffer any more"},
      {"foreign_unmap", "an unmap hit somebody else's mapping"},
      {"double_unmap", "an unmap of something that is not mapped"},
      {"use_after_free", "a page, pool or device was used after it was freed"},
      {"pool_misuse", "a page was returned to a pool twice, or to one it does not belong to"},
      {"leaked_page", "a page never came back to its destroyed pool"},
      {"leaked_mapping", "a mapping outlived its driver for good"},
      {"leaked_iova", "an IOVA that nobody can free any more"},
      {"bh_off", "bottom halves were off for longer than the bound"},
      {"lock_held", "a lock was held for longer than the bound"},
      {"stalled_shutdown", "a destroyed pool did not end within the bound"},
      {"lost_packet", "a frame was neither delivered nor counted as dropped"},
      {"deadlock", "a core spins for a lock that nobody will release"},
      {"livelock", "code runs on and on and gets nowhere"},
      {"lost_wakeup", "a task sleeps, and nothing is left that would wake it"},
      {"lock_order", "two locks are taken in both orders"},
      {"data_race", "two cores access a plain field, one writes, and nothing orders them"},
  }};
  return kInfo[static_cast<std::size_t>(c)];
}

Finding& FindingLog::hit(FindingClass kind, std::uint64_t key, sim::Tick now, bool& fresh) {
  ++counts_[static_cast<std::size_t>(kind)];
  fresh = false;
  const auto is = [&](std::size_t i) { return keys_[i].kind == kind && keys_[i].key == key; };
  if (last_ >= keys_.size() || !is(last_)) {
    for (last_ = 0; last_ < keys_.size() && !is(last_);) ++last_;
  }
  if (last_ == keys_.size()) {
    fresh = true;
    keys_.push_back({key, kind});
    findings_.push_back({kind, now, now, 0, {}, {}, {}, {}, {}, {}});
  }
  Finding& f = findings_[last_];
  ++f.count;
  f.last = now;
  return f;
}

void FindingLog::held(Finding& finding, std::string_view holder) {
  auto& all = finding.holders;
  auto at = std::ranges::find(all, holder, &Finding::HeldBy::holder);
  if (at == all.end()) at = all.insert(all.end(), {holder, 0});
  ++at->pages;
  for (; at != all.begin() && std::prev(at)->pages < at->pages; --at) std::iter_swap(at, std::prev(at));
}

std::string format_time(sim::Tick t) {
  struct Unit {
    sim::Tick ticks;
    const char* name;
  };
  static constexpr Unit kUnits[] = {{sim::kSecond, "s"},       {sim::kMillisecond, "ms"},
                                    {sim::kMicrosecond, "us"}, {sim::kNanosecond, "ns"},
                                    {sim::kPicosecond, "ps"},  {1, "fs"}};
  for (const Unit& u : kUnits) {
    if (t < u.ticks && u.ticks != 1) continue;
    std::string digits = fmt::format("{}", t / u.ticks);
    if (const sim::Tick rest = t % u.ticks; rest != 0) {
      std::string fraction = fmt::format("{}", u.ticks + rest).substr(1);
      while (fraction.back() == '0') fraction.pop_back();
      digits += "." + fraction;
    }
    return digits + " " + u.name;
  }
  return "0 s";
}

}  // namespace checker
