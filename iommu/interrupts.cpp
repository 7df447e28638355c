// SPDX-License-Identifier: Apache-2.0
#include "iommu/interrupts.h"

namespace iommu {

void Interrupts::reset() {
  ipsr_ = 0;
  icvec_ = 0;
  vectors_ = {};
}

void Interrupts::raise(std::uint32_t ipsr_bit) {
  if ((ipsr_ & ipsr_bit) != 0) return;
  ipsr_ |= ipsr_bit;
  if (!wired()) vectors_[vector_of(static_cast<unsigned>(std::countr_zero(ipsr_bit)))].pending = true;
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

bool Interrupts::pending() const {
  for (const Vector& v : vectors_) {
    if (v.pending && !v.masked) return true;
  }
  return false;
}

MemoryAccess& Interrupts::begin() {
  for (Vector& v : vectors_) {
    if (!v.pending || v.masked) continue;
    v.pending = false;
    access_.kind = MemoryAccess::Kind::kWrite;
    access_.address = v.address;
    access_.bytes = 4;
    store32(access_.data.data(), v.data, env_.big_endian());
    break;
  }
  return access_;
}

std::uint32_t Interrupts::wires() const {
  std::uint32_t level = 0;
  if (!wired()) return level;
  for (unsigned i = 0; i < 4; ++i) {
    if ((ipsr_ & (1u << i)) != 0) level |= 1u << vector_of(i);
  }
  return level;
}

}  // namespace iommu
