// SPDX-License-Identifier: Apache-2.0
#include "testbenches/campaign/schedule.h"

#include <algorithm>
#include <charconv>
#include <memory>

#include "kernel/baton.h"
#include "sim/random.h"
#include "testbenches/campaign/world.h"

namespace campaign {

void ScheduleSpec::parameters(platform::ParameterSet& set) {
  set.choice("schedule.strategy", strategy,
             {{"natural", Strategy::kNatural},
              {"random", Strategy::kRandom},
              {"pct", Strategy::kPct},
              {"replay", Strategy::kReplay}},
             "who decides the order of the cores once the fault is in");
  set.integer("schedule.depth", depth, 1, 16, "pct: of the bugs looked for; depth - 1 changes of priority");
  set.integer("schedule.points", points, 1, 1'000'000'000, "pct: the changes come within so many points");
  set.text("schedule.switch", switch_text, "random: probability that a core gives way at a point");
  set.text("schedule.steps", steps_text, "replay: a schedule as explore prints it, such as 0.17>1,n.3>t");
  set.time("schedule.longest_hold", longest_hold, sim::kMicrosecond, sim::kSecond,
           "all cores are held at most so long for hardware to do something");
}

void ScheduleSpec::validate() {
  std::string text = switch_text;
  const bool percent = !text.empty() && text.back() == '%';
  if (percent) text.pop_back();
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), switch_probability);
  if (percent) switch_probability /= 100;
  if (error != std::errc() || end != text.data() + text.size() || !(switch_probability >= 0) ||
      switch_probability > 1) {
    throw sim::Error(fmt::format("schedule.switch: '{}' is no probability", switch_text));
  }
  if ((strategy == Strategy::kReplay) != !steps_text.empty())
    throw sim::Error("schedule.steps: belongs to strategy replay, which needs it");
  try {
    steps = explore::parse_schedule(steps_text);
  } catch (const sim::Error& e) {
    throw sim::Error(fmt::format("schedule.steps: {}", e.what()));
  }
}

namespace {
explore::Policy policy_of(const ScheduleSpec& spec, std::uint64_t seed, platform::Machine& machine) {
  explore::Policy policy;
  sim::RandomStream random(seed, 0, "schedule");
  policy.seed = random.next();
  if (spec.strategy == ScheduleSpec::Strategy::kRandom) {
    policy.kind = explore::Policy::Kind::kRandom;
    policy.switch_probability = spec.switch_probability;
  } else if (spec.strategy == ScheduleSpec::Strategy::kPct) {
    policy.kind = explore::Policy::Kind::kPct;
    policy.cores = machine.kernel().cores();
    for (unsigned d = 1; d < spec.depth; ++d)
      policy.change_at.push_back(1 + static_cast<std::uint32_t>(random.below(spec.points)));
    std::sort(policy.change_at.begin(), policy.change_at.end());
  }
  return policy;
}
}  // namespace

bool interleave(World& world, const ScheduleSpec& spec, std::uint64_t seed) {
  if (spec.strategy == ScheduleSpec::Strategy::kNatural) return true;
  platform::Machine& m = world.machine();
  if (world.schedule != nullptr) {
    world.schedule->start(spec.steps, policy_of(spec, seed, m));
    return true;
  }
  const auto idle = [&m] {
    for (unsigned cpu = 0; cpu < m.kernel().cores(); ++cpu) {
      if (!m.kernel().core(cpu).idle()) return false;
    }
    return true;
  };
  for (unsigned i = 0; i < 1000 && !idle() && !world.ended(); ++i)
    world.run_until(world.now() + sim::kMicrosecond);
  if (!idle() || world.ended()) return false;
  world.schedule = std::make_shared<explore::ScheduleOracle>(nullptr, 0);
  world.schedule->start(spec.steps, policy_of(spec, seed, m));
  m.simulation().set_oracle(*world.schedule);
  kernel::Baton& baton = m.kernel().explore(spec.longest_hold);
  m.nic().trace().buffer_written.subscribe([&baton](const nic::BufferWritten&) { baton.hardware_event(); });
  m.iommu().translated.subscribe([&baton](const iommu::Translated&) { baton.hardware_event(); });
  // Time in which cores were held is nobody's fault.
  world.run().checker().forgive([&baton, &m] {
    sim::Tick held = baton.all_held();
    for (unsigned cpu = 0; cpu < m.kernel().cores(); ++cpu)
      held = std::max(held, m.kernel().core(cpu).held());
    return held;
  });
  return true;
}

}  // namespace campaign
