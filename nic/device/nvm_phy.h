// SPDX-License-Identifier: Apache-2.0
// What a driver reads beside the rings: the EEPROM (NVM) image and the copper PHY behind MDIC.
// Source: 82576 datasheet sections 6 (NVM map) and 8.2.4 (MDIC); IEEE 802.3 clause 22 registers.
#pragma once
#include <array>
#include <cstdint>

namespace nic {

/// NVM: 1024 words of 16 bits (EECD size code 2), word 0x3F makes words 0..0x3F sum to 0xBABA.
class Nvm {
 public:
  explicit Nvm(const std::array<std::uint8_t, 6>& mac);
  std::uint16_t word(std::uint32_t address) const {
    return address < words_.size() ? words_[address] : std::uint16_t{0xFFFF};
  }

 private:
  std::array<std::uint16_t, 1024> words_{};
};

/// An IGP3 PHY at address 1. Auto-negotiation takes the time its owner gives it: restart_requested() then
/// complete_autonegotiation().
class Phy {
 public:
  explicit Phy(bool link_up) { power_on(link_up); }
  /// As after power is applied; the cable stays where it is.
  void power_on(bool link_up);
  void reset();

  std::uint16_t read(unsigned reg) const { return regs_[reg & 31]; }
  /// Returns true if auto-negotiation was restarted: the link is down until complete_autonegotiation().
  bool write(unsigned reg, std::uint16_t value);
  void complete_autonegotiation();
  bool link_up() const { return link_up_ && cable_; }
  /// The other end of the link: gone, or there again.
  void set_cable(bool plugged) { cable_ = plugged; }

 private:
  std::array<std::uint16_t, 32> regs_{};
  bool link_up_ = false;
  bool cable_ = true;
};

}  // namespace nic
