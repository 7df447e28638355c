// SPDX-License-Identifier: Apache-2.0
#include "testbenches/campaign/experiment.h"

#include <algorithm>

#include "sim/digest.h"

namespace campaign {
namespace {

using checker::FindingClass;

bool any_new(const Observation& here, const Observation& golden, std::initializer_list<FindingClass> kinds) {
  return std::any_of(kinds.begin(), kinds.end(), [&](FindingClass k) {
    const auto i = static_cast<std::size_t>(k);
    return here.findings[i] > golden.findings[i];
  });
}

bool detected(const Observation& here, const Observation& golden, Detector d) {
  const auto i = static_cast<std::size_t>(d);
  return here.detected[i] > golden.detected[i];
}

/// "a <- b" of "a <- b <- c".
std::string top_of(const std::string& chain) {
  const auto first = chain.find(" <- ");
  return first == chain.npos ? chain : chain.substr(0, chain.find(" <- ", first + 4));
}

class Experiment {
 public:
  Experiment(World& world, const Campaign& campaign, const Golden& golden, const Plan& plan, Row& row,
             const Deviation* deviation)
      : world_(world),
        campaign_(campaign),
        golden_(golden),
        plan_(plan),
        row_(row),
        deviation_(deviation),
        injection_(world, sim::RandomStream(campaign.seed, plan.fault, "fault")) {
    injection_.pass = plan.pass;
    injection_.target = plan.target;
    injection_.target_bit = plan.target_bit;
  }

  void run() {
    sim::Digest& digest = world_.machine().simulation().digest();
    next_event_ = digest.events();
    digest.set_tap([this](std::span<const std::uint64_t> words) { see(words); });
    begin_ = world_.now();
    world_.forget_detections();
    last_progress_ = begin_;
    progress_ = world_.observe().progress;
    campaign_.faults[plan_.spec].fault->inject(injection_);
    put(row_.entity, injection_.entity());  // known, too, if the experiment dies of it
    scheduled_ = interleave(world_, campaign_.schedule,
                            sim::RandomStream(campaign_.seed, plan_.fault, "schedule").next());
    follow();
    digest.drain();
    digest.set_tap({});
    tell();
  }

 private:
  void see(std::span<const std::uint64_t> words) {
    for (std::size_t i = 0; i + 4 <= words.size(); i += 4, ++next_event_) {
      const std::uint64_t h = event_hash(&words[i]);
      interval_ = (interval_ ^ h) * 0x9e3779b97f4a7c15;
      if (diverged_ != sim::kNever) continue;
      const auto golden = golden_.event(next_event_);
      if (golden && golden->hash != h) diverged_ = std::min(golden->time, words[i + 1]);
    }
  }

  /// Rung after rung to the end of the window.
  void follow() {
    const auto rungs = golden_.rungs();
    const bool to_end = campaign_.window == 0;
    std::size_t rung = golden_.rung_at(begin_ + 1);
    const std::size_t end = to_end ? rungs.size() - 1 : golden_.rung_at(begin_ + campaign_.window);
    for (bool whole = false; rung <= end; ++rung, whole = true) {
      if (!injection_.has_acted() && !injection_.armed()) return stop(Stop::kWindow, rung);
      // A scenario that ends earlier or later than the golden run is judged after its own end.
      const bool last = to_end && rung == end;
      const sim::Tick to = last ? rungs[rung].time + campaign_.limits.stall : rungs[rung].time;
      if (deviation_ != nullptr && deviation_->at <= to) {
        world_.run_until(deviation_->at);
        interleave(world_, deviation_->schedule, deviation_->seed);
        deviation_ = nullptr;
      }
      world_.run_until(to);
      // As long as a schedule (schedule.h) held cores, and no less, it may take longer.
      for (sim::Tick more = to + held(); last && !world_.ended() && world_.now() < more; more = to + held())
        world_.run_until(more);
      world_.machine().simulation().digest().drain();
      const std::uint64_t interval = std::exchange(interval_, 0);
      here_ = world_.observe();
      if (world_.ended() || last) {
        finish_scenario(rung);
        return stop(world_.ended() ? Stop::kScenarioEnd : Stop::kStall, rungs.size() - 1);
      }
      if (stalled(rung)) return stop(Stop::kStall, rung);
      if (whole && rung < end && injection_.has_acted() && !injection_.armed() && campaign_.early_stop &&
          interval == rungs[rung].interval && !would_stop_ && world_.state_digest() == rungs[rung].state) {
        would_stop_ = true;
        early_ = judge(rung);
        if (!plan_.audit) return stop(Stop::kConverged, rung);
      }
    }
    stop(Stop::kWindow, end);
  }

