// SPDX-License-Identifier: Apache-2.0
// Sockets of a module with several of one kind: each call reaches the owner together with the port's number.
//
// An owner of TargetPorts has
//   tlm::tlm_sync_enum request(unsigned port, tlm::tlm_generic_payload&, tlm::tlm_phase&, sc_core::sc_time&);
//   void blocking(unsigned port, tlm::tlm_generic_payload&, sc_core::sc_time&);
//   unsigned debug(unsigned port, tlm::tlm_generic_payload&);
// and an owner of InitiatorPorts has
//   tlm::tlm_sync_enum response(unsigned port, tlm::tlm_generic_payload&, tlm::tlm_phase&,
//   sc_core::sc_time&);
#pragma once
#include <systemc>
#include <tlm>

namespace platform {

template <class Owner>
class TargetPort final : public tlm::tlm_target_socket<64>, private tlm::tlm_fw_transport_if<> {
 public:
  TargetPort(const char* name, Owner& owner, unsigned number)
      : tlm_target_socket<64>(name), owner_(owner), number_(number) {
    bind(static_cast<tlm::tlm_fw_transport_if<>&>(*this));
  }

 private:
  tlm::tlm_sync_enum nb_transport_fw(tlm::tlm_generic_payload& p, tlm::tlm_phase& phase,
                                     sc_core::sc_time& delay) override {
    return owner_.request(number_, p, phase, delay);
  }
  void b_transport(tlm::tlm_generic_payload& p, sc_core::sc_time& delay) override {
    owner_.blocking(number_, p, delay);
  }
  unsigned transport_dbg(tlm::tlm_generic_payload& p) override { return owner_.debug(number_, p); }
  bool get_direct_mem_ptr(tlm::tlm_generic_payload&, tlm::tlm_dmi&) override { return false; }

  Owner& owner_;
  unsigned number_;
};

template <class Owner>
class InitiatorPort final : public tlm::tlm_initiator_socket<64>, private tlm::tlm_bw_transport_if<> {
 public:
  InitiatorPort(const char* name, Owner& owner, unsigned number)
      : tlm_initiator_socket<64>(name), owner_(owner), number_(number) {
    bind(static_cast<tlm::tlm_bw_transport_if<>&>(*this));
  }

 private:
  tlm::tlm_sync_enum nb_transport_bw(tlm::tlm_generic_payload& p, tlm::tlm_phase& phase,
                                     sc_core::sc_time& delay) override {
    return owner_.response(number_, p, phase, delay);
  }
  void invalidate_direct_mem_ptr(sc_dt::uint64, sc_dt::uint64) override {}

  Owner& owner_;
  unsigned number_;
};

}  // namespace platform
