// SPDX-License-Identifier: Apache-2.0
// The register map of a VF (VF BAR0) and its mirror in the PF (PVTCTRL), laid onto the PF's registers.
#include "nic/device/core.h"

namespace nic {
namespace {

constexpr std::uint32_t kDvmolr = reg::DVMOLR(0) - reg::RDBAL(0);

/// Queue registers of a VF: true if `offset` lies in queue 0 or 1's block of `base`.
bool in_queue_block(std::uint32_t offset, std::uint32_t base, unsigned& queue, std::uint32_t& low) {
  if (offset < base || offset >= base + 0x200) return false;
  queue = (offset - base) / 0x100;
  low = (offset - base) % 0x100;
  return low < 0x40;
}

/// VF statistics: their offset in the PVTCTRL block, 0 if not one.
std::uint32_t statistic_of(std::uint32_t offset) {
  switch (offset) {
    case vfreg::VFGPRC:
      return 0x10;
    case vfreg::VFGPTC:
      return 0x14;
    case vfreg::VFGORC:
      return 0x18;
    case vfreg::VFGOTC:
      return 0x34;
    case vfreg::VFMPRC:
      return 0x3C;
    case vfreg::VFGPRLBC:
      return 0x40;
    case vfreg::VFGPTLBC:
      return 0x44;
    case vfreg::VFGORLBC:
      return 0x48;
    case vfreg::VFGOTLBC:
      return 0x50;
    default:
      return 0;
  }
}

}  // namespace

std::uint32_t Nic::Core::vf_read(unsigned vf, std::uint32_t offset, bool side_effects) {
  offset &= (pci::kVfBarBytes - 1) & ~3u;
  const unsigned shift = Interrupts::vf_vector(vf, 0);
  const std::uint32_t mask = Interrupts::vf_mask(vf);
  unsigned queue = 0;
  std::uint32_t low = 0;
  if (in_queue_block(offset, vfreg::RX(0), queue, low)) {
    if (low == kDvmolr) return 0;  // the PF's
    return csr_read(reg::RDBAL(vf + kPools * queue) + low, side_effects);
  }
  if (in_queue_block(offset, vfreg::TX(0), queue, low)) {
    return csr_read(reg::TDBAL(vf + kPools * queue) + low, side_effects);
  }
  if (offset >= vfreg::VMBMEM && offset < vfreg::VMBMEM + 0x40) {
    return device.regs[reg::VMBMEM(vf) + offset - vfreg::VMBMEM];
  }
  if (offset >= vfreg::EITR0 && offset < vfreg::EITR0 + 4 * kVfVectors) {
    return irq.read_eitr(shift + (offset - vfreg::EITR0) / 4);
  }
  if (const std::uint32_t block = statistic_of(offset); block != 0)
    return device.regs[reg::PVTCTRL(vf) + block];
  switch (offset) {
    case vfreg::STATUS:
      return read_status() & (status::FD | status::LU | 0xC0);
    case vfreg::FRTIMER:
      return free_running_timer();
    case vfreg::EICS:
      return (irq.peek_eicr() & mask) >> shift;
    case vfreg::EIMS:
    case vfreg::EIMC:
      return (irq.eims() & mask) >> shift;
    case vfreg::EIAC:
      return (irq.eiac & mask) >> shift;
    case vfreg::EIAM:
      return (irq.eiam & mask) >> shift;
    case vfreg::EICR:
      return (side_effects ? irq.read_eicr(mask) : irq.peek_eicr() & mask) >> shift;
    case vfreg::VTIVAR:
      return irq.vtivar[vf];
    case vfreg::VTIVAR_MISC:
      return irq.vtivar_misc[vf];
    case vfreg::V2PMAILBOX:
      return read_v2p(vf, side_effects);
    case vfreg::PBACL:
      return device.functions[vf + 1].msix_pending;
    case vfreg::PSRTYPE:
      return device.regs[reg::PSRTYPE(vf)];
    default:
      return 0;
  }
}

void Nic::Core::vf_write(unsigned vf, std::uint32_t offset, std::uint32_t value) {
  offset &= (pci::kVfBarBytes - 1) & ~3u;
  const unsigned shift = Interrupts::vf_vector(vf, 0);
  const std::uint32_t mask = Interrupts::vf_mask(vf);
  const std::uint32_t bits = (value & 7) << shift;
  unsigned queue = 0;
  std::uint32_t low = 0;
  if (in_queue_block(offset, vfreg::RX(0), queue, low) && low == kDvmolr) return;
  if (in_queue_block(offset, vfreg::RX(0), queue, low))
    return csr_write(reg::RDBAL(vf + kPools * queue) + low, value);
  if (in_queue_block(offset, vfreg::TX(0), queue, low))
    return csr_write(reg::TDBAL(vf + kPools * queue) + low, value);
  if (offset >= vfreg::VMBMEM && offset < vfreg::VMBMEM + 0x40) {
    device.regs[reg::VMBMEM(vf) + offset - vfreg::VMBMEM] = value;
    return;
  }
  if (offset >= vfreg::EITR0 && offset < vfreg::EITR0 + 4 * kVfVectors) {
    return irq.write_eitr(shift + (offset - vfreg::EITR0) / 4, value);
  }
  switch (offset) {
    case vfreg::CTRL:
      if ((value & ctrl::RST) != 0) reset_vf(vf);
      return;
    case vfreg::EICS:
      return irq.set_causes(bits);
    case vfreg::EIMS:
      return irq.set_eims(bits);
    case vfreg::EIMC:
      return irq.clear_eims(bits);
    case vfreg::EIAC:
      irq.eiac = (irq.eiac & ~mask) | bits;
      return;
    case vfreg::EIAM:
      irq.eiam = (irq.eiam & ~mask) | bits;
      return;
    case vfreg::EICR:
      return irq.clear_eicr(bits);
    case vfreg::VTIVAR:
      irq.vtivar[vf] = value & 0x83838383;
      return;
    case vfreg::VTIVAR_MISC:
      irq.vtivar_misc[vf] = value & 0x83;
      return;
    case vfreg::V2PMAILBOX:
      return write_v2p(vf, value);
    case vfreg::PBACL:
      device.functions[vf + 1].msix_pending &= ~value;
      return;
    case vfreg::PSRTYPE:
      device.regs[reg::PSRTYPE(vf)] = value;
      return;
    default:
      return;
  }
}

std::uint32_t Nic::Core::mirror_read(unsigned vf, std::uint32_t block_offset, bool side_effects) {
  switch (block_offset) {
    case 0x20:
      return vf_read(vf, vfreg::EICS, side_effects);
    case 0x24:
      return vf_read(vf, vfreg::EIMS, side_effects);
    case 0x28:
      return vf_read(vf, vfreg::EIMC, side_effects);
    case 0x2C:
      return vf_read(vf, vfreg::EIAC, side_effects);
    case 0x30:
      return vf_read(vf, vfreg::EIAM, side_effects);
    case 0x80:
      return vf_read(vf, vfreg::EICR, side_effects);
    default:
      return device.regs[reg::PVTCTRL(vf) + block_offset];
  }
}

void Nic::Core::mirror_write(unsigned vf, std::uint32_t block_offset, std::uint32_t value) {
  switch (block_offset) {
    case 0x00:
      return vf_write(vf, vfreg::CTRL, value);
    case 0x20:
      return vf_write(vf, vfreg::EICS, value);
    case 0x24:
      return vf_write(vf, vfreg::EIMS, value);
    case 0x28:
      return vf_write(vf, vfreg::EIMC, value);
    case 0x2C:
      return vf_write(vf, vfreg::EIAC, value);
    case 0x30:
      return vf_write(vf, vfreg::EIAM, value);
    case 0x80:
      return vf_write(vf, vfreg::EICR, value);
    default:
      return;
  }
}

}  // namespace nic
