// SPDX-License-Identifier: Apache-2.0
// A kernel with memory and a register bus, without devices. The bus answers MMIO after a latency and behaves,
// at the IOMMU's registers, as much like one as its driver can tell: queues, modes, and commands executed in
// order, with what was invalidated recorded.
#pragma once
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <deque>
#include <map>

#include "iommu/layout.h"
#include "kernel/kernel.h"

namespace testing_kernel {

namespace reg = iommu::reg;
namespace cmd = iommu::cmd;

class Bus final : public sc_core::sc_module, public sim::Clocked, public tlm::tlm_fw_transport_if<> {
 public:
  static constexpr std::uint64_t kIommu = 0x2800'0000;
  static constexpr std::uint64_t kDevice = 0x4000'0000;  // plain registers
  Bus(sc_core::sc_module_name name, sim::Simulation& s, mm::SparseStore& store)
      : sc_module(name), Clocked(s.timeline(), sim::Clock::from_hz(1'000'000'000)), sim_(s), store_(store) {
    socket.bind(*this);
    regs[kIommu + reg::kCapabilities] = iommu::cap::kVersion1_0 | iommu::cap::kSv39 | iommu::cap::kSv48 |
                                        iommu::cap::kSv57 | iommu::cap::pas(56);
  }
  tlm::tlm_target_socket<64> socket{"socket"};
  std::map<std::uint64_t, std::uint64_t> regs;
  std::vector<iommu::Command> commands;
  sim::Cycle latency = 200, fence_latency = 300;
  unsigned capacity = 4;

  tlm::tlm_sync_enum nb_transport_fw(tlm::tlm_generic_payload& p, tlm::tlm_phase& phase,
                                     sc_core::sc_time& delay) override {
    queue_.push_back({&p, poke(sim_.timeline().incoming(delay))});
    wake_by(clock().edge(queue_.back().due + latency));
    if (queue_.size() >= capacity) {
      full_ = &p;
      return tlm::TLM_ACCEPTED;
    }
    phase = tlm::END_REQ;
    return tlm::TLM_UPDATED;
  }
  void b_transport(tlm::tlm_generic_payload&, sc_core::sc_time&) override {}
  bool get_direct_mem_ptr(tlm::tlm_generic_payload&, tlm::tlm_dmi&) override { return false; }
  unsigned transport_dbg(tlm::tlm_generic_payload&) override { return 0; }

  sim::Wakeup tick(sim::Cycle now) override {
    sim::Cycle next = sim::kNeverCycle;
    while (!queue_.empty() && queue_.front().due + latency <= now) {
      tlm::tlm_generic_payload& p = *queue_.front().payload;
      queue_.pop_front();
      access(p, now);
      p.set_response_status(tlm::TLM_OK_RESPONSE);
      const bool was_full = full_ == &p;
      if (was_full) full_ = nullptr;
      if (full_ != nullptr) {
        tlm::tlm_phase end = tlm::END_REQ;
        sc_core::sc_time d = sim_.timeline().outgoing_delay();
        socket->nb_transport_bw(*std::exchange(full_, nullptr), end, d);
      }
      tlm::tlm_phase phase = tlm::BEGIN_RESP;
      sc_core::sc_time delay = sim_.timeline().outgoing_delay();
      socket->nb_transport_bw(p, phase, delay);
    }
    while (!fences_.empty() && fences_.front().first <= now) {
      store_.store<std::uint32_t>(sim::PhysAddr(fences_.front().second.dw1 << 2),
                                  static_cast<std::uint32_t>(fences_.front().second.dw0 >> 32));
      fences_.pop_front();
    }
    if (!queue_.empty()) next = std::min(next, queue_.front().due + latency);
    if (!fences_.empty()) next = std::min(next, fences_.front().first);
    return {next};
  }

 private:
  struct Item {
    tlm::tlm_generic_payload* payload;
    sim::Cycle due;
  };
  void access(tlm::tlm_generic_payload& p, sim::Cycle now) {
    std::uint64_t& value = regs[p.get_address()];
    if (p.is_read()) {
      std::memcpy(p.get_data_ptr(), &value, p.get_data_length());
      return;
    }
    std::uint64_t written = 0;
    std::memcpy(&written, p.get_data_ptr(), p.get_data_length());
    value = written;
    const std::uint64_t offset = p.get_address() - kIommu;
    if (offset == reg::kCqcsr || offset == reg::kFqcsr) value |= (written & 1) << 16;
    if (offset == reg::kCqt) {
      std::uint64_t& head = regs[kIommu + reg::kCqh];
      const std::uint64_t base = iommu::ppn_address(regs[kIommu + reg::kCqb]);
      const std::uint64_t entries = 2ull << (regs[kIommu + reg::kCqb] & 31);
      while (head != written) {
        const sim::PhysAddr at(base + head * 16);
        const iommu::Command c{store_.load<std::uint64_t>(at), store_.load<std::uint64_t>(at + 8)};
        commands.push_back(c);
        if (cmd::opcode(c) == cmd::kIofence) fences_.emplace_back(now + fence_latency, c);
        head = (head + 1) % entries;
      }
    }
  }
  sim::Simulation& sim_;
  mm::SparseStore& store_;
  std::deque<Item> queue_;
  std::deque<std::pair<sim::Cycle, iommu::Command>> fences_;
  tlm::tlm_generic_payload* full_ = nullptr;
};

struct Machine {
  explicit Machine(kernel::KernelConfig config = {}, sim::SimulationConfig time = {},
                   std::uint64_t bytes = std::uint64_t{1} << 30, mm::PageFramesConfig memory = {})
      : s("sim", time),
        store(sim::PhysAddr(0x8000'0000), bytes),
        frames(store, std::move(memory)),
        pages(frames, mm_trace, s.random("buddy")),
        port("cpu_port", s),
        bus("bus", s, store),
        k(s, store, frames, pages, port, config) {
    port.socket.bind(bus.socket);
  }
  /// Runs for at most `seconds` of simulated time.
  void run(double seconds = 100) { s.timeline().run_until(s.now() + static_cast<sim::Tick>(seconds * 1e15)); }
  sim::Simulation s;
  mm::SparseStore store;
  mm::PageFrames frames;
  mm::Trace mm_trace;
  mm::BuddyAllocator pages;
  kernel::CpuPort port;
  Bus bus;
  kernel::Kernel k;
};

/// Runs `body` in a process of its own, because SystemC elaborates once a process; what it returns (up to 64
/// bytes).
inline std::string in_child(const std::function<std::string()>& body) {
  int fd[2];
  if (::pipe(fd) != 0) return "pipe";
  const pid_t child = ::fork();
  if (child == 0) {
    const std::string text = body();
    const bool written = ::write(fd[1], text.data(), text.size()) == static_cast<ssize_t>(text.size());
    ::_exit(written && !::testing::Test::HasFailure() ? 0 : 1);
  }
  ::close(fd[1]);
  std::string text(64, '\0');
  const ssize_t n = ::read(fd[0], text.data(), text.size());
  text.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
  ::close(fd[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  return text;
}

}  // namespace testing_kernel
