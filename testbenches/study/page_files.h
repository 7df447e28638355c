// SPDX-License-Identifier: Apache-2.0
// Texts that every page of a study carries, from the files beside this one (poolsim_embed in CMakeLists.txt).
#pragma once
#include <string_view>

namespace study {

extern const std::string_view kUplotScript, kUplotStyle, kUplotLicence;  ///< uplot/, of others
extern const std::string_view kPlotsScript;                              ///< plots.js
extern const std::string_view kPageStyle;                                ///< page.css

}  // namespace study
