// SPDX-License-Identifier: Apache-2.0
// A guest that does to the device whatever its choices say - registers, configuration space, descriptors,
// tails, interrupts - and a wire that carries any bytes. The choices come from a random stream
// (fuzz_test.cpp) or from a fuzzer's input (testbenches/fuzz/nic_fuzz.cpp): anything with next() (64 bits)
// and below(n).
#pragma once
#include "nic_host.h"

namespace nic_test {

template <class Choices>
class Guest {
 public:
  Guest(Host& host, Choices& choices) : h_(host), r_(choices) {}

  /// Memory refuses some of the device's requests at present.
  bool refusing() const { return refusing_; }
  void stop_refusing() { refusing_ = false; }

  /// One act of the guest or the wire, at the present time.
  void step() {
    using namespace nic;
    switch (r_.below(18)) {
      case 16:
        transmit();
        break;
      case 17:
        interrupts();
        break;
      case 0:
        h_.config_write(0, pci::PM + 4, 0, 2);
        h_.bring_up();
        break;
      case 1:
        sane_rings();
        break;
      case 2:
      case 3:
        h_.write(csr(), word());
        break;
      case 4:
        h_.read(csr());
        break;
      case 5: {
        const std::uint64_t vf = Host::vf_bar0(static_cast<unsigned>(r_.below(8)));
        h_.write(static_cast<std::uint32_t>(r_.below(0x4000)) & ~3u, word(), vf);
        h_.read(static_cast<std::uint32_t>(r_.below(0x4000)) & ~3u, vf);
        break;
      }
      case 6: {
        const std::uint32_t function = r_.below(2) == 0 ? 0 : static_cast<std::uint32_t>(r_.below(0x100));
        const auto offset = static_cast<std::uint32_t>(r_.below(8) != 0 ? r_.below(0x1A0) : r_.below(0x1000));
        h_.config_write(function, offset, word(), 1u << r_.below(3));
        break;
      }
      case 7:
        h_.enable_vfs(static_cast<unsigned>(r_.below(9)));
        break;
      case 8:
        descriptors();
        break;
      case 9:
      case 10:
        tails();
        break;
      case 11:
        refusing_ = r_.below(4) == 0;
        break;
      case 12:
        h_.memory.hold_every = static_cast<unsigned>(r_.below(6));
        break;
      default:
        frame();
        break;
    }
  }

