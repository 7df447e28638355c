// SPDX-License-Identifier: Apache-2.0
// libFuzzer target: the input chooses what a guest does to the 82576 and what comes over the wire - register
// and configuration writes, descriptors, tails, frames, resets in the middle, refused and held-back DMA. What
// must hold: no crash, no read outside a buffer (the sanitizers), conservation of frames and copies, and an
// end: after a function level reset the device becomes idle.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "testbenches/tests/nic/guest.h"

namespace {

/// The fuzzer's bytes as choices; zeros when they are used up.
class Bytes {
 public:
  void start(const std::uint8_t* data, std::size_t size) {
    at_ = data;
    end_ = data + size;
  }
  bool empty() const { return at_ == end_; }
  std::uint64_t next() { return take(8); }
  std::uint64_t below(std::uint64_t n) { return take(n <= 256 ? 1 : n <= 65536 ? 2 : 8) % n; }

 private:
  std::uint64_t take(unsigned bytes) {
    std::uint64_t v = 0;
    for (unsigned i = 0; i < bytes && at_ != end_; ++i) v |= std::uint64_t{*at_++} << (8 * i);
    return v;
  }
  const std::uint8_t* at_ = nullptr;
  const std::uint8_t* end_ = nullptr;
};

/// SystemC elaborates once a process: one device for all inputs, brought back by a function level reset.
class World {
 public:
  World() : host_("h", config()), guest_(host_, choices_) {
    host_.memory.refuses = [this](const tlm::tlm_generic_payload&) {
      return guest_.refusing() && ++requests_ % 5 == 0;
    };
  }

  void run(const std::uint8_t* data, std::size_t size) {
    choices_.start(data, size);
    host_.bring_up();
    while (!choices_.empty()) {
      guest_.step();
      host_.run(10 * sim::kNanosecond + choices_.below(4) * sim::kMicrosecond / 2);
      host_.nic.check_conservation();
    }
    reset();
  }

 private:
  static nic::NicConfig config() {
    nic::NicConfig c;
    c.packet_buffer_bytes = 16 * 1024;  // soon full
    c.autonegotiation_us = 50;          // soon over
    return c;
  }
  void reset() {
    guest_.stop_refusing();
    host_.memory.hold_every = 0;
    host_.config_write(0, nic::pci::PM + 4, 0, 2);
    host_.config_write(0, nic::pci::EXP_DEVCTL, nic::pci::DEVCTL_FLR, 2);
    for (unsigned tries = 0; !host_.nic.idle() || !host_.memory.idle(); ++tries) {
      if (tries == 1000) std::abort();  // it never comes to rest
      host_.run(100 * sim::kMicrosecond);
    }
    host_.nic.check_conservation();
    for (unsigned q = 0; q < nic::kQueues; ++q) {
      std::memset(host_.store.host(sim::PhysAddr(nic_test::Host::ring_of(q)), 0x1000), 0, 0x1000);
    }
  }

  nic_test::Host host_;
  Bytes choices_;
  nic_test::Guest<Bytes> guest_;
  std::uint64_t requests_ = 0;
};

}  // namespace

/// libFuzzer brings main(); SystemC's library wants this one.
int sc_main(int, char**) { return 0; }

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // Never freed: SystemC objects outlive their context at exit otherwise.
  static World* const world = [] {
    ::setenv("SYSTEMC_DISABLE_COPYRIGHT_MESSAGE", "1", 1);
    sc_core::sc_report_handler::set_actions(sc_core::SC_WARNING, sc_core::SC_THROW);
    return new World;
  }();
  world->run(data, size);
  return 0;
}
