// SPDX-License-Identifier: Apache-2.0
#include "testbenches/campaign/run.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <thread>

#include "testbenches/campaign/statistics.h"

namespace campaign {
namespace {

volatile std::sig_atomic_t signals = 0;
volatile std::sig_atomic_t status_asked = 0;

using Clock = std::chrono::steady_clock;

std::uint64_t number_of(const char* name) {
  const char* text = std::getenv(name);
  return text == nullptr ? ~std::uint64_t{0} : std::strtoull(text, nullptr, 10);
}

std::string space_key(const std::string& variant, const std::string& label) {
  return fmt::format("golden_space_{} {}", variant, label);
}

/// One line on stderr, now and then; over and over on the same line of a terminal.
class Progress {
 public:
  Progress(const RunSettings& s, std::uint64_t total, std::uint64_t before)
      : settings_(s), total_(total), before_(before) {
    bar_ = ::isatty(STDERR_FILENO) != 0 && std::getenv("NO_COLOR") == nullptr && std::getenv("CI") == nullptr;
  }
  ~Progress() {
    if (bar_ && shown_) std::fprintf(stderr, "\n");
  }
  void tell(std::uint64_t done, std::uint64_t failures, bool now = false) {
    if (settings_.quiet) return;
    const double since = std::chrono::duration<double>(Clock::now() - last_).count();
    if (!now && status_asked == 0 && since < (bar_ ? 0.5 : 10)) return;
    status_asked = 0;
    last_ = Clock::now();
    shown_ = true;
    const double seconds = std::chrono::duration<double>(last_ - begin_).count();
    const double rate = seconds > 0 ? static_cast<double>(done) / seconds : 0;
    const std::uint64_t left = total_ - std::min(total_, before_ + done);
    const double eta = rate > 0 ? static_cast<double>(left) / rate : 0;
    const double p =
        before_ + done > 0 ? static_cast<double>(failures) / static_cast<double>(before_ + done) : 0;
    if (settings_.json_progress) {
      std::fprintf(stderr, "{\"done\":%llu,\"total\":%llu,\"rate\":%.1f,\"eta_s\":%.0f,\"failures\":%llu}\n",
                   static_cast<unsigned long long>(before_ + done), static_cast<unsigned long long>(total_),
                   rate, eta, static_cast<unsigned long long>(failures));
      return;
    }
    std::fprintf(stderr, "%s%llu of %llu experiments, %.0f/s, %llu failures (%.2f %%), %.0f s left at most%s",
                 bar_ ? "\r\033[K" : "", static_cast<unsigned long long>(before_ + done),
                 static_cast<unsigned long long>(total_), rate, static_cast<unsigned long long>(failures),
                 100 * p, eta, bar_ ? "" : "\n");
  }

 private:
  const RunSettings& settings_;
  std::uint64_t total_, before_;
  bool bar_, shown_ = false;
  Clock::time_point begin_ = Clock::now(), last_ = Clock::now();
};

/// Only one coordinator may write a database.
class Lock {
 public:
  explicit Lock(const std::string& db) : file_(db + ".lock") {
    fd_ = ::open(file_.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0644);
    if (fd_ < 0) throw Refusal(fmt::format("{}: cannot be written", db));
    // Of this process alone: children of one that was killed do not keep it.
    struct flock lock {};
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    if (::fcntl(fd_, F_SETLK, &lock) != 0)
      throw Refusal(fmt::format("{}: another campaign run writes it", db));
  }
  ~Lock() {
    ::unlink(file_.c_str());
    ::close(fd_);
  }

