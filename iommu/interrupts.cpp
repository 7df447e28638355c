// SPDX-License-Identifier: Apache-2.0
#include "iommu/interrupts.h"

#include <algorithm>

namespace iommu {

void Interrupts::reset() {
  ipsr_ = 0;
  icvec_ = 0;
  vectors_ = {};
  count_ = 0;
}

void Interrupts::raise(std::uint32_t ipsr_bit) {
  if ((ipsr_ & ipsr_bit) != 0) return;
  ipsr_ |= ipsr_bit;
  if (wired()) return;
  const unsigned v = vector_of(static_cast<unsigned>(std::countr_zero(ipsr_bit)));
  if (vectors_[v].masked) {
    vectors_[v].pending = true;
  } else {
    queue(v, ipsr_bit);
  }
}

void Interrupts::queue(unsigned v, std::uint32_t ipsr_bit) {
  for (std::size_t i = 0; i < count_; ++i) {
    if (queue_[i].vector == v && queue_[i].ipsr_bit == ipsr_bit) return;
  }
  // A cause whose vector was changed while its message waits keeps the earlier one only.
  if (count_ < queue_.size()) queue_[count_++] = {static_cast<std::uint8_t>(v), ipsr_bit};
}

void Interrupts::write_control(unsigned v, std::uint32_t value) {
  Vector& vector = vectors_[v];
  vector.masked = (value & 1) != 0;
  if (vector.masked) {
    // What has not left yet is remembered instead.
    const auto end = std::remove_if(queue_.begin(), queue_.begin() + count_, [&](const Message& m) {
      vector.pending = vector.pending || m.vector == v;
      return m.vector == v;
    });
    count_ = static_cast<std::size_t>(end - queue_.begin());
  } else if (vector.pending) {
    vector.pending = false;
    queue(v, 0);
  }
}

void Interrupts::clear(std::uint32_t ones, std::uint32_t still_asserted) {
  ipsr_ &= ~ones;
  for (unsigned i = 0; i < 4; ++i) {
    if ((ones & still_asserted & (1u << i)) != 0) raise(1u << i);
  }
}

void Interrupts::write_icvec(std::uint64_t value) {
  const std::uint64_t field = (std::uint64_t{1} << env_.config.vector_bits) - 1;
  std::uint64_t writable = field | (field << 4);
  if (env_.has(cap::kHpm)) writable |= field << 8;
  if (env_.has(cap::kAts)) writable |= field << 12;
  icvec_ = value & writable;
}

MemoryAccess& Interrupts::begin() {
  const Vector& v = vectors_[queue_[0].vector];
  std::copy(queue_.begin() + 1, queue_.begin() + count_, queue_.begin());
  --count_;
  access_.kind = MemoryAccess::Kind::kWrite;
  access_.address = v.address;
  access_.bytes = 4;
  store32(access_.data.data(), v.data, env_.big_endian());
  return access_;
}

std::uint32_t Interrupts::levels() const {
  std::uint32_t level = 0;
  for (unsigned i = 0; i < 4; ++i) {
    if ((ipsr_ & (1u << i)) != 0) level |= 1u << vector_of(i);
  }
  return level;
}

}  // namespace iommu
