// SPDX-License-Identifier: Apache-2.0
// TLM-2.0 transactions of the machine: generic payloads from one pool, with one extension, DmaTag.
//
// Protocol between our models (base protocol, early completion; see docs/tlm.md):
//   fw BEGIN_REQ -> TLM_UPDATED/END_REQ   accepted; the response comes later by bw BEGIN_RESP ->
//   TLM_COMPLETED
//                -> TLM_ACCEPTED          accepted, but the target is now full: send no other request on this
//                                         socket until bw END_REQ
//                -> TLM_COMPLETED         done at once (posted write accepted, or refused: see response
//                status); the payload may still be on its way, kept by who took it
// `delay` carries how far the Timeline is ahead of SystemC: Timeline::outgoing_delay() / incoming().
// The initiator owns the payload: acquire() before the request, release() after the response.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <tlm>
#include <typeinfo>
#include <vector>

#include "sim/error.h"
#include "sim/types.h"

namespace sim {

/// Address type of a PCIe request (AT field).
enum class AddressType : std::uint8_t { kUntranslated = 0, kTranslationRequest = 1, kTranslated = 2 };

/// PCIe completion status, beside the TLM response status.
enum class CompletionStatus : std::uint8_t {
  kSuccess = 0,
  kUnsupportedRequest = 1,
  kConfigRetry = 2,
  kCompleterAbort = 4
};

/// What travels with a device request.
/// Who writes what: the initiator everything but `status`; the completer `status`, and `poisoned` of a read;
/// an IOMMU on the way the QoS ids.
struct DmaTagFields {
  RequesterId requester{0};
  std::uint32_t process_id = 0;  ///< PASID, valid if has_process_id
  bool has_process_id = false;
  bool privileged = false;
  bool execute = false;
  AddressType address_type = AddressType::kUntranslated;
  bool relaxed_ordering = false;
  bool id_ordering = false;
  bool posted = false;  ///< a memory write that wants no response (PCIe MWr)
  std::uint8_t traffic_class = 0;
  std::uint16_t tag = 0;
  std::uint16_t rcid = 0, mcid = 0;  ///< QoS ids, written by the IOMMU into what it sends (RISC-V QoS-ID)
  CompletionStatus status = CompletionStatus::kSuccess;
  /// The data are known to be wrong (PCIe EP). Of a read the completer says so, with
  /// TLM_GENERIC_ERROR_RESPONSE; of a write the initiator, and memory keeps it.
  bool poisoned = false;
};

/// The same as an extension of a payload. A model that finds none assumes requester 0.
struct DmaTag : tlm::tlm_extension<DmaTag>, DmaTagFields {
  tlm::tlm_extension_base* clone() const override { return new DmaTag(*this); }
  void copy_from(const tlm::tlm_extension_base& other) override { *this = static_cast<const DmaTag&>(other); }
};

class PayloadPool;

/// A pooled generic payload with its own data buffer and DmaTag. `user` words belong to the initiator.
class Transaction : public tlm::tlm_generic_payload {
 public:
  explicit Transaction(tlm::tlm_mm_interface* pool) : tlm_generic_payload(pool) { set_extension(&tag); }
  ~Transaction() override { clear_extension<DmaTag>(); }

  std::span<std::uint8_t> bytes() { return {buffer_.data(), get_data_length()}; }

  DmaTag tag;
  std::uint64_t user[2] = {0, 0};

  /// For a module that must send the answer back by the way the request came: notes by which of its ports, 0..kPorts - 1,
  /// it came. Modules nest: the last noted is the first taken back, eight at most.
  static constexpr unsigned kPorts = 255;
  void push_port(unsigned port) {
    POOLSIM_ASSERT(port < kPorts && ports_ >> 56 == 0);
    ports_ = ports_ << 8 | (port + 1);
  }
  unsigned pop_port() {
    POOLSIM_ASSERT(ports_ != 0);  // an answer to what was never sent
    const auto port = static_cast<unsigned>(ports_ & 0xff) - 1;
    ports_ >>= 8;
    return port;
  }

  /// Modules that answer a posted write as soon as they have taken it, and keep it until they are done with it.
  enum class Keeper : std::uint8_t { kLink = 1, kRootPort = 2 };
  /// Takes a reference for `keeper`. False: another of its kind on the way has one already.
  bool keep(Keeper keeper) {
    const auto bit = static_cast<unsigned>(keeper);
    if ((keepers_ & bit) != 0) return false;
    keepers_ |= bit;
    acquire();
    return true;
  }
  /// Gives the reference of `keeper` back. False: it has none, and whoever sent the transaction waits for an answer.
  bool let_go(Keeper keeper) {
    const auto bit = static_cast<unsigned>(keeper);
    if ((keepers_ & bit) == 0) return false;
    keepers_ &= ~bit;
    release();
    return true;
  }

 private:
  friend class PayloadPool;
  std::uint64_t ports_ = 0;  // a byte each: port + 1
  unsigned keepers_ = 0;     // a bit each
  Transaction* next_free_ = nullptr;
  std::vector<std::uint8_t> buffer_;
};

class PayloadPool : public tlm::tlm_mm_interface {
 public:
  ~PayloadPool() override;

  /// A read or write of `length` bytes (1..4096) at `address`, with its own zero-initialised-once buffer.
  /// Reference count 1; give back with release().
  Transaction* acquire(tlm::tlm_command command, std::uint64_t address, std::size_t length);
  std::size_t outstanding() const { return outstanding_; }

  void free(tlm::tlm_generic_payload* payload) override;

 private:
  std::vector<std::unique_ptr<Transaction>> all_;
  Transaction* free_ = nullptr;  // the last given back, and so on
  std::size_t outstanding_ = 0;
};

/// The payload as one of a PayloadPool; null: it is somebody else's.
inline Transaction* own(tlm::tlm_generic_payload& payload) {
  return &typeid(payload) == &typeid(Transaction) ? &static_cast<Transaction&>(payload) : nullptr;
}
/// The tag of any payload, ours or foreign; null: it has none.
inline DmaTag* find_tag(tlm::tlm_generic_payload& payload) {
  // Of our own it is known where it is; asked for several times on the way of every transaction.
  if (Transaction* t = own(payload)) return &t->tag;
  return payload.get_extension<DmaTag>();
}
/// The same to read, with a default for none.
inline const DmaTag& tag_of(const tlm::tlm_generic_payload& payload) {
  if (const DmaTag* tag = find_tag(const_cast<tlm::tlm_generic_payload&>(payload))) return *tag;
  static const DmaTag none;
  return none;
}
/// Writes the PCIe completion status where there is a tag to hold it, and the TLM response status.
inline void complete(tlm::tlm_generic_payload& payload, CompletionStatus status) {
  if (DmaTag* tag = find_tag(payload)) tag->status = status;
  payload.set_response_status(status == CompletionStatus::kSuccess              ? tlm::TLM_OK_RESPONSE
                              : status == CompletionStatus::kUnsupportedRequest ? tlm::TLM_ADDRESS_ERROR_RESPONSE
                                                                                : tlm::TLM_GENERIC_ERROR_RESPONSE);
}

}  // namespace sim
