// SPDX-License-Identifier: Apache-2.0
#include "mm/memory_faults.h"

#include <utility>

#include <fmt/format.h>

#include <algorithm>

#include "sim/error.h"

namespace mm {
namespace {

constexpr unsigned kDevices = 4;  // of a DDR5 subchannel

/// The 128 bits that device `d` holds of a burst, and back.
OnDieSec::Word gather(const std::array<std::uint64_t, 8>& burst, unsigned d) {
  OnDieSec::Word word{};
  for (unsigned i = 0; i < 16; ++i) {
    const unsigned byte = i * kDevices + d;
    word[i / 8] |= (burst[byte / 8] >> byte % 8 * 8 & 0xff) << i % 8 * 8;
  }
  return word;
}
void scatter(std::array<std::uint64_t, 8>& burst, unsigned d, const OnDieSec::Word& word) {
  for (unsigned i = 0; i < 16; ++i) {
    const unsigned byte = i * kDevices + d;
    burst[byte / 8] &= ~(std::uint64_t{0xff} << byte % 8 * 8);
    burst[byte / 8] |= (word[i / 8] >> i % 8 * 8 & 0xff) << byte % 8 * 8;
  }
}

}  // namespace

std::uint64_t MemoryFaults::stored(std::uint64_t burst, unsigned word) const {
  return store_.load<std::uint64_t>(sim::PhysAddr(burst * 64 + word * 8));
}

MemoryFaults::Burst& MemoryFaults::burst_of(sim::PhysAddr address) {
  if (!store_.contains(address)) throw sim::Error(fmt::format("no memory at {:#x}", address.value));
  const std::uint64_t n = address.value / 64;
  const auto [place, fresh] = bursts_.try_emplace(n);
  if (!fresh) forget_rewritten(n, place->second);
  for (unsigned w = 0; w < kWords; ++w) place->second.content[w] = stored(n, w);
  return place->second;
}

void MemoryFaults::flip(sim::PhysAddr address, unsigned bit) {
  POOLSIM_ASSERT(bit < 8);
  const auto byte = static_cast<unsigned>(address.value % 64);
  burst_of(address).flips[byte / 8] ^= std::uint64_t{1} << (byte % 8 * 8 + bit);
  ++counters_.flips;
}

void MemoryFaults::stick(sim::PhysAddr address, unsigned bit, bool value) {
  POOLSIM_ASSERT(bit < 8);
  const auto byte = static_cast<unsigned>(address.value % 64);
  Burst& b = burst_of(address);
  const std::uint64_t mask = std::uint64_t{1} << (byte % 8 * 8 + bit);
  b.stuck[byte / 8] |= mask;
  b.stuck_value[byte / 8] = (b.stuck_value[byte / 8] & ~mask) | (value ? mask : 0);
  ++counters_.flips;
  apply_stuck(address.value / 64, b);
}

void MemoryFaults::apply_stuck(std::uint64_t n, Burst& b) {
  for (unsigned w = 0; w < kWords; ++w) {
    if (b.stuck[w] == 0) continue;
    const std::uint64_t wrong = (stored(n, w) ^ b.stuck_value[w]) & b.stuck[w];
    if (config_.secded) {
      b.flips[w] = (b.flips[w] & ~b.stuck[w]) | wrong;
    } else if (wrong != 0) {
      store_.store<std::uint64_t>(sim::PhysAddr(n * 64 + w * 8), stored(n, w) ^ wrong);
    }
    b.content[w] = stored(n, w);
    if (wrong != 0 && on_stuck_) std::exchange(on_stuck_, nullptr)();
  }
}

void MemoryFaults::flip_check(sim::PhysAddr address, unsigned bit) {
  POOLSIM_ASSERT(bit < 8);
  burst_of(address).check[address.value % 64 / 8] ^= static_cast<std::uint8_t>(1u << bit);
  ++counters_.flips;
}

void MemoryFaults::poison(sim::PhysAddr address, std::uint64_t length) {
  for (std::uint64_t a = address.value / 8 * 8; a < address.value + length; a += 8) {
    burst_of(sim::PhysAddr(a)).poisoned[a % 64 / 8] = true;
  }
}

void MemoryFaults::forget_rewritten(std::uint64_t n, Burst& b) const {
  for (unsigned w = 0; w < kWords; ++w) {
    if (!b.wrong(w) || stored(n, w) == b.content[w]) continue;
    b.flips[w] = 0;
    b.check[w] = 0;
    b.poisoned[w] = false;
  }
}

MemoryFaults::Decoded MemoryFaults::decode(std::uint64_t n, const Burst& b) const {
  Decoded d{};
  std::array<std::uint64_t, kWords> written;
  for (unsigned w = 0; w < kWords; ++w) {
    written[w] = stored(n, w);
    d.data[w] = written[w] ^ b.flips[w];
  }
  for (unsigned device = 0; config_.on_die && device < kDevices; ++device) {
    OnDieSec::Word word = gather(d.data, device);
    if (OnDieSec::decode(word, OnDieSec::encode(gather(written, device))) == EccOutcome::kClean) continue;
    scatter(d.data, device, word);
    ++d.on_die;
  }
  for (unsigned w = 0; w < kWords; ++w) {
    auto check = static_cast<std::uint8_t>(SecDed::encode(written[w]) ^ b.check[w]);
    d.outcome[w] = config_.secded ? SecDed::decode(d.data[w], check) : EccOutcome::kClean;
    if (b.poisoned[w]) d.outcome[w] = EccOutcome::kUncorrectable;
  }
  return d;
}

EccOutcome MemoryFaults::read(sim::PhysAddr address, std::uint64_t length, std::uint8_t* data) {
  EccOutcome worst = EccOutcome::kClean;
  const std::uint64_t end = address.value + length;
  for (auto i = bursts_.lower_bound(address.value / 64); i != bursts_.end() && i->first * 64 < end; ++i) {
    const std::uint64_t n = i->first;
    forget_rewritten(n, i->second);
    apply_stuck(n, i->second);
    const Decoded d = decode(n, i->second);
    counters_.corrected_on_die += d.on_die;
    if (d.on_die != 0) errors.emit({sim::PhysAddr(n * 64), EccOutcome::kCorrected, true});
    for (unsigned w = 0; w < kWords; ++w) {
      const std::uint64_t at = n * 64 + w * 8;
      if (at + 8 <= address.value || at >= end) continue;
      worst = std::max(worst, d.outcome[w]);
      counters_.corrected += d.outcome[w] == EccOutcome::kCorrected;
      counters_.uncorrectable += d.outcome[w] == EccOutcome::kUncorrectable;
      counters_.silent += d.outcome[w] != EccOutcome::kUncorrectable && d.data[w] != stored(n, w);
      if (d.outcome[w] != EccOutcome::kClean) errors.emit({sim::PhysAddr(at), d.outcome[w], false});
      for (unsigned k = 0; data != nullptr && k < 8; ++k) {
        if (at + k < address.value || at + k >= end) continue;
        data[at + k - address.value] = static_cast<std::uint8_t>(d.data[w] >> k * 8);
      }
    }
  }
  return worst;
}

void MemoryFaults::before_write(sim::PhysAddr address, std::uint64_t length) {
  const std::uint64_t end = address.value + length;
  for (auto i = bursts_.lower_bound(address.value / 64); i != bursts_.end() && i->first * 64 < end;) {
    const std::uint64_t n = i->first;
    Burst& b = i->second;
    forget_rewritten(n, b);
    apply_stuck(n, b);
    const Decoded d = decode(n, b);
    bool any = false;
    for (unsigned w = 0; w < kWords; ++w) {
      const std::uint64_t at = n * 64 + w * 8;
      const bool touched = at + 8 > address.value && at < end, whole = at >= address.value && at + 8 <= end;
      if (touched && (whole || d.outcome[w] != EccOutcome::kUncorrectable)) {
        b.flips[w] = 0;
        b.check[w] = 0;
        b.poisoned[w] = false;
      } else if (touched) {
        b.poisoned[w] = true;
      }
      any |= b.wrong(w);
    }
    i = any ? std::next(i) : bursts_.erase(i);
  }
}

void MemoryFaults::after_write(sim::PhysAddr address, std::uint64_t length) {
  const std::uint64_t end = address.value + length;
  for (auto i = bursts_.lower_bound(address.value / 64); i != bursts_.end() && i->first * 64 < end; ++i) {
    for (unsigned w = 0; w < kWords; ++w) i->second.content[w] = stored(i->first, w);
    apply_stuck(i->first, i->second);
  }
}

bool MemoryFaults::poisoned(sim::PhysAddr address, std::uint64_t length) const {
  const std::uint64_t end = address.value + length;
  for (auto i = bursts_.lower_bound(address.value / 64); i != bursts_.end() && i->first * 64 < end; ++i) {
    Burst b = i->second;
    forget_rewritten(i->first, b);
    const Decoded d = decode(i->first, b);
    for (unsigned w = 0; w < kWords; ++w) {
      const std::uint64_t at = i->first * 64 + w * 8;
      if (at + 8 > address.value && at < end && d.outcome[w] == EccOutcome::kUncorrectable) return true;
    }
  }
  return false;
}

}  // namespace mm
