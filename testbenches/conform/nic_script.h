// SPDX-License-Identifier: Apache-2.0
// The parser of nic scripts ("82576 nic script vectors, format 1"): header lines, then one op a line. Errors
// are sim::Error with file and line.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace conform {

enum class NicOp : std::uint8_t {
  kSetup,
  kLinkup,
  kReset,
  kFlr,
  kVfs,
  kRead,
  kWrite,
  kConfigRead,
  kConfigWrite,
  kMemoryWrite,
  kMemoryFill,
  kMemoryDump,
  kMemoryCrc,
  kReceive,
  kTransmitted,
  kInterrupts,
  kRxDescriptor,
  kTxDescriptor,
  kIommuRead,
  kIommuWrite,
  kFaultQueue
};

struct NicScriptOp {
  NicOp op = NicOp::kSetup;
  std::size_t line = 0;
  int function = 0;  ///< 0 = PF, 1 + n = VF n
  bool msix = false;
  std::uint64_t a = 0, b = 0, c = 0;  ///< numbers in order
  std::vector<std::uint8_t> bytes;
  bool flag_hash = false, flag_split = false;
};

struct NicScript {
  std::string name;
  bool iommu_world = false;
  std::vector<NicScriptOp> ops;
};

NicScript parse_nic_script(std::string_view file, std::string_view text);

}  // namespace conform