 private:
  std::string file_;
  int fd_;
};

class Coordinator {
 public:
  Coordinator(const Campaign& campaign, const RunSettings& settings)
      : campaign_(campaign),
        settings_(settings),
        lock_(settings.db),
        db_(Database::open_for(campaign, settings.db, settings.build)),
        known_(db_.ids()),
        variants_(campaign.variants.size()),
        total_(share(campaign.sampling.experiments)),
        progress_(settings, total_, known_.size()) {
    db_.each([this](const Result& r) { failures_ += is_failure_key(r.outcome) ? 1 : 0; });
    if (settings.shard.count > 1) {
      db_.set_meta("shard", fmt::format("{}/{}", settings.shard.index, settings.shard.count));
    }
  }

  RunSummary run() {
    const auto begin = Clock::now();
    summary_.before = known_.size();
    const std::vector<std::uint64_t> ends =
        looks(campaign_.sampling.first_look, campaign_.sampling.experiments);
    std::uint64_t from = 0;
    bool all = true;
    for (std::size_t look = 0; look < ends.size() && all; ++look) {
      all = run_range(from, ends[look]);
      from = ends[look];
      // A shard sees its own results only: whoever merges looks.
      if (all && campaign_.sampling.margin > 0 && settings_.shard.count == 1 && look + 1 < ends.size() &&
          within_margin(ends[look], look)) {
        summary_.enough = true;
        break;
      }
    }
    summary_.complete = all;
    summary_.interrupted = interrupted();
    progress_.tell(summary_.done, failures_, true);
    db_.finish();
    summary_.failures = failures_;
    for (const VariantEstimate& e : estimate(campaign_, db_, from, campaign_.sampling.confidence)) {
      if (e.margin >= summary_.margin) summary_.margin = e.margin, summary_.estimate = e.p;
    }
    summary_.seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    return summary_;
  }

 private:
  static bool is_failure_key(const std::string& key) {
    for (std::size_t o = 0; o < kOutcomes; ++o) {
      if (key == to_string(static_cast<Outcome>(o))) return is_failure(static_cast<Outcome>(o));
    }
    return false;
  }
  bool mine(std::uint64_t id) const {
    return (id / variants_) % settings_.shard.count == settings_.shard.index;
  }
  std::uint64_t share(std::uint64_t faults) const {
    const Shard& s = settings_.shard;
    return (faults / s.count + (faults % s.count > s.index ? 1 : 0)) * campaign_.variants.size();
  }
  bool within_margin(std::uint64_t faults, std::size_t look) const {
    const auto estimates =
        estimate(campaign_, db_, faults, confidence_of_look(campaign_.sampling.confidence, look));
    return std::all_of(estimates.begin(), estimates.end(),
                       [this](const VariantEstimate& e) { return e.margin <= campaign_.sampling.margin; });
  }

  /// Faults [from, to) of every variant. False: stopped before the end.
  bool run_range(std::uint64_t from, std::uint64_t to) {
    for (std::size_t v = 0; v < variants_; ++v) {
      std::vector<std::uint64_t> ids;
      for (std::uint64_t f = from; f < to; ++f) {
        const std::uint64_t id = f * variants_ + v;
        if (mine(id) && !known_.contains(id)) ids.push_back(id);
      }
      if (ids.empty()) continue;
      const std::uint64_t left = settings_.limit - std::min(settings_.limit, summary_.done);
      const bool cut = ids.size() > left;
      if (cut) ids.resize(left);
      if (!ids.empty() && !run_batch(v, std::move(ids))) return false;
      if (cut) return false;
    }
    return !interrupted();
  }

  bool run_batch(std::size_t v, std::vector<std::uint64_t> ids) {
    Batch batch(campaign_, v, std::move(ids), settings_.jobs);
    std::vector<bool> kept(batch.size(), false);
    std::uint64_t stored = 0, last_stored = 0;
    unsigned fruitless = 0;
    while (stored < batch.size() && !interrupted()) {
      batch.start();
      last_stored = stored;
      bool alive = true;
      while (alive) {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        alive = batch.running();
        keep(batch, kept, stored);
        if (interrupted()) batch.stop();
        if (signals > 1) batch.kill();
        progress_.tell(summary_.done, failures_);
      }
      note_golden(v, batch);
      if (batch.golden().error[0] != 0) throw sim::Error(batch.golden().error);
      if (stored == batch.size() || interrupted()) break;
      fruitless = stored == last_stored ? fruitless + 1 : 0;
      if (fruitless < 3) continue;
      batch.give_up_on_rest();
      keep(batch, kept, stored);
    }
    return stored == batch.size() && !interrupted();
  }

