// SPDX-License-Identifier: Apache-2.0
#include "waveforms/vcd.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "sim/error.h"
#include "sim/simulation.h"
#include "vcd_reader.h"
#include "waveforms/gtkw.h"
#include "waveforms/select.h"

namespace {

using sim::Clock;
using sim::Cycle;
using sim::Wakeup;

/// A directory of this test's own, gone when it ends.
struct Scratch {
  Scratch() : dir(std::filesystem::temp_directory_path() / ("poolsim_vcd_" + std::to_string(::getpid()))) {
    std::filesystem::create_directories(dir);
  }
  ~Scratch() { std::filesystem::remove_all(dir); }
  std::filesystem::path dir;
};

std::string scratch(const std::string& name) {
  static const Scratch s;
  return (s.dir / name).string();
}

/// A module may leave its probes as they are while nobody listens; who comes first finds them up to date.
TEST(ProbeHub, AreBroughtUpToDateForTheFirstListener) {
  sim::Simulation s("hub");
  sim::Probe one(s.probes(), "one"), two(s.probes(), "two");
  unsigned brought = 0;
  s.probes().refresh_with([&] { two.set(++brought); });
  struct Listener : sim::ProbeListener {
    void on_change(const sim::Probe&, sim::Tick) override { ++changes; }
    unsigned changes = 0;
  } listener;
  EXPECT_FALSE(s.probes().listened());
  two.listen(&listener);
  EXPECT_TRUE(s.probes().listened());
  EXPECT_EQ(two.value(), 1u);
  EXPECT_EQ(listener.changes, 0u);  // that was before it listened
  one.listen(&listener);
  EXPECT_EQ(brought, 1u);
  one.listen(nullptr);
  two.listen(nullptr);
  EXPECT_FALSE(s.probes().listened());
}

/// Two of these pass work to each other; each shows its state, a counter and a busy bit.
struct Station : sim::Clocked {
  Station(sim::Simulation& s, const std::string& name, Clock c, unsigned work)
      : Clocked(s.timeline(), c),
        s(s),
        work(work),
        state(s.probes(), name + ".fsm.state", 2, {"Idle", "Working", "Done"}),
        jobs(s.probes(), name + ".jobs", 17),
        busy(s.probes(), name + ".busy", 1) {}
  void receive() { due = poke(s.now()) + work, has = true; }
  Wakeup tick(Cycle now) override {
    state.set(0);
    if (!has) return Wakeup::never();
    state.set(1);
    busy.set(1);
    if (now < due) return Wakeup::at(due);
    has = false;
    state.set(2);
    busy.set(0);
    jobs.add(1);
    peer->receive();
    return Wakeup::at(now + 1);
  }
  sim::Simulation& s;
  unsigned work;
  sim::Probe state, jobs, busy;
  Station* peer = nullptr;
  Cycle due = 0;
  bool has = false;
};

struct Toy {
  explicit Toy(const char* name, sim::TimeMode mode = {})
      : s(name, {1, 0, mode}),
        a(s, "left", Clock(833'333'333, 1000), 3),
        b(s, "right.east", Clock(1'000'000), 5) {
    a.peer = &b;
    b.peer = &a;
    a.receive();
  }
  sim::Simulation s;
  Station a, b;
};

TEST(Vcd, ReadsBackWhatWasRecorded) {
  sim::Simulation s;
  sim::Probe one(s.probes(), "x.one", 1), wide(s.probes(), "x.y.wide", 64), odd(s.probes(), "top_level", 5);
  struct Steps : sim::Sleeper {
    Steps(sim::Simulation& s, std::vector<std::function<void()>> d)
        : Sleeper(s.timeline()), todo(std::move(d)) {
      sleep_until(0);
    }
    void wake(sim::Tick now) override {
      todo[next++]();
      if (next < todo.size()) sleep_until(now + 7);
    }
    std::vector<std::function<void()>> todo;
    std::size_t next = 0;
  };
  Steps steps(s, {[&] { one.set(1); }, [&] { wide.set(~std::uint64_t{0}), odd.set(3), odd.set(31); },
                  [&] { one.set(0), one.set(1); },  // no change that anyone could see
                  [&] { one.set(0), wide.set(0), odd.set(0x20); }});
  waveforms::VcdWriter vcd(s.probes(), scratch("a.vcd"));
  s.timeline().run_until(100);
  vcd.close();
  const Vcd read = read_vcd(vcd.path());
  EXPECT_EQ(read.timescale, "1 fs");
  EXPECT_FALSE(read.dated);
  using Changes = std::vector<std::pair<std::uint64_t, std::uint64_t>>;
  EXPECT_EQ(read.signals.at("poolsim.x.one").changes, (Changes{{0, 1}, {21, 0}}));
  EXPECT_EQ(read.signals.at("poolsim.x.y.wide").changes, (Changes{{0, 0}, {7, ~std::uint64_t{0}}, {21, 0}}));
  EXPECT_EQ(read.signals.at("poolsim.top_level").changes, (Changes{{0, 0}, {7, 31}, {21, 0}}));
  EXPECT_EQ(read.signals.at("poolsim.x.one").bits, 1u);
  EXPECT_EQ(read.first, 0u);
  EXPECT_EQ(read.last, 100u);
  EXPECT_EQ(vcd.changes(), 5u);
}

TEST(Vcd, SameBytesInAllModesOfKeepingTime) {
  Toy skip("skip"), every("every", {true, true}), step("step", {false, false});
  std::vector<std::unique_ptr<waveforms::VcdWriter>> vcds;
  Toy* toys[] = {&skip, &every, &step};
  for (int i = 0; i < 3; ++i) {
    vcds.push_back(
        std::make_unique<waveforms::VcdWriter>(toys[i]->s.probes(), scratch(std::to_string(i) + ".vcd"),
                                               waveforms::VcdOptions{.to = 90 * sim::kMicrosecond}));
  }
  for (auto* t : toys) t->s.timeline().run_until(100 * sim::kMicrosecond);
  for (auto& v : vcds) v->close();
  const std::string reference = read_text(vcds[0]->path());
  EXPECT_GT(reference.size(), 10'000u);
  EXPECT_TRUE(reference == read_text(vcds[1]->path()));
  EXPECT_TRUE(reference == read_text(vcds[2]->path()));
}

TEST(Vcd, WindowShowsTheSameAsTheWhole) {
  Toy a("a"), b("b");
  const sim::Tick from = 10 * sim::kMicrosecond + 1, to = 20 * sim::kMicrosecond;
  waveforms::VcdWriter whole(a.s.probes(), scratch("whole.vcd"));
  waveforms::VcdWriter window(b.s.probes(), scratch("window.vcd"),
                              {.select = {"left"}, .from = from, .to = to});
  a.s.timeline().run_until(30 * sim::kMicrosecond);
  b.s.timeline().run_until(30 * sim::kMicrosecond);
  whole.close();
  window.close();
  const Vcd w = read_vcd(whole.path()), v = read_vcd(window.path());
  EXPECT_EQ(v.signals.size(), 3u);
  EXPECT_EQ(v.first, from);
  EXPECT_EQ(v.last, to);
  for (const auto& [name, signal] : v.signals) {
    const auto& reference = w.signals.at(name);
    EXPECT_GT(signal.changes.size(), 100u);
    for (const auto& [t, value] : signal.changes) EXPECT_EQ(reference.at(t), value) << name << " at " << t;
    const auto inside =
        std::ranges::count_if(reference.changes, [&](auto& c) { return c.first > from && c.first <= to; });
    EXPECT_EQ(static_cast<std::size_t>(inside) + 1, signal.changes.size()) << name;
  }
}

TEST(Vcd, WindowThatNothingChangesInStillHasItsInitialValues) {
  sim::Simulation s;
  sim::Probe p(s.probes(), "p", 8);
  p.set(42);
  waveforms::VcdWriter vcd(s.probes(), scratch("idle.vcd"), {.from = 10, .to = 20});
  s.timeline().run_until(1000);
  vcd.close();
  const Vcd read = read_vcd(vcd.path());
  EXPECT_EQ(read.first, 10u);
  EXPECT_EQ(read.last, 20u);
  EXPECT_EQ(read.signals.at("poolsim.p").at(15), 42u);
}

TEST(Vcd, ForkedChildHasItsOwnFileAndLeavesTheParentsAlone) {
  Toy toy("toy");
  waveforms::VcdWriter vcd(toy.s.probes(), scratch("parent.vcd"));
  toy.s.timeline().run_until(10 * sim::kMicrosecond);
  const std::string child_file = scratch("child.vcd");
  const pid_t child = ::fork();
  if (child == 0) {
    vcd.on_fork(child_file);
    toy.s.timeline().run_until(12 * sim::kMicrosecond);
    vcd.close();
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  ASSERT_EQ(status, 0);
  toy.s.timeline().run_until(20 * sim::kMicrosecond);
  vcd.close();
  const Vcd w = read_vcd(vcd.path()), c = read_vcd(child_file);
  EXPECT_EQ(w.last, 20 * sim::kMicrosecond);
  const auto& jobs = w.signals.at("poolsim.left.jobs").changes;
  for (std::size_t i = 0; i < jobs.size(); ++i) ASSERT_EQ(jobs[i].second, i) << "lost or written twice";
  EXPECT_EQ(jobs.back().second, toy.a.jobs.value());
  EXPECT_EQ(c.first, 10 * sim::kMicrosecond);
  EXPECT_EQ(c.last, 12 * sim::kMicrosecond);
  for (const auto& [name, signal] : c.signals) {
    for (const auto& [t, value] : signal.changes) EXPECT_EQ(w.signals.at(name).at(t), value) << name;
  }
}

TEST(Vcd, BadInputIsOneClearLine) {
  sim::Simulation s;
  sim::Probe p(s.probes(), "iommu.iotlb.hits", 8);
  const auto message = [&](const std::string& path, waveforms::VcdOptions o) -> std::string {
    try {
      waveforms::VcdWriter vcd(s.probes(), path, std::move(o));
    } catch (const sim::Error& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_EQ(message("/nonexistent/a.vcd", {}),
            "/nonexistent/a.vcd: cannot write the waveform: No such file or directory");
  EXPECT_EQ(message(scratch("b.vcd"), {.select = {"iommu.iotlb.hist"}}),
            "no probe matches 'iommu.iotlb.hist' (did you mean 'iommu.iotlb.hits'?)");
  EXPECT_NE(message(scratch("c.vcd"), {.from = 2, .to = 1}), "");
}

TEST(Select, GlobsAndScopes) {
  using waveforms::glob_match, waveforms::selects;
  EXPECT_TRUE(glob_match("*", ""));
  EXPECT_TRUE(glob_match("a*c*e", "abcde"));
  EXPECT_FALSE(glob_match("a*c*f", "abcde"));
  EXPECT_TRUE(glob_match("nic.?.head", "nic.0.head"));
  EXPECT_FALSE(glob_match("nic.?.head", "nic.10.head"));
  EXPECT_TRUE(selects("iommu", "iommu.iotlb.hits"));
  EXPECT_TRUE(selects("iommu.iotlb", "iommu.iotlb.hits"));
  EXPECT_FALSE(selects("iommu.iot", "iommu.iotlb.hits"));
}

TEST(Gtkw, GroupsFormatsAndStateNames) {
  Toy toy("toy");
  const sim::Probe silent(toy.s.probes(), "left.silent", 8);
  waveforms::VcdWriter vcd(toy.s.probes(), scratch("g.vcd"));
  toy.s.timeline().run_until(10 * sim::kMicrosecond);
  vcd.close();
  const std::string save = scratch("g.gtkw");
  const std::size_t shown = waveforms::write_gtkw(
      save, vcd,
      {{"Left", waveforms::GtkwColor::kGreen, {"left"}, waveforms::GtkwFormat::kDecimal},
       {"No such thing", waveforms::GtkwColor::kRed, {"nothing.*"}},
       {"The rest", waveforms::GtkwColor::kNormal, {"*.busy"}, waveforms::GtkwFormat::kHex, false}},
      5 * sim::kMicrosecond);
  EXPECT_EQ(shown, 4u);
  const std::string text = read_text(save);
  const std::string filters = scratch("g.filters/left.fsm.state.txt");
  EXPECT_EQ(read_text(filters), "0 Idle\n1 Working\n2 Done\n");
  EXPECT_NE(
      text.find("@800200\n-Left\n@2022\n^1 " + filters +
                "\n[color] 4\n+{left/fsm/state} poolsim.left.fsm.state[1:0]\n@24\n"
                "[color] 4\n+{left/jobs} poolsim.left.jobs[16:0]\n@28\n[color] 4\n+{left/busy} poolsim.left.busy\n@1000200\n-Left\n"),
      std::string::npos)
      << text;
  EXPECT_NE(text.find("@c00200\n-The rest\n@28\n+{right/east/busy} poolsim.right.east.busy\n@1401200\n-The rest\n"),
            std::string::npos)
      << text;
  EXPECT_EQ(text.find("silent"), std::string::npos) << "never changed";
  EXPECT_EQ(text.find("No such thing"), std::string::npos);
}

}  // namespace