  /// How long a schedule has held the core that it held longest; 0 without one.
  sim::Tick held() {
    sim::Tick longest = 0;
    kernel::Kernel& k = world_.machine().kernel();
    for (unsigned cpu = 0; cpu < k.cores(); ++cpu) longest = std::max(longest, k.core(cpu).held());
    return longest;
  }

  /// No progress for limits.stall, while the golden run made some in the same time.
  bool stalled(std::size_t rung) {
    if (here_.progress != progress_) {
      progress_ = here_.progress;
      last_progress_ = world_.now();
      held_before_ = held();
    }
    if (world_.now() < last_progress_ + campaign_.limits.stall + held() - held_before_) return false;
    const auto rungs = golden_.rungs();
    return rungs[rung].observation.progress > rungs[golden_.rung_at(last_progress_)].observation.progress;
  }

  void finish_scenario(std::size_t) {
    nothing_left_ = !world_.ended() && world_.timeline().earliest() == sim::kNever;
    world_.run().checker().finish();
    here_ = world_.observe();
    finished_ = true;
  }

  void stop(Stop why, std::size_t rung) {
    if (!finished_) here_ = world_.observe();
    stop_ = why;
    rung_ = rung;
  }

  Outcome judge(std::size_t rung) {
    using F = FindingClass;
    const Observation& golden = golden_.rungs()[rung].observation;
    const auto found = [&](std::initializer_list<F> kinds) { return any_new(here_, golden, kinds); };
    const auto detected_by = [&](std::initializer_list<Detector> detectors) {
      return std::any_of(detectors.begin(), detectors.end(),
                         [&](Detector d) { return detected(here_, golden, d); });
    };
    if (!injection_.has_acted()) return Outcome::kNotActivated;
    if (found({F::kNullDomainOops, F::kOops}) || detected(here_, golden, Detector::kOops))
      return Outcome::kOops;
    if (found({F::kDeadlock, F::kLostWakeup}) || nothing_left_) return Outcome::kDeadlock;
    if (stop_ == Stop::kStall || found({F::kLivelock})) return Outcome::kStall;
    if (found({F::kDmaNotOwned}) || (found({F::kStaleIotlb}) && stale_write())) return Outcome::kCorruption;
    if (here_.corrupt > golden.corrupt) return Outcome::kSdc;
    if (found({F::kUseAfterFree, F::kPoolMisuse, F::kDoubleUnmap, F::kForeignUnmap, F::kDataRace}))
      return Outcome::kUaf;
    if (finished_ && found({F::kLeakedPage, F::kLeakedMapping, F::kLeakedIova})) return Outcome::kLeak;
    if (found({F::kIommuFault}) || detected_by({Detector::kIommu, Detector::kEccCorrected,
                                                Detector::kEccUncorrectable, Detector::kPcie}))
      return Outcome::kDetectedHw;
    if (found({F::kKernelWarning}) || detected(here_, golden, Detector::kWarning) ||
        detected(here_, golden, Detector::kDriver) || detected(here_, golden, Detector::kStack))
      return Outcome::kDetectedSw;
    if (here_.read < golden.read || here_.received < golden.received ||
        found({F::kBhOff, F::kLockHeld, F::kStalledShutdown, F::kLostPacket, F::kLateUnmap, F::kLateDmaApi,
               F::kLockOrder, F::kStaleIotlb}))
      return Outcome::kDegraded;
    if (stop_ == Stop::kConverged || would_stop_) return Outcome::kMasked;
    const bool same =
        world_.now() == golden_.rungs()[rung].time && world_.state_digest() == golden_.rungs()[rung].state;
    return same ? Outcome::kMasked : Outcome::kLatent;
  }

