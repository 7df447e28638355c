// SPDX-License-Identifier: Apache-2.0
#include "testbenches/conform/nic_world.h"

#include <zlib.h>

#include <set>

#include "nic/device/registers.h"

namespace conform {
namespace {

constexpr std::uint64_t kBar0 = 0xE000'0000, kBar1 = 0xE002'0000, kBar2 = 0xF000, kBar3 = 0xE004'0000,
                        kVfBar0 = 0xE010'0000, kVfBar3 = 0xE014'0000;
constexpr std::uint64_t kPage = 4096;

nic::NicConfig nic_config(bool with_iommu) {
  nic::NicConfig c;
  // Where the recordings had the PF; MPS as the recorded device states it.
  c.pf_requester = sim::RequesterId(with_iommu ? 0x20 : 0x08);
  c.max_payload_bytes = 128;
  c.link_up_at_reset = false;
  c.autonegotiation_us = 5;
  return c;
}

std::string hex(std::span<const std::uint8_t> bytes) {
  std::string s;
  s.reserve(2 * bytes.size());
  for (std::uint8_t b : bytes) s += fmt::format("{:02x}", b);
  return s;
}

std::uint32_t function_number(int function) {
  return function == 0 ? 0 : nic::pci::vf_function(static_cast<unsigned>(function - 1));
}

}  // namespace

std::unique_ptr<Translation> make_iommu_translation(sim::Simulation& sim, nic::Nic& nic, MemoryTarget& memory,
                                                    mm::SparseStore& store);

NicWorld::NicWorld(bool with_iommu)
    : store_(sim::PhysAddr(with_iommu ? 0x8000'0000 : 0x0100'0000), with_iommu ? 128u << 20 : 64u << 20),
      nic_("nic", sim_, nic_config(with_iommu)),
      memory_("memory", sim_, store_, 20),
      doorbells_(with_iommu ? 0x80F0'0000 : 0x01F0'0000) {
  config_.out.bind(nic_.config);
  mmio_.out.bind(nic_.mmio);
  wire_.out.bind(nic_.wire_in);
  nic_.wire_out.bind(sink_.in);
  if (with_iommu) {
    translation_ = make_iommu_translation(sim_, nic_, memory_, store_);
  } else {
    nic_.dma.bind(memory_.port);
  }
}

NicWorld::~NicWorld() = default;

void NicWorld::settle() {
  // The device's own delays are microseconds; a run that does not come to rest in a second never will.
  const sim::Tick limit = sim_.now() + sim::kSecond;
  do {
    sim_.timeline().run_until(sim_.now() + 2 * sim::kMicrosecond);
    POOLSIM_ASSERT(sim_.now() < limit);
  } while (!nic_.idle() || !memory_.idle() || (translation_ && !translation_->idle()));
  nic_.check_conservation();
}

void NicWorld::answer(std::size_t number, std::string_view text) {
  out_ += fmt::format("{} {}\n", number, text);
}

std::uint32_t NicWorld::config_read(int function, std::uint32_t offset, unsigned bytes) {
  std::uint32_t value = ~0u >> (32 - 8 * bytes);
  config_.access(false, static_cast<std::uint64_t>(function_number(function)) << 12 | offset, &value, bytes);
  return value;
}

void NicWorld::config_write(int function, std::uint32_t offset, unsigned bytes, std::uint32_t value) {
  config_.access(true, static_cast<std::uint64_t>(function_number(function)) << 12 | offset, &value, bytes);
}

std::uint64_t NicWorld::bar(const NicScriptOp& op) const {
  if (op.function == 0) return op.msix ? kBar3 : kBar0;
  return (op.msix ? kVfBar3 : kVfBar0) + static_cast<std::uint64_t>(op.function - 1) * nic::pci::kVfBarBytes;
}

std::uint32_t NicWorld::csr_read(std::uint64_t address) {
  std::uint32_t value = ~0u;
  mmio_.access(false, address, &value, 4);
  return value;
}

void NicWorld::csr_write(std::uint64_t address, std::uint32_t value) {
  mmio_.access(true, address, &value, 4);
}

void NicWorld::setup(int function) {
  using namespace nic;
  if (function == 0) {
    const std::uint32_t bars[] = {kBar0, kBar1, kBar2, kBar3, 0};
    for (unsigned i = 0; i < 5; ++i) config_write(0, pci::BAR0 + 4 * i, 4, bars[i]);
    config_write(0, pci::SRIOV_PAGE_SIZE, 4, 1);
    for (const auto& [reg, base] :
         {std::pair{pci::SRIOV_BAR0, kVfBar0}, std::pair{pci::SRIOV_BAR3, kVfBar3}}) {
      config_write(0, reg, 4, static_cast<std::uint32_t>(base));
      config_write(0, reg + 4, 4, 0);
    }
  }
  config_write(function, pci::COMMAND, 2, pci::COMMAND_MEM | pci::COMMAND_BME);
}

void NicWorld::linkup(std::size_t number) {
  using namespace nic;
  csr_write(kBar0 + reg::CTRL, csr_read(kBar0 + reg::CTRL) | ctrl::SLU);
  csr_write(kBar0 + reg::MDIC,
            1u << 26 | 1u << 21 | 0x1200);  // write PHY register 0: restart auto-negotiation
  settle();
  csr_read(kBar0 + reg::ICR);
  csr_read(kBar0 + reg::ICR);
  settle();
  answer(number, (csr_read(kBar0 + reg::STATUS) & status::LU) != 0 ? "1" : "0");
}

void NicWorld::set_vfs(unsigned n) {
  using namespace nic;
  if (n == 0) return config_write(0, pci::SRIOV_CTRL, 2, 0);
  config_write(0, pci::SRIOV_NUM_VFS, 2, n);
  config_write(0, pci::SRIOV_CTRL, 2, pci::SRIOV_VFE | pci::SRIOV_VF_MSE);
  for (unsigned vf = 0; vf < n; ++vf) setup(1 + static_cast<int>(vf));
}

std::vector<std::uint8_t> NicWorld::memory(std::uint64_t address, std::uint64_t bytes) const {
  std::vector<std::uint8_t> data(bytes);
  for (std::uint64_t i = 0; i < bytes; ++i) {
    const sim::PhysAddr at(address + i);
    if (store_.contains(at)) data[i] = *store_.host(at);
  }
  return data;
}

void NicWorld::store(std::uint64_t address, std::span<const std::uint8_t> bytes) {
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const sim::PhysAddr at(address + i);
    if (store_.contains(at)) *store_.host(at) = bytes[i];
  }
}

