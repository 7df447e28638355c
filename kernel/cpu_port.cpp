// SPDX-License-Identifier: Apache-2.0
#include "kernel/cpu_port.h"

#include <cstring>

#include "kernel/kernel.h"

namespace kernel {

CpuPort::CpuPort(sc_core::sc_module_name name, sim::Simulation& simulation)
    : sc_module(name), simulation_(simulation) {
  socket.bind(*this);
}

bool CpuPort::send(Core& core, sim::Transaction& transaction) {
  while (blocking_ != nullptr) {
    Waiter me{&core};
    waiting_.push_back(&me);
    core.stall(me.done, false);
  }
  tlm::tlm_phase phase = tlm::BEGIN_REQ;
  sc_core::sc_time delay = simulation_.timeline().outgoing_delay();
  switch (socket->nb_transport_fw(transaction, phase, delay)) {
    case tlm::TLM_COMPLETED:
      return true;
    case tlm::TLM_UPDATED:
      return phase == tlm::BEGIN_RESP;
    default:
      blocking_ = &transaction;
      return false;
  }
}

void CpuPort::unblock(sim::Tick at) {
  blocking_ = nullptr;
  for (Waiter* waiter : waiting_) {
    waiter->done = true;
    waiter->core->release_stall(at);
  }
  waiting_.clear();
}

std::uint64_t CpuPort::read(PhysAddr address, unsigned bytes) {
  Core& core = this_core();
  core.work(core.costs().mmio_read_issue);
  core.point("mmio_read", address.value, true);
  core.sync();
  const sim::Tick begin = core.now();
  sim::Transaction* t = simulation_.payloads().acquire(tlm::TLM_READ_COMMAND, address.value, bytes);
  Waiter me{&core};
  t->user[0] = reinterpret_cast<std::uintptr_t>(&me);
  if (!send(core, *t)) core.stall(me.done, false);
  ++reads_;
  read_time_ += core.now() - begin;
  std::uint64_t value = 0;
  if (t->is_response_ok()) {
    std::memcpy(&value, t->get_data_ptr(), bytes);
  } else {
    ++errors_;
    value = bytes == 8 ? ~std::uint64_t{0} : (std::uint64_t{1} << (8 * bytes)) - 1;
  }
  t->release();
  return value;
}

void CpuPort::fetch_line(PhysAddr address) {
  Core& core = this_core();
  core.sync();
  sim::Transaction* t = simulation_.payloads().acquire(tlm::TLM_READ_COMMAND, address.value / 64 * 64, 64);
  Waiter me{&core};
  t->user[0] = reinterpret_cast<std::uintptr_t>(&me);
  if (!send(core, *t)) core.stall(me.done, false);
  ++lines_;
  t->release();
}

void CpuPort::write(PhysAddr address, std::uint64_t value, unsigned bytes) {
  Core& core = this_core();
  core.work(core.costs().mmio_write_issue);
  core.point("mmio_write", address.value, true);
  core.sync();
  sim::Transaction* t = simulation_.payloads().acquire(tlm::TLM_WRITE_COMMAND, address.value, bytes);
  t->tag.posted = true;
  std::memcpy(t->get_data_ptr(), &value, bytes);
  ++writes_;
  if (!send(core, *t)) return;
  if (!t->is_response_ok()) ++errors_;
  t->release();
}

std::uint32_t CpuPort::read32(PhysAddr address) { return static_cast<std::uint32_t>(read(address, 4)); }
std::uint64_t CpuPort::read64(PhysAddr address) { return read(address, 8); }
void CpuPort::write32(PhysAddr address, std::uint32_t value) { write(address, value, 4); }
void CpuPort::write64(PhysAddr address, std::uint64_t value) { write(address, value, 8); }

tlm::tlm_sync_enum CpuPort::nb_transport_bw(tlm::tlm_generic_payload& payload, tlm::tlm_phase& phase,
                                            sc_core::sc_time& delay) {
  const sim::Tick at = simulation_.timeline().incoming(delay);
  if (blocking_ == &payload) unblock(at);  // a response implies END_REQ
  if (phase != tlm::BEGIN_RESP) return tlm::TLM_ACCEPTED;
  auto& t = static_cast<sim::Transaction&>(payload);
  if (t.user[0] != 0) {
    auto* waiter = reinterpret_cast<Waiter*>(static_cast<std::uintptr_t>(t.user[0]));
    waiter->done = true;
    waiter->core->release_stall(at);
  } else {
    if (!t.is_response_ok()) ++errors_;
    t.release();
  }
  return tlm::TLM_COMPLETED;
}

void CpuPort::stats(const std::function<void(std::string_view, double, std::string_view)>& out) const {
  out("mmio.reads", static_cast<double>(reads_), "accesses");
  out("mmio.writes", static_cast<double>(writes_), "accesses");
  out("lines_fetched", static_cast<double>(lines_), "lines");
  out("mmio.errors", static_cast<double>(errors_), "accesses");
  out("mmio.read_latency_avg",
      reads_ == 0 ? 0.0 : static_cast<double>(read_time_) / static_cast<double>(reads_) / 1e6, "ns");
}

}  // namespace kernel
