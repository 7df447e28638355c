// SPDX-License-Identifier: Apache-2.0
#include "testbenches/conform/case_memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace conform {

using iommu::MemoryStatus;

void CaseMemory::poke(std::uint64_t address, const std::uint8_t* from, std::size_t bytes) {
  while (bytes > 0) {
    const std::size_t offset = address & 4095, n = std::min<std::size_t>(bytes, 4096 - offset);
    auto& page = pages_[address >> 12];
    if (!page) page = std::make_unique<Page>(Page{});
    std::memcpy(page->data() + offset, from, n);
    address += n;
    from += n;
    bytes -= n;
  }
}

void CaseMemory::peek(std::uint64_t address, std::uint8_t* into, std::size_t bytes) const {
  while (bytes > 0) {
    const std::size_t offset = address & 4095, n = std::min<std::size_t>(bytes, 4096 - offset);
    const auto page = pages_.find(address >> 12);
    if (page == pages_.end()) {
      std::memset(into, 0, n);
    } else {
      std::memcpy(into, page->second->data() + offset, n);
    }
    address += n;
    into += n;
    bytes -= n;
  }
}

MemoryStatus CaseMemory::check(std::uint64_t address, std::size_t bytes, bool write) const {
  for (const FaultRange& f : faults_) {
    if (address + bytes <= f.address || f.address + f.bytes <= address) continue;
    if (f.kind == FaultKind::kAccess || (f.kind == FaultKind::kWrite && write))
      return MemoryStatus::kAccessFault;
    if (f.kind == FaultKind::kCorrupt && !write) return MemoryStatus::kPoison;
  }
  return MemoryStatus::kOk;
}

MemoryStatus CaseMemory::read(std::uint64_t address, std::span<std::uint8_t> into) {
  const MemoryStatus status = check(address, into.size(), false);
  if (status == MemoryStatus::kOk) peek(address, into.data(), into.size());
  return status;
}

MemoryStatus CaseMemory::write(std::uint64_t address, std::span<const std::uint8_t> from) {
  const MemoryStatus status = check(address, from.size(), true);
  if (status != MemoryStatus::kOk) return status;
  poke(address, from.data(), from.size());
  if (from.size() == 4 && address - mailbox_ < mailbox_bytes_ && events != nullptr) {
    *events += fmt::format(" ; w{:x}={:02x}{:02x}{:02x}{:02x}", address, from[0], from[1], from[2], from[3]);
  }
  return status;
}

MemoryStatus CaseMemory::compare_exchange(std::uint64_t address, unsigned bytes, std::uint64_t expected,
                                          std::uint64_t desired, bool& swapped) {
  MemoryStatus status = check(address, bytes, false);
  if (status == MemoryStatus::kOk) status = check(address, bytes, true);
  if (status != MemoryStatus::kOk) return status;
  std::uint64_t now = 0;
  peek(address, reinterpret_cast<std::uint8_t*>(&now), bytes);
  swapped = now == expected;
  if (swapped) poke(address, reinterpret_cast<const std::uint8_t*>(&desired), bytes);
  return status;
}

}  // namespace conform