  void keep(const Batch& batch, std::vector<bool>& kept, std::uint64_t& stored) {
    bool open = false;
    for (std::size_t n = 0; n < batch.size(); ++n) {
      if (kept[n] || !batch.complete(n)) continue;
      if (!std::exchange(open, true)) {
        db_.begin();
        if (!std::exchange(digest_dropped_, true)) db_.execute("DELETE FROM meta WHERE key = 'rows_digest'");
      }
      db_.add(campaign_, batch.row(n));
      kept[n] = true;
      ++stored;
      ++summary_.done;
      known_.insert(batch.row(n).id);
      failures_ += is_failure(batch.row(n).outcome) ? 1 : 0;
    }
    if (open) db_.commit();
  }

  /// The golden run is the same in every shard and every call, or something is wrong with this program.
  void note_golden(std::size_t v, const Batch& batch) {
    const GoldenSummary& g = batch.golden();
    if (g.digest[0] == 0) return;
    const std::string key = "golden_" + campaign_.variants[v].name;
    const std::string text =
        fmt::format("{} origin {} end {} events {}", g.digest, g.origin, g.end, g.events);
    const std::string before = db_.meta(key);
    if (before.empty()) {
      db_.set_meta(key, text);
    } else if (before != text) {
      throw NotReproducible(
          fmt::format("{}: the golden run of {} was {}, now {}", settings_.db, key, before, text));
    }
    for (std::size_t n = 0; n < std::min(campaign_.faults.size(), std::size(g.space)); ++n) {
      if (g.space[n] != 0) {
        db_.set_meta(space_key(campaign_.variants[v].name, campaign_.faults[n].label),
                     std::to_string(g.space[n]));
      }
    }
    std::string findings;
    for (std::size_t k = 0; k < g.last.findings.size(); ++k) {
      if (g.last.findings[k] == 0) continue;
      findings += fmt::format("{}{} x {}", findings.empty() ? "" : ", ",
                              checker::key(static_cast<checker::FindingClass>(k)), g.last.findings[k]);
    }
    db_.set_meta("golden_findings_" + campaign_.variants[v].name, findings);
  }