  /// A device wrote where the page table, as the kernel made it, does not point (any more).
  bool stale_write() {
    const auto& all = world_.run().checker().findings().all();
    return std::any_of(all.begin(), all.end(), [this](const checker::Finding& f) {
      return f.kind == FindingClass::kStaleIotlb && f.first >= begin_ && f.detail.starts_with("a write");
    });
  }

  /// The finding that is new and came first: what the bucket is named after.
  const checker::Finding* first_finding() {
    const checker::Finding* first = nullptr;
    const Observation& golden = golden_.rungs()[rung_].observation;
    for (const checker::Finding& f : world_.run().checker().findings().all()) {
      const bool fresh = f.first >= begin_;
      const bool more = here_.findings[static_cast<std::size_t>(f.kind)] >
                        golden.findings[static_cast<std::size_t>(f.kind)];
      if (more && fresh && (first == nullptr || f.first < first->first)) first = &f;
    }
    return first;
  }

  void tell() {
    row_.outcome = judge(rung_);
    row_.stop = stop_;
    row_.injected = begin_;
    row_.acted = injection_.acted_at();
    row_.first_divergence = diverged_;
    row_.ended = world_.now();
    row_.audited = plan_.audit;
    row_.audit_agrees = !would_stop_ || early_ == row_.outcome;
    row_.weight = plan_.weight;
    put(row_.digest, world_.machine().simulation().digest().hex());
    put(row_.entity, injection_.entity());
    tell_detection();
    std::string signature = to_string(row_.outcome), detail = scheduled_ ? "" : kUnscheduled;
    if (const checker::Finding* f = first_finding(); f != nullptr) {
      signature += fmt::format(": {} at {}", checker::key(f->kind), top_of(f->place));
      if (!detail.empty()) detail += "; ";
      detail += fmt::format("{}{}{}{}{}; {}", f->who, f->whom.empty() ? "" : " -> ", f->whom,
                            f->samples.empty() || f->samples.front().holder.empty() ? "" : ", held by ",
                            f->samples.empty() ? "" : f->samples.front().holder, f->detail);
    } else if (row_.detector != Detector::kCount) {
      signature += fmt::format(": {}", to_string(row_.detector));
    }
    put(row_.detail, detail);
    put(row_.signature, signature);
  }

  void tell_detection() {
    row_.detector = Detector::kCount;
    row_.detected = sim::kNever;
    const Observation& golden = golden_.rungs()[rung_].observation;
    for (std::size_t d = 0; d < kDetectors; ++d) {
      const sim::Tick t = world_.first_detection(static_cast<Detector>(d));
      if (t == sim::kNever || t >= row_.detected || !detected(here_, golden, static_cast<Detector>(d)))
        continue;
      row_.detected = t;
      row_.detector = static_cast<Detector>(d);
    }
  }

