// SPDX-License-Identifier: Apache-2.0
// One run of a scenario on the machine, with the checker watching. SystemC elaborates once a process, so one run a
// process: compare (testbenches/scenario/compare.h) forks one for each strategy.
#pragma once
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "testbenches/checker/checker.h"
#include "testbenches/scenario/scenario.h"

namespace waveforms {
class VcdWriter;
}
namespace platform {
class PcapWriter;
}
namespace trace {
class FtraceWriter;
class PerfettoRecorder;
}

namespace scenario {

class Script;

struct RunOptions {
  /// Waveform file, VCD, or FST if it ends in .fst; empty = none. A .gtkw is written beside it.
  std::string vcd;
  std::vector<std::string> vcd_probes;    ///< globs; empty = all
  sim::Tick vcd_from = 0, vcd_to = sim::kNever;
  /// The waveform only around "finding", "finding:CLASS", "oops" or "unbind", whatever comes first of it; empty = always.
  std::string trigger;
  sim::Tick trigger_before = 5 * sim::kMicrosecond, trigger_after = 5 * sim::kMicrosecond;
  std::string perfetto;  ///< timeline in Chrome trace JSON of the same window, empty = none
  std::string ftrace;    ///< the tracepoints as Linux prints them, empty = none
  std::string pcap;     ///< every frame that the NIC receives or sends, empty = none
  std::string rx_pcap;  ///< capture that arrives after the steady traffic, empty = none
  /// Frames of it in a second instead of the recorded times; 0 = recorded.
  std::uint64_t rx_frames_per_second = 0;
  bool rx_line_rate = false;  ///< the capture back to back
};

/// What a run tells, in plain figures. Also travels between processes as JSON.
struct RunResult {
  std::string scenario, strategy, dma_mode, device;
  int bind_error = 0;             ///< the driver could not be bound at all
  bool finished = false;          ///< the script ran to its end (false: stopped by an oops, or by the time limit)
  std::uint64_t pages_outstanding = 0;  ///< in flight when the driver began to go
  std::uint64_t unmap_before = 0, unmap_inside = 0, unmap_after = 0;  ///< of the pool, relative to its destroy
  std::uint64_t late_unmaps = 0;        ///< with no driver bound
  std::uint64_t iommu_faults = 0;
  std::uint64_t leaked_pages = 0, leaked_iovas = 0, leaked_mappings = 0;
  sim::Tick unbind = 0;                 ///< duration of device_unbind; of one that never ended, so far
  bool unbind_ended = false;
  bool rebound = false;                 ///< the driver was bound again
  sim::Tick rebind = 0;                 ///< from the begin of the unbind to the end of the second bind
  sim::Tick longest_bh_off = 0;
  std::string longest_bh_off_function, longest_bh_off_chain;
  sim::Tick longest_spin = 0;           ///< of a returner in softirq, for a lock
  std::string longest_spin_lock, longest_spin_chain;
  double cycles_per_packet = 0;         ///< core cycles in the receive poll, steady traffic
  std::uint64_t tracking_bytes = 0;     ///< most that the strategy held
  std::string oops;                     ///< "symbol + 0xaddress", empty = none
  std::vector<std::pair<std::string, std::uint64_t>> findings;  ///< class, count
  std::string digest;
  sim::Tick simulated = 0;
  double cpu_seconds = 0;
  std::uint64_t wakeups = 0;
  std::uint64_t packets = 0;
  std::uint64_t read = 0;               ///< datagrams and segments that users read
  std::uint64_t alloc_failed = 0;       ///< refills of the receive ring that got no page
  std::vector<std::string> warnings;    ///< of the modelled kernel, each once
  bool dma_debug = false;               ///< dma-debug was on
  std::uint64_t dma_debug_errors = 0;   ///< that it found
  std::uint64_t dma_debug_pending = 0;  ///< mappings that it saw left at unbinds
  std::uint64_t dma_debug_forgotten = 0;  ///< that a bulk unmap crossed out
  bool dma_debug_disabled = false;      ///< it ran out of entries
  std::uint64_t swiotlb_full = 0;       ///< mappings refused for lack of bounce slots
  std::uint64_t scanned_pfns = 0;       ///< that strategies asked for, walking the memory
  std::uint64_t pools = 0;              ///< page_pools that were made
  std::uint64_t hotplug_steps = 0, hotplug_errors = 0;  ///< of memory
  sim::Tick longest_hotplug_wait = 0;   ///< of such a step for those who walk the memory
  std::string held_by;                  ///< "20 x UDP socket receive queue, ...": what is left of destroyed pools

  /// "dma_not_owned x 3, late_unmap x 256", or "".
  std::string findings_text() const;
  nlohmann::ordered_json to_json() const;
  static RunResult from_json(const nlohmann::ordered_json& json);
};

class ScenarioRun {
 public:
  /// Builds the machine. Throws sim::Error for what cannot be built.
  ScenarioRun(const RunConfig& config, RunOptions options);
  ~ScenarioRun();

  /// Runs to the end of the script, an oops, or the time limit. Once.
  RunResult run();
  /// The same in steps, for who stops in between: start(), run the timeline until scenario_ended() or last_tick(),
  /// finish().
  void start();
  /// The trigger of the waveform has come; true without a trigger.
  bool triggered() const;
  bool scenario_ended() const;
  sim::Tick last_tick() const;
  RunResult finish();
  /// Ends the run at once, as at the end of the script: outputs become whole and finish() tells what there is. Any
  /// time, signal handlers too.
  void interrupt();
  /// Waveform, timeline and packets are complete on disk. finish() does it, too.
  void close_outputs();

  platform::Machine& machine() { return *machine_; }
  checker::Checker& checker() { return *checker_; }
  Script& script() { return *script_; }
  /// The story of the run for people: dmesg, findings with holders, pools, statistics.
  std::string report() const;
  nlohmann::ordered_json report_json() const;
  /// Every pool as netlink shows it, with all statistics, and below it every page in flight: who holds it, and
  /// for how long at the end of the run.
  std::string dump_pools() const;

 private:
  void arm_waveform();
  void on_finding(const checker::Finding& finding);
  RunConfig config_;
  RunOptions options_;
  std::unique_ptr<platform::Machine> machine_;
  std::unique_ptr<checker::Checker> checker_;
  std::unique_ptr<Script> script_;
  std::unique_ptr<platform::PcapWriter> pcap_;
  std::unique_ptr<waveforms::VcdWriter> vcd_;
  std::function<bool(const checker::Finding&)> trigger_finding_;  // is it what the waveform waits for?
  std::unique_ptr<trace::PerfettoRecorder> perfetto_;
  std::unique_ptr<trace::FtraceWriter> ftrace_;
  double cpu_before_ = 0;
  RunResult result_;
};

/// CPU time of this process.
double cpu_seconds();

}  // namespace scenario
