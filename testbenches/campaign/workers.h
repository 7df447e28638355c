// SPDX-License-Identifier: Apache-2.0
// The processes of a batch:
//
//   coordinator -> one process a variant: builds the machine, warms it up, walks the golden run in a child
//                    -> workers, forked from the warm machine: each has a share of the experiments
//                         -> an executor: walks the machine through the share in order of time, does each
//                            experiment at its moment and puts its memory back; replaced when one brings it down
//
// Results come through one shared array of rows. Whatever dies, the coordinator has what was complete, and
// the rest is done again. No process of a batch outlives its parent.
#pragma once
#include <sys/types.h>

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "testbenches/campaign/campaign.h"
#include "testbenches/campaign/record.h"

namespace campaign {

struct GoldenSummary {
  char digest[40];
  sim::Tick origin, end;
  Observation last;
  std::uint64_t events;
  std::uint64_t space[256];  ///< of the first fault specs, Golden::space()
  double seconds;   ///< CPU time to build, warm up and walk it
  char error[512];  ///< of the user's input, or empty
};

/// Experiments `ids` of one variant.
class Batch {
 public:
  Batch(const Campaign& campaign, std::size_t variant, std::vector<std::uint64_t> ids, unsigned workers);
  ~Batch();
  Batch(const Batch&) = delete;
  Batch& operator=(const Batch&) = delete;

  std::size_t size() const { return ids_.size(); }
  /// Row `n` belongs to ids[n]; valid once complete.
  const Row& row(std::size_t n) const { return rows_[n]; }
  bool complete(std::size_t n) const { return rows_[n].state.load(std::memory_order_acquire) == 2; }
  const GoldenSummary& golden() const { return *golden_; }

  /// Starts the processes again for what is not complete.
  void start();
  /// True while the variant's process lives. Reaps it.
  bool running();
  /// How it ended, as waitpid() says; after running() was false.
  int status() const { return status_; }
  /// No new experiment is begun.
  void stop();
  void kill();
  /// Rows that brought down their workers again and again become crashes.
  void give_up_on_rest();

 private:
  struct Control;
  [[noreturn]] void variant_process();
  const Campaign& campaign_;
  std::size_t variant_;
  std::vector<std::uint64_t> ids_;
  unsigned workers_;
  Row* rows_;
  GoldenSummary* golden_;
  Control* control_;
  pid_t pid_ = -1;
  int status_ = 0;
};

/// One experiment in this process, from a cold start: no fork, the golden run apart. `options`: waveforms,
/// packets. Returns the report of the run for people.
std::string run_cold(const Campaign& campaign, std::uint64_t id, Row& row,
                     const scenario::RunOptions& options);

}  // namespace campaign
