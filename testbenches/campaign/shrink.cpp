// SPDX-License-Identifier: Apache-2.0
#include "testbenches/campaign/shrink.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <thread>

#include "testbenches/campaign/workers.h"

namespace campaign {
namespace {

struct Knob {
  const char* path;
  std::uint64_t least;
};
/// What makes a run longer and a finding harder to read.
constexpr Knob kKnobs[] = {
    {"scenario.steady_packets", 0},
    {"scenario.late_packets", 0},
    {"scenario.held_udp", 0},
    {"scenario.held_fragments", 0},
    {"scenario.held_fragments6", 0},
    {"scenario.steady_datagrams", 0},
    {"scenario.held_datagrams", 0},
    {"scenario.held_tcp", 0},
    {"scenario.held_tcp_ooo", 0},
    {"scenario.held_packet", 0},
    {"scenario.held_deferred", 0},
    {"scenario.held_gro", 0},
    {"kernel.cores", 1},
};

std::uint64_t present(const Campaign& c, const Variant& v, const char* path) {
  scenario::RunConfig config = c.configure(v);
  platform::ParameterSet set;
  scenario::register_all(set, config);
  return platform::parse_quantity(set.find(path)->text(), platform::Dimension::kNone);
}

class Shrinker {
 public:
  Shrinker(const Reference& r, std::uint64_t tries, unsigned jobs) : start_(r), tries_(tries), jobs_(jobs) {}

  Campaign with(const std::vector<std::string>& settings) const {
    const Campaign& c = start_.campaign;
    return parse_campaign(c.file, c.text, c.base_file, c.base_text, settings);
  }

  /// The first experiment in that world that ends like the one to shrink; the same one, if it still does.
  std::optional<std::uint64_t> find(const std::vector<std::string>& settings, std::uint64_t id,
                                    Reference* found) {
    std::optional<Campaign> c;
    try {
      c = with(settings);
    } catch (const sim::Error&) {
      return {};  // not a machine
    }
    const std::size_t variants = c->variants.size(), variant = id % variants;
    const std::size_t spec = c->pick(id / variants).spec;
    std::vector<std::uint64_t> ids{id};
    for (std::uint64_t f = 0; ids.size() < tries_; ++f) {
      const std::uint64_t other = f * variants + variant;
      if (c->pick(f).spec == spec && other != id) ids.push_back(other);
    }
    Batch batch(*c, variant, ids, jobs_);
    batch.start();
    while (batch.running()) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    for (std::size_t n = 0; n < batch.size(); ++n) {
      if (!batch.complete(n)) continue;
      ++runs;
      const Row& row = batch.row(n);
      if (signature_.empty()) signature_ = row.signature;  // of the first: the one to shrink
      if (row.signature != signature_) continue;
      *found = {*c, row.id, row.digest, to_string(row.outcome), ""};
      return row.id;
    }
    return {};
  }
  std::uint64_t runs = 0;
  const std::string& signature() const { return signature_; }

 private:
  const Reference& start_;
  std::uint64_t tries_;
  unsigned jobs_;
  std::string signature_;
};

}  // namespace

Shrunk shrink(const Reference& reference, std::uint64_t tries, unsigned jobs,
              const std::function<void(const std::string&)>& tell) {
  Shrunk result;
  Shrinker shrinker(reference, std::max<std::uint64_t>(1, tries), jobs);
  const auto first = shrinker.find({}, reference.id, &result.smallest);
  result.reproduced = first && *first == reference.id &&
                      (reference.outcome.empty() || result.smallest.outcome == reference.outcome);
  if (!result.reproduced) return result;
  tell(fmt::format("experiment {}: {}", reference.id, shrinker.signature()));
  const Variant& variant = reference.campaign.variants[reference.id % reference.campaign.variants.size()];
  for (const Knob& knob : kKnobs) {
    std::uint64_t now = present(reference.campaign, variant, knob.path);
    // The least first; then half, as long as that does.
    for (std::uint64_t next = knob.least; next < now;) {
      std::vector<std::string> settings = result.settings;
      std::erase_if(settings,
                    [&](const std::string& s) { return s.starts_with(std::string(knob.path) + "="); });
      settings.push_back(fmt::format("{}={}", knob.path, next));
      const bool least = next == knob.least;
      if (shrinker.find(settings, result.smallest.id, &result.smallest)) {
        result.settings = settings;
        now = next;
        tell(fmt::format("{} = {}: still so, experiment {}", knob.path, now, result.smallest.id));
        if (least) break;
        next = now / 2;
      } else if (least && now / 2 > knob.least) {
        next = now / 2;
      } else {
        break;
      }
    }
  }
  result.runs = shrinker.runs;
  return result;
}

std::string token(const Shrunk& s, const std::string& build) {
  std::string text = fmt::format("poolsim:campaign file={} id={}", s.smallest.campaign.file, s.smallest.id);
  for (const std::string& setting : s.settings) text += " set=" + setting;
  return text + fmt::format(" outcome={} digest={} build={}", s.smallest.outcome, s.smallest.digest, build);
}

}  // namespace campaign
