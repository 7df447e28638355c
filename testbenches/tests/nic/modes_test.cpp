// SPDX-License-Identifier: Apache-2.0
// The device under timed traffic: equal digests in the three modes of keeping time, conservation of frames,
// and order, with a driver that recycles descriptors, a link that holds back, and moderated interrupts.
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>

#include "nic_host.h"

namespace {

using namespace nic;
using nic_test::Host;
using nic_test::plain_frame;

/// Sends random frames at random times, held back by the wire when it is full.
class Generator final : public sim::Clocked {
 public:
  Generator(Host& h, std::uint64_t frames, sim::Cycle mean_gap)
      : Clocked(h.sim.timeline(), sim::Clock::from_hz(1'000'000'000)),
        h_(h),
        left_(frames),
        mean_gap_(mean_gap),
        random_(h.sim.random("generator")) {
    poke(0);
  }
  std::uint64_t left() const { return left_; }

  sim::Wakeup tick(sim::Cycle now) override {
    if (left_ == 0) return sim::Wakeup::never();
    if (now < next_) return sim::Wakeup::at(next_);
    if (!h_.wire.ready()) return sim::Wakeup::at(next_ = now + 20);
    const auto frame = make();
    h_.wire.request(true, 0, frame.data(), static_cast<unsigned>(frame.size()));
    --left_;
    next_ = now + 1 + random_.below(2 * mean_gap_);
    return sim::Wakeup::at(next_);
  }

 private:
  std::vector<std::uint8_t> make() {
    const std::uint64_t kind = random_.below(16);
    std::array<std::uint8_t, 6> to{0x02, 0x55, 0, 0, 0, static_cast<std::uint8_t>(random_.below(3))};
    if (kind == 0) to = {0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF};
    std::size_t bytes = 60 + random_.below(kind < 8 ? 10 : 1454);
    if (kind == 1) bytes = random_.below(60);
    auto f = plain_frame(std::max<std::size_t>(bytes, 14), to);
    f.resize(bytes);
    return f;
  }
  Host& h_;
  std::uint64_t left_;
  sim::Cycle mean_gap_;
  sim::RandomStream random_;
  sim::Cycle next_ = 5000;
};

/// A driver that polls its rings every so often and posts what it has emptied, through timed register writes.
class Driver final : public sim::Clocked {
 public:
  Driver(Host& h, std::vector<unsigned> queues, unsigned size, sim::Cycle period)
      : Clocked(h.sim.timeline(), sim::Clock::from_hz(500'000'000)),
        h_(h),
        queues_(std::move(queues)),
        size_(size),
        period_(period) {
    poke(0);
  }
  std::uint64_t received = 0;
  bool stop = false;

  sim::Wakeup tick(sim::Cycle now) override {
    if (stop) return sim::Wakeup::never();
    if (now < next_) return sim::Wakeup::at(next_);
    next_ = now + period_;
    for (unsigned q : queues_) poll(q);
    return sim::Wakeup::at(next_);
  }

 private:
  void poll(unsigned q) {
    unsigned& at = position_[q];
    bool any = false;
    while (h_.rx_descriptor(q, at).dd()) {
      h_.sim.note(sim::digest_tag("driver"), q << 16 | at, h_.rx_descriptor(q, at).qw1);
      h_.post(q, at);
      at = (at + 1) % size_;
      ++received;
      any = true;
    }
    const std::uint32_t tail = (at + size_ - 1) % size_;
    if (any && h_.mmio.ready()) h_.mmio.request(true, nic_test::kBar0 + reg::RDT(q), &tail, 4);
  }
  Host& h_;
  std::vector<unsigned> queues_;
  unsigned size_;
  sim::Cycle period_;
  sim::Cycle next_ = 0;
  std::map<unsigned, unsigned> position_;
};

void prepare(Host& h, unsigned ring, std::uint32_t rxdctl) {
  h.bring_up();
  h.enable_vfs(2);
  h.enable_vmdq(2);
  h.write(reg::GPIE, gpie::MULTIPLE_MSIX | gpie::NSICR | gpie::EIAME);
  for (unsigned vf = 0; vf < 2; ++vf) {
    h.rx_ring(vf, ring, nic_test::kOneBuffer2K | (vf == 0 ? srrctl::DROP_EN : 0), rxdctl, 1,
              Host::vf_bar0(vf), vfreg::RX(0));
    h.msix(0, 0x40 + vf, Host::vf_bar3(vf));
    h.config_write(pci::vf_function(vf), pci::MSIX, pci::MSIX_ENABLE << 16);
    h.write(vfreg::VTIVAR, ivar::VALID, Host::vf_bar0(vf));
    h.write(vfreg::EITR0, eitr::from_us(vf == 0 ? 0 : 20), Host::vf_bar0(vf));
    h.write(vfreg::EIAC, 7, Host::vf_bar0(vf));
    h.write(vfreg::EIMS, 7, Host::vf_bar0(vf));
  }
  h.rx_ring(2, ring, nic_test::kOneBuffer2K | srrctl::DROP_EN, rxdctl);
  h.memory.hold_every = 7;
  h.memory.hold_cycles = 90;
}

TEST(Modes, SleepingEveryCycleAndStepByStepAgree) {
  const sim::TimeMode kModes[] = {{false, true}, {true, true}, {false, false}};
  std::vector<std::unique_ptr<Host>> hosts;
  std::vector<std::unique_ptr<Generator>> generators;
  std::vector<std::unique_ptr<Driver>> drivers;
  const char* names[] = {"skip", "every", "step"};
  for (int m = 0; m < 3; ++m) {
    hosts.push_back(std::make_unique<Host>(names[m], NicConfig{}, sim::SimulationConfig{7, 0, kModes[m]}));
    generators.push_back(std::make_unique<Generator>(*hosts.back(), 400, 400));
    drivers.push_back(std::make_unique<Driver>(*hosts.back(), std::vector<unsigned>{0, 1, 2}, 32, 700));
  }
  for (auto& h : hosts) prepare(*h, 32, dctl::make(8, 4, 4));
  // One kernel drives all three Timelines; each is run to the same time.
  const sim::Tick end = 400 * sim::kMicrosecond;
  for (auto& h : hosts) h->sim.timeline().run_until(end);
  for (auto& h : hosts) h->sim.timeline().run_until(end + 1);
  for (auto& g : generators) EXPECT_EQ(g->left(), 0u);
  EXPECT_GT(drivers[0]->received, 200u);
  for (int m = 0; m < 3; ++m) {
    hosts[m]->nic.check_conservation();
    EXPECT_EQ(hosts[m]->sim.digest().events(), hosts[0]->sim.digest().events()) << names[m];
    EXPECT_EQ(hosts[m]->sim.digest().hex(), hosts[0]->sim.digest().hex()) << names[m];
  }
}

/// POOLSIM_FRAMES=1000000 bin/test_nic --gtest_filter='Conservation.*' is the long form.
std::uint64_t conserved_frames() {
  const char* text = std::getenv("POOLSIM_FRAMES");
  return text != nullptr ? std::strtoull(text, nullptr, 10) : 60'000;
}

TEST(Conservation, WireIsDeliveredPlusCountedDrops) {
  Host h("h", NicConfig{}, sim::SimulationConfig{11, 0, {}});
  const std::uint64_t frames = conserved_frames();
  Generator g(h, frames, 60);  // more than the link and the driver can take
  Driver d(h, {0, 1, 2}, 64, 3000);
  prepare(h, 64, dctl::make(16, 8, 1));
  while (g.left() != 0) {
    h.run(200 * sim::kMicrosecond);
    h.nic.check_conservation();
  }
  h.run(sim::kMillisecond);
  d.stop = true;
  h.settle();
  const NicStats& s = h.nic.stats();
  EXPECT_EQ(s.frames_arrived, frames);
  EXPECT_EQ(s.frames_arrived, s.frames_delivered + s.total_frames_dropped());
  EXPECT_EQ(s.copies_made, s.copies_delivered + s.total_copies_dropped());
  EXPECT_EQ(d.received, s.copies_delivered);  // one descriptor a frame
  EXPECT_GT(s.total_frames_dropped(), 0u);
  EXPECT_GT(s.frames_delivered, frames / 6);
  std::uint64_t by_driver_and_memory = h.sim.payloads().outstanding();
  EXPECT_EQ(by_driver_and_memory, 0u);
}

TEST(Ordering, PayloadThenWriteBackThenInterruptAlways) {
  Host h("h", NicConfig{}, sim::SimulationConfig{5, 0, {}});
  Generator g(h, 3000, 500);
  Driver d(h, {0, 1, 2}, 64, 1500);
  prepare(h, 64, dctl::make(16, 8, 1));
  // Bytes written to a buffer since its descriptor was last posted, per buffer address.
  std::map<std::uint64_t, std::uint32_t> written;
  std::map<unsigned, unsigned> written_back;  // per queue, since its last interrupt
  std::uint64_t checked = 0, interrupts = 0;
  h.memory.observer = [&](const tlm::tlm_generic_payload& p) {
    if (!p.is_write()) return;
    const std::uint64_t at = p.get_address();
    if (at >= nic_test::kBuffers) {
      written[(at - nic_test::kBuffers) >> 12] += p.get_data_length();
      return;
    }
    if (at < nic_test::kRing) {  // doorbell: 0x40 + VF
      std::uint32_t data = 0;
      std::memcpy(&data, p.get_data_ptr(), 4);
      ASSERT_LT(data - 0x40, 2u);
      // None before the first write-back; one that was raised while another waited to leave may come after it.
      EXPECT_GT(checked, 0u);
      written_back[data - 0x40] = 0;
      ++interrupts;
      return;
    }
    const unsigned queue = static_cast<unsigned>((at - nic_test::kRing) >> 12);
    for (unsigned i = 0; i < p.get_data_length() / 16; ++i) {
      RxDescriptor r;
      std::memcpy(&r, p.get_data_ptr() + 16 * i, 16);
      const std::uint64_t index = (at & 0xFFF) / 16 + i;
      auto& bytes = written[(std::uint64_t{queue} << 8) + index];
      EXPECT_EQ(bytes, r.packet_length());
      bytes = 0;
      ++written_back[queue];
      ++checked;
    }
  };
  while (g.left() != 0) h.run(sim::kMillisecond);
  d.stop = true;
  h.settle();
  EXPECT_GT(checked, 2000u);
  EXPECT_GT(interrupts, 100u);
  // Every write-back of the VFs has been told of, at the latest when its moderation ended.
  EXPECT_EQ(written_back[0], 0u);
  EXPECT_EQ(written_back[1], 0u);
}

TEST(Cost, IsIndependentOfIdleQueuesVfsAndRingSize) {
  struct Setup {
    const char* name;
    unsigned idle_queues, vfs, ring;
  };
  const Setup kSetups[] = {{"plain", 0, 0, 64}, {"queues", 7, 0, 64}, {"vfs", 0, 7, 64}, {"ring", 0, 0, 256}};
  std::vector<std::unique_ptr<Host>> hosts;
  std::vector<std::unique_ptr<Driver>> drivers;
  for (const Setup& c : kSetups) {
    hosts.push_back(std::make_unique<Host>(c.name, NicConfig{}, sim::SimulationConfig{3, 0, {}}));
    drivers.push_back(std::make_unique<Driver>(*hosts.back(), std::vector<unsigned>{c.vfs}, c.ring, 500));
  }
  hosts[0]->run(sim::kNanosecond / 2);  // one SystemC kernel drives all; acts fall between edges
  for (std::size_t i = 0; i < hosts.size(); ++i) {
    Host& h = *hosts[i];
    const Setup& c = kSetups[i];
    h.bring_up();
    if (c.vfs != 0) h.enable_vfs(c.vfs);
    h.write(reg::MRQC, c.vfs << 3);  // no VMDq: the default queue, the PF's first, takes all
    for (unsigned q = c.vfs; q <= c.vfs + c.idle_queues; ++q) {
      h.rx_ring(q, c.ring, nic_test::kOneBuffer2K, dctl::make(8, 8, 1));
    }
  }
  hosts[0]->run(100 * sim::kMicrosecond);
  std::vector<std::uint64_t> before;
  for (auto& h : hosts) before.push_back(h->sim.timeline().wakeups());
  for (unsigned i = 0; i < 500; ++i) {
    for (auto& h : hosts) h->send(plain_frame(60));
    hosts[0]->run(2 * sim::kMicrosecond);
  }
  const auto plain = static_cast<double>(hosts[0]->sim.timeline().wakeups() - before[0]);
  EXPECT_GT(plain, 500);
  for (std::size_t i = 0; i < hosts.size(); ++i) {
    EXPECT_EQ(hosts[i]->nic.stats().frames_delivered, 500u) << kSetups[i].name;
    EXPECT_NEAR(static_cast<double>(hosts[i]->sim.timeline().wakeups() - before[i]) / plain, 1.0, 0.01)
        << kSetups[i].name;
  }
}

}  // namespace