  const Campaign& campaign_;
  const RunSettings& settings_;
  Lock lock_;
  Database db_;
  std::set<std::uint64_t> known_;
  std::size_t variants_;
  std::uint64_t total_, failures_ = 0;
  bool digest_dropped_ = false;
  Progress progress_;
  RunSummary summary_;
};

}  // namespace

void catch_signals() {
  struct sigaction action {};
  action.sa_handler = [](int) { signals = signals + 1; };
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
  action.sa_handler = [](int) { status_asked = 1; };
  action.sa_flags = SA_RESTART;
  ::sigaction(SIGUSR1, &action, nullptr);
}
bool interrupted() { return signals != 0; }

Shard parse_shard(const std::string& text) {
  const auto slash = text.find('/');
  try {
    Shard s;
    if (slash == text.npos) throw sim::Error("");
    s.index = platform::parse_quantity(text.substr(0, slash), platform::Dimension::kNone);
    s.count = platform::parse_quantity(text.substr(slash + 1), platform::Dimension::kNone);
    if (s.count == 0 || s.index >= s.count) throw sim::Error("");
    return s;
  } catch (const sim::Error&) {
    throw sim::Error(fmt::format("--shard: '{}' is no shard: i/n with i from 0 to n-1", text));
  }
}

Shard shard_of_environment(std::uint64_t count) {
  Shard s{0, count};
  if (const std::uint64_t task = number_of("SLURM_ARRAY_TASK_ID"); task != ~std::uint64_t{0}) {
    const std::uint64_t low = number_of("SLURM_ARRAY_TASK_MIN"), n = number_of("SLURM_ARRAY_TASK_COUNT");
    s.index = task - (low == ~std::uint64_t{0} ? 0 : low);
    if (count <= 1 && n != ~std::uint64_t{0}) s.count = n;
  } else if (const std::uint64_t job = number_of("LSB_JOBINDEX"); job != ~std::uint64_t{0} && job != 0) {
    s.index = job - 1;
    if (const std::uint64_t n = number_of("LSB_JOBINDEX_END"); count <= 1 && n != ~std::uint64_t{0})
      s.count = n;
  }
  if (s.count == 0 || s.index >= s.count) {
    throw sim::Error(fmt::format("shard {} of {}: no such shard (--shards)", s.index, s.count));
  }
  return s;
}

RunSummary run_campaign(const Campaign& campaign, const RunSettings& settings) {
  // A file that may not grow any more is a write that fails, and no end without a word.
  ::signal(SIGXFSZ, SIG_IGN);
  Coordinator coordinator(campaign, settings);
  try {
    return coordinator.run();
  } catch (const Refusal& e) {
    // The transaction that failed is undone, those before it are safe.
    throw Refusal(fmt::format("{}; what was stored stays: when that is put right, poolsim campaign resume {}",
                              e.what(), settings.db));
  }
}

namespace {

Outcome outcome_of(const std::string& key) {
  for (std::size_t o = 0; o < kOutcomes; ++o) {
    if (key == to_string(static_cast<Outcome>(o))) return static_cast<Outcome>(o);
  }
  throw Refusal(fmt::format("'{}' is no outcome of this version", key));
}

/// Rows of one fault entry of one variant.
struct Tally {
  std::uint64_t rows = 0, failures = 0;
  double weight = 0, failed = 0, squares = 0;
  bool exhausted = false;  ///< nth=all, each: to the end
  std::array<double, kOutcomes> outcomes{};
  void add(const Result& r) {
    const auto o = outcome_of(r.outcome);
    const double w = static_cast<double>(r.weight);
    ++rows;
    failures += is_failure(o);
    weight += w, squares += w * w;
    failed += is_failure(o) ? w : 0;
    outcomes[static_cast<std::size_t>(o)] += w;
  }
  double share() const { return weight > 0 ? failed / weight : 0; }
  /// Unequal weights tell less: Kish's effective number.
  std::uint64_t effective() const {
    return squares > 0 ? static_cast<std::uint64_t>(std::llround(weight * weight / squares)) : 0;
  }
};

std::map<std::string, std::map<std::string, Tally>> tally(const Database& db, std::uint64_t limit) {
  std::map<std::string, std::map<std::string, Tally>> all;  // variant, fault entry
  db.each(
      [&all](const Result& r) {
        Tally& t = all[r.variant][r.kind];
        if (r.stop == to_string(Stop::kExhausted)) {
          t.exhausted = true;
        } else {
          t.add(r);
        }
      },
      limit);
  return all;
}

Stratum stratum_of(const StratumEstimate& e, const Tally& t) {
  const std::uint64_t n = t.effective();
  return {e.weight, static_cast<std::uint64_t>(std::llround(e.p * static_cast<double>(n))), n, e.whole, e.p};
}

}  // namespace

std::vector<VariantEstimate> estimate(const Campaign& campaign, const Database& db, std::uint64_t faults,
                                      double confidence) {
  const std::uint64_t variants = campaign.variants.size();
  auto counts = tally(db, faults > ~std::uint64_t{0} / variants ? ~std::uint64_t{0} : faults * variants);
  double total = 0;
  for (const FaultSpec& s : campaign.faults) total += s.weight;
  std::vector<VariantEstimate> all;
  for (const Variant& v : campaign.variants) {
    VariantEstimate e;
    e.variant = v.name;
    std::vector<Stratum> strata;
    std::array<double, kOutcomes> outcomes{};
    for (const FaultSpec& s : campaign.faults) {
      const Tally& t = counts[v.name][s.label];
      e.n += t.rows, e.k += t.failures;
      for (std::size_t o = 0; o < kOutcomes && t.weight > 0; ++o)
        outcomes[o] += t.outcomes[o] / t.weight * static_cast<double>(t.rows);
      const std::string space = db.meta(space_key(v.name, s.label));
      e.strata.push_back({s.label, t.rows, t.failures, s.weight / total, t.share(), t.exhausted && t.rows > 0,
                          space.empty() ? 0 : std::stoull(space)});
      strata.push_back(stratum_of(e.strata.back(), t));
    }
    const Estimate estimate = stratified(strata, confidence);
    e.p = estimate.p, e.margin = estimate.margin;
    for (std::size_t o = 0; o < kOutcomes; ++o) {
      if (outcomes[o] > 0) {
        e.outcomes.emplace_back(to_string(static_cast<Outcome>(o)),
                                static_cast<std::uint64_t>(std::llround(outcomes[o])));
      }
    }
    all.push_back(std::move(e));
  }
  return all;
}

std::vector<std::uint64_t> allocate(const Campaign& campaign, const Database& pilot, std::uint64_t total) {
  constexpr std::uint64_t kPilot = 30;
  auto counts = tally(pilot, ~std::uint64_t{0});
  std::vector<Stratum> strata;
  double sum = 0;
  for (const FaultSpec& s : campaign.faults) sum += s.weight;
  for (const FaultSpec& s : campaign.faults) {
    Stratum all{s.weight / sum, 0, 0, true, -1};
    for (const Variant& v : campaign.variants) {
      const Tally& t = counts[v.name][s.label];
      if (!t.exhausted && t.rows < kPilot) {
        throw sim::Error(fmt::format("{}: {} has {} experiments with {}: a pilot needs {}", pilot.file(),
                                     s.label, t.rows, v.name, kPilot));
      }
      const std::uint64_t n = t.effective();
      all.k += static_cast<std::uint64_t>(std::llround(t.share() * static_cast<double>(n))), all.n += n;
      all.whole = all.whole && t.exhausted;
    }
    strata.push_back(all);
  }
  return neyman(strata, total, 1);
}

std::uint64_t stopping_point(const Campaign& campaign, const Database& db, std::size_t* look) {
  const auto ends = looks(campaign.sampling.first_look, campaign.sampling.experiments);
  for (std::size_t j = 0; j + 1 < ends.size() && campaign.sampling.margin > 0; ++j) {
    const auto all = estimate(campaign, db, ends[j], confidence_of_look(campaign.sampling.confidence, j));
    const bool enough = std::all_of(all.begin(), all.end(), [&](const VariantEstimate& e) {
      return e.margin <= campaign.sampling.margin;
    });
    if (!enough) continue;
    if (look != nullptr) *look = j;
    return ends[j];
  }
  if (look != nullptr) *look = ends.size() - 1;
  return ends.back();
}

std::uint64_t merge_shards(const Campaign& campaign, const std::string& db,
                           const std::vector<std::string>& shards, const std::string& build) {
  const Lock lock(db);
  Database target = Database::open_for(campaign, db, build);
  for (const std::string& shard : shards) target.merge(shard);
  const std::uint64_t expected = campaign.sampling.experiments * campaign.variants.size();
  if (campaign.sampling.margin > 0 && target.count() == expected) {
    target.drop_from(stopping_point(campaign, target) * campaign.variants.size());
  }
  target.finish();
  return target.count();
}

}  // namespace campaign
