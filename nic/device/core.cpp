// SPDX-License-Identifier: Apache-2.0
// Configuration space side effects, resets, and the order of one cycle's work.
#include "nic/device/core.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "sim/digest.h"

namespace nic {
namespace {

constexpr std::size_t kAccessQueue = 32;
constexpr auto kResetDigest = sim::digest_tag("nic.reset");
constexpr auto kVfDigest = sim::digest_tag("nic.vfs");

/// VF of a function number relative to the PF, or -1.
int vf_of_function(std::uint64_t function) {
  if (function < pci::kFirstVfOffset) return -1;
  const std::uint64_t n = (function - pci::kFirstVfOffset) / pci::kVfStride;
  return n < kPools && pci::vf_function(static_cast<unsigned>(n)) == function ? static_cast<int>(n) : -1;
}

}  // namespace

Nic::Core::Core(const std::string& name, sim::Simulation& sim, const NicConfig& config,
                DmaPort::Send send_tlp, TxEngine::Send send_frame)
    : device(sim, config),
      filter(device.regs),
      irq(device),
      rx(device, irq, control, filter),
      tx(device, irq, control, rx, filter, std::move(send_frame)),
      port(device, irq, control, rx, tx, std::move(send_tlp)),
      nvm(config.mac_address),
      phy(config.link_up_at_reset),
      wire(config.wire_queue_frames),
      wire_byte(8 * (sim::kSecond / config.wire_bits_per_second)),
      accesses(kAccessQueue),
      answers(config.outstanding_reads),
      probes_(sim.probes(), name) {
  load_station_address();
}

// ---- configuration space
// --------------------------------------------------------------------------------------

bool Nic::Core::config_access(std::uint64_t address, bool write, std::uint8_t* data, unsigned bytes,
                              bool side_effects) {
  const std::uint64_t number = address >> 12;
  const auto offset = static_cast<std::uint32_t>(address & 0xFFF);
  FunctionIndex f = kPf;
  if (number != 0) {
    const int vf = vf_of_function(number);
    if (vf < 0) return false;
    f = static_cast<FunctionIndex>(vf) + 1;
  }
  if (!device.exists(f) || bytes == 0 || offset % 4 + bytes > 4) return false;
  if (!write) {
    const std::uint32_t value = device.functions[f].read(offset, bytes);
    std::memcpy(data, &value, bytes);
    return true;
  }
  if (!side_effects) return true;
  std::uint32_t value = 0;
  std::memcpy(&value, data, bytes);
  PciFunction& function = device.functions[f];
  const bool mastered = device.may_master(f);
  const bool vfs_enabled = device.pf().vf_enable();
  const bool powered = function.powered();
  function.write(offset, bytes, value);
  // Function level reset: bit 15 of the device control register, which always reads 0.
  const std::uint32_t flr_byte = pci::EXP_DEVCTL + 1;
  if (offset <= flr_byte && flr_byte < offset + bytes && (value >> (8 * (flr_byte - offset)) & 0x80) != 0) {
    flr(f);
    return true;
  }
  if (!powered && function.powered()) {
    flr(f);  // D3hot to D0 with No_Soft_Reset clear
    return true;
  }
  device.refresh_functions();
  mastering_changed(f, mastered);
  if (f == kPf && vfs_enabled != device.pf().vf_enable()) set_vf_enable(!vfs_enabled);
  send_pending_messages(f);
  return true;
}

void Nic::Core::mastering_changed(FunctionIndex f, bool before) {
  const bool after = device.may_master(f);
  if (after == before) return;
  if (device.trace.bus_master_changed.enabled()) {
    device.trace.bus_master_changed.emit({device.requester(f), after, device.sim.now()});
  }
  if (!after) return;
  for (unsigned q = 0; q < kQueues; ++q) {
    if (device.function_of_queue(q) != f) continue;
    rx.mastering_resumed(q);
    tx.mastering_resumed(q);
  }
}

void Nic::Core::send_pending_messages(FunctionIndex f) {
  PciFunction& function = device.functions[f];
  if (function.take_msi_pending()) control.message(f, 0);
  if (!function.msix_enabled()) return;
  for (std::uint32_t m = function.msix_pending; m != 0; m &= m - 1) {
    const auto entry = static_cast<unsigned>(std::countr_zero(m));
    if (!function.msix_masked(entry)) control.message(f, entry);
  }
}

void Nic::Core::set_vf_enable(bool enable) {
  const unsigned before = device.active_vfs();
  const unsigned after = enable ? device.pf().num_vfs() : 0;
  device.sim.note(kVfDigest, before, after);
  for (unsigned vf = 0; vf < before; ++vf) {
    reset_vf_queues(vf);
    irq.reset_vf(vf);
    device.functions[vf + 1].reset();
    if (device.trace.vf_disabled.enabled()) {
      device.trace.vf_disabled.emit({vf, device.requester(vf + 1), device.sim.now()});
    }
  }
  for (unsigned vf = 0; vf < after; ++vf) {
    reset_vf_queues(vf);
    irq.reset_vf(vf);
    device.functions[vf + 1].reset();
  }
  device.set_active_vfs(after);
  if (after != 0 && device.trace.vf_enabled.enabled())
    device.trace.vf_enabled.emit({after, device.sim.now()});
}

void Nic::Core::flr(FunctionIndex f) {
  device.sim.note(kResetDigest, f);
  if (f == kPf) {
    if (device.pf().vf_enable()) set_vf_enable(false);
    device.pf().reset();
    device.regs.power_on_reset();
    phy.power_on(device.config.link_up_at_reset);
    autonegotiation_end_ = sim::kNeverCycle;
    arrival_due = next_arrival();
    io_address_ = 0;
    device.refresh_functions();
    software_reset();
  } else {
    device.functions[f].reset();
    device.refresh_functions();
    irq.reset_vf(f - 1);
    reset_vf(f - 1);
  }
  if (device.trace.flr_done.enabled()) {
    device.trace.flr_done.emit({static_cast<int>(f) - 1, device.requester(f), device.sim.now()});
  }
}

// ---- resets
// ---------------------------------------------------------------------------------------------------

void Nic::Core::load_station_address() {
  const auto& m = device.config.mac_address;
  device.regs[reg::RAL(0)] = m[0] | m[1] << 8 | m[2] << 16 | static_cast<std::uint32_t>(m[3]) << 24;
  device.regs[reg::RAH(0)] = rah::AV | m[4] | m[5] << 8;
  filter.invalidate();
}

/// CTRL.RST: everything but the PCI configuration space, the PHY, and the registers that survive.
void Nic::Core::software_reset() {
  device.sim.note(kResetDigest, ~0u);
  const bool before = device.may_master(kPf);
  device.regs.software_reset();
  irq.reset();
  rx.reset();
  tx.reset();
  load_station_address();
  device.refresh_functions();
  mastering_changed(kPf, before);
}

void Nic::Core::reset_vf_queues(unsigned vf) {
  for (const unsigned q : {vf, vf + kPools}) {
    for (std::uint32_t low = 0; low < 0x40; low += 4) {
      device.regs[reg::RDBAL(q) + low] = RegisterFile::info(reg::RDBAL(q) + low).reset;
      device.regs[reg::TDBAL(q) + low] = RegisterFile::info(reg::TDBAL(q) + low).reset;
    }
    // Queue 0 of the PF is enabled by default; a VF's never is.
    device.regs[reg::RXDCTL(q)] &= ~dctl::ENABLE;
    device.regs[reg::TXDCTL(q)] &= ~dctl::ENABLE;
    rx.reset_queue(q);
    tx.reset_queue(q);
  }
}

/// VF reset by FLR or by the VF's CTRL.RST: the PF is told.
void Nic::Core::reset_vf(unsigned vf) {
  if (!device.exists(vf + 1)) return;
  reset_vf_queues(vf);
  device.regs[reg::VFRE] &= ~(1u << vf);
  device.regs[reg::VFTE] &= ~(1u << vf);
  device.regs[reg::VFLRE] |= 1u << vf;
  irq.other_cause(icr::VMMB);
}

// ---- memory space
// ---------------------------------------------------------------------------------------------

bool Nic::Core::mmio_access(std::uint64_t address, bool write, std::uint8_t* data, unsigned bytes,
                            bool side_effects) {
  enum class Space { kNone, kCsr, kIo, kFlash, kMsix, kVfCsr, kVfMsix } space = Space::kNone;
  std::uint64_t offset = 0;
  unsigned vf = 0;
  const auto claims = [&](std::uint64_t base, std::uint64_t size) {
    if (base == 0 || address < base || address - base >= size) return false;
    offset = address - base;
    return true;
  };
  PciFunction& pf = device.pf();
  if (pf.memory_enabled()) {
    if (claims(pf.bar(0), pci::kBar0Bytes)) {
      space = Space::kCsr;
    } else if (claims(pf.bar(3), pci::kBar3Bytes)) {
      space = Space::kMsix;
    } else if (claims(pf.bar(1), pci::kBar0Bytes)) {
      space = Space::kFlash;
    }
  }
  if (space == Space::kNone && pf.io_enabled() && claims(pf.io_bar(), pci::kIoBarBytes)) space = Space::kIo;
  if (space == Space::kNone && device.active_vfs() != 0 && pf.vf_memory_enable() && pf.powered()) {
    const std::uint64_t stride = std::max(pci::kVfBarBytes, pf.system_page_bytes());
    for (const unsigned index : {0u, 3u}) {
      if (!claims(pf.vf_bar(index), stride * device.active_vfs())) continue;
      vf = static_cast<unsigned>(offset / stride);
      offset %= stride;
      if (offset >= pci::kVfBarBytes) return false;
      space = index == 0 ? Space::kVfCsr : Space::kVfMsix;
      break;
    }
  }
  // Registers are 32 bits wide; the MSI-X table may be accessed by 64.
  if (space == Space::kNone || bytes == 0 || bytes > 8 || (bytes == 8 && offset % 8 != 0)) return false;
  if (bytes < 8 && offset % 4 + bytes > 4) return false;
  for (unsigned done = 0; done < bytes; done += 4) {
    const auto at = static_cast<std::uint32_t>((offset & ~std::uint64_t{3}) + done);
    const unsigned part = std::min(bytes - done, 4u);
    std::uint32_t value = 0;
    if (write) {
      if (part != 4 || !side_effects) continue;  // partial writes are ignored
      std::memcpy(&value, data + done, 4);
      switch (space) {
        case Space::kCsr:
          csr_write(at, value);
          break;
        case Space::kIo:
          io_write(at, value);
          break;
        case Space::kVfCsr:
          vf_write(vf, at, value);
          break;
        case Space::kMsix:
        case Space::kVfMsix: {
          const FunctionIndex f = space == Space::kMsix ? kPf : vf + 1;
          device.functions[f].msix_bar_write(at, value);
          send_pending_messages(f);
          break;
        }
        default:
          break;
      }
      continue;
    }
    switch (space) {
      case Space::kCsr:
        value = csr_read(at, side_effects);
        break;
      case Space::kIo:
        value = io_read(at, side_effects);
        break;
      case Space::kVfCsr:
        value = vf_read(vf, at, side_effects);
        break;
      case Space::kMsix:
        value = device.functions[kPf].msix_bar_read(at);
        break;
      case Space::kVfMsix:
        value = device.functions[vf + 1].msix_bar_read(at);
        break;
      default:
        value = 0xFFFFFFFF;
        break;  // erased flash
    }
    value >>= 8 * (offset % 4);
    std::memcpy(data + done, &value, part);
  }
  return true;
}

/// IOADDR and IODATA: the CSRs, one at a time. What lies beyond them (flash) reads 0.
std::uint32_t Nic::Core::io_read(std::uint32_t offset, bool side_effects) {
  if (offset == pci::kIoAddr) return io_address_;
  const bool csr = offset == pci::kIoData && io_address_ < pci::kBar0Bytes;
  return csr ? csr_read(io_address_, side_effects) : 0;
}

void Nic::Core::io_write(std::uint32_t offset, std::uint32_t value) {
  if (offset == pci::kIoAddr) io_address_ = value;
  if (offset == pci::kIoData && io_address_ < pci::kBar0Bytes) csr_write(io_address_, value);
}

// ---- one cycle
// ------------------------------------------------------------------------------------------------

void Nic::Core::autonegotiation_due() {
  if (autonegotiation_end_ > device.now) return;
  autonegotiation_end_ = sim::kNeverCycle;
  phy.complete_autonegotiation();
  device.regs[reg::CTRL] |= ctrl::RFCE | ctrl::TFCE;
  irq.other_cause(icr::LSC);
}

void Nic::Core::send_due_messages() {
  for (std::uint32_t due = irq.take_due(); due != 0; due &= due - 1) {
    const auto vector = static_cast<unsigned>(std::countr_zero(due));
    FunctionIndex f = kPf;
    unsigned entry = 0;
    rx.flush_vector(vector);
    tx.flush_vector(vector);
    if (irq.route(vector, f, entry)) control.message(f, entry);
    irq.sent(vector);
  }
}

void Nic::Core::run() {
  for (bool changed = true; changed;) {
    if (irq.next_due() <= device.now) send_due_messages();
    changed = rx.advance();
    if (tx.has_work()) changed = tx.advance(link_up()) || changed;
    changed = port.issue() || changed;
  }
}

sim::Cycle Nic::Core::next_wakeup() {
  sim::Cycle next = arrival_due;
  earliest(next, irq.next_due());
  earliest(next, rx.next_wakeup());
  earliest(next, tx.next_wakeup());
  earliest(next, port.next_wakeup());
  return next;
}

sim::Cycle Nic::Core::next_arrival() const {
  sim::Cycle next = autonegotiation_end_;
  earliest(next, unblock_at);
  if (wire_count != 0) earliest(next, wire[wire_first].due);
  if (access_count != 0) earliest(next, accesses[access_first].due);
  if (answer_count != 0) earliest(next, answers[answer_first].due);
  return next;
}

sim::Wakeup Nic::tick(sim::Cycle now) {
  Core& c = *core_;
  c.device.now = now;
  c.port.catch_up(now);
  if (c.arrival_due <= now) {
    if (c.unblock_at <= now) {
      c.unblock_at = sim::kNeverCycle;
      c.port.unblock();
    }
    while (c.answer_count != 0 && c.answers[c.answer_first].due <= now) {
      sim::Transaction& t = *c.answers[c.answer_first].transaction;
      Core::step(c.answer_first, c.answers.size());
      --c.answer_count;
      c.port.completed(t);
    }
    while (c.access_count != 0 && c.accesses[c.access_first].due <= now) {
      const Core::Access a = c.accesses[c.access_first];
      Core::step(c.access_first, c.accesses.size());
      --c.access_count;
      answer_access(*a.payload, a.config);
    }
    c.autonegotiation_due();
    while (c.wire_count != 0 && c.wire[c.wire_first].due <= now) {
      const Core::WireFrame& f = c.wire[c.wire_first];
      c.rx.frame_arrived(f.bytes, c.link_up());
      Core::step(c.wire_first, c.wire.size());
      --c.wire_count;
      if (wire_held_ != nullptr) release_wire();
    }
    c.arrival_due = c.next_arrival();
  }
  c.run();
  if (c.device.sim.probes().listened()) c.set_probes();
  return sim::Wakeup::at(c.next_wakeup());  // kNeverCycle: never
}

bool Nic::Core::idle() const {
  sim::Cycle next = next_arrival();
  earliest(next, irq.next_due());
  earliest(next, rx.next_wakeup());
  earliest(next, tx.next_wakeup());
  return next == sim::kNeverCycle && !port.waits(next_cycle()) && port.reads_outstanding() == 0 &&
         !port.blocked();
}

void Nic::Core::catch_up() { port.catch_up(next_cycle()); }

Nic::Core::QueueProbes::QueueProbes(sim::ProbeHub& hub, const std::string& prefix)
    : head(hub, prefix + ".head", 16),
      tail(hub, prefix + ".tail", 16),
      cached(hub, prefix + ".cached", 9),
      unwritten(hub, prefix + ".unwritten", 9) {}

Nic::Core::Probes::Probes(sim::ProbeHub& hub, const std::string& name)
    : packet_buffer(hub, name + ".packet_buffer_bytes", 21),
      frames_arrived(hub, name + ".frames_arrived"),
      frames_delivered(hub, name + ".frames_delivered"),
      frames_dropped(hub, name + ".frames_dropped"),
      tlps_written(hub, name + ".tlps_written"),
      reads(hub, name + ".reads_outstanding", 9),
      interrupts(hub, name + ".interrupts"),
      link_blocked(hub, name + ".link_blocked", 1),
      vfs(hub, name + ".vfs", 4) {
  for (unsigned q = 0; q < kQueues; ++q) {
    rx.push_back(std::make_unique<QueueProbes>(hub, fmt::format("{}.rx{}", name, q)));
  }
}

void Nic::Core::set_probes() {
  for (std::uint32_t m = rx.take_touched(); m != 0; m &= m - 1) {
    const auto n = static_cast<unsigned>(std::countr_zero(m));
    const DescriptorQueue& q = rx.queue(n);
    probes_.rx[n]->head.set(q.head());
    probes_.rx[n]->tail.set(device.regs[reg::RDT(n)]);
    probes_.rx[n]->cached.set(q.valid());
    probes_.rx[n]->unwritten.set(q.unwritten());
  }
  probes_.packet_buffer.set(rx.buffer().occupied());
  probes_.frames_arrived.set(device.stats.frames_arrived);
  probes_.frames_delivered.set(device.stats.frames_delivered);
  probes_.frames_dropped.set(device.stats.total_frames_dropped());
  probes_.tlps_written.set(device.stats.tlps_written);
  probes_.reads.set(port.reads_outstanding());
  probes_.interrupts.set(device.stats.interrupts);
  probes_.link_blocked.set(port.blocked() ? 1 : 0);
  probes_.vfs.set(device.active_vfs());
}

}  // namespace nic
