// SPDX-License-Identifier: Apache-2.0
#include "mm/address_mapping.h"

#include <fmt/format.h>

#include <array>
#include <bit>
#include <charconv>

#include "sim/error.h"

namespace mm {
namespace {

constexpr unsigned kBurstShift = 6;
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

}  // namespace

AddressMapping::AddressMapping(std::string_view text, const DramTiming& timing, unsigned channels,
                               unsigned ranks) {
  const std::array<unsigned, kFields> wanted = {static_cast<unsigned>(std::bit_width(channels) - 1),
                                                static_cast<unsigned>(std::bit_width(ranks) - 1),
                                                static_cast<unsigned>(std::bit_width(timing.bank_groups) - 1),
                                                static_cast<unsigned>(std::bit_width(timing.banks) - 1),
                                                static_cast<unsigned>(std::bit_width(timing.rows) - 1),
                                                static_cast<unsigned>(std::bit_width(timing.columns) - 1)};

  std::string order(text);
  if (text == "il") order = "channel,bank_group,column,bank,rank,row";
  if (text == "ro") order = "channel,column,bank_group,bank,rank,row";
  if (text == "brc") order = "channel,column,row,bank_group,bank,rank";

  std::array<unsigned, kFields> seen{};
  unsigned from = kBurstShift;
  for (const std::string& part : split(order, ',')) {
    const std::size_t colon = part.find(':');
    const std::string field = part.substr(0, colon);
    unsigned f = 0;
    while (f < kFields && field != kNames[f]) ++f;
    if (f == kFields) {
      std::vector<std::string> names(kNames.begin(), kNames.end());
      names.insert(names.end(), {"il", "ro", "brc"});
      throw sim::Error(fmt::format("address mapping '{}': unknown field '{}'{}", text, field,
                                   sim::suggestion(field, names)));
    }
    unsigned width = wanted[f];
    if (colon != std::string::npos) {
      const char *begin = part.data() + colon + 1, *end = part.data() + part.size();
      const auto [stop, error] = std::from_chars(begin, end, width);
      if (error != std::errc() || stop != end || width > 32) {
        throw sim::Error(fmt::format("address mapping '{}': bad width in '{}'", text, part));
      }
    }
    if (width == 0) continue;
    if (from + width > 48) throw sim::Error(fmt::format("address mapping '{}': more than 48 bits", text));
    pieces_.push_back({static_cast<std::uint8_t>(f), static_cast<std::uint8_t>(from),
                       static_cast<std::uint8_t>(seen[f]), static_cast<std::uint8_t>(width),
                       (std::uint64_t{1} << width) - 1});
    seen[f] += width;
    from += width;
  }
  for (unsigned f = 0; f < kFields; ++f) {
    if (seen[f] != wanted[f]) {
      throw sim::Error(fmt::format("address mapping '{}': {} has {} bits, the geometry needs {}", text,
                                   kNames[f], seen[f], wanted[f]));
    }
  }
  const unsigned surplus = std::min(32 - wanted[kRow], 48 - from);
  pieces_.push_back({kRow, static_cast<std::uint8_t>(from), static_cast<std::uint8_t>(wanted[kRow]),
                     static_cast<std::uint8_t>(surplus), (std::uint64_t{1} << surplus) - 1});
}

std::uint64_t AddressMapping::encode(const DramAddress& a) const {
  const std::uint64_t f[kFields] = {a.channel, a.rank, a.bank_group, a.bank, a.row, a.column};
  std::uint64_t offset = 0;
  for (const Piece& p : pieces_) offset |= ((f[p.field] >> p.to) & p.mask) << p.from;
  return offset;
}

std::string AddressMapping::text() const {
  std::string out;
  for (std::size_t i = 0; i + 1 < pieces_.size(); ++i) {
    out += fmt::format("{}{}:{}", out.empty() ? "" : ",", kNames[pieces_[i].field], pieces_[i].width);
  }
  return out;
}

}  // namespace mm
