// SPDX-License-Identifier: Apache-2.0
#include "nic/device/descriptor_queue.h"

#include <algorithm>
#include <cstring>

namespace nic {

DescriptorQueue::DescriptorQueue(RegisterFile& regs, unsigned index, bool transmit, std::uint32_t depth)
    : regs_(regs),
      index_(index),
      transmit_(transmit),
      base_reg_(transmit ? reg::TDBAL(index) : reg::RDBAL(index)),
      depth_(depth),
      mask_(depth - 1),
      cache_(depth) {
  reset();
}

DescriptorQueue::Fetch DescriptorQueue::next_fetch(std::uint32_t burst_bytes,
                                                   std::uint32_t read_request_bytes) const {
  if (!may_fetch()) return {0, 0, 0, false};
  const std::uint32_t host = posted();
  const bool demand = requested_ == used_;
  const std::uint64_t address = address_of(fetch_index_);
  const std::uint32_t limit = std::min(burst_bytes, read_request_bytes);
  const auto to_line_end = static_cast<std::uint32_t>(limit - (address & (limit - 1))) / 16;
  const std::uint32_t count =
      std::min({host, depth_ - on_chip(), std::max(to_line_end, 1u), ring_size() - fetch_index_});
  return {address, count, requested_, demand};
}

void DescriptorQueue::fetch_issued(const Fetch& fetch) {
  for (std::uint32_t i = 0; i < fetch.count; ++i) {
    Entry& e = cache_[(requested_ + i) & mask_];
    e.arrived = e.report = false;
    e.index = fetch_index_ + i;
  }
  requested_ += fetch.count;
  fetch_index_ += fetch.count;
  if (fetch_index_ >= ring_size()) fetch_index_ = 0;
  ++reads_in_flight_;
}

bool DescriptorQueue::fetch_arrived(std::uint32_t generation, std::uint32_t first, std::uint32_t count,
                                    const std::uint8_t* data) {
  if (generation != generation_) return false;
  --reads_in_flight_;
  if (disabling_) return false;
  for (std::uint32_t i = 0; i < count; ++i) {
    Entry& e = cache_[(first + i) & mask_];
    std::memcpy(&e.qw0, data + 16 * i, 8);
    std::memcpy(&e.qw1, data + 16 * i + 8, 8);
    e.arrived = true;
  }
  // Completions of different requests may pass each other; descriptors are used in order.
  while (fetched_ != requested_ && cache_[fetched_ & mask_].arrived) ++fetched_;
  return true;
}

void DescriptorQueue::fetch_failed(std::uint32_t generation) {
  if (generation != generation_) return;
  --reads_in_flight_;
  stopped_ = true;
}

void DescriptorQueue::write_tail(std::uint16_t tail) {
  regs_[base_reg_ + 0x18] = tail;
  if (enabled_ && !disabling_) tail_ = tail;
}

void DescriptorQueue::write_head(std::uint16_t head) {
  // The head belongs to the hardware while it holds descriptors.
  if (on_chip() != 0) return;
  regs_[base_reg_ + 0x10] = head;
  fetch_index_ = head;
}

void DescriptorQueue::enable() {
  if (enabled_ && !disabling_) return;
  if (disabling_) finish_disable();
  enabled_ = true;
  regs_[base_reg_ + 0x28] |= dctl::ENABLE;
  fetch_index_ = head();
  tail_ = fetch_index_;  // a tail written while disabled does not count
}

void DescriptorQueue::begin_disable() {
  if (enabled_) disabling_ = true;
}

std::uint32_t DescriptorQueue::forget() {
  const std::uint32_t lost = fetched_ - used_;
  requested_ = fetched_ = used_ = written_ = 0;
  reads_in_flight_ = 0;
  stopped_ = disabling_ = false;
  ++generation_;
  return lost;
}

std::uint32_t DescriptorQueue::finish_disable() {
  const std::uint32_t lost = forget();
  enabled_ = false;
  regs_[base_reg_ + 0x28] &= ~dctl::ENABLE;
  return lost;
}

std::uint32_t DescriptorQueue::reset() {
  const std::uint32_t lost = forget();
  enabled_ = (control() & dctl::ENABLE) != 0;
  fetch_index_ = head();
  tail_ = fetch_index_;
  return lost;
}

}  // namespace nic
