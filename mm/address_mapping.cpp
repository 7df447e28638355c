// SPDX-License-Identifier: Apache-2.0
#include "mm/address_mapping.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>

#include "sim/error.h"

namespace mm {
namespace {

constexpr unsigned kBurstShift = 6;
constexpr unsigned kTopBit = 47;  // highest address bit that a mapping may use
constexpr unsigned kFields = 6;
constexpr unsigned kRow = 4;
const std::array<const char*, kFields> kNames = {"channel", "rank", "bank_group", "bank", "row", "column"};

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts(1);
  for (char c : text) {
    if (c == separator) {
      parts.emplace_back();
    } else if (c != ' ') {
      parts.back() += c;
    }
  }
  return parts;
}

/// What a mapping text says of one field, in the order of the text.
struct Part {
  unsigned field;
  std::string text;
  std::string value;  // after ':' or '='
};

unsigned number(std::string_view mapping, const std::string& part, std::string_view text, unsigned limit) {
  unsigned value = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || stop != text.data() + text.size() || text.empty() || value > limit) {
    throw sim::Error(fmt::format("address mapping '{}': bad number '{}' in '{}'", mapping, text, part));
  }
  return value;
}

Part parse_part(std::string_view mapping, const std::string& part) {
  const std::size_t sign = part.find_first_of(":=");
  const std::string name = part.substr(0, sign);
  const auto field = std::find(kNames.begin(), kNames.end(), name);
  if (field == kNames.end()) {
    std::vector<std::string> names(kNames.begin(), kNames.end());
    names.insert(names.end(), {"il", "ro", "brc"});
    throw sim::Error(fmt::format("address mapping '{}': unknown field '{}'{}", mapping, name,
                                 sim::suggestion(name, names)));
  }
  return {static_cast<unsigned>(field - kNames.begin()), part,
          sign == std::string::npos ? std::string() : part.substr(sign + 1)};
}

/// "6-7", "15+16", "8-10+12": the bits, least significant of the field first.
std::vector<unsigned> parse_bits(std::string_view mapping, const Part& part) {
  std::vector<unsigned> bits;
  for (const std::string& range : split(part.value, '+')) {
    const std::size_t dash = range.find('-');
    const unsigned first = number(mapping, part.text, std::string_view(range).substr(0, dash), kTopBit);
    const unsigned last = dash == std::string::npos
                              ? first
                              : number(mapping, part.text, std::string_view(range).substr(dash + 1), kTopBit);
    if (first < kBurstShift || last < first) {
      throw sim::Error(fmt::format("address mapping '{}': '{}' is no range of bits from {} on", mapping,
                                   range, kBurstShift));
    }
    for (unsigned bit = first; bit <= last; ++bit) bits.push_back(bit);
  }
  return bits;
}

/// Every bit from the burst's to the highest belongs to one field.
void check_cover(std::string_view mapping, const std::array<int, kTopBit + 1>& owner) {
  unsigned top = kTopBit;
  while (top > kBurstShift && owner[top] < 0) --top;
  for (unsigned bit = kBurstShift; bit < top; ++bit) {
    if (owner[bit] >= 0) continue;
    throw sim::Error(fmt::format("address mapping '{}': bit {} belongs to no field, but bit {} to {}",
                                 mapping, bit, top, kNames[static_cast<unsigned>(owner[top])]));
  }
}

}  // namespace

