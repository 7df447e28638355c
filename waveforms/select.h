// SPDX-License-Identifier: Apache-2.0
// Choosing probes by name. A pattern is a glob over the whole path (`*` any run of characters, dots included,
// `?` one character) or the path of a scope, which stands for everything below it: "iommu" = "iommu.*".
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "sim/probe.h"

namespace waveforms {

/// Does `text` match the glob `pattern`?
bool glob_match(std::string_view pattern, std::string_view text);

/// Does the pattern select this probe path (glob, or scope with all that is below it)?
bool selects(std::string_view pattern, std::string_view path);

/// The probes that any of `patterns` selects, in order of creation; no patterns = all.
/// Throws sim::Error with the nearest name for a pattern that selects nothing.
std::vector<sim::Probe*> select_probes(const sim::ProbeHub& hub, const std::vector<std::string>& patterns);

}  // namespace waveforms
