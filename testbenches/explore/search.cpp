// SPDX-License-Identifier: Apache-2.0
#include "testbenches/explore/search.h"

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "sim/error.h"
#include "testbenches/explore/dpor.h"

namespace explore {
namespace {

/// That preempt keeps in mind, some hundred bytes each.
constexpr std::size_t kMostSchedules = 1u << 20;

constexpr const char* kMethods[] = {"random", "pct", "preempt", "dfs", "dpor"};

class Search {
 public:
  Search(Runner& runner, const SearchOptions& options, const Progress& progress)
      : runner_(runner), options_(options), progress_(progress), begin_(std::chrono::steady_clock::now()) {}

  SearchResult run() {
    const Outcome natural = look({}, {});
    result_.points = natural.points;
    for (auto& [key, found] : result_.found) found.natural = true;
    switch (options_.method) {
      case Method::kRandom: random(); break;
      case Method::kPct: pct(); break;
      case Method::kPreempt: preempt(); break;
      case Method::kDfs: dfs(); break;
      case Method::kDpor: dpor(); break;
    }
    result_.seconds = seconds();
    result_.cpu_seconds = cpu_now() - cpu_begin_;
    return std::move(result_);
  }

 private:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
  }
  bool over() {
    if (result_.schedules >= options_.budget || result_.interrupted) return true;
    if (seconds() - told_ < 1) return false;
    told_ = result_.seconds = seconds();
    result_.interrupted = progress_ && !progress_(result_);
    return result_.interrupted;
  }
  Outcome look(const Schedule& schedule, const Policy& policy) {
    Outcome outcome = runner_.run(schedule, policy);
    ++result_.schedules;
    if (digests_.size() < (1u << 20)) {
      digests_.insert(std::hash<std::string>{}(outcome.digest));
      result_.different = digests_.size();
    }
    result_.crashes += outcome.signal != 0;
    // Of what was not recorded nothing can be said; a crash hides what would have come.
    complete_ &= outcome.points == runner_.recorded() && outcome.signal == 0;
    // A crashed child could not say what it did; a schedule given by a list is known all the same.
    if (outcome.signal != 0 && policy.kind != Policy::Kind::kNatural) return outcome;
    for (const FoundFinding& f : outcome.findings) {
      Found& found = result_.found[f.key()];
      const bool fresh = found.seen++ == 0;
      if (fresh) found.after = result_.schedules;
      if (!fresh && found.schedule.size() <= outcome.taken.size()) continue;
      found.finding = f;
      found.schedule = outcome.taken;
      found.digest = outcome.digest;
    }
    return outcome;
  }

  void random() {
    static constexpr double kProbabilities[] = {0.5, 0.2, 0.05, 0.02, 0.01, 0.005};
    for (std::uint64_t i = options_.first; !over(); ++i) {
      Policy p;
      p.kind = Policy::Kind::kRandom;
      p.seed = options_.seed * 0x1'0000'0001 + i;
      p.switch_probability = kProbabilities[i % std::size(kProbabilities)];
      look({}, p);
    }
  }

  void pct() {
    const std::uint32_t k = std::max(1u, result_.points);
    const unsigned parties = runner_.cores() + 1;
    result_.bound = 1.0 / (parties * std::pow(k, options_.depth - 1.0));
    for (std::uint64_t i = options_.first; !over(); ++i) {
      Policy p;
      p.kind = Policy::Kind::kPct;
      p.cores = runner_.cores();
      p.seed = options_.seed * 0x1'0000'0001 + i;
      std::uint64_t state = p.seed ^ 0x5851'f42d'4c95'7f2d;
      for (unsigned d = 1; d < options_.depth; ++d) {
        state = state * 0x5851'f42d'4c95'7f2d + 0x1405'7b7e'f767'814f;
        p.change_at.push_back(1 + static_cast<std::uint32_t>((state >> 33) % k));
      }
      std::sort(p.change_at.begin(), p.change_at.end());
      look({}, p);
    }
  }

  /// What more than one core touched, and one of them changed, in any run so far.
  void learn_conflicts() {
    const Record* r = runner_.records();
    for (std::uint32_t i = 0; i < runner_.recorded(); ++i) {
      if (r[i].running >= 32) continue;
      auto& use = uses_[r[i].subject];
      use.cores |= 1u << r[i].running;
      use.writes |= r[i].writes;
    }
  }
  bool conflicts(const Record& r) const {
    if (r.running >= 32) return true;
    const auto use = uses_.find(r.subject);
    return use != uses_.end() && use->second.writes && (use->second.cores & (use->second.cores - 1)) != 0;
  }

