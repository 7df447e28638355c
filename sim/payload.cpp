// SPDX-License-Identifier: Apache-2.0
#include "sim/payload.h"

namespace sim {

PayloadPool::~PayloadPool() = default;

Transaction* PayloadPool::acquire(tlm::tlm_command command, std::uint64_t address, std::size_t length) {
  if (free_ == nullptr) {
    all_.push_back(std::make_unique<Transaction>(this));
    free_ = all_.back().get();
  }
  Transaction* const t = free_;
  free_ = t->next_free_;
  ++outstanding_;
  if (t->buffer_.size() < length) t->buffer_.resize(length <= 64 ? 64 : (length + 255) / 256 * 256);
  t->set_command(command);
  t->set_address(address);
  t->set_data_ptr(t->buffer_.data());
  t->set_data_length(static_cast<unsigned>(length));
  t->set_streaming_width(static_cast<unsigned>(length));
  t->set_byte_enable_ptr(nullptr);
  t->set_byte_enable_length(0);
  t->set_dmi_allowed(false);
  t->set_response_status(tlm::TLM_INCOMPLETE_RESPONSE);
  static_cast<DmaTagFields&>(t->tag) = {};
  t->user[0] = t->user[1] = t->ports_ = 0;
  t->keepers_ = 0;
  t->acquire();
  return t;
}

void PayloadPool::free(tlm::tlm_generic_payload* payload) {
  auto* const t = static_cast<Transaction*>(payload);
  t->next_free_ = free_;
  free_ = t;
  --outstanding_;
}

}  // namespace sim
