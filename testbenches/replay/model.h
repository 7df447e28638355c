// SPDX-License-Identifier: Apache-2.0
// Drives the modelled kernel, page_pool, DMA API and IOMMU with a plan, and counts what they do.
#pragma once
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernel/trace.h"
#include "testbenches/replay/infer.h"
#include "testbenches/replay/recorded.h"

namespace replay {

/// One thing that happened to a pool, on either side; what is compared first differs in one of these.
struct PoolEvent {
  enum Kind : std::uint8_t { kHold, kUnmap, kStateRelease, kRound };
  Kind kind = kHold;
  std::uint64_t time_ns = 0;  ///< since the begin of the capture
  std::uint32_t line = 0;     ///< of the capture; 0 on the model's side
  std::int64_t inflight = 0;  ///< kRound
};
const char* to_string(PoolEvent::Kind kind);

struct ModelResult {
  std::vector<PoolNumbers> pools;                               ///< as Plan::pools
  std::vector<std::vector<PoolEvent>> events;                   ///< per pool
  std::optional<kernel::Oops> oops;                             ///< the first
  std::uint64_t oops_ns = 0;                                    ///< its time since the begin of the capture
  std::vector<std::pair<std::string, std::uint64_t>> findings;  ///< class, count
  std::string findings_text;
  std::vector<std::string> notes;
  std::string digest;
  std::uint64_t wakeups = 0;
};

/// Runs the whole plan; `perfetto`: file of a timeline, or empty. Once a process. Throws sim::Error for an unknown
/// strategy, before anything is built.
ModelResult run_model(const Capture& capture, const Plan& plan, const Behaviour& behaviour,
                      const std::string& perfetto = {});

}  // namespace replay