  void preempt() {
    std::vector<Schedule> level{{}};
    std::set<std::string> done{to_text({})};
    // What conflicts shows only when the cores meet: a few walks tell before the search relies on it.
    for (std::uint64_t i = 0; i < 40 && !over(); ++i) {
      Policy p;
      p.kind = Policy::Kind::kRandom;
      p.seed = options_.seed * 0x1'0000'0001 + i;
      p.switch_probability = i % 2 == 0 ? 0.3 : 0.03;
      look({}, p);
      learn_conflicts();
    }
    for (unsigned bound = 0; bound <= options_.depth && !level.empty(); ++bound) {
      std::vector<Schedule> next;
      result_.level = bound;
      result_.in_level = 0;
      result_.of_level = level.size();
      for (const Schedule& base : level) {
        if (over()) return;
        ++result_.in_level;
        if (!base.empty()) look(base, {});
        else runner_.run(base);
        learn_conflicts();
        if (bound == options_.depth) continue;
        // Departures after the last one of the base; before it they belong to another base.
        const Record* r = runner_.records();
        bool after = base.empty();
        std::vector<Schedule> mine;
        for (std::uint32_t i = 0; i < runner_.recorded(); ++i) {
          if (after && r[i].n > 1) {
            if (conflicts(r[i])) {
              for (unsigned a = 0; a < std::min<unsigned>(r[i].n, 5); ++a) {
                if (a == r[i].answer) continue;
                Schedule s = base;
                s.push_back({r[i].running, r[i].count, r[i].parties[a]});
                // Memory is bounded; what does not fit is not covered.
                if (done.size() >= kMostSchedules) complete_ = false;
                else if (done.insert(to_text(s)).second) mine.push_back(std::move(s));
              }
            }
          }
          if (!after && r[i].running == base.back().party && r[i].count == base.back().count) after = true;
        }
        next.insert(next.end(), std::make_move_iterator(mine.begin()), std::make_move_iterator(mine.end()));
      }
      level = std::move(next);
    }
    result_.exhausted = !over() && complete_;
  }

  void dfs() {
    std::vector<std::pair<Step, unsigned>> path;  // departures or natural answers chosen so far, and alternatives
    Schedule schedule;
    for (;;) {
      if (over()) return;
      look(schedule, {});
      // The last point that has another alternative.
      const Record* r = runner_.records();
      std::uint32_t i = runner_.recorded();
      while (i > 0 && r[i - 1].answer + 1u >= std::min<unsigned>(r[i - 1].n, 5)) --i;
      if (i == 0) break;
      schedule.clear();
      for (std::uint32_t j = 0; j < i - 1; ++j) {
        if (r[j].answer != 0) schedule.push_back({r[j].running, r[j].count, r[j].parties[r[j].answer]});
      }
      const Record& last = r[i - 1];
      schedule.push_back({last.running, last.count, last.parties[last.answer + 1]});
    }
    result_.exhausted = complete_;
  }

  void dpor() {
    Dpor tree(runner_.cores());
    Schedule schedule;
    do {
      if (over()) return;
      look(schedule, {});
      tree.learn(runner_.records(), runner_.recorded());
    } while (tree.next(schedule));
    result_.exhausted = complete_;
  }

  Runner& runner_;
  SearchOptions options_;
  const Progress& progress_;
  std::chrono::steady_clock::time_point begin_;
  /// CPU time of this process and of those that run schedules.
  double cpu_now() const {
    double seconds = runner_.executor_cpu_seconds();
    for (const int who : {RUSAGE_SELF, RUSAGE_CHILDREN}) {
      rusage use{};
      ::getrusage(who, &use);
      seconds += static_cast<double>(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
                 1e-6 * static_cast<double>(use.ru_utime.tv_usec + use.ru_stime.tv_usec);
    }
    return seconds;
  }
  double cpu_begin_ = cpu_now();
  double told_ = 0;
  bool complete_ = true;
  std::unordered_set<std::size_t> digests_;
  SearchResult result_;
  struct Use {
    std::uint32_t cores = 0;
    bool writes = false;
  };
  std::unordered_map<std::uint64_t, Use> uses_;
};

}  // namespace

const char* to_string(Method method) { return kMethods[static_cast<unsigned>(method)]; }

Method parse_method(const std::string& word) {
  std::vector<std::string> names(std::begin(kMethods), std::end(kMethods));
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (names[i] == word) return static_cast<Method>(i);
  }
  throw sim::Error(fmt::format("--method: there is no '{}'{}", word, sim::suggestion(word, names)));
}

SearchResult search(Runner& runner, const SearchOptions& options, const Progress& progress) {
  return Search(runner, options, progress).run();
}

Schedule shrink(Runner& runner, const Schedule& schedule, const std::string& key, std::uint64_t budget) {
  const auto leads_there = [&](const Schedule& s) {
    if (budget == 0) return false;
    --budget;
    const Outcome outcome = runner.run(s);
    return std::any_of(outcome.findings.begin(), outcome.findings.end(),
                       [&](const FoundFinding& f) { return f.key() == key; });
  };
  Schedule best = schedule;
  if (leads_there({})) return {};
  for (std::size_t chunk = (best.size() + 1) / 2; chunk > 0 && !best.empty();) {
    bool shorter = false;
    for (std::size_t from = 0; from < best.size();) {
      Schedule s = best;
      s.erase(s.begin() + static_cast<std::ptrdiff_t>(from),
              s.begin() + static_cast<std::ptrdiff_t>(std::min(from + chunk, s.size())));
      if (leads_there(s)) {
        best = std::move(s);
        shorter = true;
      } else {
        from += chunk;
      }
    }
    if (budget == 0) break;
    if (chunk == 1 && !shorter) break;
    chunk = chunk > 1 ? (chunk + 1) / 2 : 1;
  }
  return best;
}

}  // namespace explore
