// SPDX-License-Identifier: Apache-2.0
#include "platform/pcie_message.h"

#include <cstring>

#include "iommu/iommu.h"
#include "platform/pcie_link.h"
#include "platform/root_port.h"

namespace platform {

using Kind = PcieMessage::Kind;

sim::Transaction& PcieMessage::carry(sim::PayloadPool& pool) const {
  sim::Transaction* t = pool.acquire(tlm::TLM_WRITE_COMMAND, 0, sizeof(PcieMessage));
  t->tag = {};
  t->tag.requester = function;
  t->tag.posted = true;
  std::memcpy(t->get_data_ptr(), this, sizeof(PcieMessage));
  return *t;
}

PcieMessage PcieMessage::of(const tlm::tlm_generic_payload& carrier) {
  PcieMessage message;
  std::memcpy(&message, carrier.get_data_ptr(), sizeof(PcieMessage));
  return message;
}

namespace {

PcieMessage from_iommu(const iommu::AtsInvalidationRequest& r) {
  PcieMessage m;
  m.kind = Kind::kInvalidationRequest;
  m.function = sim::RequesterId(r.rid);
  m.has_process_id = r.has_process_id;
  m.process_id = r.process_id;
  m.itag_vector = 1u << r.itag;
  m.payload = r.payload;
  return m;
}

PcieMessage from_iommu(const iommu::PageRequestGroupResponse& r) {
  PcieMessage m;
  m.kind = Kind::kPageResponse;
  m.function = sim::RequesterId(r.rid);
  m.has_process_id = r.has_process_id;
  m.process_id = r.process_id;
  m.group = r.prgi;
  m.code = r.code;
  return m;
}

void to_iommu(iommu::Iommu& iommu, const PcieMessage& m) {
  const auto rid = static_cast<std::uint16_t>(m.function.value);
  if (m.kind == Kind::kInvalidationCompletion) {
    iommu::InvalidationCompletion c;
    c.rid = rid;
    c.itag_vector = m.itag_vector;
    c.count = m.count;
    iommu.receive(c);
  } else if (m.kind == Kind::kPageRequest) {
    iommu::PageRequest r;
    r.rid = rid;
    r.has_process_id = m.has_process_id;
    r.process_id = m.process_id;
    r.privileged = m.privileged;
    r.execute = m.execute;
    r.payload = m.payload;
    iommu.receive(r);
  }
}

}  // namespace

void connect_messages(PcieLink& link, RootPort& port, iommu::Iommu& iommu) {
  link.message_to_root = [&port](const PcieMessage& m) { port.from_link_message(m); };
  port.message_to_iommu = [&iommu](const PcieMessage& m) { to_iommu(iommu, m); };
  port.message_to_link = [&link](const PcieMessage& m) { link.send(m); };
  iommu.send_invalidation_request = [&port](const iommu::AtsInvalidationRequest& r) {
    port.to_device_message(from_iommu(r));
  };
  iommu.send_page_response = [&port](const iommu::PageRequestGroupResponse& r) {
    port.to_device_message(from_iommu(r));
  };
}

}  // namespace platform
