// SPDX-License-Identifier: Apache-2.0
// Memory of one conformance case: zero everywhere, sparse, with ranges that fault; logs 4-byte writes to a
// mailbox.
#pragma once
#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "iommu/memory.h"

namespace conform {

class CaseMemory final : public iommu::Memory {
 public:
  enum class FaultKind : char { kAccess = 'A', kCorrupt = 'C', kWrite = 'W' };

  void reset() {
    pages_.clear();
    faults_.clear();
    mailbox_ = mailbox_bytes_ = 0;
  }
  void set_mailbox(std::uint64_t address, std::uint64_t bytes) {
    mailbox_ = address;
    mailbox_bytes_ = bytes;
  }
  void add_fault(std::uint64_t address, std::uint64_t bytes, FaultKind kind) {
    faults_.push_back({address, bytes, kind});
  }
  void clear_faults() { faults_.clear(); }

  /// Accesses of the CPU: never fault.
  void poke(std::uint64_t address, const std::uint8_t* from, std::size_t bytes);
  void peek(std::uint64_t address, std::uint8_t* into, std::size_t bytes) const;

  iommu::MemoryStatus read(std::uint64_t address, std::span<std::uint8_t> into) override;
  iommu::MemoryStatus write(std::uint64_t address, std::span<const std::uint8_t> from) override;
  iommu::MemoryStatus compare_exchange(std::uint64_t address, unsigned bytes, std::uint64_t expected,
                                       std::uint64_t desired, bool& swapped) override;

  /// Where mailbox writes are appended as events.
  std::string* events = nullptr;

 private:
  using Page = std::array<std::uint8_t, 4096>;
  struct FaultRange {
    std::uint64_t address, bytes;
    FaultKind kind;
  };
  iommu::MemoryStatus check(std::uint64_t address, std::size_t bytes, bool write) const;
  std::unordered_map<std::uint64_t, std::unique_ptr<Page>> pages_;
  std::vector<FaultRange> faults_;
  std::uint64_t mailbox_ = 0, mailbox_bytes_ = 0;
};

}  // namespace conform
