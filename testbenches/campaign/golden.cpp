// SPDX-License-Identifier: Apache-2.0
#include "testbenches/campaign/golden.h"

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "testbenches/campaign/record.h"

namespace campaign {
namespace {
constexpr std::size_t kRungs = 1u << 16, kEvents = 1u << 25, kMarks = 64, kMarkTimes = 1u << 20,
                      kAccesses = 1u << 23;
}

void* shared_memory(std::size_t bytes) {
  void* p = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) throw sim::ModelError("no memory to share with the processes of a campaign");
  return p;
}

std::uint64_t event_hash(const std::uint64_t* e) {
  std::uint64_t h = 0x9e3779b97f4a7c15;
  for (int i = 0; i < 4; ++i) {
    h = (h ^ e[i]) * 0xff51afd7ed558ccd;
    h ^= h >> 32;
  }
  return h;
}

Golden Golden::record(World& world, const Campaign& campaign) {
  Golden g;
  g.header_ = static_cast<Header*>(shared_memory(sizeof(Header)));
  g.rungs_ = static_cast<Rung*>(shared_memory(kRungs * sizeof(Rung)));
  g.events_ = static_cast<EventAt*>(shared_memory(kEvents * sizeof(EventAt)));
  g.marks_ = static_cast<sim::Tick*>(shared_memory(kMarks * kMarkTimes * sizeof(sim::Tick)));
  for (const FaultSpec& f : campaign.faults) {
    if (const std::string mark = f.when.mark(); !mark.empty())
      g.mark_index_.emplace(mark, g.mark_index_.size());
  }
  if (g.mark_index_.size() > kMarks)
    throw sim::Error(fmt::format("{}: more than {} triggers", campaign.file, kMarks));
  for (const FaultSpec& f : campaign.faults) {
    g.cells_.emplace_back();
    if (f.when.kind == Trigger::Kind::kDefUse) g.cells_.back() = f.fault->cells(world);
    g.def_use_.add_cells(g.cells_.back());
  }
  if (!g.def_use_.empty())
    g.accesses_ = static_cast<WordAccess*>(shared_memory(kAccesses * sizeof(WordAccess)));
  const pid_t pid = ::fork();
  if (pid < 0) throw sim::ModelError("fork() failed");
  if (pid == 0) {
    try {
      g.fill(world, campaign);
      g.header_->complete = 1;
    } catch (const std::exception& e) {
      put(g.header_->error, e.what());
    }
    ::_exit(0);
  }
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (g.header_->complete == 0) {
    const std::string why =
        g.header_->error[0] != 0 ? std::string(g.header_->error) : fmt::format("status {:#x}", status);
    throw sim::Error(fmt::format("{}: the golden run failed: {}", campaign.file, why));
  }
  if (g.header_->accesses > kAccesses) {
    throw sim::Error(fmt::format("{}: defuse: the words are accessed {} times; a shorter scenario is needed",
                                 campaign.file, g.header_->accesses));
  }
  if (!g.def_use_.empty()) g.def_use_.load({g.accesses_, g.header_->accesses});
  g.measure_spaces(campaign);
  return g;
}

void Golden::measure_spaces(const Campaign& campaign) {
  for (std::size_t n = 0; n < campaign.faults.size(); ++n) {
    const FaultSpec& f = campaign.faults[n];
    censuses_.emplace_back();
    spaces_.push_back(0);
    if (f.when.kind != Trigger::Kind::kDefUse || cells_[n].empty()) continue;
    const sim::Tick from = origin() + f.when.from, to = origin() + f.when.to;
    const Fault::BitRange bits = f.fault->bits(cells_[n].front());
    if (!f.when.all) {
      for (const Cell& c : cells_[n]) {
        const Fault::BitRange b = f.fault->bits(c);
        if (b.low <= b.high)
          spaces_[n] += (b.high - b.low + 1) * (to / sim::kPicosecond - from / sim::kPicosecond);
      }
      continue;
    }
    std::vector<CensusEntry>& all = censuses_[n];
    all = def_use_.census(cells_[n], bits.low, bits.high, from, std::min(to, last().time));
    for (const CensusEntry& e : all) spaces_[n] += e.weight();
    sim::RandomStream random(campaign.seed, n, "census");
    for (std::size_t i = all.size(); i > 1; --i) std::swap(all[i - 1], all[random.below(i)]);
  }
}