std::string NicWorld::interrupts() {
  const auto page = memory(doorbells_, kPage);
  std::string list;
  unsigned count = 0;
  for (std::size_t i = 0; i < page.size(); i += 4) {
    std::uint32_t data;
    std::memcpy(&data, page.data() + i, 4);
    if (data == 0) continue;
    ++count;
    list += fmt::format(" {:x}:{:x}", doorbells_ + i, data);
  }
  store(doorbells_, std::vector<std::uint8_t>(kPage));
  return fmt::format("{}{}", count, list);
}

std::string NicWorld::rx_descriptor(const NicScriptOp& op) const {
  const auto bytes = memory(op.a, 16);
  nic::RxDescriptor d;
  std::memcpy(&d.qw0, bytes.data(), 8);
  std::memcpy(&d.qw1, bytes.data() + 8, 8);
  if (!d.dd()) return "-";
  if (!d.eop()) return fmt::format("more {}", d.packet_length());
  std::uint64_t mask = 0x1FFF0;
  if (op.flag_hash) mask |= d.rss_type() != 0 ? 0xFFFFFFFF0000000F : 0xF;
  if (op.flag_split) mask |= 0xFFE00000;
  const std::uint32_t status_mask = 0x6000007B | (op.flag_split ? nic::rxd::HBO : 0);
  const std::uint16_t vlan = (d.status_error() & nic::rxd::VP) != 0 ? d.vlan() : std::uint16_t{0};
  return fmt::format("{:016x} {:08x} {} {:04x}", d.qw0 & mask, d.status_error() & status_mask,
                     d.packet_length(), vlan);
}

