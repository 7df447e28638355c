// SPDX-License-Identifier: Apache-2.0
// Wrong bits in DRAM, and what the error-correcting codes make of them. The SparseStore holds what was
// written; this holds, per 64-byte burst, which stored bits differ from it. For fault injection and for
// disturbed rows.
//
// A read takes the stored bits, wrong ones included, through the codes (mm/ecc.h): first the on-die code of
// each DDR5 device (device d of the four of a subchannel holds the bytes d, d + 4, ... of a burst), then
// SECDED over each 64-bit word. Correctable: the data are right and a count goes up; the bits stay wrong
// until they are rewritten (no scrubbing). Uncorrectable: the data come as they are and the access is
// *poisoned*. A write of a whole word puts it right; a write of a part reads the rest first, so a word that
// cannot be corrected stays poisoned.
//
// Cores of the modelled kernel write the SparseStore directly: a word whose content is no longer that of the
// moment of injection has been rewritten, and is right.
//
// Calling context: any. With no fault anywhere a test of empty() is all that it costs.
#pragma once
#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <span>

#include "mm/ecc.h"
#include "mm/sparse_store.h"
#include "sim/probe.h"

namespace mm {

struct EccConfig {
  bool secded = true;   ///< ECC devices and the controller's code; false: wrong bits pass unseen
  bool on_die = false;  ///< DDR5
};

/// An access that met wrong bits.
struct MemoryError {
  static constexpr const char* kName = "memory_error";
  sim::PhysAddr word;
  EccOutcome outcome;
  bool on_die;  ///< by the device's own code
};

class MemoryFaults {
 public:
  MemoryFaults(SparseStore& store, EccConfig config) : store_(store), config_(config) {}

  // Injection. Addresses outside the memory are a sim::Error.
  /// The stored data bit `bit` (0..7) of the byte at `address` becomes wrong (or right again).
  void flip(sim::PhysAddr address, unsigned bit);
  /// The check bit `bit` (0..7) of the SECDED word at `address`.
  void flip_check(sim::PhysAddr address, unsigned bit);
  /// The cell of the stored data bit holds `value` whatever is written, from now on. Without SECDED the store follows
  /// at the next access of the controller: cores read it wrong, too.
  void stick(sim::PhysAddr address, unsigned bit, bool value);
  /// Called the first time that a stuck cell holds something else than was written.
  void on_stuck(std::function<void()> call) { on_stuck_ = std::move(call); }
  /// Marks all words of the range as poisoned: poison that came with a write.
  void poison(sim::PhysAddr address, std::uint64_t length);

  bool empty() const { return bursts_.empty(); }

  /// What a read of the range meets; the worst of its words. `data` (may be null): `length` bytes as written,
  /// which become what the reader gets.
  EccOutcome read(sim::PhysAddr address, std::uint64_t length, std::uint8_t* data);
  /// Before a write of the range takes effect.
  void before_write(sim::PhysAddr address, std::uint64_t length);
  /// After it took effect: partly written words that stay poisoned remember their new content.
  void after_write(sim::PhysAddr address, std::uint64_t length);
  /// Whether a load of the range would be poisoned; counts nothing.
  bool poisoned(sim::PhysAddr address, std::uint64_t length) const;

  struct Counters {
    std::uint64_t flips = 0;             ///< injected
    std::uint64_t corrected_on_die = 0;  ///< device words
    std::uint64_t corrected = 0;         ///< words, by SECDED
    std::uint64_t uncorrectable = 0;     ///< words
    std::uint64_t silent = 0;            ///< words that were read wrong and nobody noticed
  };
  const Counters& counters() const { return counters_; }
  sim::Tracepoint<MemoryError> errors;

 private:
  static constexpr unsigned kWords = 8;
  struct Burst {
    std::array<std::uint64_t, kWords> flips{};
    std::array<std::uint64_t, kWords> content{};  // as written, when the fault came
    std::array<std::uint8_t, kWords> check{};     // flips of check bits
    std::array<bool, kWords> poisoned{};
    std::array<std::uint64_t, kWords> stuck{}, stuck_value{};
    bool wrong(unsigned w) const { return flips[w] != 0 || check[w] != 0 || poisoned[w] || stuck[w] != 0; }
  };
  /// What the controller has after the codes.
  struct Decoded {
    std::array<std::uint64_t, kWords> data;
    std::array<EccOutcome, kWords> outcome;
    unsigned on_die = 0;  // device words corrected
  };

  Burst& burst_of(sim::PhysAddr address);
  std::uint64_t stored(std::uint64_t burst, unsigned word) const;
  void forget_rewritten(std::uint64_t burst, Burst& b) const;
  void apply_stuck(std::uint64_t burst, Burst& b);
  Decoded decode(std::uint64_t burst, const Burst& b) const;

  SparseStore& store_;
  EccConfig config_;
  std::map<std::uint64_t, Burst> bursts_;  // by address / 64
  Counters counters_;
  std::function<void()> on_stuck_;
};

}  // namespace mm
