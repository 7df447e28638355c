// SPDX-License-Identifier: Apache-2.0
// Whatever the guest writes - registers, configuration space, descriptors - and whatever comes over the wire,
// the device neither crashes the host nor loses count. POOLSIM_FUZZ_STEPS makes it longer (under the
// sanitizers).
#include <gtest/gtest.h>

#include <cstdlib>

#include "guest.h"

namespace {

using namespace nic;
using nic_test::Host;

class Fuzzer {
 public:
  explicit Fuzzer(std::uint64_t seed, const std::string& name = "h", sim::TimeMode mode = {})
      : h_(name, config(seed), sim::SimulationConfig{seed, 0, mode}),
        r_(h_.sim.random("fuzz")),
        refusals_(h_.sim.random("refusals")),
        guest_(h_, r_) {
    h_.memory.refuses = [this](const tlm::tlm_generic_payload&) {
      return guest_.refusing() && refusals_.below(8) == 0;
    };
  }
  Host& host() { return h_; }

  void run(std::uint64_t steps) {
    h_.bring_up();
    for (std::uint64_t i = 0; i < steps; ++i) {
      guest_.step();
      h_.run(pause());
      if (i % 64 == 0) h_.nic.check_conservation();
    }
    h_.run(10 * sim::kMillisecond);
    h_.nic.check_conservation();
    // The device was alive, not merely switched off early.
    EXPECT_GT(h_.nic.stats().frames_delivered, steps / 1000);
    EXPECT_GT(h_.nic.stats().descriptors_fetched, steps / 100);
    if (std::getenv("POOLSIM_FUZZ_STEPS") != nullptr) {
      h_.nic.stats([](std::string_view name, double v, std::string_view) { fmt::print("{} {}\n", name, v); });
    }
  }
  void step() { guest_.step(); }
  sim::Tick pause() { return 10 * sim::kNanosecond + r_.below(3) * sim::kMicrosecond / 2; }

 private:
  static NicConfig config(std::uint64_t seed) {
    NicConfig c;
    c.descriptor_cache_depth = seed % 2 == 0 ? 8 : 64;
    c.packet_buffer_bytes = seed % 3 == 0 ? 8 * 1024 : 64 * 1024;
    c.outstanding_reads = seed % 5 == 0 ? 1 : 16;
    return c;
  }
  Host h_;
  sim::RandomStream r_, refusals_;
  nic_test::Guest<sim::RandomStream> guest_;
};

std::uint64_t steps() {
  const char* text = std::getenv("POOLSIM_FUZZ_STEPS");
  return text != nullptr ? std::strtoull(text, nullptr, 10) : 4000;
}

class Fuzz : public testing::TestWithParam<std::uint64_t> {};

TEST_P(Fuzz, NothingTheGuestDoesBreaksTheHost) { Fuzzer(GetParam()).run(steps()); }

TEST_P(Fuzz, TheModesOfKeepingTimeStayEqual) {
  Fuzzer skip(GetParam(), "skip"), every(GetParam(), "every", {true, true}),
      step(GetParam(), "step", {false, false});
  Fuzzer* const all[] = {&skip, &every, &step};
  // One SystemC kernel drives all three; acts fall between edges, so that each host has done all before them.
  skip.host().run(sim::kNanosecond / 2);
  for (Fuzzer* f : all) f->host().bring_up();
  for (int i = 0; i < 600; ++i) {
    sim::Tick pause = 0;
    for (Fuzzer* f : all) {
      f->step();
      pause = f->pause();
    }
    skip.host().run(pause);
  }
  skip.host().run(sim::kMillisecond);
  EXPECT_GT(skip.host().sim.digest().events(), 500u);
  EXPECT_EQ(skip.host().sim.digest().hex(), every.host().sim.digest().hex());
  EXPECT_EQ(skip.host().sim.digest().hex(), step.host().sim.digest().hex());
}

INSTANTIATE_TEST_SUITE_P(Seeds, Fuzz, testing::Range<std::uint64_t>(1, 9));

}  // namespace
