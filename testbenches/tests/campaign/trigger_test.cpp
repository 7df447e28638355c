// SPDX-License-Identifier: Apache-2.0
// When a fault acts: each kind of trigger against the same moments found by watching the machine without a
// campaign.
#include "testbenches/campaign/trigger.h"

#include <algorithm>
#include <set>

#include "testbenches/campaign/world.h"
#include "testbenches/tests/campaign/campaign_fixture.h"

namespace {

using namespace campaign_test;

class Triggers : public CampaignRun {
 protected:
  /// The rows of a campaign with this fault line.
  std::vector<Result> run(const std::string& fault, unsigned experiments = 1) {
    campaign_ = make("  - " + fault + "\n", experiments);
    run_campaign(campaign_, settings("a.db"));
    std::vector<Result> rows;
    Database::open(file("a.db")).each([&rows](const Result& r) { rows.push_back(r); });
    return rows;
  }
  /// The machine as it is for that campaign, at the end of its warm-up. Once a test.
  World& world() {
    if (world_ == nullptr) {
      world_ = std::make_unique<World>(campaign_, campaign_.variants[0]);
      world_->warm_up();
    }
    return *world_;
  }
  void to_the_end() {
    while (!world().ended()) world().run_until(world().now() + sim::kMillisecond);
  }
  /// Times of what `attach` watches, from the warm-up to the end of the scenario.
  template <class Attach>
  std::vector<sim::Tick> times(const Attach& attach) {
    std::vector<sim::Tick> all;
    attach([this, &all] { all.push_back(world_->now()); });
    to_the_end();
    return all;
  }