AddressMapping::AddressMapping(std::string_view text, const DramTiming& timing, unsigned channels,
                               unsigned ranks) {
  const std::array<unsigned, kFields> wanted = {static_cast<unsigned>(std::bit_width(channels) - 1),
                                                static_cast<unsigned>(std::bit_width(ranks) - 1),
                                                static_cast<unsigned>(std::bit_width(timing.bank_groups) - 1),
                                                static_cast<unsigned>(std::bit_width(timing.banks) - 1),
                                                static_cast<unsigned>(std::bit_width(timing.rows) - 1),
                                                static_cast<unsigned>(std::bit_width(timing.columns) - 1)};

  row_bits_ = wanted[kRow];
  std::string order(text);
  if (text == "il") order = "channel,bank_group,column,bank,rank,row";
  if (text == "ro") order = "channel,column,bank_group,bank,rank,row";
  if (text == "brc") order = "channel,column,row,bank_group,bank,rank";

  std::array<unsigned, kFields> seen{};
  std::array<int, kTopBit + 1> owner;
  owner.fill(-1);
  const bool by_number = order.find('=') != std::string::npos;
  unsigned from = kBurstShift;
  for (const std::string& word : split(order, ',')) {
    const Part part = parse_part(text, word);
    const unsigned f = part.field;
    if (by_number != (word.find('=') != std::string::npos)) {
      throw sim::Error(fmt::format("address mapping '{}': '{}' has no bit numbers, others have", text, word));
    }
    if (!by_number) {
      const unsigned width = part.value.empty() ? wanted[f] : number(text, word, part.value, 32);
      if (from + width > kTopBit + 1) {
        throw sim::Error(fmt::format("address mapping '{}': more than {} bits", text, kTopBit + 1));
      }
      add(f, from, width, seen[f]);
      seen[f] += width;
      from += width;
      continue;
    }
    for (const unsigned bit : parse_bits(text, part)) {
      if (owner[bit] >= 0) {
        throw sim::Error(fmt::format("address mapping '{}': bit {} belongs to {} and to {}", text, bit,
                                     kNames[static_cast<unsigned>(owner[bit])], kNames[f]));
      }
      owner[bit] = static_cast<int>(f);
      add(f, bit, 1, seen[f]++);
      from = std::max(from, bit + 1);
    }
  }
  if (by_number) check_cover(text, owner);
  for (unsigned f = 0; f < kFields; ++f) {
    if (seen[f] != wanted[f]) {
      throw sim::Error(fmt::format("address mapping '{}': {} has {} bits, the geometry needs {}", text,
                                   kNames[f], seen[f], wanted[f]));
    }
  }
  std::sort(pieces_.begin(), pieces_.end(), [](const Piece& a, const Piece& b) { return a.from < b.from; });
  add(kRow, from, std::min(32 - wanted[kRow], kTopBit + 1 - from), wanted[kRow]);
  find_whole_fields();
  for (std::size_t i = 0; i < in_page_.size(); ++i) in_page_[i] = decode(i * kBurst);
}

/// A piece, or a longer one if it continues the last.
void AddressMapping::add(unsigned field, unsigned from, unsigned width, unsigned to) {
  if (width == 0) return;
  const auto mask = [](unsigned bits) { return (std::uint64_t{1} << bits) - 1; };
  if (!pieces_.empty()) {
    Piece& last = pieces_.back();
    if (last.field == field && last.from + last.width == from && last.to + last.width == to) {
      last.width = static_cast<std::uint8_t>(last.width + width);
      last.mask = mask(last.width);
      return;
    }
  }
  pieces_.push_back({static_cast<std::uint8_t>(field), static_cast<std::uint8_t>(from),
                     static_cast<std::uint8_t>(to), static_cast<std::uint8_t>(width), mask(width)});
}

void AddressMapping::find_whole_fields() {
  whole_ = true;
  for (const Piece& p : pieces_) {
    whole_ = whole_ && p.to == 0 && fields_[p.field].mask == 0;
    fields_[p.field] = {p.from, static_cast<std::uint32_t>(p.mask)};
  }
  alone_ = fields_[0].mask == 0 && fields_[1].mask == 0;
}

std::uint64_t AddressMapping::encode(const DramAddress& a) const {
  const std::uint64_t f[kFields] = {a.channel, a.rank, a.bank_group, a.bank, a.row, a.column};
  std::uint64_t offset = 0;
  for (const Piece& p : pieces_) offset |= ((f[p.field] >> p.to) & p.mask) << p.from;
  return offset;
}

std::string AddressMapping::text() const {
  std::string out;
  for (const Piece& p : pieces_) {
    const unsigned surplus = p.field == kRow && p.to + p.width > row_bits_ ? p.to + p.width - row_bits_ : 0;
    if (p.width == surplus) continue;
    out += fmt::format("{}{}:{}", out.empty() ? "" : ",", kNames[p.field], p.width - surplus);
  }
  return out;
}

}  // namespace mm
