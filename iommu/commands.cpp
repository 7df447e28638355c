// SPDX-License-Identifier: Apache-2.0
#include "iommu/commands.h"

namespace iommu {
namespace {

constexpr std::uint32_t kErrors = qcsr::kMemoryFault | qcsr::kCmdTo | qcsr::kCmdIll | qcsr::kFenceWIp;

/// ADDR of IOTINVAL with S=1: the naturally aligned range coded in the position of the lowest zero.
void napot_range(std::uint64_t page, Invalidation& what) {
  const unsigned x = static_cast<unsigned>(std::countr_one(page));
  if (x >= 51) {
    what.address = 0;
    what.bytes = 0;
    return;
  }
  what.address = (page & ~mask(x, 0)) << 12;
  what.bytes = std::uint64_t{1} << (x + 13);
}

}  // namespace

void CommandProcessor::reset() {
  regs = {};
  tags.reset();
  state_ = State::kIdle;
}

bool CommandProcessor::asserted() const { return regs.has(qcsr::kInterruptEnable) && regs.has(kErrors); }

void CommandProcessor::set_status(std::uint32_t flag) {
  regs.csr |= flag;
  if (regs.has(qcsr::kInterruptEnable)) interrupts_.raise(ipsr::kCip);
}

void CommandProcessor::stop(std::uint32_t flag) {
  set_status(flag);
  state_ = State::kIdle;
  settle_disable();
}

void CommandProcessor::settle_disable() {
  regs.csr &= ~qcsr::kBusy;
  if (!regs.has(qcsr::kEnable)) regs.csr &= ~qcsr::kOn;
}

void CommandProcessor::write_csr(std::uint32_t value) {
  const bool was = regs.has(qcsr::kEnable), enable = (value & qcsr::kEnable) != 0;
  regs.csr &= ~(value & kErrors);
  regs.csr = (regs.csr & ~(qcsr::kEnable | qcsr::kInterruptEnable)) |
             (value & (qcsr::kEnable | qcsr::kInterruptEnable));
  if (enable && !was && !regs.has(qcsr::kBusy)) {
    regs.head = 0;
    regs.csr &= ~kErrors;
    regs.csr |= qcsr::kOn;
  } else if (!enable && was) {
    // Commands under way end first; a fence that still waits is given up.
    const bool busy = state_ == State::kFetching || state_ == State::kStoring || state_ == State::kExecute;
    if (busy) {
      regs.csr |= qcsr::kBusy;
    } else {
      state_ = State::kIdle;
      regs.csr &= ~qcsr::kOn;
    }
  }
}

void CommandProcessor::poll() {
  switch (state_) {
    case State::kIdle:
      if (regs.on() && regs.has(qcsr::kEnable) && !has_error() && regs.head != regs.tail)
        state_ = State::kFetch;
      break;
    case State::kTagWait:
      if (!tags.all_busy()) ats();
      break;
    case State::kFenceWait:
      if (tags.any_busy()) break;
      if (tags.timed_out()) {
        tags.forget_time_out();
        stop(qcsr::kCmdTo);
        break;
      }
      if (!fence_begun_) {
        fence_begun_ = true;
        surroundings_.fence_begins(bit(command_.dw0, 12), bit(command_.dw0, 13));
      }
      // A faulty fence: it looks for nobody.
      if (verdict_ != CommandVerdict::kIgnore && !surroundings_.fence_clear()) break;
      verdict_ = CommandVerdict::kExecute;
      if (bit(command_.dw0, 10)) {
        state_ = State::kFenceStore;
      } else {
        finish_fence();
      }
      break;
    default:
      break;
  }
}

MemoryAccess& CommandProcessor::begin() {
  if (state_ == State::kFetch) {
    access_.kind = MemoryAccess::Kind::kRead;
    access_.address = regs.address() + std::uint64_t{regs.head} * kCommandBytes;
    access_.bytes = kCommandBytes;
    state_ = State::kFetching;
  } else {
    access_.kind = MemoryAccess::Kind::kWrite;
    access_.address = bits(command_.dw1, 61, 0) << 2;
    access_.bytes = 4;
    store32(access_.data.data(), static_cast<std::uint32_t>(command_.dw0 >> 32), env_.big_endian());
    state_ = State::kStoring;
  }
  return access_;
}

void CommandProcessor::supply(MemoryStatus status) {
  if (status != MemoryStatus::kOk) return stop(qcsr::kMemoryFault);
  if (state_ == State::kStoring) return finish_fence();
  command_.dw0 = load64(access_.data.data(), env_.big_endian());
  command_.dw1 = load64(access_.data.data() + 8, env_.big_endian());
  if (__builtin_expect(static_cast<bool>(fault_), 0)) verdict_ = fault_(command_);
  state_ = State::kExecute;
}

void CommandProcessor::advance() {
  regs.head = (regs.head + 1) & regs.index_mask();
  state_ = State::kIdle;
  settle_disable();
}

void CommandProcessor::execute() {
  if (__builtin_expect(verdict_ == CommandVerdict::kIgnore, 0) && cmd::opcode(command_) != cmd::kIofence) {
    verdict_ = CommandVerdict::kExecute;
    return advance();
  }
  switch (cmd::opcode(command_)) {
    case cmd::kIotinval:
      return iotinval();
    case cmd::kIofence:
      return iofence();
    case cmd::kIodir:
      return iodir();
    case cmd::kAts:
      return ats();
    default:
      return illegal();
  }
}

Invalidation decode_iotinval(const Command& command, CommandVerdict verdict) {
  const std::uint64_t w0 = command.dw0, w1 = command.dw1;
  Invalidation what;
  what.gvma = cmd::func3(command) == 1;
  what.has_address = bit(w0, 10);
  what.has_pscid = bit(w0, 32);
  what.has_gscid = bit(w0, 33);
  what.non_leaf = bit(w0, 34);
  what.pscid = static_cast<std::uint32_t>(bits(w0, 31, 12));
  what.gscid = static_cast<std::uint32_t>(bits(w0, 59, 44));
  const std::uint64_t page = bits(w1, 61, 10);
  what.address = page << 12;
  what.bytes = 4096;
  if (bit(w1, 9)) napot_range(page, what);
  if (__builtin_expect(verdict == CommandVerdict::kOnePage, 0)) {
    what.bytes = 4096;
    what.has_address = true;
  }
  return what;
}

unsigned CommandProcessor::sets_to_scan(bool indexed) const {
  switch (cmd::opcode(command_)) {
    case cmd::kIotinval:
      return caches_.sets_of(decode_iotinval(), indexed);
    case cmd::kIodir:
      return caches_.directory_sets_of(cmd::func3(command_) == 1, bit(command_.dw0, 33), indexed);
    default:
      return 0;
  }
}

void CommandProcessor::iotinval() {
  const std::uint64_t w0 = command_.dw0, w1 = command_.dw1;
  const unsigned func = cmd::func3(command_);
  const bool nl = bit(w0, 34), s = bit(w1, 9);
  if (func > 1 || (w0 & (mask(11, 11) | mask(43, 35) | mask(63, 60))) != 0 ||
      (w1 & (mask(8, 0) | mask(63, 62))) != 0 || (nl && !env_.has(cap::kNl)) || (s && !env_.has(cap::kS)) ||
      (func == 1 && bit(w0, 32))) {
    return illegal();
  }
  const Invalidation what = decode_iotinval();
  Invalidate event;
  event.kind = what.gvma ? Invalidate::Kind::kGvma : Invalidate::Kind::kVma;
  event.has_address = what.has_address;
  event.has_pscid = what.has_pscid;
  event.has_gscid = what.has_gscid;
  event.address = what.has_address ? what.address : 0;
  event.bytes = what.has_address ? what.bytes : 0;
  event.pscid = what.pscid;
  event.gscid = what.gscid;
  event.dropped = caches_.invalidate(what);
  verdict_ = CommandVerdict::kExecute;
  surroundings_.invalidated(event);
  advance();
}

void CommandProcessor::iofence() {
  const std::uint64_t w0 = command_.dw0;
  const bool wsi = bit(w0, 11);
  if (cmd::func3(command_) != 0 || bits(w0, 31, 14) != 0 || bits(command_.dw1, 63, 62) != 0 ||
      (wsi && (env_.fctl & fctl::kWsi) == 0)) {
    return illegal();
  }
  fence_begun_ = false;
  state_ = State::kFenceWait;
}

void CommandProcessor::finish_fence() {
  if (bit(command_.dw0, 11)) set_status(qcsr::kFenceWIp);
  const std::uint32_t index = regs.head;
  advance();
  surroundings_.fence_done({.index = index, .pr = bit(command_.dw0, 12), .pw = bit(command_.dw0, 13)});
}

bool CommandProcessor::device_id_fits(std::uint32_t device_id) const {
  const unsigned levels = env_.ddt_levels();
  return levels != 0 ? env_.device_id_fits(device_id) : (device_id & ~env_.config.device_id_mask) == 0;
}

void CommandProcessor::iodir() {
  const std::uint64_t w0 = command_.dw0;
  const unsigned func = cmd::func3(command_);
  const auto pid = static_cast<std::uint32_t>(bits(w0, 31, 12));
  const auto did = static_cast<std::uint32_t>(bits(w0, 63, 40));
  const bool dv = bit(w0, 33);
  if (func > 1 || (w0 & (mask(11, 10) | mask(32, 32) | mask(39, 34))) != 0 || command_.dw1 != 0 ||
      (func == 0 && pid != 0) || (func == 1 && !dv) || (dv && !device_id_fits(did))) {
    return illegal();
  }
  const unsigned pid_bits = env_.has(cap::kPd20)   ? 20
                            : env_.has(cap::kPd17) ? 17
                            : env_.has(cap::kPd8)  ? 8
                                                   : 0;
  if (func == 1 && (pid >> pid_bits) != 0) return illegal();
  Invalidate event;
  event.kind = func == 0 ? Invalidate::Kind::kDdt : Invalidate::Kind::kPdt;
  event.has_device = dv;
  event.device_id = did;
  event.process_id = pid;
  event.dropped = func == 0 ? caches_.invalidate_ddt(dv ? std::optional(did) : std::nullopt)
                            : caches_.invalidate_pdt(did, pid);
  surroundings_.invalidated(event);
  advance();
}

void CommandProcessor::ats() {
  const std::uint64_t w0 = command_.dw0, w1 = command_.dw1;
  const unsigned func = cmd::func3(command_);
  if (!env_.has(cap::kAts) || func > 1 || (w0 & (mask(11, 10) | mask(39, 34))) != 0) return illegal();
  const auto pid = static_cast<std::uint32_t>(bits(w0, 31, 12));
  const auto rid = static_cast<std::uint16_t>(bits(w0, 55, 40));
  const auto dseg = static_cast<std::uint8_t>(bits(w0, 63, 56));
  const bool pv = bit(w0, 32), dsv = bit(w0, 33);
  if (func == 0) {
    if (tags.all_busy()) {
      state_ = State::kTagWait;
      return;
    }
    AtsInvalidationRequest request{0, rid, dsv, dseg, pv, pid, w1};
    tags.start(request);
    surroundings_.send(request);
  } else {
    surroundings_.send(PageRequestGroupResponse{rid, dsv, dseg, pv, pid,
                                                static_cast<std::uint16_t>(bits(w1, 40, 32)),
                                                static_cast<std::uint8_t>(bits(w1, 47, 44))});
  }
  advance();
}

}  // namespace iommu
