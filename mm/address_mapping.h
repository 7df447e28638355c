// SPDX-License-Identifier: Apache-2.0
// Which address bit selects what in the DRAM, as a list from the least significant bit after the 6 bits of a
// 64-byte burst: "bank_group:2,column:7,bank:2,rank:1,row:16". A field may come in several pieces, lowest
// bits first. Or by the numbers of the address bits, in any order of the fields:
// "bank_group=6-7,column=8-14,bank=15+16,row=17-32", each field's bits from its least significant one; then
// every bit from 6 to the highest must be named once. Bits above the list (memory larger than the modelled
// devices) extend the row number, so no size of memory is refused.
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "mm/dram_timing.h"

namespace mm {

struct DramAddress {
  std::uint32_t channel = 0;
  std::uint32_t rank = 0;
  std::uint32_t bank_group = 0;
  std::uint32_t bank = 0;
  std::uint32_t row = 0;
  std::uint32_t column = 0;
  bool operator==(const DramAddress&) const = default;
};

class AddressMapping {
 public:
  /// `text`: "il" (bank group, column, bank, rank, row), "ro" (column, bank group, bank, rank, row), "brc"
  /// (column, row, bank group, bank, rank), each with the channel bits lowest, or a list as above. Throws
  /// sim::Error when a field has too few or too many bits, or is unknown, when two fields share a bit, or
  /// when one between the lowest and the highest belongs to none.
  AddressMapping(std::string_view text, const DramTiming& timing, unsigned channels, unsigned ranks);

  /// `offset` = address - base of the memory.
  DramAddress decode(std::uint64_t offset) const {
    if (__builtin_expect(whole_, 1)) {
      const auto field = [&](unsigned f) {
        return static_cast<std::uint32_t>(offset >> fields_[f].from & fields_[f].mask);
      };
      if (__builtin_expect(alone_, 1)) return {0, 0, field(2), field(3), field(4), field(5)};
      return {field(0), field(1), field(2), field(3), field(4), field(5)};
    }
    std::uint32_t f[6] = {0, 0, 0, 0, 0, 0};
    for (const Piece& p : pieces_) {
      f[p.field] |= static_cast<std::uint32_t>((offset >> p.from) & p.mask) << p.to;
    }
    return {f[0], f[1], f[2], f[3], f[4], f[5]};
  }
  /// The bursts from `offset` to before `end`, in order: calls `visit(DramAddress)` for each. Cheaper than to
  /// decode each: the fields take their bits from disjoint places, so the address of a burst is that of its
  /// page and that of its place in the page, combined.
  template <class Visit>
  void for_each_burst(std::uint64_t offset, std::uint64_t end, Visit&& visit) const {
    DramAddress page = decode(offset & ~std::uint64_t{kTableBytes - 1});
    for (;;) {
      const DramAddress& low = in_page_[offset % kTableBytes / kBurst];
      visit(DramAddress{page.channel | low.channel, page.rank | low.rank, page.bank_group | low.bank_group,
                        page.bank | low.bank, page.row | low.row, page.column | low.column});
      offset += kBurst;
      if (offset >= end) return;
      if (offset % kTableBytes == 0) page = decode(offset);
    }
  }
  /// Inverse of decode() for a burst.
  std::uint64_t encode(const DramAddress& address) const;

  /// The list in its long form.
  std::string text() const;

 private:
  struct Piece {
    std::uint8_t field, from, to, width;
    std::uint64_t mask;
  };
  /// A field whose bits are one piece, or none.
  struct Field {
    std::uint8_t from = 0;
    std::uint32_t mask = 0;
  };
  void add(unsigned field, unsigned from, unsigned width, unsigned to);
  void find_whole_fields();
  static constexpr std::uint64_t kBurst = 64, kTableBytes = 4096;
  std::vector<Piece> pieces_;
  std::array<DramAddress, kTableBytes / kBurst> in_page_{};  // what a burst's place in its page contributes
  unsigned row_bits_ = 0;                                    // of the devices
  std::array<Field, 6> fields_{};
  bool alone_ = false;  // there is one channel, of one rank
  bool whole_ = false;  // each field is one piece: fields_ says it all
};

}  // namespace mm
