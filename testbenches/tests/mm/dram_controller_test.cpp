// SPDX-License-Identifier: Apache-2.0
// The DRAM controller through its TLM socket: function, latencies, back-pressure, errors, the three time
// modes.
#include "mm/dram_controller.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <random>
#include <tuple>

namespace {

using sim::Cycle;
using sim::PhysAddr;
using sim::Tick;

constexpr PhysAddr kBase(0x8000'0000);
constexpr std::uint64_t kBytes = std::uint64_t{1} << 30;

/// A clocked initiator that sends prepared requests at given ticks and logs the responses.
struct Initiator : sc_core::sc_module, sim::Clocked, tlm::tlm_bw_transport_if<> {
  Initiator(sc_core::sc_module_name name, sim::Simulation& s, sim::Clock clock)
      : sc_module(name), Clocked(s.timeline(), clock), sim(s) {
    socket.bind(*this);
  }
  struct Item {
    Cycle cycle;
    tlm::tlm_command command;
    std::uint64_t address;
    std::size_t length;
    std::uint8_t fill;
    bool posted = false;
  };
  struct Answer {
    Tick sent, received;
    std::uint64_t address;
    tlm::tlm_response_status status;
    sim::CompletionStatus completion;
    std::vector<std::uint8_t> data;
  };
  void plan(Item item) {
    items.push_back(item);
    wake_by(clock().edge(items[next].cycle));
  }
  sim::Wakeup tick(Cycle now) override {
    while (next < items.size() && items[next].cycle <= now && !blocked && outstanding < limit) {
      const Item& i = items[next++];
      sim::Transaction* t = sim.payloads().acquire(i.command, i.address, i.length);
      if (i.command == tlm::TLM_WRITE_COMMAND) std::fill(t->bytes().begin(), t->bytes().end(), i.fill);
      t->tag.posted = i.posted;
      t->user[0] = sim.now();
      tlm::tlm_phase phase = tlm::BEGIN_REQ;
      sc_core::sc_time delay = sim.timeline().outgoing_delay();
      const auto status = socket->nb_transport_fw(*t, phase, delay);
      if (status == tlm::TLM_COMPLETED) {
        finish(*t, sim.timeline().incoming(delay));
      } else {
        ++outstanding;
        if (status == tlm::TLM_ACCEPTED) blocked = true, ++times_blocked;
      }
    }
    if (next == items.size() || blocked || outstanding >= limit) return sim::Wakeup::never();
    return sim::Wakeup::at(items[next].cycle);
  }
  void finish(sim::Transaction& t, Tick received) {
    answers.push_back({t.user[0], received, t.get_address(), t.get_response_status(), t.tag.status, {}});
    if (t.is_read()) answers.back().data.assign(t.bytes().begin(), t.bytes().end());
    t.release();
  }
  tlm::tlm_sync_enum nb_transport_bw(tlm::tlm_generic_payload& p, tlm::tlm_phase& phase,
                                     sc_core::sc_time& delay) override {
    const Tick arrival = sim.timeline().incoming(delay);
    if (phase == tlm::END_REQ) {
      EXPECT_TRUE(blocked);
      blocked = false;
      poke(arrival);
      return tlm::TLM_ACCEPTED;
    }
    EXPECT_EQ(phase, tlm::BEGIN_RESP);
    --outstanding;
    finish(static_cast<sim::Transaction&>(p), arrival);
    poke(arrival);
    return tlm::TLM_COMPLETED;
  }
  void invalidate_direct_mem_ptr(sc_dt::uint64, sc_dt::uint64) override {}

  tlm::tlm_initiator_socket<64> socket;
  sim::Simulation& sim;
  std::vector<Item> items;
  std::size_t next = 0;
  std::vector<Answer> answers;
  bool blocked = false;
  unsigned outstanding = 0, limit = 1000, times_blocked = 0;
};

struct Bench {
  explicit Bench(const char* name, sim::TimeMode mode = {}, mm::DramConfig config = {},
                 sim::Clock initiator_clock = mm::dram_standard("DDR4-2400R").clock)
      : sim(name, {1, 0, mode}),
        store(kBase, kBytes),
        initiator((std::string(name) + "_initiator").c_str(), sim, initiator_clock),
        dram((std::string(name) + "_dram").c_str(), sim, store, config) {
    initiator.socket.bind(dram.port);
  }
  double stat(std::string_view wanted) {
    double found = -1;
    dram.stats([&](std::string_view name, double value, std::string_view) {
      if (name == wanted) found = value;
    });
    return found;
  }
  sim::Simulation sim;
  mm::SparseStore store;
  Initiator initiator;
  mm::DramController dram;
};

Cycle latency(const Bench& b, std::size_t i) {
  const auto& a = b.initiator.answers.at(i);
  return b.dram.clock().at_or_before(a.received) - b.dram.clock().at_or_before(a.sent);
}

TEST(DramController, UnloadedLatenciesAreTheClosedForms) {
  Bench b("b");
  const auto& t = mm::dram_standard("DDR4-2400R");
  const std::uint64_t row = std::uint64_t{1} << (6 + 7 + 2 + 2);  // mapping "ro"
  b.initiator.plan({100, tlm::TLM_READ_COMMAND, kBase.value, 64, 0});
  b.initiator.plan({300, tlm::TLM_READ_COMMAND, kBase.value + 128, 64, 0});
  b.initiator.plan({500, tlm::TLM_READ_COMMAND, kBase.value + row, 8, 0});
  b.initiator.plan({700, tlm::TLM_WRITE_COMMAND, kBase.value + 4, 4, 9});
  b.initiator.plan({900, tlm::TLM_READ_COMMAND, kBase.value + 256 + 32, 64, 0});  // two bursts
  b.sim.timeline().run_until(sim::kMicrosecond * 2);
  ASSERT_EQ(b.initiator.answers.size(), 5u);
  EXPECT_EQ(latency(b, 0), 1 + t.rcd + t.cl + 4);
  EXPECT_EQ(latency(b, 1), 1 + t.cl + 4);
  EXPECT_EQ(latency(b, 2), 1 + t.rp + t.rcd + t.cl + 4);
  EXPECT_EQ(latency(b, 3), 1u);  // ordered when queued
  EXPECT_EQ(latency(b, 4), 1 + t.cl + 4 + t.ccd_l);
  EXPECT_EQ(b.stat("commands_ACT"), 3);
  EXPECT_EQ(b.stat("read_latency_max"), t.conflict_cycles());
  EXPECT_EQ(b.sim.payloads().outstanding(), 0u);
}

TEST(DramController, WritesAndReadsTakeEffectInOrderOfAcceptance) {
  Bench b("b");
  b.initiator.plan({10, tlm::TLM_WRITE_COMMAND, kBase.value + 100, 1500, 0xaa});
  b.initiator.plan({10, tlm::TLM_READ_COMMAND, kBase.value + 99, 4, 0});
  b.initiator.plan({10, tlm::TLM_WRITE_COMMAND, kBase.value + 100, 4, 0xbb});
  b.initiator.plan({10, tlm::TLM_READ_COMMAND, kBase.value + 102, 4, 0});
  b.sim.timeline().run_until(sim::kMicrosecond);
  std::map<std::uint64_t, std::vector<std::uint8_t>> read;
  for (const auto& a : b.initiator.answers) read[a.address] = a.data;
  EXPECT_EQ(read[kBase.value + 99], (std::vector<std::uint8_t>{0, 0xaa, 0xaa, 0xaa}));
  EXPECT_EQ(read[kBase.value + 102], (std::vector<std::uint8_t>{0xbb, 0xbb, 0xaa, 0xaa}));
  EXPECT_EQ(b.store.load<std::uint8_t>(kBase + 1599), 0xaa);
  EXPECT_EQ(b.store.load<std::uint8_t>(kBase + 1600), 0);
}

TEST(DramController, BadRequestsAreAnsweredNeverACrash) {
  Bench b("b");
  for (const std::uint64_t address :
       {std::uint64_t{0}, kBase.value - 4, kBase.value + kBytes - 4, ~std::uint64_t{7}}) {
    b.initiator.plan({10, tlm::TLM_READ_COMMAND, address, 8, 0});
    b.initiator.plan({10, tlm::TLM_WRITE_COMMAND, address, 8, 0});
  }
  b.sim.timeline().run_until(sim::kMicrosecond);
  ASSERT_EQ(b.initiator.answers.size(), 8u);
  for (const auto& a : b.initiator.answers) {
    EXPECT_EQ(a.status, tlm::TLM_ADDRESS_ERROR_RESPONSE);
    EXPECT_EQ(a.completion, sim::CompletionStatus::kUnsupportedRequest);
  }
  sim::Transaction* t = b.sim.payloads().acquire(tlm::TLM_READ_COMMAND, kBase.value, 8192);
  sc_core::sc_time delay;
  b.initiator.socket->b_transport(*t, delay);
  EXPECT_EQ(t->get_response_status(), tlm::TLM_BURST_ERROR_RESPONSE);
  t->set_address(kBase.value + kBytes);
  EXPECT_EQ(b.initiator.socket->transport_dbg(*t), 0u);
  t->release();
}

TEST(DramController, BlockingAndDebugCallsShareTheFunction) {
  Bench b("b");
  b.sim.timeline().run_until(0);
  std::uint8_t data[4] = {1, 2, 3, 4}, enable[4] = {0xff, 0, 0xff, 0};
  tlm::tlm_generic_payload p;
  p.set_command(tlm::TLM_WRITE_COMMAND);
  p.set_address(kBase.value + 8);
  p.set_data_ptr(data);
  p.set_data_length(4);
  p.set_streaming_width(4);
  p.set_byte_enable_ptr(enable);
  p.set_byte_enable_length(4);
  sc_core::sc_time delay;
  b.initiator.socket->b_transport(p, delay);
  EXPECT_EQ(p.get_response_status(), tlm::TLM_OK_RESPONSE);
  EXPECT_EQ(b.store.load<std::uint32_t>(kBase + 8), 0x00030001u);
  p.set_command(tlm::TLM_READ_COMMAND);
  p.set_byte_enable_ptr(nullptr);
  b.initiator.socket->b_transport(p, delay);
  EXPECT_THAT(data, ::testing::ElementsAre(1, 0, 3, 0));
  EXPECT_GT(delay, sc_core::sc_time(30, sc_core::SC_NS));
  data[0] = 7;
  p.set_command(tlm::TLM_WRITE_COMMAND);
  EXPECT_EQ(b.initiator.socket->transport_dbg(p), 4u);
  EXPECT_EQ(b.store.load<std::uint8_t>(kBase + 8), 7);
}

TEST(DramController, BackPressureLosesNothing) {
  Bench b("b", {}, {.read_queue = 8, .write_queue = 4, .write_high = 4, .write_low = 1});
  sim::RandomStream random(5, 0, "traffic");
  for (unsigned i = 0; i < 3000; ++i) {
    const bool write = random.below(2) != 0;
    b.initiator.plan({10, write ? tlm::TLM_WRITE_COMMAND : tlm::TLM_READ_COMMAND,
                      kBase.value + random.below(kBytes - 4096), 1 + random.below(4096), std::uint8_t(i)});
  }
  b.sim.timeline().run_until(20 * sim::kMillisecond);
  EXPECT_EQ(b.initiator.answers.size(), 3000u);
  EXPECT_GT(b.initiator.times_blocked, 1000u);
  EXPECT_EQ(b.sim.payloads().outstanding(), 0u);
  EXPECT_EQ(b.stat("back_pressure"), b.initiator.times_blocked);
}

TEST(DramController, AFullChannelHoldsUpNobodyElse) {
  mm::DramConfig config{.channels = 2, .read_queue = 2, .refresh = false};
  Bench b("b", {}, config);
  const auto& t = mm::dram_standard("DDR4-2400R");
  // The channel is the lowest bit. Four conflicts in one bank of channel 0 fill its queue and block the
  // socket ...
  const std::uint64_t row = std::uint64_t{1} << (7 + 7 + 2 + 2);
  for (unsigned i = 0; i < 3; ++i)
    b.initiator.plan({100, tlm::TLM_READ_COMMAND, kBase.value + i * row, 64, 0});
  b.sim.timeline().run_until(sim::kMicrosecond);
  EXPECT_EQ(b.initiator.times_blocked, 1u);
  EXPECT_EQ(b.stat("ch0.back_pressure"), 1);
  EXPECT_EQ(b.stat("ch1.back_pressure"), 0);
  // ... while reads of channel 1, with two waiting in channel 0, do not wait.
  b.initiator.plan({2000, tlm::TLM_READ_COMMAND, kBase.value + 3 * row, 64, 0});
  b.initiator.plan({2000, tlm::TLM_READ_COMMAND, kBase.value + 4 * row, 64, 0});
  b.initiator.plan({2000, tlm::TLM_READ_COMMAND, kBase.value + 64, 64, 0});
  b.sim.timeline().run_until(3 * sim::kMicrosecond);
  ASSERT_EQ(b.initiator.answers.size(), 6u);
  EXPECT_EQ(b.initiator.answers[3].address, kBase.value + 64);
  EXPECT_EQ(latency(b, 3), t.closed_cycles());
  EXPECT_EQ(b.initiator.times_blocked, 1u);
}

TEST(DramController, PoisonTravelsWithTheData) {
  Bench b("b");
  b.dram.faults().flip(kBase + 64, 0);
  b.dram.faults().flip(kBase + 128, 0);
  b.dram.faults().flip(kBase + 129, 0);
  for (unsigned i = 0; i < 3; ++i)
    b.initiator.plan({10 + i, tlm::TLM_READ_COMMAND, kBase.value + i * 64, 64, 0});
  b.initiator.plan({500, tlm::TLM_WRITE_COMMAND, kBase.value + 128, 64, 7});
  b.initiator.plan({600, tlm::TLM_READ_COMMAND, kBase.value + 128, 64, 0});
  b.sim.timeline().run_until(sim::kMicrosecond);
  std::map<std::uint64_t, std::vector<tlm::tlm_response_status>> status;
  for (const auto& a : b.initiator.answers) status[a.address - kBase.value].push_back(a.status);
  EXPECT_THAT(status[0], ::testing::ElementsAre(tlm::TLM_OK_RESPONSE));
  EXPECT_THAT(status[64], ::testing::ElementsAre(tlm::TLM_OK_RESPONSE));
  EXPECT_THAT(status[128], ::testing::ElementsAre(tlm::TLM_GENERIC_ERROR_RESPONSE, tlm::TLM_OK_RESPONSE,
                                                  tlm::TLM_OK_RESPONSE));
  EXPECT_EQ(b.stat("ecc_corrected"), 1);
  EXPECT_EQ(b.stat("ecc_uncorrectable"), 1);
  // A poisoned write leaves poison behind.
  sim::Transaction* w = b.sim.payloads().acquire(tlm::TLM_WRITE_COMMAND, kBase.value + 256, 8);
  w->tag.poisoned = true;
  sc_core::sc_time delay;
  b.initiator.socket->b_transport(*w, delay);
  w->release();
  sim::Transaction* r = b.sim.payloads().acquire(tlm::TLM_READ_COMMAND, kBase.value + 256, 4);
  b.initiator.socket->b_transport(*r, delay);
  EXPECT_EQ(r->get_response_status(), tlm::TLM_GENERIC_ERROR_RESPONSE);
  EXPECT_TRUE(r->tag.poisoned);
  r->release();
}

TEST(DramController, HammeredRowsLoseBits) {
  Bench b("b", {}, {.refresh = false, .disturbance_threshold = 50});
  const std::uint64_t row = std::uint64_t{1} << (6 + 7 + 2 + 2);
  // Rows 4 and 6 of one bank in turn: row 5 is disturbed by both, 3 and 7 by one.
  for (unsigned i = 0; i < 60; ++i) {
    b.initiator.plan({100 + i * 100, tlm::TLM_READ_COMMAND, kBase.value + (i % 2 == 0 ? 4 : 6) * row, 64, 0});
  }
  b.sim.timeline().run_until(10 * sim::kMicrosecond);
  EXPECT_EQ(b.stat("row_disturbances"), 1);
  EXPECT_EQ(b.dram.faults().counters().flips, 1u);
  EXPECT_FALSE(b.dram.faults().empty());
  EXPECT_EQ(b.dram.disturbance({.row = 5}), 10u);
  EXPECT_EQ(b.dram.disturbance({.row = 3}), 30u);
  EXPECT_EQ(b.dram.disturbance({.row = 7}), 30u);
  // Somewhere in row 5 one word is corrected.
  std::vector<std::uint8_t> data(8192);
  EXPECT_EQ(b.dram.faults().read(kBase + 5 * row, 8192, data.data()), mm::EccOutcome::kCorrected);
}

TEST(DramController, TwelveThousandTimesRefreshedForNothing) {
  Bench b("b");
  b.initiator.plan({10, tlm::TLM_READ_COMMAND, kBase.value, 64, 0});
  b.sim.timeline().run_until(30 * sim::kSecond);
  EXPECT_LT(b.sim.timeline().wakeups(), 10u);
  // 30 s / 9364 cycles of 1/1.2 GHz
  EXPECT_EQ(b.stat("commands_REF"), 30ull * 1'200'000'000 / 9364);
}

/// Digest, answers and probe values of random traffic in one mode of keeping time; a process of its own,
/// because SystemC has one time for all machines of a process.
std::string digest_of_traffic(sim::TimeMode mode) {
  int fd[2];
  if (::pipe(fd) != 0) return "no pipe";
  const pid_t child = ::fork();
  if (child == 0) {
    const mm::DramConfig config{
        .channels = 2, .ranks = 2, .read_queue = 8, .write_queue = 8, .write_high = 6, .write_low = 2};
    Bench b("b", mode, config, sim::Clock::from_hz(1'000'000'000));
    sim::RandomStream random(5, 0, "traffic");
    Cycle at = 10;
    for (unsigned i = 0; i < 2000; ++i) {
      const bool write = random.below(3) == 0;
      b.initiator.plan({at, write ? tlm::TLM_WRITE_COMMAND : tlm::TLM_READ_COMMAND,
                        kBase.value + random.below(kBytes - 4096), 1 + random.below(i % 7 == 0 ? 2048 : 64),
                        std::uint8_t(i)});
      at += i % 50 == 0 ? random.below(12'000) : random.below(60);
    }
    b.sim.timeline().run_until(500 * sim::kMicrosecond);
    std::string out = b.sim.digest().hex() + fmt::format(" {} answers", b.initiator.answers.size());
    std::uint64_t hash = 0;
    for (const auto& a : b.initiator.answers) hash = hash * 1'000'003 + a.received;
    for (const sim::Probe* p : b.sim.probes().probes()) hash = hash * 1'000'003 + p->value();
    out += fmt::format(" {:x} REF {}", hash, b.stat("commands_REF"));
    ::_exit(::write(fd[1], out.data(), out.size()) == static_cast<ssize_t>(out.size()) ? 0 : 1);
  }
  ::close(fd[1]);
  std::string out(256, '\0');
  const ssize_t n = ::read(fd[0], out.data(), out.size());
  ::close(fd[0]);
  int status = -1;
  ::waitpid(child, &status, 0);
  out.resize(n > 0 && status == 0 ? static_cast<std::size_t>(n) : 0);
  return out;
}

TEST(DramController, ThreeWaysToKeepTimeGiveOneDigest) {
  const std::string skip = digest_of_traffic({});
  EXPECT_THAT(skip, ::testing::HasSubstr("2000 answers"));
  EXPECT_EQ(skip, digest_of_traffic({true, true}));
  EXPECT_EQ(skip, digest_of_traffic({false, false}));
}

/// Two benches of the same traffic, writes posted in one of them: their responses come at once, with the time at which
/// those of the other come.
TEST(DramController, PostedWritesAreAnsweredAtOnceForTheSameTime) {
  Bench plain("plain"), posted("posted");
  std::mt19937 random(7);
  Cycle cycle = 100;
  for (unsigned i = 0; i < 3000; ++i) {
    cycle += random() % 16;
    const bool write = random() % 3 != 0;
    const std::uint64_t address = kBase.value + (random() & 0x3f'ffc0);
    const std::size_t length = random() % 8 == 0 ? 256 : 64;
    for (Bench* b : {&plain, &posted}) {
      b->initiator.plan({cycle, write ? tlm::TLM_WRITE_COMMAND : tlm::TLM_READ_COMMAND, address, length,
                         static_cast<std::uint8_t>(i), write && b == &posted});
    }
  }
  plain.sim.timeline().run_until(1000 * sim::kMicrosecond);
  posted.sim.timeline().run_until(1000 * sim::kMicrosecond);
  const auto by_sending = [](Bench& b) {
    auto answers = b.initiator.answers;
    std::stable_sort(answers.begin(), answers.end(), [](const auto& x, const auto& y) {
      return std::tie(x.sent, x.address) < std::tie(y.sent, y.address);
    });
    return answers;
  };
  const auto expected = by_sending(plain), got = by_sending(posted);
  ASSERT_EQ(expected.size(), 3000u);
  ASSERT_EQ(got.size(), 3000u);
  for (std::size_t i = 0; i < got.size(); ++i) {
    ASSERT_EQ(got[i].sent, expected[i].sent) << i;
    ASSERT_GE(got[i].received, expected[i].received) << i;
    ASSERT_LE(got[i].received, expected[i].received + sim::kPicosecond) << i;
    ASSERT_EQ(got[i].data, expected[i].data) << i;
  }
  EXPECT_GT(posted.initiator.times_blocked, 0u) << "traffic that the queues have always room for";
  EXPECT_EQ(posted.initiator.times_blocked, plain.initiator.times_blocked);
  for (const char* counter : {"write_bursts_hit", "write_bursts_conflict", "read_latency_max", "commands_ACT"}) {
    EXPECT_EQ(posted.stat(counter), plain.stat(counter)) << counter;
  }
  EXPECT_LT(posted.sim.timeline().wakeups(), plain.sim.timeline().wakeups());
  EXPECT_EQ(posted.sim.payloads().outstanding(), 0u);
}

TEST(DramController, BadConfigurationsNameTheField) {
  const auto message = [](mm::DramConfig c) {
    try {
      c.validate();
    } catch (const sim::Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  EXPECT_THAT(message({.standard = "DDR5-4800"}), ::testing::HasSubstr("did you mean 'DDR5-4800BN'"));
  EXPECT_THAT(message({.channels = 3}), ::testing::HasSubstr("dram.channels"));
  EXPECT_THAT(message({.mapping = "ilx"}), ::testing::HasSubstr("unknown field 'ilx'"));
  EXPECT_THAT(message({.write_high = 40}), ::testing::HasSubstr("dram.write_high"));
  EXPECT_EQ(message({}), "");
}

}  // namespace
