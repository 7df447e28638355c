// SPDX-License-Identifier: Apache-2.0
#include "testbenches/explore/explore.h"

#include <sys/mman.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <functional>

#include "kernel/baton.h"
#include "testbenches/checker/report.h"
#include "testbenches/cli/table.h"
#include "testbenches/scenario/processes.h"
#include "testbenches/trace/perfetto.h"
#include "waveforms/vcd.h"

namespace explore {
namespace {

/// In memory that this process shares with those it forks: whichever of them gets the signal, all of them
/// stop.
volatile std::sig_atomic_t* stop_asked = nullptr;

using Json = nlohmann::ordered_json;

/// `body` in a process of its own; what it returns, or its error.
Json in_child(const std::function<Json()>& body) {
  return Json::parse(scenario::in_process([&] { return body().dump(); }));
}

/// Two accesses race whatever else happens, and nothing needs to follow from it.
constexpr const char* kRace = "data_race";

void tell_progress(const SearchResult& r, const SearchOptions& o, const std::string& what) {
  const double rate = r.seconds > 0 ? static_cast<double>(r.schedules) / r.seconds : 0;
  const double left = rate > 0 ? static_cast<double>(o.budget - r.schedules) / rate : 0;
  const std::string level =
      r.of_level != 0 ? fmt::format(", {} of {} with {} departures", r.in_level, r.of_level, r.level) : "";
  fmt::print(stderr,
             "{}: {} of {} schedules{}, {} different runs, {:.0f}/s, {} finding{}, {:.0f} s left at most\n",
             what, r.schedules, o.budget, level, r.different, rate, r.found.size(),
             r.found.size() == 1 ? "" : "s", left);
}

}  // namespace

bool interrupted() { return stop_asked != nullptr && *stop_asked != 0; }

void catch_interrupts() {
  if (stop_asked == nullptr) {
    void* p = ::mmap(nullptr, sizeof *stop_asked, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) throw sim::ModelError("no memory for the note of an interrupt");
    stop_asked = static_cast<volatile std::sig_atomic_t*>(p);
  }
  struct sigaction action {};
  action.sa_handler = [](int) { *stop_asked = 1; };
  ::sigaction(SIGINT, &action, nullptr);
}

Json run_cell(const Cell& cell) {
  return in_child([&cell]() -> Json {
    const StageConfig config = load(cell.token);
    Runner& runner = *new Runner(config);  // ends with this process
    const std::string what =
        fmt::format("{} {} {}", config.explore.story, cell.token.strategy, to_string(cell.search.method));
    SearchResult r = search(runner, cell.search, [&](const SearchResult& so_far) {
      if (!cell.quiet) tell_progress(so_far, cell.search, what);
      return !interrupted();
    });
    Json j;
    j["story"] = config.explore.story;
    j["strategy"] = cell.token.strategy;
    j["method"] = to_string(cell.search.method);
    j["depth"] = cell.search.depth;
    j["seed"] = cell.search.seed;
    j["first"] = cell.search.first;
    j["schedules"] = r.schedules;
    j["per_second"] = r.seconds > 0 ? static_cast<double>(r.schedules) / r.seconds : 0;
    j["per_cpu_second"] = r.cpu_seconds > 0 ? static_cast<double>(r.schedules) / r.cpu_seconds : 0;
    j["points"] = r.points;
    j["bound"] = r.bound;
    j["different"] = r.different;
    j["exhausted"] = r.exhausted;
    j["interrupted"] = r.interrupted;
    j["found"] = Json::array();
    for (auto& [key, found] : r.found) {
      Token token = cell.token;
      token.build = build_id();
      token.finding = found.finding.kind;
      token.schedule =
          cell.shrink && !interrupted() ? shrink(runner, found.schedule, key, 600) : found.schedule;
      const Outcome again = runner.run(token.schedule);
      token.digest = again.digest;
      // The first of a schedule in time is the story; the others follow from it.
      const FoundFinding* first = nullptr;
      for (const FoundFinding& f : again.findings) {
        if (f.key() == key) found.finding = f;
        if (f.kind != kRace && (first == nullptr || f.time < first->time)) first = &f;
      }
      Json f;
      f["class"] = found.finding.kind;
      f["key"] = key;
      f["schedule"] = to_text(token.schedule);
      f["place"] = found.finding.place;
      f["who"] = found.finding.who;
      f["whom"] = found.finding.whom;
      f["detail"] = found.finding.detail;
      f["holder"] = found.finding.holder;
      // What happens without any departure, too, is not where a departure led.
      const auto earlier = first == nullptr ? r.found.end() : r.found.find(first->key());
      const bool follows = first != nullptr && first->key() != key && found.finding.kind != kRace &&
                           !(earlier != r.found.end() && earlier->second.natural);
      f["follows"] = follows ? first->kind : "";
      f["departures"] = token.schedule.size();
      f["after"] = found.after;
      f["seen"] = found.seen;
      f["natural"] = found.natural;
      f["token"] = to_text(token);
      j["found"].push_back(std::move(f));
    }
    return j;
  });
}

std::optional<Cell> rest_of(const Cell& cell, const Json& interrupted) {
  const std::uint64_t done = interrupted["schedules"];
  const bool numbered = cell.search.method == Method::kRandom || cell.search.method == Method::kPct;
  // The first one of a search is the natural schedule, which has no number.
  if (!numbered || done < 2 || done >= cell.search.budget) return std::nullopt;
  Cell rest = cell;
  rest.search.first = interrupted["first"].get<std::uint64_t>() + done - 1;
  rest.search.budget = cell.search.budget - done + 1;
  return rest;
}

Json together(const Json& first, const Json& second) {
  Json sum = second;
  const std::uint64_t done = first["schedules"];
  sum["first"] = first["first"];
  sum["schedules"] = done + second["schedules"].get<std::uint64_t>() - 1;
  sum["different"] =
      std::max(first["different"].get<std::uint64_t>(), second["different"].get<std::uint64_t>());
  for (Json& f : sum["found"]) f["after"] = f["after"].get<std::uint64_t>() + done - 1;
  for (const Json& f : first["found"]) {
    const auto same = std::find_if(sum["found"].begin(), sum["found"].end(),
                                   [&](const Json& other) { return other["key"] == f["key"]; });
    if (same == sum["found"].end()) {
      sum["found"].push_back(f);
      continue;
    }
    const std::uint64_t seen = f["seen"].get<std::uint64_t>() + (*same)["seen"].get<std::uint64_t>();
    if (f["departures"] <= (*same)["departures"]) *same = f;
    (*same)["after"] = f["after"];
    (*same)["seen"] = seen;
  }
  return sum;
}

std::string verdict(const Json& r) {
  if (!r["found"].empty()) {
    std::string text;
    for (const auto& f : r["found"]) {
      const std::string kind = f["class"];
      if (text.find(kind) != text.npos) continue;
      std::size_t shortest = ~std::size_t{0};
      for (const auto& g : r["found"]) {
        if (g["class"] == kind) shortest = std::min(shortest, g["departures"].get<std::size_t>());
      }
      text += fmt::format("{}{} ({})", text.empty() ? "" : ", ", kind, shortest);
    }
    return text;
  }
  if (r["exhausted"]) return fmt::format("exhausted: {}", r["schedules"].get<std::uint64_t>());
  std::string text = fmt::format("nothing in {}", r["schedules"].get<std::uint64_t>());
  if (const double bound = r["bound"]; bound > 0) text += fmt::format(", P >= {:.1e}", bound);
  return text;
}

std::string report(const Json& r) {
  std::string text = fmt::format(
      "{} with {}: {} schedules by {} (depth {}), {} different runs, {} points in the natural one, {:.0f} a "
      "second, {:.0f} a second of CPU\n",
      r["story"].get<std::string>(), r["strategy"].get<std::string>(), r["schedules"].get<std::uint64_t>(),
      r["method"].get<std::string>(), r["depth"].get<unsigned>(), r["different"].get<std::uint64_t>(),
      r["points"].get<std::uint32_t>(), r["per_second"].get<double>(), r["per_cpu_second"].get<double>());
  if (const double bound = r["bound"]; bound > 0) {
    const double n = r["schedules"];
    text +=
        fmt::format("a bug of this depth is hit with probability >= {:.2e} by one schedule, {:.2e} by all\n",
                    bound, 1 - std::pow(1 - bound, n));
  }
  if (r["exhausted"]) text += fmt::format("exhausted: {} schedules\n", r["schedules"].get<std::uint64_t>());
  if (r["interrupted"]) {
    text += fmt::format("interrupted; --first {} goes on\n",
                        r["first"].get<std::uint64_t>() + r["schedules"].get<std::uint64_t>() - 1);
  }
  text += r["found"].empty() ? "no finding\n" : "";
  for (const auto& f : r["found"]) {
    const auto word = [&f](const char* name) { return f[name].get<std::string>(); };
    if (!word("follows").empty()) {
      text += fmt::format("\n{}: follows from the {} of the same schedule, at {}\n", word("class"),
                          word("follows"), word("place"));
      continue;
    }
    text +=
        fmt::format("\n{}: {} departure{} from the natural order, first after {} schedules, seen {} times\n",
                    word("class"), f["departures"].get<std::size_t>(), f["departures"] == 1 ? "" : "s",
                    f["after"].get<std::uint64_t>(), f["seen"].get<std::uint64_t>());
    text += fmt::format("  at     {}\n  by     {}\n", word("place"), word("who"));
    if (!word("whom").empty()) text += fmt::format("  to     {}\n", word("whom"));
    if (!word("detail").empty()) text += fmt::format("  detail {}\n", word("detail"));
    if (!word("holder").empty()) text += fmt::format("  holder {}\n", word("holder"));
    text += fmt::format("  replay poolsim replay '{}'\n", word("token"));
  }
  return text;
}

std::string matrix(const std::vector<Json>& results, bool colour) {
  cli::Table table({"story", "strategy", "verdict (departures)"});
  for (const Json& r : results) table.row({r["story"], r["strategy"], verdict(r)});
  return table.text(colour);
}

Replayed replay(const Token& token, const std::string& vcd, const std::string& perfetto) {
  Replayed result;
  Json j;
  const auto run = [&]() -> Json {
    // Not taken down: this process ends with it, and code of the modelled kernel may still be in the middle
    // of things.
    Stage& stage = *new Stage(load(token));
    std::unique_ptr<waveforms::VcdWriter> writer;
    if (!vcd.empty()) {
      writer = std::make_unique<waveforms::VcdWriter>(stage.machine().simulation().probes(), vcd,
                                                      waveforms::VcdOptions{});
    }
    std::unique_ptr<trace::PerfettoRecorder> recorder;
    if (!perfetto.empty()) {
      recorder = std::make_unique<trace::PerfettoRecorder>(trace::Observed::of(stage.machine()), perfetto);
    }
    stage.warm_up();
    std::vector<Record> records(1u << 16);
    ScheduleOracle oracle(records.data(), records.size());
    oracle.start(token.schedule, {});
    if (recorder) stage.on_new_finding([&](const checker::Finding& f) { recorder->finding(f); });
    const StageResult r = stage.race(oracle);
    if (writer) writer->close();
    if (recorder) recorder->close();
    Json out;
    out["digest"] = r.digest;
    out["finished"] = r.finished;
    out["points"] = oracle.asked();
    out["report"] = checker::findings_text(stage.checker());
    out["findings"] = Json::array();
    for (const checker::Finding& f : stage.checker().findings().all()) {
      out["findings"].push_back({checker::key(f.kind), f.place, f.who, f.whom, f.detail,
                                 f.samples.empty() ? "" : f.samples.front().holder});
    }
    std::string steps;
    for (const Step& s : oracle.taken()) {
      for (std::uint32_t i = 0; i < std::min<std::size_t>(oracle.asked(), records.size()); ++i) {
        if (records[i].running != s.party || records[i].count != s.count) continue;
        steps += fmt::format("  {:<12} before {}\n", to_text({s}), records[i].place);
      }
    }
    out["steps"] = steps;
    return out;
  };
  try {
    j = in_child(run);
  } catch (const sim::ModelError& e) {
    // As Runner tells it: the strategy's code walked over memory that another core had freed.
    result.outcome.findings.push_back({"use_after_free", "", "the code itself", "", e.what(), "", 0});
    result.report = e.what();
    return result;
  }
  result.outcome.digest = j["digest"];
  result.outcome.finished = j["finished"];
  result.outcome.points = j["points"];
  for (const auto& f : j["findings"])
    result.outcome.findings.push_back({f[0], f[1], f[2], f[3], f[4], f[5], 0});
  result.report = j["steps"].get<std::string>() + j["report"].get<std::string>();
  return result;
}

namespace {

/// Schedules one stage for one token: the shortest that leads to the class, or nothing.
Json try_token(const Token& token, const std::string& kind, std::uint64_t budget) {
  return in_child([&]() -> Json {
    Runner& runner = *new Runner(load(token));
    Json j;
    const auto leads = [&](const Outcome& o) -> const FoundFinding* {
      for (const FoundFinding& f : o.findings) {
        if (f.kind == kind) return &f;
      }
      return nullptr;
    };
    Outcome outcome = runner.run(token.schedule);
    const FoundFinding* f = leads(outcome);
    Schedule schedule = token.schedule;
    if (f == nullptr) {
      // Fewer pages move the points: look again, close to where they were.
      SearchOptions options;
      options.method = Method::kPct;
      options.budget = budget / 2;
      options.depth = static_cast<unsigned>(
          std::max<std::size_t>(2, std::min<std::size_t>(4, token.schedule.size() + 1)));
      const SearchResult r = search(runner, options, [&](const SearchResult& so_far) {
        for (const auto& [key, found] : so_far.found) {
          if (found.finding.kind == kind) return false;
        }
        return !interrupted();
      });
      for (const auto& [key, found] : r.found) {
        if (found.finding.kind != kind) continue;
        schedule = found.schedule;
        outcome = runner.run(schedule);
        f = leads(outcome);
      }
    }
    j["found"] = f != nullptr;
    if (f != nullptr) {
      const Schedule best = shrink(runner, schedule, f->key(), budget);
      j["schedule"] = to_text(best);
      j["digest"] = runner.run(best).digest;
    }
    j["runs"] = runner.runs();
    return j;
  });
}

void set_setting(Token& token, const std::string& name, std::uint64_t value) {
  std::erase_if(token.settings, [&](const std::string& s) { return s.starts_with(name + "="); });
  token.settings.push_back(fmt::format("{}={}", name, value));
}

}  // namespace

Shrunk shrink_token(const Token& token, std::uint64_t budget) {
  Shrunk result{self_contained(token), 0, false};
  result.token.build = build_id();
  const auto attempt = [&](const Token& candidate) {
    const Json j = try_token(candidate, token.finding, budget);
    result.runs += j["runs"].get<std::uint64_t>();
    if (!j["found"]) return false;
    result.token = candidate;
    result.token.build = build_id();
    result.token.schedule = parse_schedule(j["schedule"].get<std::string>());
    result.token.digest = j["digest"];
    return true;
  };
  result.reproduced = attempt(result.token);
  if (!result.reproduced) return result;
  const StageConfig config = load(result.token);
  const Story& story = find_story(config.explore.story);
  // From the fewest on: what is found is the least.
  const auto fewer = [&](const std::string& name, unsigned least, unsigned now) {
    for (unsigned n = least; n < now && !interrupted(); ++n) {
      Token candidate = result.token;
      set_setting(candidate, name, n);
      if (attempt(candidate)) return;
    }
  };
  if (story.uses_pages) fewer("explore.pages", 1, config.explore.pages);
  if (story.uses_packets) fewer("explore.packets", 1, config.explore.packets);
  fewer("kernel.cores", 2, config.run.machine.kernel.cores);
  return result;
}

}  // namespace explore
