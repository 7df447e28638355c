// SPDX-License-Identifier: Apache-2.0
// PCIe messages of address translation services and the page request interface, as they travel over link and
// root port between a device and the IOMMU. Source: PCIe Base specification (ATS, PRI).
#pragma once
#include <cstdint>
#include <type_traits>

#include "sim/payload.h"

namespace iommu {
class Iommu;
}

namespace platform {

class RootPort;
class PcieLink;

struct PcieMessage {
  enum class Kind : std::uint8_t {
    kInvalidationRequest,     ///< down, with 8 bytes of data: the range
    kInvalidationCompletion,  ///< up
    kPageRequest,             ///< up
    kPageResponse             ///< down: Page Request Group Response
  };
  Kind kind = Kind::kPageRequest;
  bool has_process_id = false;  ///< PASID prefix
  bool privileged = false, execute = false;
  std::uint8_t count = 1;  ///< completions that the device sends for the tags of itag_vector
  std::uint8_t code = 0;   ///< of a page response: 0 success, 1 invalid request, 15 failure
  std::uint16_t group =
      0;  ///< of a page response: the group's index (of a request it is part of the payload)
  sim::RequesterId function{0};  ///< who sends it, or gets it
  std::uint32_t process_id = 0;
  std::uint32_t itag_vector = 0;  ///< invalidations: bit n = ITag n
  /// Invalidation: address 63:12, S 11, G 0. Page request: address 63:12, group 11:3, L 2, W 1, R 0.
  std::uint64_t payload = 0;

  bool upstream() const { return kind == Kind::kInvalidationCompletion || kind == Kind::kPageRequest; }
  unsigned data_bytes() const { return kind == Kind::kInvalidationRequest ? 8 : 0; }

  /// A payload that carries it through queues of transactions; and what such a payload carries.
  sim::Transaction& carry(sim::PayloadPool& pool) const;
  static PcieMessage of(const tlm::tlm_generic_payload& carrier);
};
static_assert(std::is_trivially_copyable_v<PcieMessage>);

/// Messages between link, root port and IOMMU from now on. The device's end is the link's message_to_device
/// and send().
void connect_messages(PcieLink& link, RootPort& port, iommu::Iommu& iommu);

}  // namespace platform