  World& world_;
  const Campaign& campaign_;
  const Golden& golden_;
  const Plan& plan_;
  Row& row_;
  const Deviation* deviation_;  // still to come
  Injection injection_;
  sim::Tick begin_ = 0, diverged_ = sim::kNever, last_progress_ = 0, held_before_ = 0;
  std::uint64_t next_event_ = 0, interval_ = 0, progress_ = 0;
  Observation here_;
  std::size_t rung_ = 0;
  Stop stop_ = Stop::kWindow;
  Outcome early_ = Outcome::kMasked;
  bool scheduled_ = true, would_stop_ = false, finished_ = false, nothing_left_ = false;
};

/// Draws cell and bit, and moves the injection to the start of its class.
void put_in_class(const Campaign& campaign, const Golden& golden, Plan& p) {
  const std::vector<Cell>& cells = golden.cells(p.spec);
  sim::RandomStream random(campaign.seed, p.fault, "cell");
  if (cells.empty()) {
    p.reached = false;
    return;
  }
  p.classed = true;
  p.target = cells[random.below(cells.size())];
  const Fault::BitRange bits = campaign.faults[p.spec].fault->bits(p.target);
  p.target_bit =
      bits.low + static_cast<unsigned>(random.below(bits.high - std::min(bits.low, bits.high) + 1));
  const DefUseClass c = golden.def_use().find(p.target.address + p.target_bit / 8, p.fork);
  p.fate = c.fate;
  p.drawn = p.fork;
  p.fork = std::max(c.from, golden.origin());
}

/// The class whose turn it is.
void take_class(const Campaign& campaign, const Golden& golden, std::uint64_t index, Plan& p) {
  const std::vector<CensusEntry>& all = golden.census(p.spec);
  p.exhausted = index >= all.size();
  p.reached = !p.exhausted;
  if (p.exhausted) return;
  const CensusEntry& e = all[index];
  p.classed = true;
  p.target = golden.cells(p.spec)[e.cell];
  p.target_bit = e.bit;
  p.fate = e.of.fate;
  p.weight = e.weight();
  p.fork = e.of.from;
  sim::RandomStream random(campaign.seed, p.fault, "when");  // of the audit
  p.drawn = e.of.from + random.below(e.of.to - e.of.from);
}

}  // namespace

Plan make_plan(const Campaign& campaign, const Golden& golden, std::uint64_t id) {
  Plan p;
  p.id = id;
  p.variant = id % campaign.variants.size();
  p.fault = id / campaign.variants.size();
  const Campaign::Pick pick = campaign.pick(p.fault);
  p.spec = pick.spec;
  const FaultSpec& spec = campaign.faults[p.spec];
  const Trigger& when = spec.when;
  p.audit = sim::RandomStream(campaign.seed, p.fault, "audit").unit() < campaign.sampling.audit;
  if (when.kind == Trigger::Kind::kDefUse && when.all) {
    take_class(campaign, golden, pick.index, p);
    return p;
  }
  sim::RandomStream random(campaign.seed, p.fault, "when");
  if (when.kind == Trigger::Kind::kTime || when.kind == Trigger::Kind::kDefUse) {
    p.fork = golden.origin() + when.from + (when.to > when.from ? random.below(when.to - when.from) : 0);
    p.reached = p.fork < golden.last().time;
    if (when.kind == Trigger::Kind::kDefUse) put_in_class(campaign, golden, p);
    return p;
  }
  const auto times = golden.times(when.mark());
  std::uint64_t nth = when.first + random.below(when.last - when.first + 1);
  if (when.all) {
    nth = pick.index + 1;
    p.exhausted = nth > times.size();
  }
  p.reached = nth <= times.size() && times[nth - 1] < golden.last().time;
  if (!p.reached) return p;
  p.fork = times[nth - 1];
  if (spec.fault->call() == when.event) {
    // Just before the call; others of the same moment pass.
    p.fork = std::max(p.fork, golden.origin() + 1) - 1;
    p.pass = nth - 1 -
             static_cast<std::uint64_t>(std::upper_bound(times.begin(), times.end(), p.fork) - times.begin());
  }
  return p;
}

void run_experiment(World& world, const Campaign& campaign, const Golden& golden, const Plan& plan, Row& row,
                    const Deviation* deviation) {
  Experiment(world, campaign, golden, plan, row, deviation).run();
}

void not_run(const Plan& plan, Row& row) {
  const bool dead = plan.fate == ClassFate::kDead;
  row.id = plan.id;
  row.outcome = dead ? Outcome::kMasked : Outcome::kLatent;
  row.stop = Stop::kPruned;
  row.detector = Detector::kCount;
  row.injected = row.acted = plan.fork;
  row.first_divergence = row.detected = row.ended = sim::kNever;
  row.audit_agrees = true;
  row.weight = plan.weight;
  put(row.entity, fmt::format("{} bit {}", plan.target.what, plan.target_bit));
  put(row.signature, to_string(row.outcome));
  put(row.detail, dead ? "overwritten before it is read" : "not accessed any more");
}

void not_reached(const Plan& plan, Row& row) {
  row.id = plan.id;
  row.outcome = Outcome::kNotActivated;
  row.stop = plan.exhausted ? Stop::kExhausted : Stop::kPruned;
  row.detector = Detector::kCount;
  row.injected = row.acted = row.first_divergence = row.detected = row.ended = sim::kNever;
  row.audit_agrees = true;
  row.weight = 1;
  put(row.signature, to_string(row.outcome));
  put(row.detail, "the trigger never comes");
}

}  // namespace campaign
