// SPDX-License-Identifier: Apache-2.0
#include "testbenches/campaign/report.h"

#include <algorithm>
#include <bit>
#include <set>

#include "testbenches/scenario/markup.h"

namespace campaign {
namespace {

Outcome outcome_of(const std::string& key) {
  for (std::size_t o = 0; o < kOutcomes; ++o) {
    if (key == to_string(static_cast<Outcome>(o))) return static_cast<Outcome>(o);
  }
  throw Refusal(fmt::format("'{}' is no outcome of this version", key));
}

/// "page_alloc in alloc_pages" of it; "pte" of "pte iova 0x1000 level 0 bit 3".
std::string site_of(const std::string& entity) {
  if (entity.find(" in ") != entity.npos) return entity;
  return entity.substr(0, entity.find(' '));
}

using Failed = std::map<std::uint64_t, bool>;  // by fault

PairedComparison compare(const std::string& name_a, const Failed& a, const std::string& name_b,
                         const Failed& b, double confidence) {
  PairedComparison c{name_a, name_b, 0, 0, 0, 0, 1, {-1, 1}, {}};
  for (const auto& [fault, failed] : a) {
    const auto other = b.find(fault);
    if (other == b.end()) continue;
    (failed ? (other->second ? c.both : c.only_a) : (other->second ? c.only_b : c.neither))++;
    if (failed != other->second && c.examples.size() < 8) c.examples.push_back(fault);
  }
  c.p_value = mcnemar_exact(c.only_a, c.only_b);
  c.difference = paired_difference(c.both, c.only_a, c.only_b, c.neither, confidence);
  return c;
}

/// Entries whose experiments are classes of the golden run: those of another variant are others, whatever
/// their number.
std::set<std::string> without_pairs(const Campaign& campaign) {
  std::set<std::string> labels;
  for (const FaultSpec& f : campaign.faults) {
    if (f.when.kind == Trigger::Kind::kDefUse && f.when.all) labels.insert(f.label);
  }
  return labels;
}

std::map<std::string, Failed> failures_of(const Database& db, const Campaign& campaign) {
  std::map<std::string, Failed> all;
  const auto unpaired = without_pairs(campaign);
  db.each([&](const Result& r) {
    if (r.stop != to_string(Stop::kExhausted) && !unpaired.contains(r.kind))
      all[r.variant][r.fault] = is_failure(outcome_of(r.outcome));
  });
  return all;
}

}  // namespace

void Latencies::add(sim::Tick t) {
  const std::uint64_t ns = std::max<std::uint64_t>(1, t / sim::kNanosecond);
  ++bins[std::min<std::size_t>(kLatencyBins - 1, static_cast<std::size_t>(std::bit_width(ns) - 1))];
  all.push_back(t);
}

sim::Tick Latencies::percentile(double p) const {
  if (all.empty()) return sim::kNever;
  const double place = p * static_cast<double>(all.size() - 1);
  return all[static_cast<std::size_t>(place + 0.5)];
}

bool is_failure_signature(const std::string& signature) {
  return is_failure(outcome_of(signature.substr(0, signature.find(':'))));
}

std::string unscheduled_warning(std::uint64_t unscheduled, std::uint64_t experiments) {
  return fmt::format(
      "in {} of {} experiments the cores were in their natural order: within 1 ms after the fault there was "
      "no moment "
      "with all cores idle, at which `schedule` takes over",
      unscheduled, experiments);
}

Report gather(const Database& db) {
  Report r;
  r.campaign = db.campaign();
  r.database = db.file();
  r.build = db.meta("build");
  r.rows_digest = db.meta("rows_digest");
  r.experiments = db.count();
  r.unscheduled = db.unscheduled();
  r.cpu_seconds = db.cpu_seconds();
  r.faults = r.campaign.sampling.experiments;
  if (r.experiments == r.faults * r.campaign.variants.size()) r.faults = stopping_point(r.campaign, db);
  r.variants = estimate(r.campaign, db, r.faults, r.campaign.sampling.confidence);
  db.each([&r](const Result& e) {
    if (e.injected == sim::kNever) return;
    r.from = std::min(r.from, e.injected);
    r.to = std::max(r.to, e.injected);
  });
  std::map<std::pair<std::string, std::string>, std::size_t> index;
  for (const Variant& v : r.campaign.variants) {
    for (const FaultSpec& f : r.campaign.faults) {
      index[{v.name, f.label}] = r.strata.size();
      StratumFigures& s = r.strata.emplace_back();
      s.variant = v.name, s.label = f.label;
      s.worst.fill(static_cast<std::uint8_t>(Outcome::kCount));
    }
  }
  const sim::Tick span = r.to > r.from ? r.to - r.from + 1 : 1;
  std::map<std::string, Failed> failed = failures_of(db, r.campaign);
  db.each([&](const Result& e) {
    StratumFigures& s = r.strata[index.at({e.variant, e.kind})];
    if (e.stop == to_string(Stop::kExhausted)) return;
    const Outcome outcome = outcome_of(e.outcome);
    ++s.n;
    s.acted += e.acted != sim::kNever;
    s.not_activated += outcome == Outcome::kNotActivated;
    s.failures += is_failure(outcome);
    s.audited += e.audited;
    s.audit_disagrees += !e.audit_agrees;
    s.pruned += e.stop == to_string(Stop::kPruned);
    s.converged += e.stop == to_string(Stop::kConverged);
    if (!e.entity.empty() && outcome != Outcome::kNotActivated) ++s.sites[site_of(e.entity)];
    if (e.injected != sim::kNever) {
      const auto column =
          static_cast<std::size_t>(static_cast<unsigned __int128>(e.injected - r.from) * kMapColumns / span);
      ++s.count[column];
      s.worst[column] = std::min(s.worst[column], static_cast<std::uint8_t>(outcome));
    }
    if (e.detected != sim::kNever && e.acted != sim::kNever && e.detected >= e.acted)
      r.detection[e.detector].add(e.detected - e.acted);
    if (e.first_divergence != sim::kNever && e.acted != sim::kNever && e.first_divergence >= e.injected) {
      r.divergence.add(e.first_divergence - e.injected);
    }
  });
  for (auto& [detector, latencies] : r.detection) std::sort(latencies.all.begin(), latencies.all.end());
  std::sort(r.divergence.all.begin(), r.divergence.all.end());
  for (std::size_t a = 0; a < r.campaign.variants.size(); ++a) {
    for (std::size_t b = a + 1; b < r.campaign.variants.size(); ++b) {
      const std::string &na = r.campaign.variants[a].name, &nb = r.campaign.variants[b].name;
      r.comparisons.push_back(compare(na, failed[na], nb, failed[nb], r.campaign.sampling.confidence));
    }
  }
  r.buckets = db.buckets();
  for (const auto& b : r.buckets) {
    if (const auto example = db.find(b.smallest)) r.examples.emplace(b.smallest, *example);
  }
  return r;
}

std::vector<PairedComparison> compare_databases(const Database& a, const Database& b) {
  const Campaign of_a = a.campaign();
  const auto fa = failures_of(a, of_a), fb = failures_of(b, b.campaign());
  const double confidence = of_a.sampling.confidence;
  std::vector<PairedComparison> all;
  for (const auto& [name, failed] : fa) {
    auto other = fb.find(name);
    if (other == fb.end() && fa.size() == 1 && fb.size() == 1) other = fb.begin();
    if (other == fb.end()) continue;
    all.push_back(
        compare(a.file() + " " + name, failed, b.file() + " " + other->first, other->second, confidence));
  }
  return all;
}

namespace {
std::string quoted(std::string text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"') out += '"';
    out += c == '\n' ? ' ' : c;
  }
  return out + '"';
}
std::string nanoseconds(sim::Tick t) {
  return t == sim::kNever ? "" : fmt::format("{}.{:06}", t / sim::kNanosecond, t % sim::kNanosecond);
}
}  // namespace

