// SPDX-License-Identifier: Apache-2.0
// What a look at a line costs that a device wrote: with DDIO, without, and when it was pushed out.
#include <gtest/gtest.h>

#include "mm/cache_hierarchy.h"
#include "mm/memory_faults.h"
#include "platform/machine.h"

namespace {

using sim::PhysAddr;
using sim::Tick;

/// Times of the first look at two lines of one row of a closed bank, and of a second look at the first.
struct Looks {
  Tick closed = 0, hit = 0, cached = 0;
};
Looks look(bool ddio) {
  platform::MachineConfig config;
  config.kernel.cache.ddio = ddio;
  config.dram.refresh = false;
  config.finish();
  platform::Machine m(config);
  Looks looks;
  m.kernel().spawn(0, "poll", [&] {
    kernel::Context& cpu = kernel::this_cpu();
    const PhysAddr line = m.store().base() + (1 << 20);
    m.store().caches()->device_wrote(line, 128);
    const auto time = [&](PhysAddr at) {
      const Tick begin = cpu.now();
      cpu.load_from_device(at);
      return cpu.now() - begin;
    };
    looks = {time(line), time(line + 64), time(line)};
  });
  m.simulation().timeline().run_until(sim::kMillisecond);
  return looks;
}

TEST(Caches, DdioSavesTheDramLatency) {
  const Looks looks = look(false);
  const platform::MachineConfig c;
  const mm::DramTiming& t = c.dram.resolved_timing();
  EXPECT_EQ(looks.cached, c.kernel.clock.span(c.kernel.costs.l1_hit));
  const Tick cached = c.kernel.clock.span(c.kernel.costs.device_line);
  // Interconnect, DRAM, interconnect; each is entered at the first edge of its clock, so up to a period less.
  const Tick cycle = c.interconnect.clock.span(1), core = c.kernel.clock.span(1);
  const Tick way = c.interconnect.clock.span(c.interconnect.request_cycles + c.interconnect.response_cycles);
  const auto expect = [&](Tick look, unsigned dram_cycles) {
    const Tick longest = cached + way + t.clock.span(dram_cycles) + core;
    EXPECT_LE(look, longest);
    EXPECT_GE(look, longest - 2 * cycle - t.clock.span(1) - core);
  };
  expect(looks.closed, t.closed_cycles());
  expect(looks.hit, t.hit_cycles());
}

TEST(Caches, WithDdioTheLineIsInTheCache) {
  const Looks looks = look(true);
  const platform::MachineConfig c;
  const Tick cached = c.kernel.clock.span(c.kernel.costs.device_line);
  EXPECT_EQ(looks.closed, cached);
  EXPECT_EQ(looks.hit, cached);
  EXPECT_EQ(looks.cached, c.kernel.clock.span(c.kernel.costs.l1_hit));  // nothing written since
}

TEST(Caches, ACoreThatLoadsPoisonOopses) {
  platform::MachineConfig config;
  config.finish();
  platform::Machine m(config);
  bool after = false;
  m.kernel().spawn(0, "poll", [&] {
    const PhysAddr line = m.store().base() + (1 << 20);
    m.store().store<std::uint64_t>(line, 42);
    m.dram().faults().flip(line, 0);
    kernel::this_cpu().load_from_device(line);  // corrected
    after = true;
    m.dram().faults().flip(line, 1);
    kernel::this_cpu().load_from_device(line);
    ADD_FAILURE();
  });
  m.simulation().timeline().run_until(sim::kMillisecond);
  EXPECT_TRUE(after);
  ASSERT_EQ(m.kernel().oopses().size(), 1u);
  EXPECT_NE(m.kernel().oopses()[0].title.find("uncorrected memory error"), std::string::npos);
}

TEST(Caches, AConfigurationThatCannotBeIsRefused) {
  platform::MachineConfig config;
  config.kernel.cache.llc_bytes = 3 << 20;
  EXPECT_THROW(config.finish(), sim::Error);
}

}  // namespace
