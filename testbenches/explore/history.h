// SPDX-License-Identifier: Apache-2.0
// What happened lately to pages and pools, by whom and where: the other side of a finding has often gone on
// by the time it shows.
#pragma once
#include <array>
#include <string>

#include "platform/machine.h"
#include "testbenches/checker/finding.h"

namespace explore {

class History {
 public:
  explicit History(platform::Machine& machine);
  /// "page 0x80048 was unmapped 1234 cycles before by unbind on core 0: dma_unmap_page_attrs <- ...": the
  /// last that another task did to the page of the finding, or to the pool of a page that is used after it;
  /// "" if nothing.
  std::string before(const checker::Finding& finding) const;

 private:
  static constexpr unsigned kEvents = 256, kDepth = 8;
  struct Event {
    sim::Tick time = 0;
    const char* what = nullptr;
    std::uint64_t pfn = 0;  ///< 0: not of a page
    unsigned pool = 0;      ///< 0: not of a pool
    unsigned cpu = 0, depth = 0;
    const kernel::Task* task = nullptr;
    std::array<const char*, kDepth> chain{};
  };
  void note(const char* what, std::uint64_t pfn, unsigned pool);
  std::string text(const Event& event) const;

  kernel::Kernel& kernel_;
  std::array<Event, kEvents> events_{};  // a ring
  std::uint64_t noted_ = 0;
};

}  // namespace explore
