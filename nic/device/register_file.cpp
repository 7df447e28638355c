// SPDX-License-Identifier: Apache-2.0
#include "nic/device/register_file.h"

#include <vector>

namespace nic {
namespace {

using K = RegisterKind;

struct Spec {
  std::uint32_t offset;
  std::uint32_t count;
  std::uint32_t stride;
  std::uint32_t reset;
  std::uint32_t writable;
  RegisterKind kind = K::kPlain;
  bool survives = false;
};

constexpr std::uint32_t kAll = 0xFFFFFFFF;
constexpr std::uint32_t kVectorMask = (1u << kVectors) - 1;

// One line a register or array of registers: offset, count, stride, reset value, writable bits, kind.
constexpr Spec kSpecs[] = {
    {reg::CTRL, 1, 4, 0x00100209, 0xFBFFFFFF, K::kCtrl},
    {reg::STATUS, 1, 4, 0x80080481, 0, K::kStatus},
    {reg::EECD, 1, 4, 0x00001110, 0x0000007F},
    {reg::EERD, 1, 4, 0, 0x0000FFFC, K::kEerd},
    {reg::CTRL_EXT, 1, 4, 0, kAll & ~(ctrl_ext::EE_RST | ctrl_ext::PFRSTD), K::kCtrlExt},
    {reg::FLA, 1, 4, 0, kAll},
    {reg::MDIC, 1, 4, 0, kAll, K::kMdic},
    {reg::SCTL, 1, 4, 0, kAll},
    {reg::FCAL, 1, 4, 0, kAll},
    {reg::FCAH, 1, 4, 0, kAll},
    {reg::FCT, 1, 4, 0, kAll},
    {reg::VET, 1, 4, 0x81008100, kAll, K::kFilter},
    {reg::ICR, 1, 4, 0, 0, K::kIcr},
    {reg::ICS, 1, 4, 0, 0, K::kIcs},
    {reg::IMS, 1, 4, 0, 0, K::kIms},
    {reg::IMC, 1, 4, 0, 0, K::kImc},
    {reg::IAM, 1, 4, 0, kAll},
    {reg::RCTL, 1, 4, 0, kAll, K::kFilter},
    {reg::TCTL, 1, 4, 0xA40400F8, kAll, K::kFilter},
    {reg::TCTL_EXT, 1, 4, 0x00010840, kAll},
    {reg::TIPG, 1, 4, 0x00601008, kAll},
    {reg::VMBMEM(0), kPools * 16, 4, 0, kAll},
    {reg::P2VMAILBOX(0), kPools, 4, 0, 0, K::kP2vMailbox},
    {reg::V2PMAILBOX(0), kPools, 4, v2p::RSTI, 0, K::kV2pMailbox},
    {reg::MBVFICR, 1, 4, 0, 0, K::kWriteOneToClear},
    {reg::MBVFIMR, 1, 4, 0xFF, 0xFF},
    {reg::VFLRE, 1, 4, 0, 0, K::kWriteOneToClear},
    {reg::VFRE, 1, 4, 0xFF, 0xFF, K::kFilter},
    {reg::VFTE, 1, 4, 0xFF, 0xFF, K::kFilter},
    {reg::LEDCTL, 1, 4, 0x07068302, kAll},
    {reg::EEMNGCTL, 1, 4, 0x80000000, kAll},
    {reg::FRTIMER, 1, 4, 0, 0, K::kFrtimer},
    {reg::GPIE, 1, 4, 0, kAll},
    {reg::EICS, 1, 4, 0, 0, K::kEics},
    {reg::EIMS, 1, 4, 0, 0, K::kEims},
    {reg::EIMC, 1, 4, 0, 0, K::kEimc},
    {reg::EIAC, 1, 4, 0, kVectorMask, K::kEiac},
    {reg::EIAM, 1, 4, 0, kVectorMask, K::kEiam},
    {reg::EICR, 1, 4, 0, 0, K::kEicr},
    {reg::EITR(0), kVectors, 4, 0, 0x001FFFFC, K::kEitr, true},
    {reg::IVAR(0), 8, 4, 0, 0x9F9F9F9F},
    {reg::IVAR_MISC, 1, 4, 0, 0x9F9F},
    {reg::FCRTL, 1, 4, 0, kAll},
    {reg::FCRTH, 1, 4, 0, kAll},
    {reg::RXPBS, 1, 4, 0x40, kAll, K::kPlain, true},
    {reg::QDE, 1, 4, 0, 0xFFFF, K::kFilter},
    {reg::TXPBS, 1, 4, 0x28, kAll, K::kPlain, true},
    {reg::DTXSWC, 1, 4, 0, kAll},
    {reg::LVMMC, 1, 4, 0, 0},
    {reg::WVBR, 1, 4, 0, 0, K::kStatistic},  // clear on read
    {reg::DTXCTL, 1, 4, 0x44, kAll},
    {reg::VMVIR(0), kPools, 4, 0, 0xC000FFFF},
    {reg::RXCSUM, 1, 4, 0x300, kAll},
    {reg::RLPML, 1, 4, 0x2600, 0x3FFF},
    {reg::RFCTL, 1, 4, 0, kAll},
    {reg::MTA(0), 128, 4, 0, kAll},
    {reg::RAL(0), 16, 8, 0, kAll, K::kFilter},
    {reg::RAH(0), 16, 8, 0, kAll, K::kFilter},
    {reg::RAL(16), 8, 8, 0, kAll, K::kFilter},
    {reg::RAH(16), 8, 8, 0, kAll, K::kFilter},
    {reg::PSRTYPE(0), kPools, 4, 0, kAll},
    {reg::VFTA(0), 128, 4, 0, kAll},
    {reg::SYNQF, 1, 4, 0, kAll},
    {reg::WUC, 1, 4, 0, kAll},
    {reg::WUFC, 1, 4, 0, kAll},
    {reg::WUS, 1, 4, 0, 0, K::kWriteOneToClear},
    {reg::MRQC, 1, 4, 0, kAll},
    {reg::VT_CTL, 1, 4, 0, kAll},
    {reg::MANC, 1, 4, 0, kAll},
    {reg::SAQF(0), 8, 4, 0, kAll},
    {reg::DAQF(0), 8, 4, 0, kAll},
    {reg::SPQF(0), 8, 4, 0, kAll},
    {reg::FTQF(0), 8, 4, 0, kAll},
    {reg::TXSWC, 1, 4, 0, kAll},
    {reg::VMOLR(0), kPools, 4, 0x80002600, kAll},
    {reg::RPLOLR, 1, 4, 0x80000000, kAll},
    {reg::GCR, 1, 4, 0x06850200, kAll},
    {reg::FACTPS, 1, 4, 0, 0},
    {reg::SWSM, 1, 4, 0, 0x0000000F, K::kSwsm},
    {reg::FWSM, 1, 4, 0, 0},
    {reg::SW_FW_SYNC, 1, 4, 0, kAll},
    {reg::PBACLR, 1, 4, 0, 0, K::kPbaClear},
    {reg::IOVCTL, 1, 4, 0, kAll},
    {reg::RETA(0), 32, 4, 0, kAll},
    {reg::RSSRK(0), 10, 4, 0, kAll, K::kFilter},
    {reg::ETQF(0), 8, 4, 0, kAll, K::kFilter},
    {reg::VLVF(0), 32, 4, 0, 0x801FFFFF},
    {reg::UTA(0), 128, 4, 0, kAll},

    {reg::RDBAL(0), kQueues, 0x40, 0, ~0x7Fu},
    {reg::RDBAH(0), kQueues, 0x40, 0, kAll},
    {reg::RDLEN(0), kQueues, 0x40, 0, 0x000FFF80},
    {reg::SRRCTL(0), kQueues, 0x40, 0, kAll, K::kFilter},
    {reg::RDH(0), kQueues, 0x40, 0, 0xFFFF, K::kRdh},
    {reg::RXCTL(0), kQueues, 0x40, 0, kAll},
    {reg::RDT(0), kQueues, 0x40, 0, 0xFFFF, K::kRdt},
    {reg::RXDCTL(0), kQueues, 0x40, 0x00010000, 0x021F1F1F, K::kRxdctl},
    {reg::RQDPC(0), kQueues, 0x40, 0, 0, K::kRqdpc},
    {reg::DVMOLR(0), kQueues, 0x40, 0, kAll},
    {reg::TDBAL(0), kQueues, 0x40, 0, ~0x7Fu},
    {reg::TDBAH(0), kQueues, 0x40, 0, kAll},
    {reg::TDLEN(0), kQueues, 0x40, 0, 0x000FFF80},
    {reg::TDH(0), kQueues, 0x40, 0, 0xFFFF, K::kTdh},
    {reg::TXCTL(0), kQueues, 0x40, 0x2A00, kAll},
    {reg::TDT(0), kQueues, 0x40, 0, 0xFFFF, K::kTdt},
    {reg::TXDCTL(0), kQueues, 0x40, 0, 0x0A1F1F1F, K::kTxdctl},
    {reg::TDWBAL(0), kQueues, 0x40, 0, 0xFFFFFFFD},
    {reg::TDWBAH(0), kQueues, 0x40, 0, kAll},

    {0x4000, 75, 4, 0, 0, K::kStatistic},  // CRCERRS .. HTCBDPC
    {reg::GORCH, 1, 4, 0, 0, K::kStatisticHigh},
    {reg::GOTCH, 1, 4, 0, 0, K::kStatisticHigh},
    {reg::TORH, 1, 4, 0, 0, K::kStatisticHigh},
    {reg::TOTH, 1, 4, 0, 0, K::kStatisticHigh},
};

struct Alias {
  std::uint32_t from;
  std::uint32_t to;
  std::uint32_t bytes;
};

constexpr Alias kAliases[] = {
    {reg::CTRL_ALIAS, reg::CTRL, 4}, {0x0168, reg::FCRTL, 4},       {0x0040, reg::RAL(0), 0x80},
    {0x0600, reg::VFTA(0), 0x200},   {0x0200, reg::MTA(0), 0x200},  {0x2800, reg::RDBAL(0), 0x40},
    {0x2900, reg::RDBAL(1), 0x40},   {0x2A00, reg::RDBAL(2), 0x40}, {0x2B00, reg::RDBAL(3), 0x40},
    {0x3800, reg::TDBAL(0), 0x40},   {0x3900, reg::TDBAL(1), 0x40}, {0x3A00, reg::TDBAL(2), 0x40},
    {0x3B00, reg::TDBAL(3), 0x40},
};

std::vector<RegisterInfo> build_table() {
  std::vector<RegisterInfo> table(RegisterFile::kBytes / 4);
  for (const Spec& s : kSpecs) {
    for (std::uint32_t i = 0; i < s.count; ++i) {
      table[(s.offset + i * s.stride) / 4] = {s.reset,    s.writable, s.kind, static_cast<std::uint8_t>(i),
                                              s.survives, 0};
    }
  }
  for (unsigned n = 0; n < kQueues; ++n) table[reg::RXDCTL(n) / 4].reset = n == 0 ? 0x02010000 : 0x00010000;
  table[reg::TXDCTL(0) / 4].reset = 0x02000000;
  for (unsigned vf = 0; vf < kPools; ++vf) {
    for (std::uint32_t off = 0; off < 0x100; off += 4) {
      table[(reg::PVTCTRL(vf) + off) / 4] = {0, 0, K::kVfMirror, static_cast<std::uint8_t>(vf), false, 0};
    }
  }
  for (const Alias& a : kAliases) {
    for (std::uint32_t off = 0; off < a.bytes; off += 4) table[(a.from + off) / 4].alias_of = a.to + off;
  }
  return table;
}

const std::vector<RegisterInfo>& table() {
  static const std::vector<RegisterInfo> t = build_table();
  return t;
}

}  // namespace

RegisterFile::RegisterFile() { power_on_reset(); }

std::uint32_t RegisterFile::canonical(std::uint32_t offset) {
  offset &= (kBytes - 1) & ~3u;
  const std::uint32_t alias = table()[offset / 4].alias_of;
  // Register 0 (CTRL) is the target of one alias only.
  return alias != 0 || offset == reg::CTRL_ALIAS ? alias : offset;
}

const RegisterInfo& RegisterFile::info(std::uint32_t canonical_offset) {
  return table()[canonical_offset / 4];
}

void RegisterFile::write_masked(std::uint32_t offset, std::uint32_t value) {
  const std::uint32_t writable = info(offset).writable;
  std::uint32_t& v = values_[offset / 4];
  v = (v & ~writable) | (value & writable);
}

void RegisterFile::power_on_reset() {
  const auto& t = table();
  for (std::size_t i = 0; i < values_.size(); ++i) values_[i] = t[i].reset;
}

void RegisterFile::software_reset() {
  const auto& t = table();
  for (std::size_t i = 0; i < values_.size(); ++i) {
    if (!t[i].survives_software_reset) values_[i] = t[i].reset;
  }
}

}  // namespace nic
