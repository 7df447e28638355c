// SPDX-License-Identifier: Apache-2.0
// Precompiled once for all rooms. Keep it to what is large and never changes.
#pragma once
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <systemc>
#include <tlm>
#include <unordered_map>
#include <utility>
#include <vector>
