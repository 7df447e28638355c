// SPDX-License-Identifier: Apache-2.0
// A campaign file: base scenario, variants, warm-up, window, faults, sampling, limits. docs/campaigns.md
// tells each key. Everything wrong is one sim::Error: FILE:LINE: path: what (the nearest right word).
//
// Fault number f of a campaign is the same fault for every variant: experiment id = f * variants + variant.
#pragma once
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "testbenches/campaign/fault.h"
#include "testbenches/campaign/keep.h"
#include "testbenches/campaign/schedule.h"
#include "testbenches/campaign/trigger.h"
#include "testbenches/scenario/scenario.h"

namespace campaign {

struct Variant {
  std::string name;
  std::vector<std::string> settings;  ///< a.b=c, beside those of the campaign
};

struct FaultSpec {
  std::string kind;
  std::string label;  ///< the kind, or kind#2 if it is there more than once: the stratum
  Trigger when;
  unsigned weight = 1;  ///< share of the fault space, relative to the others
  unsigned runs = 0;    ///< share of the experiments, relative to the others; 0: as `weight`
  unsigned share() const { return runs != 0 ? runs : weight; }
  std::shared_ptr<Fault> fault;
};

struct Limits {
  sim::Tick cpu = 5 * sim::kSecond;               ///< host CPU time of one experiment
  std::uint64_t memory = std::uint64_t{1} << 30;  ///< host memory beyond the warm machine
  sim::Tick stall = 5 * sim::kMillisecond;  ///< simulated, without progress where the golden run has some
};

struct Sampling {
  std::uint64_t experiments = 1000;  ///< of each variant, at most
  double margin = 0;                 ///< half width of the interval at which to stop; 0: run them all
  double confidence = 0.95;
  std::uint64_t first_look = 500;  ///< then at twice as many each time
  double audit = 0.01;             ///< share that is run in full although it was pruned or could be cut short
};

struct Campaign {
  std::string file, text;            ///< as given, and its content
  std::string base_file, base_text;  ///< of the scenario
  std::string name = "unnamed";
  std::uint64_t seed = 1;
  std::vector<std::string> settings;
  std::vector<Variant> variants;
  std::string warmup = "0";                   ///< a trigger, from the start of the machine
  sim::Tick window = 0;                       ///< after the injection; 0: to the end of the scenario
  sim::Tick ladder = 50 * sim::kMicrosecond;  ///< between two comparisons with the golden run
  bool early_stop = true;                     ///< cut what is again as the golden run
  std::vector<FaultSpec> faults;
  ScheduleSpec schedule;
  Sampling sampling;
  Limits limits;
  Keep keep;

  /// Machine and scenario of a variant, with POOLSIM_* and settings. Throws sim::Error.
  scenario::RunConfig configure(const Variant& variant) const;
  /// Hash of everything that decides what an experiment is: campaign, scenario, environment.
  std::string config_digest() const;
  /// Which fault spec fault number `f` is of, and which one of them (from 0).
  struct Pick {
    std::size_t spec;
    std::uint64_t index;
  };
  Pick pick(std::uint64_t f) const;
};

/// Reads and checks.
Campaign load_campaign(const std::string& file, const std::vector<std::string>& more_settings = {});
/// The same from texts, as a database keeps them.
Campaign parse_campaign(const std::string& file, const std::string& text, const std::string& base_file,
                        const std::string& base_text, const std::vector<std::string>& more_settings = {});
/// JSON schema (draft 7) of the file.
nlohmann::ordered_json campaign_schema();

}  // namespace campaign
