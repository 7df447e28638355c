// SPDX-License-Identifier: Apache-2.0
#include "sim/random.h"

#include <Random123/philox.h>

#include "sim/digest.h"

namespace sim {

RandomStream::RandomStream(std::uint64_t seed, std::uint64_t experiment, std::string_view consumer)
    : key_{seed, experiment}, stream_(digest_tag(consumer)) {}

std::uint64_t RandomStream::next() {
  if (used_ == block_.size()) {
    const r123::Philox4x64::ctr_type counter = {{counter_++, stream_, 0, 0}};
    const r123::Philox4x64::key_type key = {{key_[0], key_[1]}};
    const auto out = r123::Philox4x64()(counter, key);
    for (unsigned i = 0; i < 4; ++i) block_[i] = out[i];
    used_ = 0;
  }
  return block_[used_++];
}

std::uint64_t RandomStream::below(std::uint64_t n) {
  // Lemire's multiply-shift with rejection.
  auto product = static_cast<unsigned __int128>(next()) * n;
  if (static_cast<std::uint64_t>(product) < n) {
    const std::uint64_t floor = -n % n;
    while (static_cast<std::uint64_t>(product) < floor) product = static_cast<unsigned __int128>(next()) * n;
  }
  return static_cast<std::uint64_t>(product >> 64);
}

}  // namespace sim
