// SPDX-License-Identifier: Apache-2.0
// PCIe messages of the IOMMU: ATS invalidation requests with their tags, page request group responses.
// Source: RISC-V IOMMU specification, "IOMMU ATC commands", "PCIe page request interface".
#pragma once
#include <array>
#include <cstdint>

namespace iommu {

/// Goes to the device with `rid` (and segment, if dsv).
struct AtsInvalidationRequest {
  std::uint32_t itag = 0;
  std::uint16_t rid = 0;
  bool dsv = false;
  std::uint8_t dseg = 0;
  bool has_process_id = false;
  std::uint32_t process_id = 0;
  std::uint64_t payload = 0;
};

struct PageRequestGroupResponse {
  std::uint16_t rid = 0;
  bool dsv = false;
  std::uint8_t dseg = 0;
  bool has_process_id = false;
  std::uint32_t process_id = 0;
  std::uint16_t prgi = 0;
  std::uint8_t code = 0;  ///< 0 success, 1 invalid request, 15 failure
};

/// A Page Request message as it arrives.
struct PageRequest {
  std::uint16_t rid = 0;
  bool dsv = false;
  std::uint8_t dseg = 0;
  bool has_process_id = false;
  std::uint32_t process_id = 0;
  bool privileged = false;
  bool execute = false;
  std::uint64_t payload = 0;
  std::uint32_t device_id() const { return rid | (dsv ? std::uint32_t{dseg} << 16 : 0); }
};

/// An Invalidation Completion message: tags (bit n = ITag n) and how many completions the device sends for
/// each.
struct InvalidationCompletion {
  std::uint16_t rid = 0;
  bool dsv = false;
  std::uint8_t dseg = 0;
  std::uint32_t itag_vector = 0;
  std::uint8_t count = 1;
};

/// Invalidation requests under way: two tags, lowest free first.
class InvalidationTags {
 public:
  static constexpr unsigned kTags = 2;
  void reset() { *this = {}; }
  bool all_busy() const { return busy_[0] && busy_[1]; }
  bool busy(unsigned t) const { return busy_[t]; }
  bool any_busy() const { return busy_[0] || busy_[1]; }

  /// Fills `request.itag`. Precondition: a tag is free.
  void start(AtsInvalidationRequest& request) {
    const unsigned t = busy_[0] ? 1 : 0;
    busy_[t] = true;
    received_[t] = 0;
    request.itag = t;
    sent_[t] = request;
  }
  /// An Invalidation Completion; false = nobody expected it.
  bool complete(const InvalidationCompletion& m) {
    if ((m.itag_vector >> kTags) != 0) return false;  // a tag that was never given out
    for (unsigned t = 0; t < kTags; ++t) {
      if ((m.itag_vector & (1u << t)) == 0) continue;
      if (!busy_[t] || sent_[t].rid != m.rid || sent_[t].dsv != m.dsv || (m.dsv && sent_[t].dseg != m.dseg)) {
        return false;
      }
      received_[t] = (received_[t] + 1) & 7;
      if (received_[t] == (m.count & 7)) busy_[t] = false;
    }
    return true;
  }
  /// The time of these tags has run out.
  void expire(std::uint32_t itag_vector) {
    for (unsigned t = 0; t < kTags; ++t) {
      if ((itag_vector & (1u << t)) == 0 || !busy_[t]) continue;
      busy_[t] = false;
      timed_out_ = true;
    }
  }
  bool timed_out() const { return timed_out_; }
  void forget_time_out() { timed_out_ = false; }

 private:
  std::array<bool, kTags> busy_{};
  std::array<unsigned, kTags> received_{};
  std::array<AtsInvalidationRequest, kTags> sent_{};
  bool timed_out_ = false;
};

}  // namespace iommu
