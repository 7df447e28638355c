// SPDX-License-Identifier: Apache-2.0
#include "iommu/walk.h"

namespace iommu {

void Walk::start(const Environment& env, Caches& caches, CacheUse use, const Request& request) {
  env_ = &env;
  caches_ = &caches;
  use_ = use;
  fill_ = use == CacheUse::kFull;
  keep_memory_ = use == CacheUse::kReadOnly;
  request_ = request;
  outcome_ = {};
  counts_ = {};
  sum_ = false;
  space_known_ = false;
  first_global_ = false;
  first_entry_writable_ = true;

  const DdtMode mode = env.mode();
  if (mode == DdtMode::kOff) return fail(Cause::kAllDisallowed);
  if (mode == DdtMode::kBare) {
    if (request.message || request.address_type != sim::AddressType::kUntranslated)
      return fail(Cause::kTypeDisallowed);
    outcome_.address = request.iova;
    outcome_.readable = outcome_.writable = outcome_.executable = true;
    outcome_.rcid = env.own_rcid();
    outcome_.mcid = env.own_mcid();
    return finish();
  }
  if (!env.device_id_fits(request.device_id)) return fail(Cause::kTypeDisallowed);
  if (use != CacheUse::kNone) {
    if (const DeviceContext* dc = caches.find_device(request.device_id, use == CacheUse::kFull)) {
      return device_context_ready(*dc);
    }
  }
  directory_table_ = ppn_address(env.ddtp);
  directory_level_ = env.ddt_levels() - 1;
  read_ddt();
}

WalkTable Walk::table() const {
  switch (state_) {
    case State::kDdtPointer:
    case State::kDeviceContext:
      return WalkTable::kDeviceDirectory;
    case State::kPdtPointer:
    case State::kProcessContext:
      return WalkTable::kProcessDirectory;
    case State::kMsiPte:
      return WalkTable::kMsi;
    case State::kSecondPte:
    case State::kSecondUpdate:
      return WalkTable::kSecondStage;
    default:
      return WalkTable::kFirstStage;
  }
}

/// Publishes the read, or answers it at once with an access fault when it lies beyond the physical address
/// space.
void Walk::read(std::uint64_t address, unsigned bytes, State state) {
  state_ = state;
  access_.kind = MemoryAccess::Kind::kRead;
  access_.address = address;
  access_.bytes = static_cast<std::uint8_t>(bytes);
  ++counts_.accesses[static_cast<unsigned>(table())];
  if (env_->beyond_pas(address)) supply(MemoryStatus::kAccessFault);
}

void Walk::supply(MemoryStatus status) {
  switch (state_) {
    case State::kDdtPointer:
      return ddt_pointer(status);
    case State::kDeviceContext:
      return device_context(status);
    case State::kPdtPointer:
      return pdt_pointer(status);
    case State::kProcessContext:
      return process_context(status);
    case State::kFirstPte:
      return first_pte(status);
    case State::kMsiPte:
      return msi_pte(status);
    case State::kSecondPte:
      return second_pte(status);
    case State::kFirstUpdate:
    case State::kSecondUpdate:
    case State::kDone:
      break;
  }
}

void Walk::finish() { state_ = State::kDone; }

void Walk::fail(Cause cause, std::uint64_t iotval2) {
  outcome_.cause = cause;
  outcome_.iotval2 = iotval2;
  state_ = State::kDone;
}

Cause Walk::access_fault() const {
  return request_.execute ? Cause::kInstructionAccessFault
         : request_.read  ? Cause::kReadAccessFault
                          : Cause::kWriteAccessFault;
}
Cause Walk::page_fault() const {
  return request_.execute ? Cause::kInstructionPageFault
         : request_.read  ? Cause::kReadPageFault
                          : Cause::kWritePageFault;
}
Cause Walk::guest_page_fault() const {
  return request_.execute ? Cause::kInstructionGuestPageFault
         : request_.read  ? Cause::kReadGuestPageFault
                          : Cause::kWriteGuestPageFault;
}

// --- Device directory
// ------------------------------------------------------------------------------------------

void Walk::read_ddt() {
  const bool extended = env_->extended();
  const std::uint64_t index = dc::index(extended, directory_level_, request_.device_id);
  if (directory_level_ > 0) {
    read(directory_table_ + index * 8, 8, State::kDdtPointer);
  } else {
    const unsigned bytes = dc::bytes(extended);
    read(directory_table_ + index * bytes, bytes, State::kDeviceContext);
  }
}

void Walk::ddt_pointer(MemoryStatus status) {
  if (status != MemoryStatus::kOk) {
    return fail(status == MemoryStatus::kPoison ? Cause::kDdtCorruption : Cause::kDdtLoadFault);
  }
  const std::uint64_t entry = load64(access_.data.data(), env_->big_endian());
  if ((entry & 1) == 0) return fail(Cause::kDdtInvalid);
  if ((entry & (mask(9, 1) | mask(63, 54))) != 0) return fail(Cause::kDdtMisconfigured);
  directory_table_ = ppn_address(entry);
  --directory_level_;
  read_ddt();
}

void Walk::device_context(MemoryStatus status) {
  if (status != MemoryStatus::kOk) {
    return fail(status == MemoryStatus::kPoison ? Cause::kDdtCorruption : Cause::kDdtLoadFault);
  }
  device_ = {};
  for (unsigned i = 0; i < access_.bytes / 8u; ++i) {
    device_.word[i] = load64(access_.data.data() + 8 * i, env_->big_endian());
  }
  if (!device_.tc(dc::kV)) return fail(Cause::kDdtInvalid);
  if (device_context_misconfigured(device_, *env_)) return fail(Cause::kDdtMisconfigured);
  derive(device_, *env_);
  if (fill_) caches_->fill_device(request_.device_id, device_);
  device_context_ready(device_);
}

/// Steps 7 to 9: may this device make this kind of request?
void Walk::device_context_ready(const DeviceContext& device) {
  outcome_.dtf = device.tc(dc::kDtf);
  outcome_.rcid = device.rcid;
  outcome_.mcid = device.mcid;
  second_ = device.second;
  if (request_.message) {
    outcome_.prpr = device.tc(dc::kPrpr);
    return device.tc(dc::kEnPri) ? finish() : fail(Cause::kTypeDisallowed);
  }
  const bool untranslated = request_.address_type == sim::AddressType::kUntranslated;
  if (!untranslated && !device.tc(dc::kEnAts)) return fail(Cause::kTypeDisallowed);
  if (request_.has_process_id) {
    if (!device.tc(dc::kPdtv)) return fail(Cause::kTypeDisallowed);
    if ((request_.process_id >> device.process_id_bits()) != 0) return fail(Cause::kTypeDisallowed);
  }
  if (request_.address_type == sim::AddressType::kTranslated) {
    if (device.tc(dc::kT2gpa)) return start_translation(device, {}, 0);
    outcome_.address = request_.iova;
    outcome_.readable = outcome_.writable = outcome_.executable = true;
    return finish();
  }
  select_first_stage(device);
}

/// The walk goes on beyond the present call: the cache may give the entry away meanwhile.
void Walk::keep(const DeviceContext& device) {
  if (&device != &device_) device_ = device;
  guest_space_ = Space(false, 0, !second_.bare(), device_.gscid);
}

/// Steps 10 to 14.
void Walk::select_first_stage(const DeviceContext& device) {
  if (!device.tc(dc::kPdtv)) return start_translation(device, device.first, device.pscid);
  const bool default_process = device.tc(dc::kDpe) && !request_.has_process_id;
  if ((!request_.has_process_id && !default_process) || device.pdt_levels == 0)
    return start_translation(device, {}, 0);
  process_id_ = default_process ? 0 : request_.process_id;
  if (use_ != CacheUse::kNone) {
    if (const ProcessContext* pc =
            caches_->find_process(request_.device_id, process_id_, use_ == CacheUse::kFull)) {
      return process_context_ready(device, *pc);
    }
  }
  keep(device);
  directory_table_ = device_.pdt_root();
  directory_level_ = device_.pdt_levels - 1u;
  read_pdt();
}

// --- Process directory
// -----------------------------------------------------------------------------------------

void Walk::read_pdt() {
  constexpr unsigned low[] = {0, 8, 17}, high[] = {7, 16, 19};
  const std::uint64_t index = bits(process_id_, high[directory_level_], low[directory_level_]);
  const std::uint64_t address = directory_table_ + index * (directory_level_ == 0 ? 16 : 8);
  if (!second_.bare()) return start_second_stage(address, Purpose::kProcessDirectory);
  read(address, directory_level_ == 0 ? 16 : 8,
       directory_level_ == 0 ? State::kProcessContext : State::kPdtPointer);
}

void Walk::pdt_pointer(MemoryStatus status) {
  if (status != MemoryStatus::kOk) {
    return fail(status == MemoryStatus::kPoison ? Cause::kPdtCorruption : Cause::kPdtLoadFault);
  }
  const std::uint64_t entry = load64(access_.data.data(), device_.tc(dc::kSbe));
  if ((entry & 1) == 0) return fail(Cause::kPdtInvalid);
  if ((entry & (mask(9, 1) | mask(63, 54))) != 0) return fail(Cause::kPdtMisconfigured);
  directory_table_ = ppn_address(entry);
  --directory_level_;
  read_pdt();
}

void Walk::process_context(MemoryStatus status) {
  if (status != MemoryStatus::kOk) {
    return fail(status == MemoryStatus::kPoison ? Cause::kPdtCorruption : Cause::kPdtLoadFault);
  }
  process_ = {};
  process_.ta = load64(access_.data.data(), device_.tc(dc::kSbe));
  process_.fsc = load64(access_.data.data() + 8, device_.tc(dc::kSbe));
  if ((process_.ta & pc::kV) == 0) return fail(Cause::kPdtInvalid);
  if (process_context_misconfigured(process_, device_.tc(dc::kSxl), *env_))
    return fail(Cause::kPdtMisconfigured);
  derive(process_, device_.tc(dc::kSxl));
  if (fill_) caches_->fill_process(request_.device_id, process_id_, process_);
  process_context_ready(device_, process_);
}

/// Steps 15 and 16.
void Walk::process_context_ready(const DeviceContext& device, const ProcessContext& process) {
  if (request_.supervisor() && !process.ens()) return fail(Cause::kTypeDisallowed);
  sum_ = process.sum();
  start_translation(device, process.first, process.pscid());
}

/// Step 17: the address space is known.
void Walk::start_translation(const DeviceContext& device, const Stage& first, std::uint32_t pscid) {
  first_ = first;
  space_ = Space(!first_.bare(), pscid, !second_.bare(), device.gscid);
  space_known_ = true;
  outcome_.first_active = !first_.bare();
  outcome_.second_active = !second_.bare();
  outcome_.pscid = pscid;
  outcome_.gscid = device.gscid;
  outcome_.t2gpa = device.tc(dc::kT2gpa);
  if (serve_from_iotlb()) return;
  keep(device);
  start_first_stage();
}

bool Walk::serve_from_iotlb() {
  if (use_ == CacheUse::kNone || request_.is_ats() || space_.key == 0) return false;
  const IotlbEntry* e = use_ == CacheUse::kFull ? caches_->find_translation(request_, space_, sum_)
                                                : caches_->peek_translation(request_, space_, sum_);
  if (e == nullptr) return false;
  outcome_.address = caches_->translated(*e, request_.iova);
  outcome_.page_shift = e->page_shift;
  outcome_.pbmt = e->pbmt;
  outcome_.msi = e->msi;
  outcome_.readable = e->readable;
  outcome_.writable = e->writable;
  outcome_.executable = e->executable;
  outcome_.iotlb_hit = true;
  outcome_.page_class = e->page_class;
  finish();
  return true;
}

}  // namespace iommu
