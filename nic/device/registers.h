// SPDX-License-Identifier: Apache-2.0
// The programming interface of the Intel 82576 as software sees it: CSR offsets and bits (PF: BAR0, VF: VF
// BAR0), PCI configuration space, and the advanced descriptor formats. Shared by the device and its driver.
// Source: Intel 82576EB datasheet, sections 7 (descriptors), 8 (registers), 9 (PCIe); names are the
// datasheet's.
#pragma once
#include <cstdint>

namespace nic {

inline constexpr unsigned kQueues = 16;
inline constexpr unsigned kPools = 8;
inline constexpr unsigned kVectors = 25;    ///< EICR bits 24:0
inline constexpr unsigned kPfVectors = 10;  ///< MSI-X table of the PF
inline constexpr unsigned kVfVectors = 3;   ///< MSI-X table of a VF

constexpr std::uint32_t bit(unsigned n) { return 1u << n; }

/// CSR offsets in BAR0.
namespace reg {
inline constexpr std::uint32_t CTRL = 0x0000, CTRL_ALIAS = 0x0004, STATUS = 0x0008, EECD = 0x0010,
                               EERD = 0x0014, CTRL_EXT = 0x0018, FLA = 0x001C, MDIC = 0x0020, SCTL = 0x0024,
                               FCAL = 0x0028, FCAH = 0x002C, FCT = 0x0030, VET = 0x0038;
inline constexpr std::uint32_t ICR = 0x00C0, ICS = 0x00C8, IMS = 0x00D0, IMC = 0x00D8, IAM = 0x00E0;
inline constexpr std::uint32_t RCTL = 0x0100, TCTL = 0x0400, TCTL_EXT = 0x0404, TIPG = 0x0410;
constexpr std::uint32_t VMBMEM(unsigned vf, unsigned dword = 0) { return 0x0800 + 0x40 * vf + 4 * dword; }
constexpr std::uint32_t P2VMAILBOX(unsigned vf) { return 0x0C00 + 4 * vf; }
constexpr std::uint32_t V2PMAILBOX(unsigned vf) { return 0x0C40 + 4 * vf; }
inline constexpr std::uint32_t MBVFICR = 0x0C80, MBVFIMR = 0x0C84, VFLRE = 0x0C88, VFRE = 0x0C8C,
                               VFTE = 0x0C90;
inline constexpr std::uint32_t LEDCTL = 0x0E00, EEMNGCTL = 0x1010, FRTIMER = 0x1048;
inline constexpr std::uint32_t GPIE = 0x1514, EICS = 0x1520, EIMS = 0x1524, EIMC = 0x1528, EIAC = 0x152C,
                               EIAM = 0x1530, EICR = 0x1580;
constexpr std::uint32_t EITR(unsigned v) { return 0x1680 + 4 * v; }
constexpr std::uint32_t IVAR(unsigned i) { return 0x1700 + 4 * i; }
inline constexpr std::uint32_t IVAR_MISC = 0x1740;
inline constexpr std::uint32_t FCRTL = 0x2160, FCRTH = 0x2168, RXPBS = 0x2404, QDE = 0x2408, TXPBS = 0x3404,
                               DTXSWC = 0x3500, LVMMC = 0x3548, WVBR = 0x3554, DTXCTL = 0x3590;
constexpr std::uint32_t VMVIR(unsigned pool) { return 0x3700 + 4 * pool; }
inline constexpr std::uint32_t RXCSUM = 0x5000, RLPML = 0x5004, RFCTL = 0x5008;
constexpr std::uint32_t MTA(unsigned i) { return 0x5200 + 4 * i; }
constexpr std::uint32_t RAL(unsigned i) { return i < 16 ? 0x5400 + 8 * i : 0x54E0 + 8 * (i - 16); }
constexpr std::uint32_t RAH(unsigned i) { return RAL(i) + 4; }
constexpr std::uint32_t PSRTYPE(unsigned pool) { return 0x5480 + 4 * pool; }
constexpr std::uint32_t VFTA(unsigned i) { return 0x5600 + 4 * i; }
inline constexpr std::uint32_t SYNQF = 0x55FC, WUC = 0x5800, WUFC = 0x5808, WUS = 0x5810, MRQC = 0x5818,
                               VT_CTL = 0x581C, MANC = 0x5820;
constexpr std::uint32_t SAQF(unsigned i) { return 0x5980 + 4 * i; }
constexpr std::uint32_t DAQF(unsigned i) { return 0x59A0 + 4 * i; }
constexpr std::uint32_t SPQF(unsigned i) { return 0x59C0 + 4 * i; }
constexpr std::uint32_t FTQF(unsigned i) { return 0x59E0 + 4 * i; }
inline constexpr std::uint32_t TXSWC = 0x5ACC, RPLOLR = 0x5AF0, GCR = 0x5B00, FACTPS = 0x5B30, SWSM = 0x5B50,
                               FWSM = 0x5B54, SW_FW_SYNC = 0x5B5C, PBACLR = 0x5B68, IOVCTL = 0x5BBC;
constexpr std::uint32_t VMOLR(unsigned pool) { return 0x5AD0 + 4 * pool; }
constexpr std::uint32_t RETA(unsigned i) { return 0x5C00 + 4 * i; }
constexpr std::uint32_t RSSRK(unsigned i) { return 0x5C80 + 4 * i; }
constexpr std::uint32_t ETQF(unsigned i) { return 0x5CB0 + 4 * i; }
constexpr std::uint32_t VLVF(unsigned i) { return 0x5D00 + 4 * i; }
constexpr std::uint32_t UTA(unsigned i) { return 0xA000 + 4 * i; }

// Receive queue n.
constexpr std::uint32_t RDBAL(unsigned n) { return 0xC000 + 0x40 * n; }
constexpr std::uint32_t RDBAH(unsigned n) { return RDBAL(n) + 0x04; }
constexpr std::uint32_t RDLEN(unsigned n) { return RDBAL(n) + 0x08; }
constexpr std::uint32_t SRRCTL(unsigned n) { return RDBAL(n) + 0x0C; }
constexpr std::uint32_t RDH(unsigned n) { return RDBAL(n) + 0x10; }
constexpr std::uint32_t RXCTL(unsigned n) { return RDBAL(n) + 0x14; }
constexpr std::uint32_t RDT(unsigned n) { return RDBAL(n) + 0x18; }
constexpr std::uint32_t RXDCTL(unsigned n) { return RDBAL(n) + 0x28; }
constexpr std::uint32_t RQDPC(unsigned n) { return RDBAL(n) + 0x30; }
constexpr std::uint32_t DVMOLR(unsigned n) { return RDBAL(n) + 0x38; }
// Transmit queue n.
constexpr std::uint32_t TDBAL(unsigned n) { return 0xE000 + 0x40 * n; }
constexpr std::uint32_t TDBAH(unsigned n) { return TDBAL(n) + 0x04; }
constexpr std::uint32_t TDLEN(unsigned n) { return TDBAL(n) + 0x08; }
constexpr std::uint32_t TDH(unsigned n) { return TDBAL(n) + 0x10; }
constexpr std::uint32_t TXCTL(unsigned n) { return TDBAL(n) + 0x14; }
constexpr std::uint32_t TDT(unsigned n) { return TDBAL(n) + 0x18; }
constexpr std::uint32_t TXDCTL(unsigned n) { return TDBAL(n) + 0x28; }
constexpr std::uint32_t TDWBAL(unsigned n) { return TDBAL(n) + 0x38; }
constexpr std::uint32_t TDWBAH(unsigned n) { return TDBAL(n) + 0x3C; }

/// Mirror block of VF n's own registers in the PF's BAR0.
constexpr std::uint32_t PVTCTRL(unsigned vf) { return 0x10000 + 0x100 * vf; }

// Statistics (clear on read).
inline constexpr std::uint32_t CRCERRS = 0x4000, RXERRC = 0x400C, MPC = 0x4010, RLEC = 0x4040, PRC64 = 0x405C,
                               PRC1522 = 0x4070, GPRC = 0x4074, BPRC = 0x4078, MPRC = 0x407C, GPTC = 0x4080,
                               GORCL = 0x4088, GORCH = 0x408C, GOTCL = 0x4090, GOTCH = 0x4094, RNBC = 0x40A0,
                               RUC = 0x40A4, RFC = 0x40A8, ROC = 0x40AC, RJC = 0x40B0, TORL = 0x40C0,
                               TORH = 0x40C4, TOTL = 0x40C8, TOTH = 0x40CC, TPR = 0x40D0, TPT = 0x40D4,
                               PTC64 = 0x40D8, PTC1522 = 0x40EC, MPTC = 0x40F0, BPTC = 0x40F4, TSCTC = 0x40F8,
                               IAC = 0x4100, ICRXDMTC = 0x4120, HTCBDPC = 0x4124;
}  // namespace reg

/// Offsets in a VF's BAR0, where they differ from the PF's.
namespace vfreg {
inline constexpr std::uint32_t CTRL = 0x0000, STATUS = 0x0008, FRTIMER = 0x1048, VMBMEM = 0x0800,
                               V2PMAILBOX = 0x0C40, PBACL = 0x0F04, PSRTYPE = 0x0F0C, EICS = 0x1520,
                               EIMS = 0x1524, EIMC = 0x1528, EIAC = 0x152C, EIAM = 0x1530, EICR = 0x1580,
                               EITR0 = 0x1680, VTIVAR = 0x1700, VTIVAR_MISC = 0x1740, VFGPRC = 0x0F10,
                               VFGPTC = 0x0F14, VFGORC = 0x0F18, VFGOTC = 0x0F34, VFMPRC = 0x0F3C,
                               VFGPRLBC = 0x0F40, VFGPTLBC = 0x0F44, VFGORLBC = 0x0F48, VFGOTLBC = 0x0F50;
/// Registers of the VF's receive queue 0 or 1: base + the low offset of the PF's queue (RDBAL +00 ... RXDCTL
/// +28).
constexpr std::uint32_t RX(unsigned queue) { return 0x2800 + 0x100 * queue; }
constexpr std::uint32_t TX(unsigned queue) { return 0x3800 + 0x100 * queue; }
}  // namespace vfreg

namespace ctrl {
inline constexpr std::uint32_t FD = bit(0), GIO_MASTER_DISABLE = bit(2), LRST = bit(3), SLU = bit(6),
                               RST = bit(26), RFCE = bit(27), TFCE = bit(28), VME = bit(30),
                               PHY_RST = bit(31);
}
namespace status {
inline constexpr std::uint32_t FD = bit(0), LU = bit(1), PHYRA = bit(10), IOV_MODE = bit(18),
                               GIO_MASTER_ENABLE = bit(19);
constexpr std::uint32_t num_vfs(std::uint32_t value) { return (value >> 14) & 0xF; }
}  // namespace status
namespace ctrl_ext {
inline constexpr std::uint32_t EE_RST = bit(13), PFRSTD = bit(14), EXT_VLAN = bit(26), DRV_LOAD = bit(28);
}
namespace rctl {
inline constexpr std::uint32_t EN = bit(1), SBP = bit(2), UPE = bit(3), MPE = bit(4), LPE = bit(5),
                               BAM = bit(15), VFE = bit(18), CFIEN = bit(19), CFI = bit(20), DPF = bit(22),
                               PMCF = bit(23), BSEX = bit(25), SECRC = bit(26);
}
namespace tctl {
inline constexpr std::uint32_t EN = bit(1), PSP = bit(3);
}
namespace icr {
inline constexpr std::uint32_t TXDW = bit(0), TXQE = bit(1), LSC = bit(2), RXDMT0 = bit(4), RXO = bit(6),
                               RXDW = bit(7), VMMB = bit(8), MDAC = bit(9), FER = bit(22), NFER = bit(23),
                               CSRTO = bit(24), DOUTSYNC = bit(28), DRSTA = bit(30), INT_ASSERTED = bit(31);
}
namespace gpie {
inline constexpr std::uint32_t NSICR = bit(0), MULTIPLE_MSIX = bit(4), EIAME = bit(30), PBA = bit(31);
}
namespace ivar {
inline constexpr std::uint8_t VALID = 0x80, VECTOR = 0x1F;
}
namespace eitr {
/// Moderation interval in microseconds.
constexpr std::uint32_t interval_us(std::uint32_t value) { return (value >> 2) & 0x1FFF; }
constexpr std::uint32_t from_us(std::uint32_t us) { return (us & 0x1FFF) << 2; }
inline constexpr std::uint32_t CNT_INGR = bit(31);
}  // namespace eitr
namespace srrctl {
inline constexpr std::uint32_t DROP_EN = bit(31);
constexpr std::uint32_t bsizepacket_bytes(std::uint32_t v) { return (v & 0x7F) * 1024; }
constexpr std::uint32_t bsizeheader_bytes(std::uint32_t v) { return ((v >> 8) & 0xF) * 64; }
constexpr std::uint32_t rdmts(std::uint32_t v) { return ((v >> 20) & 0x1F) * 16; }
constexpr std::uint32_t desctype(std::uint32_t v) { return (v >> 25) & 7; }
enum DescType : std::uint32_t {
  kLegacy = 0,
  kOneBuffer = 1,
  kHeaderSplit = 2,
  kHeaderReplication = 3,
  kReplicationLarge = 4,
  kSplitAlways = 5
};
constexpr std::uint32_t make(std::uint32_t packet_kib, DescType type, bool drop_en,
                             std::uint32_t header_bytes = 0) {
  return packet_kib | (header_bytes / 64) << 8 | static_cast<std::uint32_t>(type) << 25 |
         (drop_en ? DROP_EN : 0);
}
}  // namespace srrctl
/// RXDCTL and TXDCTL.
namespace dctl {
inline constexpr std::uint32_t ENABLE = bit(25), SWFLUSH = bit(26);
constexpr std::uint32_t pthresh(std::uint32_t v) { return v & 0x1F; }
constexpr std::uint32_t hthresh(std::uint32_t v) { return (v >> 8) & 0x1F; }
constexpr std::uint32_t wthresh(std::uint32_t v) { return (v >> 16) & 0x1F; }
constexpr std::uint32_t make(unsigned pthresh, unsigned hthresh, unsigned wthresh, std::uint32_t flags = 0) {
  return pthresh | hthresh << 8 | wthresh << 16 | flags;
}
}  // namespace dctl
namespace rxcsum {
inline constexpr std::uint32_t IPOFLD = bit(8), TUOFLD = bit(9), CRCOFL = bit(11), IPPCSE = bit(12),
                               PCSD = bit(13);
}
namespace rfctl {
inline constexpr std::uint32_t NFSW_DIS = bit(6), NFSR_DIS = bit(7), IPV6_DIS = bit(10),
                               IPV6_XSUM_DIS = bit(11), IPFRSP_DIS = bit(14), IPV6_EX_DIS = bit(16),
                               NEW_IPV6_EXT_DIS = bit(17);
}
namespace mrqc {
constexpr std::uint32_t mrqe(std::uint32_t v) { return v & 7; }
enum Mode : std::uint32_t { kOff = 0, kRss = 2, kVmdq = 3, kVmdqRss = 5 };
inline constexpr std::uint32_t TCP_IPV4 = bit(16), IPV4 = bit(17), TCP_IPV6_EX = bit(18), IPV6_EX = bit(19),
                               IPV6 = bit(20), TCP_IPV6 = bit(21), UDP_IPV4 = bit(22), UDP_IPV6 = bit(23),
                               UDP_IPV6_EX = bit(24);
}  // namespace mrqc
namespace vt_ctl {
constexpr std::uint32_t default_pool(std::uint32_t v) { return (v >> 7) & 7; }
inline constexpr std::uint32_t IGNORE_MAC = bit(28), DIS_DEF_POOL = bit(29), REPL_EN = bit(30);
}  // namespace vt_ctl
namespace vmolr {
constexpr std::uint32_t rlpml(std::uint32_t v) { return v & 0x3FFF; }
inline constexpr std::uint32_t LPE = bit(16), RSSE = bit(17), AUPE = bit(24), ROMPE = bit(25), ROPE = bit(26),
                               BAM = bit(27), MPME = bit(28), STRVLAN = bit(30), STRCRC = bit(31);
}  // namespace vmolr
namespace rah {
constexpr std::uint32_t pools(std::uint32_t v) { return (v >> 18) & 0xFF; }
inline constexpr std::uint32_t AV = bit(31);
}  // namespace rah
namespace vlvf {
constexpr std::uint32_t pools(std::uint32_t v) { return (v >> 12) & 0xFF; }
inline constexpr std::uint32_t LVLAN = bit(20), VI_EN = bit(31);
}  // namespace vlvf
namespace dtxswc {
inline constexpr std::uint32_t LOOPBACK_EN = bit(31);
/// MAC and VLAN anti-spoof checks of a pool; LLE: the pool may send to itself.
constexpr std::uint32_t MACAS(unsigned pool) { return bit(pool); }
constexpr std::uint32_t VLANAS(unsigned pool) { return bit(8 + pool); }
constexpr std::uint32_t LLE(unsigned pool) { return bit(16 + pool); }
}  // namespace dtxswc
namespace p2v {
inline constexpr std::uint32_t STS = bit(0), ACK = bit(1), VFU = bit(2), PFU = bit(3), RVFU = bit(4);
}
namespace v2p {
inline constexpr std::uint32_t REQ = bit(0), ACK = bit(1), VFU = bit(2), PFU = bit(3), PFSTS = bit(4),
                               PFACK = bit(5), RSTI = bit(6), RSTD = bit(7);
}
/// Mailbox message words (dword 0 of VMBMEM).
namespace mbx {
inline constexpr std::uint32_t kReset = 1, kSetMac = 2, kSetMulticast = 3, kSetVlan = 4, kSetLpe = 5,
                               kSetPromisc = 6, kPfControl = 0x100, kAck = bit(31), kNack = bit(30),
                               kCts = bit(29);
}

/// PCI configuration space.
namespace pci {
inline constexpr std::uint16_t kVendor = 0x8086, kPfDevice = 0x10C9, kVfDevice = 0x10CA;
inline constexpr std::uint32_t COMMAND = 0x04, BAR0 = 0x10, PM = 0x40, MSI = 0x50, MSIX = 0x70, EXP = 0xA0,
                               EXP_DEVCAP = EXP + 4, EXP_DEVCTL = EXP + 8, EXP_DEVSTA = EXP + 0xA,
                               AER = 0x100, ARI = 0x150, SRIOV = 0x160, SRIOV_CTRL = SRIOV + 0x08,
                               SRIOV_NUM_VFS = SRIOV + 0x10, SRIOV_PAGE_SIZE = SRIOV + 0x20,
                               SRIOV_BAR0 = SRIOV + 0x24, SRIOV_BAR3 = SRIOV_BAR0 + 12;
/// BAR2: the window of two registers through which the CSRs can be reached in I/O space.
inline constexpr std::uint32_t kIoBarBytes = 32, kIoAddr = 0, kIoData = 4;
inline constexpr std::uint16_t MSI_ENABLE = 1;
inline constexpr std::uint16_t COMMAND_IO = 1, COMMAND_MEM = 2, COMMAND_BME = 4;
inline constexpr std::uint16_t MSIX_ENABLE = 0x8000, MSIX_FUNCTION_MASK = 0x4000;
inline constexpr std::uint16_t DEVCTL_FLR = 0x8000, DEVSTA_TRANSACTIONS_PENDING = 0x20;
inline constexpr std::uint16_t SRIOV_VFE = 1, SRIOV_VF_MSE = 8, SRIOV_ARI = 16;
inline constexpr std::uint32_t kFirstVfOffset = 0x80, kVfStride = 2;
inline constexpr std::uint32_t kBar0Bytes = 128 * 1024, kBar3Bytes = 16 * 1024, kVfBarBytes = 16 * 1024,
                               kPbaOffset = 0x2000;
/// Function number relative to the PF, as used in `config` socket addresses: number << 12 | register.
constexpr std::uint32_t vf_function(unsigned vf) { return kFirstVfOffset + kVfStride * vf; }
}  // namespace pci

/// Advanced receive descriptor, 16 bytes: read format {packet buffer, header buffer}; write-back format
/// below.
struct RxDescriptor {
  std::uint64_t qw0 = 0;
  std::uint64_t qw1 = 0;

