// SPDX-License-Identifier: Apache-2.0
// A small machine, brought to the point where it gets interesting, and from there on run by a schedule.
//
// A *story* is what happens: a set-up (pages out, pools made) and two or more racers, tasks that then run at the
// same time. It is kernel code that uses the real pool, DMA API, IOMMU and drivers, and names no strategy and no
// result. What goes wrong is the checker's to say.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "nic/driver/igb.h"
#include "nic/driver/igbvf.h"
#include "testbenches/checker/checker.h"
#include "testbenches/explore/history.h"
#include "testbenches/explore/schedule.h"
#include "testbenches/explore/watch.h"
#include "testbenches/scenario/scenario.h"

namespace explore {

/// `explore.*` of a scenario file.
struct ExploreConfig {
  std::string story = "return_vs_destroy";
  unsigned pages = 4;                               ///< pages out when the race begins
  unsigned packets = 2;                             ///< frames of stories with the NIC
  unsigned pool_size = 1;                           ///< slots of the pool's ring: returns beyond it leave the pool
  sim::Tick longest_hold = 5 * sim::kMillisecond;   ///< cores are held at most this long for something to happen
  sim::Tick tail = 150 * sim::kMillisecond;         ///< from the end of the last racer to the end of the run
  sim::Tick patience = 300 * sim::kMillisecond;     ///< a racer that has not ended by then never will
  /// Points and wake-ups without any change of pages, mappings, devices, pools and packets that are a livelock.
  std::uint64_t futile_steps = 200'000;
  sim::Tick shutdown_bound = 120 * sim::kMillisecond;  ///< for a pool to end after its destroy
};

struct StageConfig {
  scenario::RunConfig run;
  ExploreConfig explore;
};
/// Scenario parameters of the machine and `explore.*`. `config` must outlive the set.
void register_all(platform::ParameterSet& set, StageConfig& config);
/// Defaults of a small machine, then file, environment, assignments. Throws sim::Error.
void load(StageConfig& config, const std::string& file, const std::vector<std::string>& assignments);
/// The same as a.b=c: what differs from the defaults, wherever it was set. Throws sim::Error.
std::vector<std::string> settings_of(const std::string& file, const std::vector<std::string>& assignments);

class Stage;
struct Racer {
  unsigned cpu;
  std::string name;
  std::function<void()> body;
};
struct Story {
  const char* key;
  const char* summary;
  std::function<void(Stage&)> set_up;                 ///< task context on core 0
  std::function<std::vector<Racer>(Stage&)> racers;
  std::function<void(Stage&)> end{};                  ///< task context, after the racers; may be missing
  std::vector<std::string> settings{};                ///< a.b=c that it needs: cores, DMA mode
  bool uses_pages = true, uses_packets = false;       ///< explore.pages, explore.packets change what happens
};
const std::vector<Story>& stories();
/// One more, for this process: tests of the explorer bring their own.
void add_story(Story story);
/// sim::Error with the nearest key when there is none.
const Story& find_story(std::string_view key);

/// What one schedule led to.
struct StageResult {
  bool finished = false;
  sim::Tick simulated = 0;
  std::uint64_t wakeups = 0;
  std::string digest;
};

class Stage {
 public:
  /// Builds the machine. One a process.
  explicit Stage(const StageConfig& config);
  ~Stage();

  /// Runs to the race window.
  void warm_up();
  /// Puts the oracle in charge and runs to the end.
  StageResult race(ScheduleOracle& oracle);

  const StageConfig& config() const { return config_; }
  platform::Machine& machine() { return machine_; }
  kernel::Kernel& kernel() { return machine_.kernel(); }
  checker::Checker& checker() { return checker_; }

  /// What every core that is not running was in the middle of, and for how many cycles; ends with a zero.
  /// Calling context: a signal handler (no allocation).
  void note_held_cores(char* to, std::size_t size);

  /// Called with each new finding of the race, complete with its other side. Before race().
  void on_new_finding(std::function<void(const checker::Finding&)> call) {
    on_new_finding_ = std::move(call);
  }

  // --- for stories ---
  /// Makes the IOMMU work and binds a device whose driver has a page_pool and nothing else.
  void bind_device();
  /// The same device's driver again, after an unbind.
  void rebind_device();
  /// Makes the IOMMU work and binds the NIC: the physical function, one virtual function with one receive queue, its
  /// `pool`, and the socket that its frames are for.
  void bind_nic();
  /// `n` frames for the virtual function, from `start` on (in the past: now). `for_nobody`: to a port without a socket,
  /// so that the poll itself frees them. Any context.
  void send_frames(unsigned n, bool for_nobody = false, sim::Tick start = 0);
  /// A second device with a driver and a pool of its own: `other`.
  void bind_other_device();
  /// One more pool of the driver of bind_device().
  std::shared_ptr<pagepool::Pool> make_pool();
  /// Takes `n` pages out of the pool; what the pool keeps besides goes back to the page allocator.
  void take_pages(pagepool::Pool& pool, unsigned n);
  /// What kfree_skb does with a page: to its pool, or to the page allocator.
  void return_page(sim::Pfn page);
  /// Pages [from, to) of those that are out.
  void return_pages(std::size_t from, std::size_t to);

  kernel::Device *device = nullptr, *other_device = nullptr;
  std::shared_ptr<pagepool::Pool> pool, other;
  std::vector<sim::Pfn> out;
  nic::UdpSocket* socket = nullptr;  ///< of bind_nic()
  std::vector<nic::Skb*> skbs;       ///< over pages of `out`
  std::shared_ptr<void> state;       ///< a story's own
  sim::Tick flush_timer_at = 0;      ///< when the flush queue's timer is due

 private:
  class PoolDriver;
  void probe_iommu();
  bool run(sim::Tick end);
  void tell_stuck(const Stuck& stuck);
  void judge_racers();
  void note_other_side(checker::Finding& finding);

  StageConfig config_;
  platform::Machine machine_;
  checker::Checker checker_;
  std::unique_ptr<checker::RaceDetector> races_;
  std::unique_ptr<PoolDriver> driver_, other_driver_;
  std::unique_ptr<nic::IgbDriver> pf_driver_;
  std::unique_ptr<nic::IgbvfDriver> vf_driver_;
  std::vector<Racer> racers_;
  std::vector<kernel::Task*> tasks_;
  std::unique_ptr<Watch> watch_;
  std::unique_ptr<History> history_;
  std::function<void(const checker::Finding&)> on_new_finding_;
  const kernel::Core* accused_ = nullptr;  // by a finding that no running code makes
  unsigned running_ = 0;
  bool warm_ = false, ended_ = false;
};

}  // namespace explore