 private:
  Campaign campaign_;
  std::unique_ptr<World> world_;
};

TEST_F(Triggers, ATimeIsCountedFromTheEndOfTheWarmUp) {
  const Result r = run("{kind: link_down, when: 12us}").at(0);
  EXPECT_EQ(r.injected, world().origin() + 12 * sim::kMicrosecond);
  EXPECT_EQ(r.acted, r.injected);
}

TEST_F(Triggers, UniformDrawsEveryPartOfItsIntervalAlike) {
  const auto rows = run("{kind: link_down, when: \"uniform(20us, 60us)\"}", 80);
  unsigned quarters[4] = {};
  std::set<sim::Tick> different;
  for (const Result& r : rows) {
    const sim::Tick t = r.injected - world().origin();
    ASSERT_GE(t, 20 * sim::kMicrosecond);
    ASSERT_LT(t, 60 * sim::kMicrosecond);
    EXPECT_EQ(r.acted, r.injected);
    ++quarters[(t - 20 * sim::kMicrosecond) / (10 * sim::kMicrosecond)];
    different.insert(t);
  }
  EXPECT_EQ(different.size(), rows.size());
  // Chi square with three degrees of freedom: 16.3 is its 0.999 quantile.
  double chi = 0;
  for (const unsigned n : quarters) chi += (n - 20.0) * (n - 20.0) / 20.0;
  EXPECT_LT(chi, 16.3);
}

TEST_F(Triggers, TheNthOfATracepointIsThatOne) {
  const Result r = run("{kind: link_down, when: \"on(dma_unmap_page, nth=7)\"}").at(0);
  const auto all = times([this](auto note) {
    world().machine().kernel().trace().dma_unmapped.subscribe([note](const kernel::DmaUnmapped&) { note(); });
  });
  ASSERT_GE(all.size(), 7u);
  EXPECT_EQ(r.injected, all[6]);
  EXPECT_EQ(r.acted, all[6]);
}

TEST_F(Triggers, ADrawnNthIsOneOfTheInterval) {
  const auto rows = run("{kind: link_down, when: \"on(buffer_written, nth=uniform(5, 12))\"}", 24);
  const auto all = times([this](auto note) {
    world().machine().nic().trace().buffer_written.subscribe([note](const nic::BufferWritten&) { note(); });
  });
  ASSERT_GE(all.size(), 12u);
  std::set<sim::Tick> seen;
  for (const Result& r : rows) {
    EXPECT_TRUE(std::find(all.begin() + 4, all.begin() + 12, r.injected) != all.begin() + 12) << r.injected;
    seen.insert(r.injected);
  }
  EXPECT_GT(seen.size(), 4u);
}

// A call that is made to fail: the n-th, while those before it have gone through.
TEST_F(Triggers, TheNthCallIsTheOneThatFails) {
  const Result r = run("{kind: dma_map, when: \"on(dma_map_call, nth=5)\"}").at(0);
  std::vector<sim::Tick> calls;
  world().machine().kernel().dma().set_map_fault([this, &calls](const kernel::Device&) {
    calls.push_back(world().now());
    return false;
  });
  to_the_end();
  ASSERT_GE(calls.size(), 5u);
  EXPECT_EQ(r.acted, calls[4]);
  EXPECT_LE(r.injected, r.acted);
}

TEST_F(Triggers, APredicateOnAProbeIsTheMomentAtWhichItBecomesTrue) {
  const Result r = run("{kind: link_down, when: \"probe(root_port.posted_in_flight >= 3)\"}").at(0);
  struct Listener final : sim::ProbeListener {
    World* world = nullptr;
    std::vector<sim::Tick> when;
    std::uint64_t last = 0;
    void on_change(const sim::Probe& probe, sim::Tick) override {
      if (probe.value() >= 3 && last < 3) when.push_back(world->now());
      last = probe.value();
    }
  };
  static Listener listener;  // the machine outlives this function
  Listener* const watch = &listener;
  watch->world = &world();
  for (sim::Probe* p : world().machine().simulation().probes().probes()) {
    if (p->path() == "root_port.posted_in_flight") watch->last = p->value(), p->listen(watch);
  }
  to_the_end();
  ASSERT_FALSE(watch->when.empty());
  EXPECT_EQ(r.injected, watch->when.front());
  EXPECT_EQ(r.acted, r.injected);
}

// One experiment stands for a class: it goes in right behind the access that begins it, and the next access
// reads.
TEST_F(Triggers, AClassBeginsAtAnAccessAndEndsAtARead) {
  const auto rows = run("{kind: dram, where: descriptor, when: \"defuse(0, 200us)\"}", 60);
  struct Watch final : mm::AccessWatch {
    struct Access {
      sim::Tick time;
      std::uint64_t address, length;
      bool write;
    };
    World* world = nullptr;
    std::vector<Access> all;
    void accessed(sim::PhysAddr a, std::uint64_t length, bool write) override {
      all.push_back({world->now(), a.value, length, write});
    }
  } watch;
  watch.world = &world();
  const sim::PhysAddr ring = world().script().ring().descriptors().phys;
  world().machine().store().set_watch(&watch);
  to_the_end();
  world().machine().store().set_watch(nullptr);
  unsigned live = 0, begun = 0;
  for (const Result& r : rows) {
    if (r.stop == "pruned" || r.outcome == "not_activated") continue;
    unsigned index = 0, bit = 0;
    ASSERT_EQ(std::sscanf(r.entity.c_str(), "descriptor %u bit %u", &index, &bit), 2) << r.entity;
    const std::uint64_t word = (ring.value + 16 * index + bit / 8) / 8;
    const auto touches = [word](const Watch::Access& a) {
      return a.address / 8 <= word && word <= (a.address + a.length - 1) / 8;
    };
    ++live;
    begun += std::any_of(watch.all.begin(), watch.all.end(),
                         [&](const auto& a) { return touches(a) && a.time == r.injected; });
    const auto next = std::find_if(watch.all.begin(), watch.all.end(),
                                   [&](const auto& a) { return touches(a) && a.time > r.injected; });
    ASSERT_NE(next, watch.all.end()) << r.entity;
    const bool overwrites =
        next->write && next->address <= word * 8 && next->address + next->length >= word * 8 + 8;
    EXPECT_FALSE(overwrites) << r.entity;
  }
  EXPECT_GT(live, 3u);
  EXPECT_GT(begun, 0u) << "the others begin with the interval";
}

}  // namespace
