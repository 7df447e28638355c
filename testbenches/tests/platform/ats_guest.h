// SPDX-License-Identifier: Apache-2.0
// A guest, and a neighbour on the link, that may do anything to a device with ATS and PRI: register writes,
// accesses, commands to the IOMMU, messages that nobody asked for, page table entries that come and go. For a
// random test and for the fuzzer: `choices` has below(n).
#pragma once
#include "ats_world.h"

namespace ats_test {

template <class Choices>
class Guest {
 public:
  Guest(AtsWorld& world, Choices& choices) : w_(world), choices_(choices) {
    for (std::uint64_t& page : targets_) page = w_.page();
  }

  /// One thing, and some time.
  void step() {
    switch (below(9)) {
      case 0:
      case 1:
        return access();
      case 2:
        return w_.configure(register_offset(), static_cast<std::uint16_t>(below(0x10000)));
      case 3:
        return w_.endpoint.receive(message());
      case 4:
        return w_.link.send(message());
      case 5:
        return command(below(2) == 0 ? ats_inval(address())
                                     : ats_prgr(static_cast<std::uint16_t>(below(512)), below(16)));
      case 6:
        return command(below(2) == 0 ? iommu::cmd::iotinval_vma() : iommu::cmd::iofence(true, true));
      case 7:
        return w_.put(w_.leaf_entry(kPscid, kIova + 0x1000 * below(8)), entry());
      default:
        return w_.run(1 + below(2000));
    }
  }

  /// Everything is switched off and answered. False: something never ends.
  bool comes_to_rest() {
    w_.configure(DmaDevice::kCommand, DmaDevice::kBusMaster);
    for (const unsigned control : {DmaDevice::kAtsControl, DmaDevice::kPriControl}) w_.configure(control, 0);
    for (unsigned tries = 0; tries < 200; ++tries) {
      w_.run(1000);
      if (w_.endpoint.idle() && w_.link.idle() && w_.port.idle()) return answered_ == asked_;
      answer_all_groups();
    }
    return false;
  }

 private:
  unsigned below(std::uint64_t n) { return static_cast<unsigned>(choices_.below(n)); }
  std::uint64_t address() { return kIova + 0x1000 * below(8) + (below(2) == 0 ? 0 : below(0x1000)); }
  unsigned register_offset() {
    constexpr unsigned kKnown[] = {DmaDevice::kCommand,   DmaDevice::kAtsControl,    DmaDevice::kPriControl,
                                   DmaDevice::kPriStatus, DmaDevice::kPriAllocation, DmaDevice::kAts};
    const unsigned n = below(8);
    return n < std::size(kKnown) ? kKnown[n] : 2 * below(0x100);
  }
  /// A translation, one without a permission, none, or any bits.
  std::uint64_t entry() {
    const std::uint64_t leaf = iommu::pte::leaf(targets_[below(4)], World::kRw);
    switch (below(4)) {
      case 0:
        return 0;
      case 1:
        return leaf & ~iommu::pte::kW;
      case 2:
        return leaf ^ std::uint64_t{1} << below(64);
      default:
        return leaf;
    }
  }
  void access() {
    const std::uint64_t to = kIova + 0x1000 * below(8) + 64 * below(64);
    const auto done = [this](const DmaDevice::Result&) { ++answered_; };
    const std::uint32_t pasid = below(8) == 0 ? below(4) : DmaDevice::kNoProcess;
    ++asked_;
    if (below(2) == 0) return w_.endpoint.read(Iova(to), 1 + below(64), done, pasid);
    const std::uint8_t bytes[64] = {};
    w_.endpoint.write(Iova(to), std::span(bytes).first(1 + below(64)), done, pasid);
  }
  platform::PcieMessage message() {
    platform::PcieMessage m;
    m.kind = static_cast<platform::PcieMessage::Kind>(below(4));
    m.has_process_id = below(4) == 0;
    m.privileged = below(2) != 0;
    m.execute = below(2) != 0;
    m.count = static_cast<std::uint8_t>(below(256));
    m.code = static_cast<std::uint8_t>(below(256));
    m.group = static_cast<std::uint16_t>(below(0x10000));
    m.function = sim::RequesterId(below(4) == 0 ? below(0x10000) : kDid);
    m.process_id = below(1 << 20);
    m.itag_vector = static_cast<std::uint32_t>(choices_.below(std::uint64_t{1} << 32));
    m.payload = below(2) == 0 ? address() : choices_.below(~std::uint64_t{0});
    return m;
  }
  void command(Command c) {
    w_.queue_command(c);
    w_.ring();
  }
  void answer_all_groups() {
    platform::PcieMessage m;
    m.kind = platform::PcieMessage::Kind::kPageResponse;
    m.function = sim::RequesterId(kDid);
    m.code = 15;
    for (unsigned g = 0; g < 512; ++g) {
      m.group = static_cast<std::uint16_t>(g);
      w_.endpoint.receive(m);
    }
  }

  AtsWorld& w_;
  Choices& choices_;
  std::uint64_t targets_[4];
  std::uint64_t asked_ = 0, answered_ = 0;
};

}  // namespace ats_test
