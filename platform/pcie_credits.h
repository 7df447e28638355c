// SPDX-License-Identifier: Apache-2.0
// Flow control of one direction of a PCIe link: what the receiver has advertised, what the transmitter has consumed, and
// the UpdateFC DLLPs that bring freed credits back. A header credit is one TLP header, a data credit 16 bytes; zero
// advertised means infinite. Source: PCIe Base specification, section 2.6.
#pragma once
#include <cstdint>

#include "platform/ring.h"
#include "sim/types.h"

namespace platform {

/// The six credit types as a receiver advertises them; 0 = infinite. An endpoint advertises infinite completion credits.
struct CreditLimits {
  unsigned posted_headers = 0, posted_data = 0;
  unsigned nonposted_headers = 0, nonposted_data = 0;
  unsigned completion_headers = 0, completion_data = 0;

  bool limited() const {
    return (posted_headers | posted_data | nonposted_headers | nonposted_data | completion_headers | completion_data) !=
           0;
  }
};

enum class CreditClass : unsigned { kPosted = 0, kNonPosted = 1, kCompletion = 2 };
inline constexpr unsigned kCreditClasses = 3;
inline constexpr unsigned kCreditBytes = 16;

/// Data credits of a TLP with `bytes` of payload.
constexpr unsigned data_credits(std::uint64_t bytes) {
  return static_cast<unsigned>((bytes + kCreditBytes - 1) / kCreditBytes);
}

class CreditWindow {
 public:
  /// `update_delay`: a credit freed now is the transmitter's that much later at the earliest (UpdateFC on the wire and
  /// the link's latency); `update_interval`: at most one UpdateFC in that time, freed credits wait for the next.
  CreditWindow(const CreditLimits& limits, sim::Tick update_delay, sim::Tick update_interval)
      : limited_(limits.limited()), update_delay_(update_delay), update_interval_(update_interval) {
    const unsigned headers[] = {limits.posted_headers, limits.nonposted_headers, limits.completion_headers};
    const unsigned data[] = {limits.posted_data, limits.nonposted_data, limits.completion_data};
    for (unsigned c = 0; c < kCreditClasses; ++c) {
      headers_[c] = headers[c] == 0 ? kInfinite : headers[c];
      data_[c] = data[c] == 0 ? kInfinite : data[c];
    }
  }

  /// Any of the six is finite; if not, nobody has to ask.
  bool limited() const { return limited_; }
  bool fits(CreditClass c, unsigned data) const { return headers_[index(c)] >= 1 && data_[index(c)] >= data; }
  /// One TLP leaves. fits() first.
  void take(CreditClass c, unsigned data) {
    if (headers_[index(c)] != kInfinite) --headers_[index(c)];
    if (data_[index(c)] != kInfinite) data_[index(c)] -= data;
  }
  /// The receiver has processed one TLP at `freed`, which is not before any earlier call's.
  void give_back(CreditClass c, unsigned data, sim::Tick freed) {
    sim::Tick sent = freed;
    if (updates_ != 0 && sent < last_update_ + update_interval_) sent = last_update_ + update_interval_;
    if (waiting_update_ >= freed && waiting_update_ != kNone) sent = waiting_update_;  // joins the one that waits
    if (updates_ == 0 || sent != last_update_) ++updates_;
    last_update_ = sent;
    waiting_update_ = sent > freed ? sent : kNone;
    returning_.push({sent + update_delay_, c, data});
  }
  /// Credits whose UpdateFC has arrived by `now`. True if there were any.
  bool update(sim::Tick now) {
    bool any = false;
    while (!returning_.empty() && returning_.front().seen <= now) {
      const Return r = returning_.pop();
      if (headers_[index(r.credit_class)] != kInfinite) ++headers_[index(r.credit_class)];
      if (data_[index(r.credit_class)] != kInfinite) data_[index(r.credit_class)] += r.data;
      any = true;
    }
    return any;
  }
  /// When the next credits arrive; sim::kNever if none are under way.
  sim::Tick next_update() const { return returning_.empty() ? sim::kNever : returning_.front().seen; }
  /// UpdateFC DLLPs sent by the receiver.
  std::uint64_t updates() const { return updates_; }

 private:
  static constexpr unsigned kInfinite = ~0u;
  static constexpr sim::Tick kNone = sim::kNever;
  static constexpr unsigned index(CreditClass c) { return static_cast<unsigned>(c); }
  struct Return {
    sim::Tick seen = 0;
    CreditClass credit_class = CreditClass::kPosted;
    unsigned data = 0;
  };

  bool limited_;
  sim::Tick update_delay_;
  sim::Tick update_interval_;
  unsigned headers_[kCreditClasses];
  unsigned data_[kCreditClasses];
  Ring<Return> returning_{16};
  sim::Tick last_update_ = 0;
  sim::Tick waiting_update_ = kNone;
  std::uint64_t updates_ = 0;
};

}  // namespace platform
