// SPDX-License-Identifier: Apache-2.0
// What waits to leave through the PCIe core beside packet data, in the order in which it must leave:
// descriptor write-backs and interrupt messages. Each queue and each message is in it at most once, so it is
// bounded.
#pragma once
#include <array>
#include <cstdint>

#include "nic/device/device.h"
#include "sim/error.h"

namespace nic {

class ControlQueue {
 public:
  enum class Kind : std::uint8_t { kRxWriteBack, kTxWriteBack, kMessage };
  struct Token {
    Kind kind;
    std::uint8_t id;        ///< queue, or MSI-X table entry
    std::uint8_t function;  ///< of a message
  };

  bool empty() const { return count_ == 0; }
  const Token& front() const { return ring_[first_ % kCapacity]; }

  void write_back(unsigned queue, bool transmit) {
    std::uint32_t& mask = transmit ? tx_ : rx_;
    if ((mask >> queue & 1) != 0) return;
    mask |= 1u << queue;
    push({transmit ? Kind::kTxWriteBack : Kind::kRxWriteBack, static_cast<std::uint8_t>(queue), 0});
  }
  void message(FunctionIndex function, unsigned entry) {
    if ((messages_[function] >> entry & 1) != 0) return;
    messages_[function] |= 1u << entry;
    push({Kind::kMessage, static_cast<std::uint8_t>(entry), static_cast<std::uint8_t>(function)});
  }
  void pop() {
    const Token& t = front();
    switch (t.kind) {
      case Kind::kRxWriteBack:
        rx_ &= ~(1u << t.id);
        break;
      case Kind::kTxWriteBack:
        tx_ &= ~(1u << t.id);
        break;
      case Kind::kMessage:
        messages_[t.function] &= ~(1u << t.id);
        break;
    }
    ++first_;
    --count_;
  }

 private:
  static constexpr std::uint32_t kCapacity = 256;  // 2 * 16 queues and 9 * 10 messages at most
  void push(const Token& t) {
    POOLSIM_ASSERT(count_ < kCapacity);
    ring_[(first_ + count_) % kCapacity] = t;
    ++count_;
  }
  std::array<Token, kCapacity> ring_{};
  std::uint32_t first_ = 0;
  std::uint32_t count_ = 0;
  std::uint32_t rx_ = 0, tx_ = 0;
  std::array<std::uint32_t, kFunctions> messages_{};
};

}  // namespace nic
