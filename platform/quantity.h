// SPDX-License-Identifier: Apache-2.0
// Numbers with units as people write them: "64 KiB", "10 us", "2.5 GHz", "25 Gb/s". Exact: decimal fractions
// are kept as integers, and what is no whole number of the base unit is refused, never rounded. Base units:
// bytes, femtoseconds, hertz, bits per second. A space before the unit is optional.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace platform {

enum class Dimension : std::uint8_t { kNone, kSize, kTime, kFrequency, kRate };

/// Value in base units. Throws sim::Error with a message that starts with the quoted text. A bare number is a
/// count of bytes for sizes; all other dimensions need their unit (except 0). Plain integers (kNone) may be
/// hexadecimal.
std::uint64_t parse_quantity(std::string_view text, Dimension dimension);

/// The shortest exact way to write `value`: "64 KiB", "2.5 GHz". parse_quantity() reads it back.
std::string format_quantity(std::uint64_t value, Dimension dimension);

/// Regular expression (ECMAScript) of what parse_quantity() takes.
std::string quantity_pattern(Dimension dimension);

}  // namespace platform
