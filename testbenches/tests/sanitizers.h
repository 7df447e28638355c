// SPDX-License-Identifier: Apache-2.0
// What a test can know of the sanitizer it is built with (presets asan and tsan).
#pragma once

namespace sanitizers {

/// AddressSanitizer: crashes and a full memory end in its own report, freed memory is kept for a while, a
/// process costs ten times as much.
#if defined(__SANITIZE_ADDRESS__)
inline constexpr bool kAddress = true;
#else
inline constexpr bool kAddress = false;
#endif

}  // namespace sanitizers
