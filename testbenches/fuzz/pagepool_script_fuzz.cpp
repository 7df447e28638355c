// SPDX-License-Identifier: Apache-2.0
// libFuzzer target: any text through the parser and, when it parses, through the pool of both versions. What
// a user may see is sim::Error; everything else is a finding of libFuzzer or of the sanitizers. Build and
// run: see testbenches/fuzz/README.md.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "sim/error.h"
#include "testbenches/conform/pagepool_conform.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (const auto version : {conform::PoolVersion::v6_12, conform::PoolVersion::v6_18}) {
    try {
      const std::string once = conform::run_pool_scripts("fuzz", text, version);
      if (conform::run_pool_scripts("fuzz", text, version) != once)
        std::abort();  // no state survives a script
    } catch (const sim::Error&) {
    }
  }
  return 0;
}