  static constexpr RxDescriptor read(std::uint64_t packet, std::uint64_t header = 0) {
    return {packet, header & ~std::uint64_t{1}};
  }
  constexpr bool dd() const { return qw1 & 1; }
  constexpr bool eop() const { return qw1 & 2; }
  constexpr std::uint32_t status_error() const { return static_cast<std::uint32_t>(qw1); }
  constexpr std::uint16_t packet_length() const { return static_cast<std::uint16_t>(qw1 >> 32); }
  constexpr std::uint16_t vlan() const { return static_cast<std::uint16_t>(qw1 >> 48); }
  constexpr unsigned rss_type() const { return qw0 & 0xF; }
  constexpr unsigned packet_type() const { return (qw0 >> 4) & 0x1FFF; }
  constexpr unsigned header_length() const { return (qw0 >> 21) & 0x3FF; }
  constexpr bool split_header() const { return (qw0 >> 31) & 1; }
  constexpr std::uint32_t rss_hash() const { return static_cast<std::uint32_t>(qw0 >> 32); }
};
static_assert(sizeof(RxDescriptor) == 16);

namespace rxd {
inline constexpr std::uint32_t DD = bit(0), EOP = bit(1), VP = bit(3), UDPCS = bit(4), L4I = bit(5),
                               IPCS = bit(6), PIF = bit(7), VEXT = bit(9), UDPV = bit(10), LB = bit(18),
                               HBO = bit(23), L4E = bit(29), IPE = bit(30), RXE = bit(31);
inline constexpr std::uint64_t SPH = std::uint64_t{1} << 31;
// Packet type bits.
inline constexpr std::uint32_t IPV4 = bit(0), IPV4_OPTIONS = bit(1), IPV6 = bit(2), IPV6_EXT = bit(3),
                               TCP = bit(4), UDP = bit(5), SCTP = bit(6), NFS = bit(7), ESP = bit(8),
                               AH = bit(9), MACSEC = bit(10), ETQF = bit(11);
}  // namespace rxd

/// Advanced transmit descriptor, 16 bytes.
struct TxDescriptor {
  std::uint64_t buffer = 0;
  std::uint32_t dw2 = 0;
  std::uint32_t dw3 = 0;

