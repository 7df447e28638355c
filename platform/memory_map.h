// SPDX-License-Identifier: Apache-2.0
// The memory of a machine as its user writes it down: nodes, holes and ranges that can be plugged in.
#pragma once
#include <cstdint>
#include <string>

#include "mm/page_frames.h"

namespace platform {

/// Text of the parameters memory.nodes, memory.holes, memory.hotpluggable.
struct MemoryMapConfig {
  std::string nodes;         ///< "2 GiB, 2 GiB": one behind the other; or "0+1 GiB, 2 GiB+2 GiB" with gaps
  std::string holes;         ///< "1 GiB+64 MiB": offset from memory.base, and size; multiples of 2 MiB
  std::string hotpluggable;  ///< the same, in multiples of 128 MiB: not there at boot
};

/// The map in the form of the page frames, for `bytes` of memory at `base`. sim::Error names the field, and
/// the nearest valid value where there is one.
mm::PageFramesConfig page_frames(const MemoryMapConfig& map, sim::PhysAddr base, std::uint64_t bytes);

}  // namespace platform
