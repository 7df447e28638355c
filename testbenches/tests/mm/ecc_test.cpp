// SPDX-License-Identifier: Apache-2.0
// The codes, wrong bits in memory, and disturbed rows.
#include "mm/ecc.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>

#include "mm/memory_faults.h"
#include "mm/row_disturbance.h"
#include "sim/random.h"

namespace {

using mm::EccOutcome;
using sim::PhysAddr;

constexpr PhysAddr kBase(0x8000'0000);

TEST(SecDed, CorrectsEveryBitAndDetectsEveryPair) {
  const std::uint64_t data = 0x0123'4567'89ab'cdef;
  const std::uint8_t check = mm::SecDed::encode(data);
  const auto flipped = [&](std::uint64_t& d, std::uint8_t& c, unsigned bit) {
    if (bit < 64) d ^= std::uint64_t{1} << bit;
    if (bit >= 64) c ^= static_cast<std::uint8_t>(1u << (bit - 64));
  };
  for (unsigned a = 0; a < 72; ++a) {
    std::uint64_t d = data;
    std::uint8_t c = check;
    flipped(d, c, a);
    EXPECT_EQ(mm::SecDed::decode(d, c), EccOutcome::kCorrected) << a;
    EXPECT_EQ(d, data);
    EXPECT_EQ(c, a < 64 ? c : check);
    for (unsigned b = a + 1; b < 72; ++b) {
      d = data;
      c = check;
      flipped(d, c, a);
      flipped(d, c, b);
      ASSERT_EQ(mm::SecDed::decode(d, c), EccOutcome::kUncorrectable) << a << " " << b;
    }
  }
}

TEST(SecDed, ColumnsAreOddAndDifferent) {
  std::set<unsigned> columns;
  for (unsigned bit = 0; bit < 64; ++bit) {
    const unsigned column = mm::SecDed::encode(std::uint64_t{1} << bit);
    EXPECT_EQ(std::popcount(column) % 2, 1);
    EXPECT_GE(std::popcount(column), 3);
    columns.insert(column);
  }
  EXPECT_EQ(columns.size(), 64u);
}

TEST(OnDieSec, CorrectsEveryBitAndMayMakeTwoErrorsThree) {
  const mm::OnDieSec::Word data{0xfeed'face'cafe'beef, 0x1357'9bdf'0246'8ace};
  const std::uint8_t check = mm::OnDieSec::encode(data);
  unsigned three = 0, two = 0;
  for (unsigned a = 0; a < 128; ++a) {
    mm::OnDieSec::Word word = data;
    word[a / 64] ^= std::uint64_t{1} << a % 64;
    EXPECT_EQ(mm::OnDieSec::decode(word, check), EccOutcome::kCorrected);
    EXPECT_EQ(word, data);
    for (unsigned b = a + 1; b < 128; ++b) {
      word = data;
      word[a / 64] ^= std::uint64_t{1} << a % 64;
      word[b / 64] ^= std::uint64_t{1} << b % 64;
      mm::OnDieSec::decode(word, check);
      const int wrong = std::popcount(word[0] ^ data[0]) + std::popcount(word[1] ^ data[1]);
      three += wrong == 3;
      two += wrong == 2;
    }
  }
  EXPECT_GT(three, 0u);
  EXPECT_GT(two, 0u);
  EXPECT_EQ(three + two, 128u * 127 / 2);
}

struct Memory {
  explicit Memory(mm::EccConfig config) : faults(store, config) {
    for (unsigned i = 0; i < 64; ++i)
      store.store<std::uint8_t>(kBase + i, static_cast<std::uint8_t>(i * 7 + 1));
  }
  std::vector<std::uint8_t> written() {
    std::vector<std::uint8_t> data(64);
    store.read(kBase, data);
    return data;
  }
  EccOutcome read(std::vector<std::uint8_t>& data) {
    data = written();
    return faults.read(kBase, 64, data.data());
  }
  mm::SparseStore store{kBase, 1 << 20};
  mm::MemoryFaults faults;
  std::vector<std::uint8_t> data;
};

TEST(MemoryFaults, OneBitOfAWordIsCorrectedTwoPoison) {
  Memory m({.secded = true, .on_die = false});
  m.faults.flip(kBase + 3, 5);
  EXPECT_EQ(m.read(m.data), EccOutcome::kCorrected);
  EXPECT_EQ(m.data, m.written());
  m.faults.flip(kBase + 9, 0);  // another word
  EXPECT_EQ(m.read(m.data), EccOutcome::kCorrected);
  m.faults.flip_check(kBase, 2);  // and the second of the first
  EXPECT_EQ(m.read(m.data), EccOutcome::kUncorrectable);
  EXPECT_EQ(m.data[3], m.written()[3] ^ 0x20);
  EXPECT_TRUE(m.faults.poisoned(kBase, 1));
  EXPECT_FALSE(m.faults.poisoned(kBase + 8, 56));
  EXPECT_EQ(m.faults.counters().corrected, 4u);
  EXPECT_EQ(m.faults.counters().uncorrectable, 1u);
  EXPECT_THROW(m.faults.flip(kBase + (2 << 20), 0), sim::Error);
}

TEST(MemoryFaults, WithoutCodesWrongBitsPassInSilence) {
  Memory m({.secded = false, .on_die = false});
  m.faults.flip(kBase + 3, 5);
  EXPECT_EQ(m.read(m.data), EccOutcome::kClean);
  EXPECT_EQ(m.data[3], m.written()[3] ^ 0x20);
  EXPECT_EQ(m.faults.counters().silent, 1u);
}

TEST(MemoryFaults, OnDieCodeCorrectsOneBitOfEachDevice) {
  Memory m({.secded = false, .on_die = true});
  for (unsigned device = 0; device < 4; ++device) m.faults.flip(kBase + 20 + device, 1);
  EXPECT_EQ(m.read(m.data), EccOutcome::kClean);
  EXPECT_EQ(m.data, m.written());
  EXPECT_EQ(m.faults.counters().corrected_on_die, 4u);
  // Two bits of one device are more than it can, and nobody says so.
  m.faults.flip(kBase + 40, 1);
  m.read(m.data);
  EXPECT_NE(m.data, m.written());
  EXPECT_GT(m.faults.counters().silent, 0u);
}

TEST(MemoryFaults, WritesOfWholeWordsHealPartsDoNot) {
  Memory m({.secded = true, .on_die = false});
  const auto write = [&](unsigned offset, unsigned length) {
    m.faults.before_write(kBase + offset, length);
    for (unsigned i = 0; i < length; ++i) m.store.store<std::uint8_t>(kBase + offset + i, 0xee);
    m.faults.after_write(kBase + offset, length);
  };
  m.faults.flip(kBase + 8, 0);
  m.faults.flip(kBase + 9, 0);
  write(8, 4);
  EXPECT_TRUE(m.faults.poisoned(kBase + 8, 8));
  write(8, 8);
  EXPECT_TRUE(m.faults.empty());
  m.faults.flip(kBase + 8, 0);
  write(9, 1);  // read, corrected, written
  EXPECT_TRUE(m.faults.empty());
  // A core writes the store itself.
  m.faults.flip(kBase + 16, 0);
  m.faults.flip(kBase + 17, 0);
  m.store.store<std::uint64_t>(kBase + 16, 1);
  EXPECT_FALSE(m.faults.poisoned(kBase + 16, 8));
  m.faults.poison(kBase + 20, 8);
  EXPECT_TRUE(m.faults.poisoned(kBase + 16, 1));
  EXPECT_TRUE(m.faults.poisoned(kBase + 24, 1));
  EXPECT_FALSE(m.faults.poisoned(kBase + 32, 1));
}

TEST(RowDisturbance, NeighboursCountUntilTheyAreRestored) {
  using enum mm::DramCommand;
  const auto& t = mm::dram_standard("DDR4-2400R");
  std::vector<std::uint32_t> victims;
  mm::RowDisturbance d(t, 1, 3, [&](const mm::DramAddress& v) { victims.push_back(v.row); });
  const auto act = [&](std::uint32_t row) { d.on_command({0, kAct, 0, 1, 2, row}); };
  const auto count = [&](std::uint32_t row) { return d.count({.bank_group = 1, .bank = 2, .row = row}); };
  act(100);
  act(100);
  EXPECT_EQ(count(99), 2u);
  EXPECT_EQ(count(101), 2u);
  EXPECT_EQ(count(100), 0u);
  act(101);  // restores itself, disturbs 100 and 102
  EXPECT_EQ(count(101), 0u);
  act(100);
  EXPECT_THAT(victims, ::testing::ElementsAre(99));
  EXPECT_EQ(count(101), 1u);
  act(0);
  act(65535);
  EXPECT_EQ(count(1), 1u);
  // The first REF takes the rows 0..7 of every bank.
  d.on_command({0, kRef, 0, 0, 0, 0});
  EXPECT_EQ(count(1), 0u);
  EXPECT_EQ(count(65534), 1u);
  for (unsigned i = 1; i < 8192; ++i) d.on_command({0, kRef, 0, 0, 0, 0});
  EXPECT_EQ(count(65534), 0u);
  EXPECT_EQ(count(101), 0u);
}

}  // namespace
