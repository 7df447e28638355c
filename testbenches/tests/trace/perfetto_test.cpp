// SPDX-License-Identifier: Apache-2.0
// A timeline must hold together: slices nest, every flow begins on the wire and ends where its page came
// back.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "testbenches/replay/replay.h"
#include "testbenches/scenario/run.h"
#include "testbenches/tests/trace/timeline_reader.h"
#include "testbenches/tests/waveforms/vcd_reader.h"
#include "waveforms/trace_events.h"

namespace {

using sim::kMicrosecond;
using sim::kNanosecond;

std::string temporary(const std::string& name) {
  return ::testing::TempDir() + std::to_string(::getpid()) + "_" + name;
}

std::string first(const std::vector<std::string>& errors) { return errors.empty() ? "" : errors.front(); }

scenario::RunConfig configure(const std::vector<std::string>& assignments = {}) {
  scenario::RunConfig config;
  scenario::load(config, POOLSIM_SOURCE_DIR "/testbenches/scenarios/unbind_short.yaml", assignments);
  return config;
}

std::size_t steps(const Timeline& t, const std::string& track, char step) {
  std::size_t n = 0;
  for (const auto& [id, points] : t.flows) {
    for (const auto& p : points)
      n += p.step == step && t.threads.at(p.thread).find(track) != std::string::npos;
  }
  return n;
}

// ---- the file

TEST(TraceEventFile, WhatIsNestedStaysNestedAtWholeNanoseconds) {
  const std::string path = temporary("nest.json");
  waveforms::TraceEventFile file(path);
  file.process(1, "p");
  const waveforms::Track t = file.thread(1, "t");
  // Both end within one nanosecond; rounding to the nearest would let the inner one end later.
  file.slice(t, "outer", 100'400'000, 200'900'000);
  file.slice(t, "inner", 100'600'000, 200'800'000);
  file.begin(t, "open", 300 * kNanosecond);
  file.close(400 * kNanosecond);
  const Timeline read(path);
  EXPECT_EQ(first(read.errors), "");
  ASSERT_EQ(read.on("t").size(), 3u);
  EXPECT_EQ(read.on("t")[2].end, 400);
  EXPECT_FALSE(std::filesystem::exists(path + ".part"));
}

TEST(TraceEventFile, OnlyWhatTouchesTheWindowIsWritten) {
  const std::string path = temporary("window.json");
  waveforms::TraceEventFile file(path, 10 * kMicrosecond, 20 * kMicrosecond);
  file.process(1, "p");
  const waveforms::Track t = file.thread(1, "t");
  file.slice(t, "before", 1 * kMicrosecond, 9 * kMicrosecond);
  file.begin(t, "into", 9 * kMicrosecond + 1);
  file.end(t, 11 * kMicrosecond);
  file.instant(t, "early", 9 * kMicrosecond);
  file.slice(t, "inside", 12 * kMicrosecond, 13 * kMicrosecond);
  file.begin(t, "out of it", 19 * kMicrosecond);
  file.end(t, 30 * kMicrosecond);
  file.slice(t, "after", 21 * kMicrosecond, 22 * kMicrosecond);
  file.close(40 * kMicrosecond);
  const Timeline read(path);
  EXPECT_EQ(first(read.errors), "");
  std::vector<std::string> names;
  for (const auto& s : read.on("t")) names.push_back(s.name);
  EXPECT_EQ(names, (std::vector<std::string>{"into", "inside", "out of it"}));
  EXPECT_TRUE(read.instants.empty());
}

TEST(TraceEventFile, TextIsEscaped) {
  const std::string path = temporary("escape.json");
  waveforms::TraceEventFile file(path);
  file.process(1, "a \"quoted\" \\ name");
  const waveforms::Track t = file.thread(1, "t\n");
  file.slice(t, "x\ty", 0, 1, waveforms::TraceArgs().add("k", std::string_view("\"")));
  file.close(1);
  const Timeline read(path);
  EXPECT_EQ(read.processes.at(1), "a \"quoted\" \\ name");
  EXPECT_EQ(read.threads.at(1), "t\n");
}

TEST(TraceEventFile, AForkedChildLeavesItAlone) {
  const std::string path = temporary("fork.json");
  waveforms::TraceEventFile file(path);
  file.process(1, "p");
  const waveforms::Track t = file.thread(1, "t");
  const pid_t child = ::fork();
  if (child == 0) {
    for (int i = 0; i < 100'000; ++i) file.slice(t, "of the child", 0, 1);
    file.close(1);
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_FALSE(std::filesystem::exists(path));
  file.slice(t, "of the parent", 0, 1);
  file.close(1);
  ASSERT_EQ(Timeline(path).on("t").size(), 1u);
}

TEST(TraceEventFile, AFileThatCannotBeWrittenIsAnError) {
  EXPECT_THROW(waveforms::TraceEventFile("/nonexistent/x.json"), sim::Error);
  EXPECT_THROW(waveforms::TraceEventFile(temporary("x.json"), 2, 1), sim::Error);
}

// ---- a run

TEST(Perfetto, ARunHoldsTogetherAndShowsEveryPart) {
  const std::string path = temporary("run.json");
  scenario::RunOptions options;
  options.perfetto = path;
  scenario::ScenarioRun run(configure({"pool.strategy=stock", "scenario.device=stays"}), options);
  const scenario::RunResult result = run.run();
  ASSERT_FALSE(result.findings.empty());
  const Timeline t(path);
  EXPECT_EQ(first(t.errors), "") << t.errors.size();
  for (const char* track : {"wire RX", "core 0 task", "core 0 softirq", "core 0 hardirq", "walker 0",
                            "ch0 bank group 0", "pool 1"}) {
    EXPECT_FALSE(t.on(track).empty()) << track;
  }
  // One flow a packet, from the wire through a queue and a softirq.
  EXPECT_EQ(t.flows.size(), result.packets);
  EXPECT_EQ(steps(t, "wire RX", 's'), result.packets);
  EXPECT_EQ(steps(t, "RX queue", 't'), result.packets);
  EXPECT_GE(steps(t, "softirq", 't'), result.packets);
  EXPECT_EQ(steps(t, "", 'f'), result.packets);
  EXPECT_EQ(steps(t, "still out", 'f'), 0u);  // all came back in the end
  // Pages in flight as the run says: all of them at the unbind, none at the end.
  const auto& in_flight = t.counters.at("pool 1 in flight");
  EXPECT_EQ(in_flight.back().second, 0);
  double most = 0;
  for (const auto& [at, value] : in_flight) most = std::max(most, value);
  EXPECT_GE(most, static_cast<double>(result.pages_outstanding));
  EXPECT_FALSE(t.counters.at("IOTLB hit rate").empty());
  EXPECT_FALSE(t.counters.at("skbs in flight").empty());
  EXPECT_EQ(t.instants.at("dma_unmap without a driver"), result.late_unmaps);
  EXPECT_GE(t.global_instants, result.findings.size());
}

TEST(Perfetto, WatchingChangesNothing) {
  std::string digests[2];
  for (int watched = 0; watched < 2; ++watched) {
    scenario::RunOptions options;
    if (watched != 0) options.perfetto = temporary("watched.json");
    int channel[2];
    ASSERT_EQ(::pipe(channel), 0);
    if (::fork() == 0) {  // SystemC elaborates once a process
      scenario::ScenarioRun run(configure(), options);
      const std::string digest = run.run().digest;
      ::_exit(::write(channel[1], digest.data(), digest.size()) == static_cast<ssize_t>(digest.size()) ? 0
                                                                                                       : 1);
    }
    int status = 0;
    ::wait(&status);
    ASSERT_EQ(status, 0);
    digests[watched].resize(32);
    ASSERT_EQ(::read(channel[0], digests[watched].data(), 32), 32);
  }
  EXPECT_EQ(digests[0], digests[1]);
}

TEST(Perfetto, AnInterruptedRunLeavesAWholeFile) {
  const std::string path = temporary("interrupted.json");
  scenario::RunOptions options;
  options.perfetto = path;
  scenario::ScenarioRun run(configure(), options);
  run.machine().kernel().trace().device_unbinding.subscribe(
      [&](const kernel::DeviceUnbinding&) { run.interrupt(); });
  const scenario::RunResult result = run.run();
  EXPECT_FALSE(result.finished);
  const Timeline t(path);
  EXPECT_EQ(first(t.errors), "");
  EXPECT_EQ(t.flows.size(), result.packets);
  EXPECT_EQ(steps(t, "still out", 'f'), result.pages_outstanding);
}

TEST(Perfetto, AWindowHoldsTogetherToo) {
  const std::string path = temporary("window_run.json");
  scenario::RunOptions options;
  options.perfetto = path;
  scenario::ScenarioRun run(configure(), options);
  // From the middle of the traffic to the middle of what is held.
  run.run();
  const Timeline whole(path);
  const auto& wire = whole.on("wire RX");
  ASSERT_GT(wire.size(), 20u);
  const std::int64_t from = wire[wire.size() / 3].begin + 10, to = wire[wire.size() * 2 / 3].end - 10;
  const std::string part = temporary("window_part.json");
  if (const pid_t child = ::fork(); child != 0) {
    int status = 0;
    ::waitpid(child, &status, 0);
    ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) <= 1) << status;  // 1: findings
  } else {
    // Elaborated already: a process of its own for the second machine.
    ::execl(POOLSIM_COMMAND, "poolsim", "run", POOLSIM_SOURCE_DIR "/testbenches/scenarios/unbind_short.yaml",
            "--digest", "--perfetto", part.c_str(), "--from", (std::to_string(from) + " ns").c_str(), "--to",
            (std::to_string(to) + " ns").c_str(), nullptr);
    ::_exit(127);
  }
  const Timeline t(part);
  EXPECT_EQ(first(t.errors), "");
  EXPECT_FALSE(t.flows.empty());
  EXPECT_LT(t.flows.size(), whole.flows.size());
  for (const auto& [thread, slices] : t.slices) {
    for (const auto& s : slices) {
      EXPECT_LE(s.begin, to + 1) << s.name;
      EXPECT_GE(s.end, from - 1) << s.name;
    }
  }
}

TEST(Waveform, ATriggerCutsOutWhatWasAroundTheFinding) {
  scenario::RunOptions options;
  options.vcd = temporary("trigger.vcd");
  options.trigger = "finding:late_unmap";
  options.trigger_before = 20 * kMicrosecond;
  options.trigger_after = 10 * kMicrosecond;
  scenario::ScenarioRun run(configure({"scenario.device=stays"}), options);
  run.run();
  ASSERT_TRUE(run.triggered());
  sim::Tick found = 0;
  for (const checker::Finding& f : run.checker().findings().all()) {
    if (f.kind == checker::FindingClass::kLateUnmap) found = f.first;
  }
  ASSERT_NE(found, 0u);
  const Vcd vcd = read_vcd(options.vcd);
  EXPECT_EQ(vcd.first, found - options.trigger_before);
  EXPECT_EQ(vcd.last, found + options.trigger_after);
  EXPECT_TRUE(std::ranges::any_of(vcd.signals, [](const auto& s) { return s.second.changes.size() > 1; }));
}

TEST(Waveform, WhatIsNoTriggerIsRefused) {
  scenario::RunOptions options;
  options.vcd = temporary("refused.vcd");
  options.trigger = "finding:late_unmaps";
  scenario::ScenarioRun run(configure(), options);
  try {
    run.start();
    FAIL();
  } catch (const sim::Error& e) {
    EXPECT_NE(std::string(e.what()).find("finding:late_unmap'"), std::string::npos) << e.what();
  }
}

TEST(Perfetto, AReplayedCaptureHasATimelineToo) {
  replay::ReplayOptions options;
  options.capture = POOLSIM_SOURCE_DIR "/testbenches/data/captures/prefix2-remove.txt.gz";
  options.perfetto = temporary("replay.json");
  const replay::Replay result = replay::replay(options);
  ASSERT_TRUE(result.comparison.agree);
  const Timeline t(options.perfetto);
  EXPECT_EQ(first(t.errors), "");
  EXPECT_FALSE(t.on("pool 1").empty());
  EXPECT_GE(t.instants.at("dma_unmap without a driver"), 1u);
  EXPECT_GE(t.global_instants, 1u);  // the oops
}

}  // namespace
