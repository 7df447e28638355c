// SPDX-License-Identifier: Apache-2.0
// Side effects of the PF's registers.
#include "nic/device/core.h"

namespace nic {

using K = RegisterKind;

std::uint32_t Nic::Core::read_status() const {
  std::uint32_t value = device.regs[reg::STATUS] & ~(status::LU | status::GIO_MASTER_ENABLE);
  if (link_up()) value |= status::LU;
  // Cleared when software asked for quiet and nothing is outstanding any more.
  const bool quiet =
      (device.regs[reg::CTRL] & ctrl::GIO_MASTER_DISABLE) != 0 && port.reads_outstanding(kPf) == 0;
  if (!quiet) value |= status::GIO_MASTER_ENABLE;
  if (device.active_vfs() != 0) value |= status::IOV_MODE | device.active_vfs() << 14;
  return value;
}

std::uint32_t Nic::Core::free_running_timer() const {
  return static_cast<std::uint32_t>(device.sim.now() / sim::kMicrosecond);
}

std::uint32_t Nic::Core::csr_read(std::uint32_t offset, bool side_effects) {
  offset = RegisterFile::canonical(offset);
  const RegisterInfo& info = RegisterFile::info(offset);
  std::uint32_t& value = device.regs[offset];
  switch (info.kind) {
    case K::kAbsent:
      return 0;
    case K::kStatus:
      return read_status();
    case K::kIcr:
      return side_effects ? irq.read_icr() : irq.peek_icr();
    case K::kIcs:
      return irq.peek_icr();
    case K::kIms:
    case K::kImc:
      return irq.ims();
    case K::kEics:
      return irq.peek_eicr() & ~irq.vf_owned_mask();
    case K::kEims:
    case K::kEimc:
      return irq.eims();
    case K::kEiac:
      return irq.eiac;
    case K::kEiam:
      return irq.eiam;
    case K::kEicr:
      return side_effects ? irq.read_eicr(~irq.vf_owned_mask()) : irq.peek_eicr() & ~irq.vf_owned_mask();
    case K::kEitr:
      return irq.read_eitr(info.index);
    case K::kSwsm: {
      const std::uint32_t old = value;
      if (side_effects) value |= 1;  // SMBI: taken by whoever reads it as 0
      return old;
    }
    case K::kP2vMailbox:
      return read_p2v(info.index);
    case K::kV2pMailbox:
      return value;
    case K::kRqdpc:
    case K::kStatistic: {
      const std::uint32_t old = value;
      if (side_effects && offset != reg::GORCL && offset != reg::GOTCL && offset != reg::TORL &&
          offset != reg::TOTL) {
        value = 0;
      }
      return old;
    }
    case K::kStatisticHigh: {
      const std::uint32_t old = value;
      if (side_effects) value = device.regs[offset - 4] = 0;
      return old;
    }
    case K::kVfMirror:
      return mirror_read(info.index, offset & 0xFF, side_effects);
    case K::kFrtimer:
      return free_running_timer();
    case K::kPbaClear:
      return device.pf().msix_pending;
    default:
      return value;
  }
}

void Nic::Core::csr_write(std::uint32_t offset, std::uint32_t value) {
  offset = RegisterFile::canonical(offset);
  const RegisterInfo& info = RegisterFile::info(offset);
  const unsigned n = info.index;
  switch (info.kind) {
    case K::kAbsent:
    case K::kStatistic:
    case K::kStatisticHigh:
    case K::kRqdpc:
    case K::kV2pMailbox:
    case K::kFrtimer:
      return;
    case K::kStatus:
      if ((value & status::PHYRA) == 0) device.regs[offset] &= ~status::PHYRA;
      return;
    case K::kCtrl:
      return write_ctrl(value);
    case K::kCtrlExt:
      return write_ctrl_ext(value);
    case K::kEerd:
      return write_eerd(value);
    case K::kMdic:
      return write_mdic(value);
    case K::kIcr:
      return irq.clear_icr(value);
    case K::kIcs:
      return irq.other_cause(value & ~icr::INT_ASSERTED);
    case K::kIms:
      return irq.set_ims(value);
    case K::kImc:
      return irq.clear_ims(value);
    case K::kEics:
      return irq.set_causes(value & ~irq.vf_owned_mask());
    case K::kEims:
      return irq.set_eims(value & ~irq.vf_owned_mask());
    case K::kEimc:
      return irq.clear_eims(value & ~irq.vf_owned_mask());
    case K::kEiac:
      irq.eiac = (irq.eiac & irq.vf_owned_mask()) | (value & info.writable & ~irq.vf_owned_mask());
      return;
    case K::kEiam:
      irq.eiam = (irq.eiam & irq.vf_owned_mask()) | (value & info.writable & ~irq.vf_owned_mask());
      return;
    case K::kEicr:
      return irq.clear_eicr(value & ~irq.vf_owned_mask());
    case K::kEitr:
      return irq.write_eitr(n, value);
    case K::kP2vMailbox:
      return write_p2v(n, value);
    case K::kPbaClear:
      device.pf().msix_pending &= ~value;
      return;
    case K::kWriteOneToClear:
      device.regs[offset] &= ~value;
      return;
    case K::kFilter:
      device.regs.write_masked(offset, value);
      filter.invalidate();
      return;
    case K::kRdh:
      return rx.queue(n).write_head(static_cast<std::uint16_t>(value));
    case K::kRdt:
      return rx.write_tail(n, static_cast<std::uint16_t>(value));
    case K::kRxdctl:
      return rx.write_control(n, value);
    case K::kTdh:
      return tx.queue(n).write_head(static_cast<std::uint16_t>(value));
    case K::kTdt:
      return tx.write_tail(n, static_cast<std::uint16_t>(value));
    case K::kTxdctl:
      return tx.write_control(n, value);
    case K::kVfMirror:
      return mirror_write(n, offset & 0xFF, value);
    case K::kPlain:
    case K::kSwsm:
      device.regs.write_masked(offset, value);
      return;
  }
}

void Nic::Core::write_ctrl(std::uint32_t value) {
  if ((value & ctrl::RST) != 0) return software_reset();
  if ((value & ctrl::PHY_RST) != 0) phy.reset();
  device.regs.write_masked(reg::CTRL, value & ~ctrl::PHY_RST);
  const bool before = device.may_master(kPf);
  device.refresh_functions();
  mastering_changed(kPf, before);
}

void Nic::Core::write_ctrl_ext(std::uint32_t value) {
  device.regs.write_masked(reg::CTRL_EXT, value);
  if ((value & ctrl_ext::EE_RST) != 0) load_station_address();
  if ((value & ctrl_ext::PFRSTD) == 0) return;
  for (unsigned vf = 0; vf < kPools; ++vf) {
    std::uint32_t& v2p_value = device.regs[reg::V2PMAILBOX(vf)];
    v2p_value = (v2p_value & ~v2p::RSTI) | v2p::RSTD;
  }
}

void Nic::Core::write_eerd(std::uint32_t value) {
  constexpr std::uint32_t kStart = 1, kDone = 2;
  const std::uint32_t address = value >> 2 & 0x3FFF;
  std::uint32_t& eerd = device.regs[reg::EERD];
  eerd = address << 2;
  if ((value & kStart) != 0) eerd |= static_cast<std::uint32_t>(nvm.word(address)) << 16 | kDone;
}

void Nic::Core::write_mdic(std::uint32_t value) {
  constexpr std::uint32_t kWrite = bit(26), kRead = bit(27), kReady = bit(28), kIntEnable = bit(29),
                          kError = bit(30);
  const unsigned phy_reg = value >> 16 & 31, address = value >> 21 & 31;
  std::uint32_t result = value & ~(kReady | kError);
  if (address != 1 || (value & (kWrite | kRead)) == 0) {
    result |= kError;
  } else if ((value & kRead) != 0) {
    result = (result & 0xFFFF0000) | phy.read(phy_reg);
  } else if (const bool was_up = link_up(); phy.write(phy_reg, static_cast<std::uint16_t>(value))) {
    if (was_up) irq.other_cause(icr::LSC);
    autonegotiation_end_ = device.now + device.config.autonegotiation_us * device.cycles_per_us;
    arrival_due = next_arrival();
  }
  device.regs[reg::MDIC] = result | kReady;
  if ((value & kIntEnable) != 0) irq.other_cause(icr::MDAC);
}

// ---- mailbox
// --------------------------------------------------------------------------------------------------

std::uint32_t Nic::Core::read_p2v(unsigned vf) const {
  const std::uint32_t v = device.regs[reg::V2PMAILBOX(vf)];
  return ((v & v2p::VFU) != 0 ? p2v::VFU : 0) | ((v & v2p::PFU) != 0 ? p2v::PFU : 0);
}

void Nic::Core::write_p2v(unsigned vf, std::uint32_t value) {
  std::uint32_t& v = device.regs[reg::V2PMAILBOX(vf)];
  if ((value & p2v::STS) != 0) {
    v |= v2p::PFSTS;
    irq.vf_mailbox_cause(vf);
  }
  if ((value & p2v::ACK) != 0) {
    v |= v2p::PFACK;
    irq.vf_mailbox_cause(vf);
  }
  if ((value & p2v::RVFU) != 0) {
    v &= ~v2p::VFU;
    device.regs[reg::MBVFICR] &= ~(0x00010001u << vf);
  }
  if ((value & p2v::PFU) == 0) {
    v &= ~v2p::PFU;
  } else if ((v & v2p::VFU) == 0) {
    v |= v2p::PFU;
  }
}

std::uint32_t Nic::Core::read_v2p(unsigned vf, bool side_effects) {
  std::uint32_t& v = device.regs[reg::V2PMAILBOX(vf)];
  const std::uint32_t value = v;
  if (side_effects) v &= ~(v2p::PFSTS | v2p::PFACK | v2p::RSTD);
  return value;
}

void Nic::Core::write_v2p(unsigned vf, std::uint32_t value) {
  std::uint32_t& v = device.regs[reg::V2PMAILBOX(vf)];
  std::uint32_t cause = 0;
  if ((value & v2p::REQ) != 0) cause |= 1u << vf;
  if ((value & v2p::ACK) != 0) cause |= 0x10000u << vf;
  if (cause != 0) {
    device.regs[reg::MBVFICR] |= cause;
    if ((device.regs[reg::MBVFIMR] >> vf & 1) != 0) irq.other_cause(icr::VMMB);
  }
  if ((value & v2p::VFU) == 0) {
    v &= ~v2p::VFU;
  } else if ((v & v2p::PFU) == 0) {
    v |= v2p::VFU;
  }
}

}  // namespace nic