std::string csv(const Database& db) {
  std::string text =
      "id,fault,variant,kind,entity,injected_ns,acted_ns,first_divergence_ns,detected_ns,detection_latency_"
      "ns,ended_ns,"
      "outcome,failure,stop,detector,weight,audited,audit_agrees,digest,signature,detail\n";
  db.each([&text](const Result& r) {
    const bool latency = r.detected != sim::kNever && r.acted != sim::kNever && r.detected >= r.acted;
    text += fmt::format("{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}\n", r.id, r.fault,
                        quoted(r.variant), r.kind, quoted(r.entity), nanoseconds(r.injected),
                        nanoseconds(r.acted), nanoseconds(r.first_divergence), nanoseconds(r.detected),
                        latency ? nanoseconds(r.detected - r.acted) : "", nanoseconds(r.ended), r.outcome,
                        is_failure(outcome_of(r.outcome)) ? 1 : 0, r.stop, r.detector, r.weight,
                        r.audited ? 1 : 0, r.audit_agrees ? 1 : 0, r.digest, quoted(r.signature),
                        quoted(r.detail));
  });
  return text;
}

std::string junit(const Report& r) {
  std::string text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n";
  for (const Variant& v : r.campaign.variants) {
    std::string cases;
    unsigned tests = 0, failures = 0;
    for (const auto& b : r.buckets) {
      const auto example = r.examples.find(b.smallest);
      if (!is_failure_signature(b.signature) || example == r.examples.end() ||
          example->second.variant != v.name)
        continue;
      ++tests, ++failures;
      cases += fmt::format(
          "    <testcase classname=\"{0}\" name=\"{1}\">\n      <failure type=\"{2}\" message=\"{3} times; "
          "{4}\">poolsim "
          "replay '{5}#{6}'</failure>\n    </testcase>\n",
          scenario::markup_escaped(v.name), scenario::markup_escaped(b.signature),
          scenario::markup_escaped(example->second.outcome), b.count,
          scenario::markup_escaped(example->second.detail), scenario::markup_escaped(r.database), b.smallest);
    }
    if (tests == 0) {
      tests = 1;
      cases = fmt::format("    <testcase classname=\"{}\" name=\"no failure\"/>\n",
                          scenario::markup_escaped(v.name));
    }
    text += fmt::format(
        "  <testsuite name=\"{}/{}\" tests=\"{}\" failures=\"{}\">\n    <properties>\n      <property "
        "name=\"seed\" "
        "value=\"{}\"/>\n      <property name=\"build\" value=\"{}\"/>\n      <property name=\"rows_digest\" "
        "value=\"{}\"/>\n    </properties>\n{}  </testsuite>\n",
        scenario::markup_escaped(r.campaign.name), scenario::markup_escaped(v.name), tests, failures,
        r.campaign.seed, r.build, r.rows_digest, cases);
  }
  return text + "</testsuites>\n";
}

}  // namespace campaign