 private:
  std::uint32_t word() {
    switch (r_.below(6)) {
      case 0:
        return 0;
      case 1:
        return ~0u;
      case 2:
        return 1u << r_.below(32);
      case 3:
        return static_cast<std::uint32_t>(nic_test::kMemory + (r_.next() & 0x3FFFF80));
      default:
        return static_cast<std::uint32_t>(r_.next());
    }
  }
  std::uint32_t csr() {
    using namespace nic;
    static const std::uint32_t kHot[] = {reg::CTRL,      reg::RCTL,      reg::TCTL, reg::MRQC,   reg::VT_CTL,
                                         reg::GPIE,      reg::EIMS,      reg::EICS, reg::RXCSUM, reg::DTXSWC,
                                         reg::IVAR(0),   reg::MDIC,      reg::VFRE, reg::VFTE,   reg::QDE,
                                         reg::TDWBAL(0), reg::PSRTYPE(0)};
    switch (r_.below(4)) {
      case 0:
        return kHot[r_.below(std::size(kHot))];
      case 1:
        return reg::RDBAL(static_cast<unsigned>(r_.below(16))) + 4 * static_cast<std::uint32_t>(r_.below(16));
      case 2:
        return reg::TDBAL(static_cast<unsigned>(r_.below(16))) + 4 * static_cast<std::uint32_t>(r_.below(16));
      default:
        return static_cast<std::uint32_t>(r_.below(0x20000)) & ~3u;
    }
  }
  void sane_rings() {
    using namespace nic;
    const auto q = static_cast<unsigned>(r_.below(16));
    h_.rx_ring(q, 16, word(), word() & 0x1F1F1F);
    const std::uint32_t base = reg::TDBAL(q);
    h_.write(base, static_cast<std::uint32_t>(Host::ring_of(q) + 0x800));
    h_.write(base + 8, 256);
    h_.write(base + 0x28, dctl::ENABLE | (word() & 0x1F1F1F));
  }
  void descriptors() {
    const auto q = static_cast<unsigned>(r_.below(16));
    for (unsigned i = 0; i < 16; ++i) {
      for (unsigned k = 0; k < 4; ++k) {
        h_.store.store<std::uint32_t>(sim::PhysAddr(Host::ring_of(q) + r_.below(2) * 0x800 + 16 * i + 4 * k),
                                      word());
      }
    }
  }
  /// A queue with half-sensible transmit descriptors, so that the offloads see odd lengths, too.
  void transmit() {
    using namespace nic;
    const auto q = static_cast<unsigned>(r_.below(16));
    const std::uint32_t base = reg::TDBAL(q);
    const std::uint64_t ring = Host::ring_of(q) + 0x800;
    for (unsigned i = 0; i < 16; ++i) {
      TxDescriptor d;
      if (r_.below(3) == 0) {
        d = {r_.next() & 0xFFFFFFFF, txd::DTYP_CONTEXT | txd::DEXT | (word() & 0x1C00), word()};
        if (r_.below(2) == 0) d.buffer = 20 | 14 << 9;
      } else {
        const auto length = static_cast<std::uint32_t>(r_.below(4) == 0 ? r_.below(0x10000) : r_.below(1500));
        d = TxDescriptor::data(nic_test::kMemory + (r_.next() & 0x3FFFFFF), length, length,
                               word() & (txd::RS | txd::VLE | txd::TSE | bit(26)));
        if (r_.below(3) != 0) d.dw2 |= txd::EOP;
        if (r_.below(8) == 0) d.dw2 &= ~txd::DEXT;
        d.dw3 = word();
      }
      std::memcpy(h_.store.host(sim::PhysAddr(ring + 16 * i), 16), &d, 16);
    }
    h_.write(reg::TCTL, tctl::EN | tctl::PSP);
    h_.write(base, static_cast<std::uint32_t>(ring));
    h_.write(base + 4, 0);
    h_.write(base + 8, 256);
    h_.write(base + 0x28, dctl::ENABLE | (word() & 0x1F1F1F));
    h_.write(base + 0x18, static_cast<std::uint32_t>(r_.below(16)));
  }
  void interrupts() {
    using namespace nic;
    for (unsigned v = 0; v < kPfVectors; ++v) h_.msix(v, 1 + v);
    h_.config_write(0, pci::MSIX, pci::MSIX_ENABLE << 16);
    h_.write(reg::GPIE, gpie::MULTIPLE_MSIX | (word() & (gpie::NSICR | gpie::EIAME)));
    for (unsigned i = 0; i < 8; ++i) h_.write(reg::IVAR(i), 0x80808080 | (word() & 0x0F0F0F0F));
    h_.write(reg::EITR(static_cast<unsigned>(r_.below(25))), word());
    h_.write(reg::EIAC, word());
    h_.write(reg::EIAM, word());
    h_.write(reg::EIMS, word());
  }
  void tails() {
    using namespace nic;
    const auto q = static_cast<unsigned>(r_.below(16));
    h_.write(r_.below(2) == 0 ? reg::RDT(q) : reg::TDT(q), static_cast<std::uint32_t>(r_.below(20)));
  }
  void frame() {
    std::vector<std::uint8_t> f(r_.below(8) == 0 ? r_.below(16 * 1024 + 100) : r_.below(300));
    for (auto& b : f) b = static_cast<std::uint8_t>(r_.below(256));
    if (f.size() > 34 && r_.below(4) != 0) {
      static const std::uint8_t kTo[6] = {0x52, 0x54, 0, 0x12, 0x34, 0x56};
      std::copy(std::begin(kTo), std::end(kTo), f.begin());
      const std::uint16_t types[] = {0x0800, 0x86DD, 0x8100, 0x88B5};
      const std::uint16_t type = types[r_.below(4)];
      f[12] = static_cast<std::uint8_t>(type >> 8);
      f[13] = static_cast<std::uint8_t>(type);
      f[14] = type == 0x0800 ? static_cast<std::uint8_t>(0x40 | r_.below(16)) : 0x60;
      f[20] = static_cast<std::uint8_t>(r_.below(2) * 44);
      f[23] = static_cast<std::uint8_t>(r_.below(4) == 0 ? 132 : r_.below(2) == 0 ? 6 : 17);
    }
    h_.send(f);
  }

  Host& h_;
  Choices& r_;
  bool refusing_ = false;
};

}  // namespace nic_test
