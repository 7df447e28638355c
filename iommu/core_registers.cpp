// SPDX-License-Identifier: Apache-2.0
// The register page: which offsets exist, what is writable, what a write sets off.
#include "iommu/core.h"

namespace iommu {
namespace {

bool is_eight_bytes(std::uint32_t offset) {
  switch (offset) {
    case reg::kCapabilities:
    case reg::kDdtp:
    case reg::kCqb:
    case reg::kFqb:
    case reg::kPqb:
    case reg::kTrReqIova:
    case reg::kTrReqCtl:
    case reg::kTrResponse:
    case reg::kIcvec:
      return true;
    default:
      break;
  }
  if (offset >= reg::kIohpmcycles && offset < reg::kTrReqIova) return true;
  return offset >= reg::kMsiCfgTbl && offset < reg::kMsiCfgTbl + 256 && (offset & 0xf) == 0;
}

}  // namespace

std::uint64_t Core::pas_ppn_mask() const {
  const unsigned pas = std::min(env.pas(), 56u);
  return pas > 12 ? mask(pas - 3, 10) : 0;
}

std::uint64_t Core::read_register(std::uint32_t offset, unsigned bytes) const {
  if ((bytes != 4 && bytes != 8) || offset % bytes != 0 || offset + bytes > reg::kPageSize) return 0;
  const std::uint32_t base = offset & ~7u;
  if (is_eight_bytes(base)) {
    const std::uint64_t v = read8(base);
    return bytes == 8 ? v : (offset & 4) != 0 ? v >> 32 : v & 0xffffffff;
  }
  return bytes == 4 ? read4(offset) : 0;
}

void Core::write_register(std::uint32_t offset, unsigned bytes, std::uint64_t value) {
  if ((bytes != 4 && bytes != 8) || offset % bytes != 0 || offset + bytes > reg::kPageSize) return;
  const std::uint32_t base = offset & ~7u;
  if (!is_eight_bytes(base)) {
    if (bytes == 4) write4(offset, static_cast<std::uint32_t>(value));
    return;
  }
  if (bytes == 4) {
    const std::uint64_t now = read8(base);
    value =
        (offset & 4) != 0 ? (now & 0xffffffff) | (value << 32) : (now & ~mask(31, 0)) | (value & 0xffffffff);
  }
  write8(base, value);
}

std::uint64_t Core::read8(std::uint32_t offset) const {
  switch (offset) {
    case reg::kCapabilities:
      return env.capabilities;
    case reg::kDdtp:
      return env.ddtp;
    case reg::kCqb:
      return commands.regs.base;
    case reg::kFqb:
      return fault_queue.regs.base;
    case reg::kPqb:
      return page_queue.regs.base;
    case reg::kTrReqIova:
      return tr_req_iova_;
    case reg::kTrReqCtl:
      return tr_req_ctl_;
    case reg::kTrResponse:
      return tr_response_;
    case reg::kIcvec:
      return interrupts.icvec();
    case reg::kIohpmcycles:
      return hpm.cycles();
    default:
      break;
  }
  if (offset >= reg::kMsiCfgTbl) return interrupts.vector((offset - reg::kMsiCfgTbl) / 16).address;
  if (offset >= reg::kIohpmevt) return hpm.event((offset - reg::kIohpmevt) / 8 + 1);
  return hpm.counter((offset - reg::kIohpmctr) / 8 + 1);
}

std::uint32_t Core::read4(std::uint32_t offset) const {
  switch (offset) {
    case reg::kFctl:
      return env.fctl;
    case reg::kCqh:
      return commands.regs.head;
    case reg::kCqt:
      return commands.regs.tail;
    case reg::kFqh:
      return fault_queue.regs.head;
    case reg::kFqt:
      return fault_queue.regs.tail;
    case reg::kPqh:
      return page_queue.regs.head;
    case reg::kPqt:
      return page_queue.regs.tail;
    case reg::kCqcsr:
      return commands.regs.csr;
    case reg::kFqcsr:
      return fault_queue.regs.csr;
    case reg::kPqcsr:
      return page_queue.regs.csr;
    case reg::kIpsr:
      return interrupts.ipsr();
    case reg::kIocountovf:
      return hpm.overflow();
    case reg::kIocountinh:
      return hpm.inhibit();
    case reg::kQosid:
      return env.qosid;
    default:
      break;
  }
  if (offset < reg::kMsiCfgTbl || offset >= reg::kMsiCfgTbl + 256) return 0;
  const Interrupts::Vector& v = interrupts.vector((offset - reg::kMsiCfgTbl) / 16);
  return (offset & 4) == 0 ? v.data : v.masked ? 1 : 0;
}

void Core::write8(std::uint32_t offset, std::uint64_t value) {
  switch (offset) {
    case reg::kDdtp:
      return write_ddtp(value);
    case reg::kCqb:
      return write_base(commands.regs, value, true);
    case reg::kFqb:
      return write_base(fault_queue.regs, value, false);
    case reg::kPqb:
      if (env.has(cap::kAts)) write_base(page_queue.regs, value, false);
      return;
    case reg::kTrReqIova:
      if (env.has(cap::kDbg)) tr_req_iova_ = value & ~mask(11, 0);
      return;
    case reg::kTrReqCtl:
      if (!env.has(cap::kDbg)) return;
      tr_req_ctl_ = value & (mask(3, 0) | mask(32, 12) | mask(63, 40));
      debug_go_ = (value & 1) != 0;
      return;
    case reg::kIcvec:
      return interrupts.write_icvec(value);
    case reg::kCapabilities:
    case reg::kTrResponse:
      return;
    default:
      break;
  }
  if (offset >= reg::kMsiCfgTbl) {
    const unsigned v = (offset - reg::kMsiCfgTbl) / 16;
    if (bits(env.capabilities, 29, 28) != 1 && (v >> env.config.vector_bits) == 0) {
      const std::uint64_t pas = env.pas() < 64 ? (std::uint64_t{1} << env.pas()) - 1 : ~std::uint64_t{0};
      interrupts.write_address(v, value & pas);
    }
    return;
  }
  if (!env.has(cap::kHpm)) return;
  if (offset == reg::kIohpmcycles) {
    if (env.config.hpm_counters > 0) hpm.write_cycles(value);
  } else if (offset >= reg::kIohpmevt) {
    hpm.write_event((offset - reg::kIohpmevt) / 8 + 1, value);
  } else {
    hpm.write_counter((offset - reg::kIohpmctr) / 8 + 1, value);
  }
}

void Core::write4(std::uint32_t offset, std::uint32_t value) {
  switch (offset) {
    case reg::kFctl:
      return write_fctl(value);
    case reg::kCqt:
      commands.regs.tail = value & commands.regs.index_mask();
      return;
    case reg::kFqh:
      fault_queue.regs.head = value & fault_queue.regs.index_mask();
      return;
    case reg::kPqh:
      if (env.has(cap::kAts)) page_queue.regs.head = value & page_queue.regs.index_mask();
      return;
    case reg::kCqcsr:
      return commands.write_csr(value);
    case reg::kFqcsr:
      return fault_queue.write_csr(value);
    // Present without capabilities.ATS too (the conformance cases want it so); nothing feeds the queue then.
    case reg::kPqcsr:
      return write_pqcsr(value);
    case reg::kIpsr:
      return write_ipsr(value);
    case reg::kIocountinh:
      if (env.has(cap::kHpm)) hpm.write_inhibit(value);
      return;
    case reg::kQosid:
      if (env.has(cap::kQosid)) env.qosid = value & env.config.qosid_mask;
      return;
    default:
      break;
  }
  if (offset < reg::kMsiCfgTbl || offset >= reg::kMsiCfgTbl + 256) return;
  const unsigned v = (offset - reg::kMsiCfgTbl) / 16;
  if (bits(env.capabilities, 29, 28) == 1 || (v >> env.config.vector_bits) != 0) return;
  if ((offset & 4) == 0) {
    interrupts.write_data(v, value);
  } else {
    interrupts.write_control(v, value);
  }
}

void Core::write_ddtp(std::uint64_t value) {
  const unsigned mode = value & 0xf;
  if (mode > static_cast<unsigned>(DdtMode::k3Lvl)) return;
  if (mode >= 2 && mode > static_cast<unsigned>(env.config.max_mode)) return;
  if (env.ddt_levels() != 0 && mode >= 2) return;  // through Off or Bare only
  env.ddtp = (value & pas_ppn_mask()) | mode;
}

bool Core::queue_active() const {
  constexpr std::uint32_t active = qcsr::kEnable | qcsr::kOn | qcsr::kBusy;
  return commands.regs.has(active) || fault_queue.regs.has(active) || page_queue.regs.has(active);
}

void Core::write_fctl(std::uint32_t value) {
  if (env.mode() != DdtMode::kOff || queue_active()) return;
  std::uint32_t writable = 0;
  if (env.has(cap::kEnd) && env.config.be_writable) writable |= fctl::kBe;
  if (bits(env.capabilities, 29, 28) == 2) writable |= fctl::kWsi;
  if (env.config.gxl_writable) writable |= fctl::kGxl;
  env.fctl = (env.fctl & ~writable) | (value & writable);
}

void Core::write_base(QueueRegisters& queue, std::uint64_t value, bool index_is_tail) {
  if (queue.has(qcsr::kEnable | qcsr::kOn | qcsr::kBusy)) return;
  queue.base = value & (mask(4, 0) | pas_ppn_mask());
  (index_is_tail ? queue.tail : queue.head) = 0;
}

void Core::write_ipsr(std::uint32_t value) {
  std::uint32_t still = 0;
  if (commands.asserted()) still |= ipsr::kCip;
  if (fault_queue.asserted()) still |= ipsr::kFip;
  if (page_queue.asserted()) still |= ipsr::kPip;
  interrupts.clear(value, still);
}

}  // namespace iommu
