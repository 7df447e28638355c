// SPDX-License-Identifier: Apache-2.0
#include "testbenches/explore/history.h"

#include <algorithm>

#include "testbenches/checker/checker.h"

namespace explore {

History::History(platform::Machine& machine) : kernel_(machine.kernel()) {
  machine.memory_trace().page_freed.subscribe(
      [this](const mm::PageFreed& e) { note("freed", e.pfn.value, 0); });
  kernel_.trace().dma_unmapped.subscribe(
      [this](const kernel::DmaUnmapped& e) { note("unmapped", sim::to_pfn(e.phys).value, 0); });
  pagepool::Trace& pools = machine.pools().trace();
  pools.state_release.subscribe(
      [this](const pagepool::StateRelease& e) { note("released by its pool", e.pfn.value, 0); });
  pools.destroyed.subscribe([this](const pagepool::Destroyed& e) { note("destroyed", 0, e.pool); });
  pools.freed.subscribe([this](const pagepool::PoolFreed& e) { note("freed", 0, e.pool); });
}

void History::note(const char* what, std::uint64_t pfn, unsigned pool) {
  if (!kernel::in_kernel_code()) return;
  const kernel::Context& cpu = kernel::this_cpu();
  const kernel::CallChain chain = cpu.call_chain();
  Event& e = events_[noted_++ % kEvents];
  e = {cpu.now(),      what,      pfn,
       pool,           cpu.cpu(), static_cast<unsigned>(std::min<std::size_t>(kDepth, chain.size())),
       &cpu.current(), {}};
  std::copy_n(chain.begin(), e.depth, e.chain.begin());
}

std::string History::text(const Event& e) const {
  const sim::Tick now = kernel_.now();
  const sim::Cycle cycles = kernel_.config().clock.cycles(now > e.time ? now - e.time : 0);
  return fmt::format("{} was {} {} cycles before by {} on core {}: {}",
                     e.pfn != 0 ? fmt::format("page {:#x}", e.pfn) : fmt::format("pool {}", e.pool), e.what,
                     cycles, e.task->name(), e.cpu, checker::chain_text({e.chain.data(), e.depth}));
}

std::string History::before(const checker::Finding& finding) const {
  const kernel::Task* const me = kernel::in_kernel_code() ? &kernel::this_cpu().current() : nullptr;
  const std::uint64_t pfn = finding.samples.empty() ? 0 : finding.samples.front().pfn;
  const bool of_pools = finding.kind == checker::FindingClass::kUseAfterFree ||
                        finding.kind == checker::FindingClass::kPoolMisuse ||
                        finding.kind == checker::FindingClass::kKernelWarning;
  std::string page, pool;
  for (std::uint64_t i = noted_; i-- > 0 && noted_ - i <= kEvents;) {
    const Event& e = events_[i % kEvents];
    if (e.task == me) continue;
    if (page.empty() && e.pfn != 0 && e.pfn == pfn) page = text(e);
    if (pool.empty() && of_pools && e.pool != 0) pool = text(e);
  }
  return page.empty() || pool.empty() ? page + pool : page + "; " + pool;
}

}  // namespace explore