std::string NicWorld::faults() {
  constexpr std::uint32_t kFqb = 0x28, kFqh = 0x30, kFqt = 0x34;
  const std::uint64_t fqb = translation_->read(kFqb, 8);
  const std::uint64_t base = (fqb >> 10 & 0xFFF'FFFF'FFFF) << 12;
  const std::uint64_t size = std::uint64_t{2} << (fqb & 31);
  std::uint64_t head = translation_->read(kFqh, 4);
  const std::uint64_t tail = translation_->read(kFqt, 4);
  std::set<std::string> records;
  for (; head != tail; head = (head + 1) % size) {
    const auto bytes = memory(base + 32 * head, 32);
    std::uint64_t w[4];
    std::memcpy(w, bytes.data(), 32);
    records.insert(fmt::format("{}:{:x}:{}:{:x}", w[0] & 0xFFF, w[0] >> 40, w[0] >> 34 & 0x3F, w[2] >> 12));
  }
  translation_->write(kFqh, 4, tail);
  return fmt::format("{}{}{}", records.size(), records.empty() ? "" : " ", fmt::join(records, " "));
}

void NicWorld::execute(const NicScriptOp& op, std::size_t number) {
  using namespace nic;
  switch (op.op) {
    case NicOp::kSetup:
      setup(op.function);
      break;
    case NicOp::kLinkup:
      linkup(number);
      break;
    case NicOp::kReset:
      csr_write(kBar0 + reg::CTRL, csr_read(kBar0 + reg::CTRL) | ctrl::RST);
      break;
    case NicOp::kFlr:
      config_write(op.function, pci::EXP_DEVCTL, 2, pci::DEVCTL_FLR);
      break;
    case NicOp::kVfs:
      set_vfs(static_cast<unsigned>(op.a));
      break;
    case NicOp::kRead:
      answer(number, fmt::format("{:08x}", csr_read(bar(op) + op.a) & static_cast<std::uint32_t>(op.b)));
      break;
    case NicOp::kWrite:
      csr_write(bar(op) + op.a, static_cast<std::uint32_t>(op.b));
      break;
    case NicOp::kConfigRead: {
      const auto size = static_cast<unsigned>(op.b);
      const std::uint32_t value = config_read(op.function, static_cast<std::uint32_t>(op.a), size);
      answer(number, fmt::format("{:0{}x}", value & static_cast<std::uint32_t>(op.c), 2 * size));
      break;
    }
    case NicOp::kConfigWrite:
      config_write(op.function, static_cast<std::uint32_t>(op.a), static_cast<unsigned>(op.b),
                   static_cast<std::uint32_t>(op.c));
      break;
    case NicOp::kMemoryWrite:
      store(op.a, op.bytes);
      break;
    case NicOp::kMemoryFill:
      store(op.a, std::vector<std::uint8_t>(op.b, static_cast<std::uint8_t>(op.c)));
      break;
    case NicOp::kMemoryDump:
      answer(number, hex(memory(op.a, op.b)));
      break;
    case NicOp::kMemoryCrc: {
      const auto bytes = memory(op.a, op.b);
      answer(number, fmt::format("{:08x}", crc32(0, bytes.data(), static_cast<uInt>(bytes.size()))));
      break;
    }
    case NicOp::kReceive:
      wire_.access(true, 0, const_cast<std::uint8_t*>(op.bytes.data()),
                   static_cast<unsigned>(op.bytes.size()));
      break;
    case NicOp::kTransmitted: {
      std::string text = std::to_string(sink_.frames.size());
      for (const auto& f : sink_.frames) text += " " + hex(f);
      sink_.frames.clear();
      answer(number, text);
      break;
    }
    case NicOp::kInterrupts:
      answer(number, interrupts());
      break;
    case NicOp::kRxDescriptor:
      answer(number, rx_descriptor(op));
      break;
    case NicOp::kTxDescriptor:
      answer(number, (memory(op.a + 12, 1)[0] & 1) != 0 ? "1" : "0");
      break;
    case NicOp::kIommuRead:
      answer(number,
             fmt::format(
                 "{:0{}x}",
                 translation_->read(static_cast<std::uint32_t>(op.a), static_cast<unsigned>(op.b)) & op.c,
                 2 * op.b));
      break;
    case NicOp::kIommuWrite:
      translation_->write(static_cast<std::uint32_t>(op.a), static_cast<unsigned>(op.b), op.c);
      break;
    case NicOp::kFaultQueue:
      answer(number, faults());
      break;
  }
}

std::string NicWorld::run(const NicScript& script) {
  out_.clear();
  std::size_t number = 0;
  for (const NicScriptOp& op : script.ops) {
    execute(op, number++);
    settle();
  }
  return std::move(out_);
}

}  // namespace conform