void Golden::fill(World& world, const Campaign& campaign) {
  sim::Simulation& simulation = world.machine().simulation();
  for (const FaultSpec& f : campaign.faults) {
    const std::string mark = f.when.mark();
    if (mark.empty()) continue;
    const std::size_t n = mark_index_.at(mark);
    if (header_->mark_counts[n] == ~std::uint64_t{0}) continue;
    const auto note = [this, n, &world] {
      const std::uint64_t count = header_->mark_counts[n]++;
      if (count < kMarkTimes) marks_[n * kMarkTimes + count] = world.now();
    };
    const bool first =
        std::none_of(campaign.faults.begin(), campaign.faults.begin() + (&f - campaign.faults.data()),
                     [&](const FaultSpec& other) { return other.when.mark() == mark; });
    if (!first) continue;
    if (f.when.kind == Trigger::Kind::kProbe) {
      watch_probe(world.machine(), f.when, note);
    } else {
      find_event(f.when.event).subscribe(world.machine(), note);
    }
  }
  header_->origin = world.origin();
  header_->first_event = simulation.digest().events();
  std::uint64_t interval = 0, seen = 0;
  simulation.digest().set_tap([&](std::span<const std::uint64_t> words) {
    for (std::size_t i = 0; i + 4 <= words.size(); i += 4, ++seen) {
      const std::uint64_t h = event_hash(&words[i]);
      if (seen < kEvents) events_[seen] = {h, words[i + 1]};
      interval = (interval ^ h) * 0x9e3779b97f4a7c15;
    }
  });
  WordWatch watch(def_use_.words(), accesses_, &header_->accesses, kAccesses, world.timeline());
  if (!def_use_.empty()) world.machine().store().set_watch(&watch);
  bool quiet = false;
  const auto rung = [&] {
    // Looking at the machine is no access.
    world.machine().store().set_watch(nullptr);
    simulation.digest().drain();
    quiet = interval == 0;
    rungs_[header_->rungs++] = {world.now(), simulation.digest().events(), interval, world.state_digest(),
                                world.observe()};
    interval = 0;
    if (!def_use_.empty()) world.machine().store().set_watch(&watch);
  };
  rung();
  // The ladder gets wider while nothing happens: a scenario may wait for seconds.
  for (sim::Tick step = campaign.ladder; !world.ended(); step = quiet ? step * 2 : campaign.ladder) {
    if (header_->rungs + 2 >= kRungs) throw sim::Error("window.ladder: too fine for this scenario");
    world.run_until(world.now() + step);
    rung();
  }
  world.machine().store().set_watch(nullptr);
  world.run().checker().finish();
  rungs_[header_->rungs - 1].observation = world.observe();
  header_->events = std::min<std::uint64_t>(seen, kEvents);
  put(header_->digest, simulation.digest().hex());
}

std::size_t Golden::rung_at(sim::Tick t) const {
  const auto all = rungs();
  const auto it =
      std::lower_bound(all.begin(), all.end(), t, [](const Rung& r, sim::Tick at) { return r.time < at; });
  return it == all.end() ? all.size() - 1 : static_cast<std::size_t>(it - all.begin());
}

std::optional<Golden::EventAt> Golden::event(std::uint64_t n) const {
  if (n < header_->first_event || n - header_->first_event >= header_->events) return {};
  return events_[n - header_->first_event];
}

std::span<const sim::Tick> Golden::times(const std::string& mark) const {
  const auto it = mark_index_.find(mark);
  if (it == mark_index_.end()) return {};
  return {marks_ + it->second * kMarkTimes,
          std::min<std::uint64_t>(header_->mark_counts[it->second], kMarkTimes)};
}

}  // namespace campaign
