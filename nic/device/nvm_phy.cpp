// SPDX-License-Identifier: Apache-2.0
#include "nic/device/nvm_phy.h"

#include <utility>

namespace nic {
namespace {

constexpr std::uint16_t kBmcrRestart = 1u << 9, kBmcrReset = 1u << 15;
constexpr std::uint16_t kBmsrLink = 1u << 2, kBmsrAutonegotiationComplete = 1u << 5;
constexpr std::uint16_t kPartnerAcknowledge = 1u << 14;
constexpr unsigned kBmcr = 0, kBmsr = 1, kAnlpar = 5;

}  // namespace

Nvm::Nvm(const std::array<std::uint8_t, 6>& mac) {
  constexpr std::pair<unsigned, std::uint16_t> kImage[] = {
      {0x03, 0x0D34}, {0x05, 0x2010}, {0x08, 0x1040}, {0x0A, 0x002B}, {0x0B, 0x10C9}, {0x0C, 0x8086},
      {0x0D, 0x10C9}, {0x0F, 0x70C3}, {0x10, 0x0004}, {0x11, 0x10C9}, {0x12, 0x5C00}, {0x14, 0x2880},
      {0x15, 0x0014}, {0x16, 0x4A40}, {0x17, 0x0060}, {0x18, 0x6CFB}, {0x19, 0xC7B0}, {0x1A, 0x0ABE},
      {0x1B, 0x0403}, {0x1C, 0x0783}, {0x1D, 0x10A6}, {0x1E, 0x0001}, {0x1F, 0x0602}, {0x20, 0x0004},
      {0x21, 0x0020}, {0x23, 0x004A}, {0x24, 0x2080}, {0x25, 0x00F5}, {0x26, 0x10CA}, {0x2A, 0x4784},
      {0x2B, 0x4602}, {0x2E, 0x1000}, {0x30, 0x0100}, {0x31, 0x4000}, {0x32, 0x131F}, {0x33, 0x4013},
      {0x34, 0x0100}, {0x35, 0x4000}, {0x3D, 0x00E0}, {0x40, 0x0003}, {0x04, 0xFFFF}, {0x06, 0xFFFF},
      {0x07, 0xFFFF}, {0x09, 0xFFFF}, {0x2F, 0xFFFF}, {0x36, 0xFFFF}, {0x37, 0xFFFF}, {0x38, 0xFFFF},
      {0x39, 0xFFFF}, {0x3A, 0xFFFF}, {0x3B, 0xFFFF}, {0x3C, 0xFFFF}, {0x3E, 0xFFFF}};
  for (const auto& [address, value] : kImage) words_[address] = value;
  for (unsigned i = 0; i < 3; ++i) words_[i] = static_cast<std::uint16_t>(mac[2 * i] | mac[2 * i + 1] << 8);
  std::uint16_t sum = 0;
  for (unsigned i = 0; i < 0x3F; ++i) sum = static_cast<std::uint16_t>(sum + words_[i]);
  words_[0x3F] = static_cast<std::uint16_t>(0xBABA - sum);
}

void Phy::power_on(bool link_up) {
  link_up_ = link_up;
  reset();
}

void Phy::reset() {
  regs_.fill(0);
  constexpr std::pair<unsigned, std::uint16_t> kReset[] = {
      {0, 0x1140}, {1, 0x794D}, {2, 0x02A8},  {3, 0x0391},  {4, 0x0DE1},  {5, 0x07E0},  {6, 0x0005},
      {7, 0x2001}, {9, 0x0F00}, {10, 0x3C00}, {15, 0x3000}, {16, 0x0120}, {17, 0xC000}, {25, 0x008D}};
  for (const auto& [address, value] : kReset) regs_[address] = value;
  if (link_up_) complete_autonegotiation();
}

bool Phy::write(unsigned reg, std::uint16_t value) {
  reg &= 31;
  switch (reg) {
    case kBmcr: {
      const bool restart = (value & kBmcrRestart) != 0 || (value & kBmcrReset) != 0;
      if ((value & kBmcrReset) != 0) {
        link_up_ = false;
        reset();
      } else {
        regs_[kBmcr] = static_cast<std::uint16_t>(value & 0x7D80 & ~kBmcrRestart);
      }
      if (restart) {
        link_up_ = false;
        regs_[kBmsr] &= static_cast<std::uint16_t>(~(kBmsrLink | kBmsrAutonegotiationComplete));
      }
      return restart;
    }
    case kBmsr:
    case 2:
    case 3:
    case kAnlpar:
    case 6:
    case 10:
    case 15:
      return false;  // read only
    default:
      regs_[reg] = value;
      return false;
  }
}

void Phy::complete_autonegotiation() {
  link_up_ = true;
  regs_[kBmsr] |= kBmsrLink | kBmsrAutonegotiationComplete;
  regs_[kAnlpar] |= kPartnerAcknowledge;
}

}  // namespace nic
