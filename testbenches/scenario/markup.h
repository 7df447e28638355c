// SPDX-License-Identifier: Apache-2.0
// Text inside HTML and XML.
#pragma once
#include <string>
#include <string_view>

namespace scenario {

/// Safe as content and as the value of an attribute. Control characters, which XML does not allow, become
/// spaces.
std::string markup_escaped(std::string_view text);

}  // namespace scenario
