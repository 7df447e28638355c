// SPDX-License-Identifier: Apache-2.0
#include "iommu/queues.h"

namespace iommu {

void RecordQueue::reset() {
  regs = {};
  first_ = count_ = 0;
  in_flight_ = false;
}

void RecordQueue::write_csr(std::uint32_t value) {
  const bool was = regs.has(qcsr::kEnable), enable = (value & qcsr::kEnable) != 0;
  regs.csr &= ~(value & (qcsr::kMemoryFault | qcsr::kOverflow));
  regs.csr = (regs.csr & ~(qcsr::kEnable | qcsr::kInterruptEnable)) |
             (value & (qcsr::kEnable | qcsr::kInterruptEnable));
  if (enable && !was && !regs.has(qcsr::kBusy)) {
    regs.tail = 0;
    regs.csr &= ~(qcsr::kMemoryFault | qcsr::kOverflow);
    regs.csr |= qcsr::kOn;
  } else if (!enable && was) {
    // A write under way ends first; until then the queue reads as on and busy.
    count_ = in_flight_ ? 1 : 0;
    regs.csr = in_flight_ ? regs.csr | qcsr::kBusy : regs.csr & ~qcsr::kOn;
  }
}

void RecordQueue::set_error(std::uint32_t flag) {
  regs.csr |= flag;
  interrupt();
}

bool RecordQueue::push(const Record& record) {
  if (!accepts()) return false;
  // Records that wait count as stored: software sees an overflow as soon as it is certain.
  if (((regs.tail + 1 + count_) & regs.index_mask()) == regs.head || count_ == buffer_.size() ||
      count_ >= regs.index_mask()) {
    set_error(qcsr::kOverflow);
    return false;
  }
  buffer_[(first_ + count_++) % buffer_.size()] = record;
  return true;
}

MemoryAccess* RecordQueue::begin() {
  if (!regs.on() || regs.has(qcsr::kMemoryFault)) {
    count_ = 0;
    return nullptr;
  }
  in_flight_ = true;
  access_.kind = MemoryAccess::Kind::kWrite;
  access_.address = regs.address() + std::uint64_t{regs.tail} * record_bytes_;
  access_.bytes = static_cast<std::uint8_t>(record_bytes_);
  for (unsigned i = 0; i < record_bytes_ / 8; ++i) {
    store64(access_.data.data() + 8 * i, buffer_[first_][i], env_.big_endian());
  }
  return &access_;
}

void RecordQueue::supply(MemoryStatus status) {
  in_flight_ = false;
  if (status != MemoryStatus::kOk) {
    count_ = 0;
    set_error(qcsr::kMemoryFault);
  } else {
    first_ = (first_ + 1) % buffer_.size();
    --count_;
    regs.tail = (regs.tail + 1) & regs.index_mask();
    interrupt();
  }
  regs.csr &= ~qcsr::kBusy;
  if (!regs.has(qcsr::kEnable)) regs.csr &= ~qcsr::kOn;
}

}  // namespace iommu
