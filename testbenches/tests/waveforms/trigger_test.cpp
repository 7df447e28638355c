// SPDX-License-Identifier: Apache-2.0
// Waveforms that go back in time when something happens, and the same waveform in another format.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>

#include "sim/error.h"
#include "sim/simulation.h"
#include "vcd_reader.h"
#include "waveforms/fst.h"
#include "waveforms/vcd.h"
#ifdef POOLSIM_FST
#include <fstapi.h>
#endif

namespace {

using sim::kNanosecond;

std::string scratch(const std::string& name) {
  return (std::filesystem::temp_directory_path() / ("poolsim_" + std::to_string(::getpid()) + "_" + name))
      .string();
}

/// Counts at each edge of a clock, and tells at the wanted count.
struct Counter : sim::Clocked {
  explicit Counter(sim::Simulation& s)
      : Clocked(s.timeline(), sim::Clock(10 * kNanosecond)),
        count(s.probes(), "toy.count", 40),
        low(s.probes(), "toy.low", 1),
        state(s.probes(), "toy.state", 2, {"idle", "busy", "done"}) {
    tick_by(0);
  }
  sim::Wakeup tick(sim::Cycle now) override {
    count.set(now);
    low.set(now & 1);
    state.set(now / 8 % 3);
    if (now == alarm && tell) tell();
    return sim::Wakeup::at(now + 1);
  }
  sim::Probe count, low, state;
  sim::Cycle alarm = sim::kNeverCycle;
  std::function<void()> tell;
};

/// Everything that `part` shows, `whole` shows too, and the other way round within its window.
void expect_same_in_window(const Vcd& whole, const Vcd& part) {
  ASSERT_EQ(whole.signals.size(), part.signals.size());
  for (const auto& [name, signal] : part.signals) {
    const auto& reference = whole.signals.at(name);
    for (const auto& [t, value] : signal.changes) EXPECT_EQ(reference.at(t), value) << name << " at " << t;
    const auto inside = std::ranges::count_if(
        reference.changes, [&](auto& c) { return c.first > part.first && c.first <= part.last; });
    EXPECT_EQ(static_cast<std::size_t>(inside) + 1, signal.changes.size()) << name;
  }
}

TEST(Trigger, TheWaveformGoesBackFromIt) {
  sim::Simulation s;
  Counter counter(s);
  waveforms::VcdWriter whole(s.probes(), scratch("whole.vcd"));
  // Probes have one listener: a second simulation runs the same for the armed one.
  sim::Simulation s2("second");
  Counter armed_counter(s2);
  waveforms::VcdWriter armed(s2.probes(), scratch("armed.vcd"),
                             {.before = 105 * kNanosecond, .after = 45 * kNanosecond});
  armed_counter.alarm = 500;
  armed_counter.tell = [&] { armed.trigger(); };
  EXPECT_EQ(armed.triggered_at(), sim::kNever);
  s.timeline().run_until(9'000 * kNanosecond);
  s2.timeline().run_until(9'000 * kNanosecond);
  whole.close();
  armed.close();
  EXPECT_EQ(armed.triggered_at(), 5'000 * kNanosecond);
  const Vcd w = read_vcd(whole.path()), a = read_vcd(armed.path());
  EXPECT_EQ(a.first, 4'895 * kNanosecond);
  EXPECT_EQ(a.last, 5'045 * kNanosecond);
  EXPECT_EQ(a.signals.at("poolsim.toy.count").at(4'899 * kNanosecond), 489u);
  EXPECT_EQ(a.signals.at("poolsim.toy.count").at(5'000 * kNanosecond),
            500u);  // the stamp of the trigger is whole
  expect_same_in_window(w, a);
}

TEST(Trigger, OnlyTheFirstCounts) {
  sim::Simulation s;
  Counter counter(s);
  waveforms::VcdWriter armed(s.probes(), scratch("first.vcd"),
                             {.before = 20 * kNanosecond, .after = 20 * kNanosecond});
  counter.alarm = 10;
  counter.tell = [&] {
    armed.trigger();
    counter.alarm += 100;
  };
  s.timeline().run_until(5'000 * kNanosecond);
  armed.close();
  const Vcd a = read_vcd(armed.path());
  EXPECT_EQ(a.first, 80 * kNanosecond);
  EXPECT_EQ(a.last, 120 * kNanosecond);
}

TEST(Trigger, AtTheBeginThereIsNothingBefore) {
  sim::Simulation s;
  Counter counter(s);
  waveforms::VcdWriter armed(s.probes(), scratch("begin.vcd"),
                             {.before = sim::kMicrosecond, .after = 20 * kNanosecond});
  counter.alarm = 3;
  counter.tell = [&] { armed.trigger(); };
  s.timeline().run_until(500 * kNanosecond);
  armed.close();
  const Vcd a = read_vcd(armed.path());
  EXPECT_EQ(a.first, 0u);
  EXPECT_EQ(a.last, 50 * kNanosecond);
}

TEST(Trigger, ThatNeverComesLeavesTheValuesOfTheEnd) {
  sim::Simulation s;
  Counter counter(s);
  waveforms::VcdWriter armed(s.probes(), scratch("never.vcd"), {.before = sim::kMicrosecond});
  s.timeline().run_until(500 * kNanosecond);
  armed.close();
  const Vcd a = read_vcd(armed.path());
  EXPECT_EQ(armed.triggered_at(), sim::kNever);
  EXPECT_EQ(a.signals.at("poolsim.toy.count").changes.size(), 1u);
  EXPECT_EQ(armed.changes(), 0u);
}

#ifdef POOLSIM_FST
/// What fstapi itself reads out of the file.
Vcd read_fst(const std::string& path) {
  void* reader = fstReaderOpen(path.c_str());
  if (reader == nullptr) throw std::runtime_error("no FST " + path);
  EXPECT_EQ(fstReaderGetTimescale(reader), -15);
  const std::string text = path + ".vcd";
  std::FILE* out = std::fopen(text.c_str(), "w");
  fstReaderProcessHier(reader, out);
  fstReaderSetFacProcessMaskAll(reader);
  fstReaderIterBlocks(reader, nullptr, nullptr, out);
  std::fclose(out);
  fstReaderClose(reader);
  return read_vcd(text);
}

TEST(Fst, SaysWhatTheVcdSays) {
  ASSERT_TRUE(waveforms::FstFile::available());
  const sim::Tick from = 95 * kNanosecond, to = 900'005 * kNanosecond;
  sim::Simulation s("one"), s2("two");
  Counter counter(s), counter2(s2);
  waveforms::VcdWriter a(s.probes(), scratch("same.vcd"), {.from = from, .to = to});
  waveforms::VcdWriter b(s2.probes(), scratch("same.fst"), {.from = from, .to = to});
  s.timeline().run_until(sim::kMillisecond);
  s2.timeline().run_until(sim::kMillisecond);
  a.close();
  b.close();
  const std::string paths[] = {a.path(), b.path()};
  const Vcd vcd = read_vcd(paths[0]), fst = read_fst(paths[1]);
  ASSERT_EQ(vcd.signals.size(), fst.signals.size());
  for (const auto& [name, signal] : vcd.signals) {
    EXPECT_EQ(signal.bits, fst.signals.at(name).bits) << name;
    EXPECT_GT(signal.changes.size(), 10'000u);
    EXPECT_TRUE(signal.changes == fst.signals.at(name).changes) << name;
  }
  EXPECT_EQ(fst.first, vcd.first);
  // More than half of it are times, which are stored as they are.
  EXPECT_LT(std::filesystem::file_size(paths[1]) * 4, std::filesystem::file_size(paths[0]));
}

TEST(Fst, EqualRunsEqualBytes) {
  sim::Simulation s("one"), s2("two");
  Counter counter(s), counter2(s2);
  waveforms::VcdWriter a(s.probes(), scratch("equal_a.fst")), b(s2.probes(), scratch("equal_b.fst"));
  s.timeline().run_until(100 * sim::kMicrosecond);
  s2.timeline().run_until(100 * sim::kMicrosecond);
  a.close();
  b.close();
  EXPECT_TRUE(read_text(a.path()) == read_text(b.path()));
}

TEST(Fst, AFileThatCannotBeWrittenIsAnError) {
  sim::Simulation s;
  Counter counter(s);
  EXPECT_THROW(waveforms::VcdWriter(s.probes(), "/nonexistent/x.fst"), sim::Error);
}
#else
TEST(Fst, WithoutFstapiItSaysWhatIsMissing) {
  sim::Simulation s;
  Counter counter(s);
  EXPECT_FALSE(waveforms::FstFile::available());
  try {
    waveforms::VcdWriter writer(s.probes(), scratch("x.fst"));
    FAIL();
  } catch (const sim::Error& e) {
    EXPECT_NE(std::string(e.what()).find("verilator"), std::string::npos);
  }
}
#endif

}  // namespace