  static constexpr TxDescriptor data(std::uint64_t address, std::uint32_t length,
                                     std::uint32_t payload_length, std::uint32_t flags);
  constexpr bool dd() const { return dw3 & 1; }
};
static_assert(sizeof(TxDescriptor) == 16);

namespace txd {
inline constexpr std::uint32_t DTYP_CONTEXT = 2u << 20, DTYP_DATA = 3u << 20, EOP = bit(24), IFCS = bit(25),
                               RS = bit(27), DEXT = bit(29), VLE = bit(30), TSE = bit(31);
inline constexpr std::uint32_t DD = bit(0), IXSM = bit(8), TXSM = bit(9);
constexpr std::uint32_t dtyp(std::uint32_t dw2) { return (dw2 >> 20) & 0xF; }
constexpr std::uint32_t dtalen(std::uint32_t dw2) { return dw2 & 0xFFFF; }
constexpr std::uint32_t idx(std::uint32_t dw3) { return (dw3 >> 4) & 7; }
constexpr std::uint32_t paylen(std::uint32_t dw3) { return dw3 >> 14; }
}  // namespace txd

/// A data descriptor; `flags` are the DW2 bits EOP, IFCS, RS, VLE, TSE.
constexpr TxDescriptor TxDescriptor::data(std::uint64_t address, std::uint32_t length,
                                          std::uint32_t payload_length, std::uint32_t flags) {
  return {address, length | txd::DTYP_DATA | txd::DEXT | flags, payload_length << 14};
}

}  // namespace nic
