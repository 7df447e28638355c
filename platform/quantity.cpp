// SPDX-License-Identifier: Apache-2.0
#include "platform/quantity.h"

#include <algorithm>
#include <cctype>
#include <span>

#include "sim/error.h"
#include "sim/types.h"

namespace platform {
namespace {

struct Unit {
  std::string_view name;
  std::uint64_t factor;
  bool preferred;  // used for output
};

constexpr Unit kSizes[] = {{"B", 1, true},
                           {"KiB", 1ull << 10, true},
                           {"MiB", 1ull << 20, true},
                           {"GiB", 1ull << 30, true},
                           {"TiB", 1ull << 40, true},
                           {"kB", 1'000, false},
                           {"KB", 1'000, false},
                           {"MB", 1'000'000, false},
                           {"GB", 1'000'000'000, false},
                           {"TB", 1'000'000'000'000, false}};
constexpr Unit kTimes[] = {{"fs", 1, true},
                           {"ps", sim::kPicosecond, true},
                           {"ns", sim::kNanosecond, true},
                           {"us", sim::kMicrosecond, true},
                           {"ms", sim::kMillisecond, true},
                           {"s", sim::kSecond, true},
                           {"min", 60 * sim::kSecond, false}};
constexpr Unit kFrequencies[] = {
    {"Hz", 1, true}, {"kHz", 1'000, true}, {"MHz", 1'000'000, true}, {"GHz", 1'000'000'000, true}};
constexpr Unit kRates[] = {{"b/s", 1, true},
                           {"kb/s", 1'000, true},
                           {"Mb/s", 1'000'000, true},
                           {"Gb/s", 1'000'000'000, true},
                           {"bit/s", 1, false},
                           {"kbit/s", 1'000, false},
                           {"Mbit/s", 1'000'000, false},
                           {"Gbit/s", 1'000'000'000, false}};

std::span<const Unit> units_of(Dimension d) {
  switch (d) {
    case Dimension::kSize:
      return kSizes;
    case Dimension::kTime:
      return kTimes;
    case Dimension::kFrequency:
      return kFrequencies;
    case Dimension::kRate:
      return kRates;
    case Dimension::kNone:
      break;
  }
  return {};
}

const char* what_is(Dimension d) {
  switch (d) {
    case Dimension::kSize:
      return "a size, e.g. 64 KiB";
    case Dimension::kTime:
      return "a time, e.g. 10 us";
    case Dimension::kFrequency:
      return "a frequency, e.g. 2.5 GHz";
    case Dimension::kRate:
      return "a rate, e.g. 25 Gb/s";
    case Dimension::kNone:
      break;
  }
  return "an integer";
}

[[noreturn]] void refuse(std::string_view text, Dimension d) {
  throw sim::Error(fmt::format("'{}' is not {}", text, what_is(d)));
}

std::string_view trimmed(std::string_view s) {
  while (!s.empty() && std::isspace(static_cast<unsigned char>(s.front()))) s.remove_prefix(1);
  while (!s.empty() && std::isspace(static_cast<unsigned char>(s.back()))) s.remove_suffix(1);
  return s;
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

std::uint64_t hexadecimal(std::string_view text, std::string_view digits) {
  std::uint64_t value = 0;
  if (digits.empty() || digits.size() > 16) refuse(text, Dimension::kNone);
  for (char c : digits) {
    if (!std::isxdigit(static_cast<unsigned char>(c))) refuse(text, Dimension::kNone);
    value = value << 4 | static_cast<unsigned>(is_digit(c) ? c - '0' : (c | 0x20) - 'a' + 10);
  }
  return value;
}

}  // namespace

std::uint64_t parse_quantity(std::string_view given, Dimension dimension) {
  using Wide = unsigned __int128;
  const std::string_view text = trimmed(given);
  std::string_view rest = text;
  if (dimension <= Dimension::kSize && (rest.starts_with("0x") || rest.starts_with("0X"))) {
    return hexadecimal(given, rest.substr(2));
  }
  Wide mantissa = 0;
  Wide scale = 1;
  bool digits = false, point = false;
  for (; !rest.empty(); rest.remove_prefix(1)) {
    const char c = rest.front();
    if (c == '.' && !point && dimension != Dimension::kNone) {
      point = true;
      continue;
    }
    if (!is_digit(c)) break;
    digits = true;
    mantissa = mantissa * 10 + static_cast<unsigned>(c - '0');
    if (point) scale *= 10;
    if (mantissa >> 96 != 0 || scale >> 60 != 0)
      throw sim::Error(fmt::format("'{}' has too many digits", text));
  }
  if (!digits) refuse(text, dimension);
  rest = trimmed(rest);
  std::uint64_t factor = 0;
  for (const Unit& u : units_of(dimension)) {
    if (u.name == rest) factor = u.factor;
  }
  if (rest.empty() && (dimension <= Dimension::kSize || mantissa == 0)) factor = 1;
  if (factor == 0) {
    if (rest.empty()) throw sim::Error(fmt::format("'{}' has no unit (it is {})", text, what_is(dimension)));
    if (dimension == Dimension::kNone) refuse(text, dimension);
    std::vector<std::string> names;
    for (const Unit& u : units_of(dimension)) names.emplace_back(u.name);
    throw sim::Error(
        fmt::format("'{}' has an unknown unit '{}' (one of: {})", text, rest, fmt::join(names, ", ")));
  }
  // mantissa < 2^97 and factor < 2^56 could overflow; anything near is out of range anyway.
  if (mantissa >> 70 != 0 && factor > 1) throw sim::Error(fmt::format("'{}' is too large", text));
  const Wide product = mantissa * factor;
  if (product % scale != 0) {
    throw sim::Error(fmt::format("'{}' is not a whole number of {}", text, units_of(dimension).front().name));
  }
  const Wide value = product / scale;
  if (value >> 64 != 0) throw sim::Error(fmt::format("'{}' is too large", text));
  return static_cast<std::uint64_t>(value);
}

std::string format_quantity(std::uint64_t value, Dimension dimension) {
  if (dimension == Dimension::kNone) return fmt::format("{}", value);
  const auto units = units_of(dimension);
  if (value == 0) return fmt::format("0 {}", units.front().name);
  // The largest unit with at most three decimals (sizes: none).
  const unsigned decimals = dimension == Dimension::kSize ? 1 : 1000;
  for (auto u = units.rbegin(); u != units.rend(); ++u) {
    if (!u->preferred || value < u->factor) continue;
    const unsigned __int128 scaled = static_cast<unsigned __int128>(value) * decimals;
    if (scaled % u->factor != 0) continue;
    const auto thousandths = static_cast<std::uint64_t>(scaled / u->factor);
    std::string text = fmt::format("{}", thousandths / decimals);
    if (thousandths % decimals != 0) {
      text += fmt::format(".{:03}", thousandths % decimals);
      text.erase(text.find_last_not_of('0') + 1);
    }
    return fmt::format("{} {}", text, u->name);
  }
  return fmt::format("{} {}", value, units.front().name);
}

std::string quantity_pattern(Dimension dimension) {
  std::string names;
  for (const Unit& u : units_of(dimension)) names += (names.empty() ? "" : "|") + std::string(u.name);
  if (dimension == Dimension::kSize)
    return "^\\s*(0[xX][0-9a-fA-F]+|[0-9]*\\.?[0-9]+\\s*(" + names + ")?)\\s*$";
  return "^\\s*[0-9]*\\.?[0-9]+\\s*(" + names + ")\\s*$";
}

}  // namespace platform
