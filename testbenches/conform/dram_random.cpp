// SPDX-License-Identifier: Apache-2.0
// Random traffic for the legality checker.
#include <fmt/format.h>

#include <ostream>

#include "mm/dram_channel.h"
#include "mm/dram_legality.h"
#include "sim/random.h"
#include "testbenches/conform/dram_conform.h"

namespace conform {
namespace {

/// One channel under traffic whose character changes every few hundred requests.
class RandomTraffic {
 public:
  RandomTraffic(const mm::DramConfig& config, std::uint64_t seed)
      : random_(seed, 0, "dram_random"),
        timing_(config.resolved_timing()),
        mapping_(config.mapping, timing_, 1, config.ranks),
        channel_(timing_, config.channel()),
        checker_(timing_, config.ranks) {
    channel_.report_writes(true);
    channel_.listen(&checker_);
  }

  void run(std::uint64_t commands) {
    while (checker_.commands() < commands) {
      if (left_ == 0) new_phase();
      channel_.advance(now_);
      while (left_ != 0 && now_ >= next_arrival_) {
        const bool write = random_.below(100) < write_percent_;
        if (!channel_.has_room(write)) break;
        channel_.enqueue(now_, write, address(), 0);
        next_arrival_ = now_ + random_.below(2 * gap_ + 1);
        --left_;
      }
      channel_.step(now_);
      while (channel_.next_completion() <= now_) channel_.pop();
      const sim::Cycle event = std::min(channel_.next_command(), channel_.next_completion());
      now_ = std::max(now_ + 1, std::min(event, next_arrival_));
    }
  }
  const mm::DramLegalityChecker& checker() const { return checker_; }

 private:
  void new_phase() {
    left_ = 100 + random_.below(400);
    gap_ = random_.below(3) == 0 ? random_.below(200) : 0;
    write_percent_ = random_.below(3) == 0 ? 0 : random_.below(101);
    rows_ = random_.below(2) == 0 ? timing_.rows : 1 + random_.below(4);
    banks_ = random_.below(3) == 0 ? 1 + random_.below(3) : 64;
    // Sometimes silence, up to a few refreshes.
    next_arrival_ = now_ + (random_.below(4) == 0 ? random_.below(3 * timing_.refi) : 0);
  }
  mm::DramAddress address() {
    mm::DramAddress a = mapping_.decode(random_.below(std::uint64_t{1} << 40) / 64 * 64);
    a.row = static_cast<std::uint32_t>(a.row % rows_);
    if (banks_ < 64) {
      const auto b = static_cast<std::uint32_t>(random_.below(banks_));
      a.bank_group = b % timing_.bank_groups;
      a.bank = b / timing_.bank_groups % timing_.banks;
    }
    return a;
  }

  sim::RandomStream random_;
  mm::DramTiming timing_;
  mm::AddressMapping mapping_;
  mm::DramChannel channel_;
  mm::DramLegalityChecker checker_;
  sim::Cycle now_ = 0, next_arrival_ = 0;
  std::uint64_t left_ = 0, gap_ = 0, write_percent_ = 0, rows_ = 1, banks_ = 64;
};

}  // namespace

int run_dram_random(const mm::DramConfig& config, std::uint64_t commands, std::uint64_t seed,
                    std::ostream& out, std::ostream& err) {
  config.validate();
  std::vector<std::pair<std::string, mm::DramConfig>> variants;
  for (const auto& [scheduler, s] : mm::dram_schedulers()) {
    for (const auto& [policy, p] : mm::page_policies()) {
      for (const bool same_bank : {false, true}) {
        if (same_bank && !config.resolved_timing().has_same_bank_refresh()) continue;
        mm::DramConfig c = config;
        c.scheduler = s;
        c.page_policy = p;
        c.same_bank_refresh = same_bank;
        c.age_cap_cycles = 300;
        variants.emplace_back(
            fmt::format("{} {} {}", scheduler, policy, same_bank ? "same_bank" : "all_bank"), c);
      }
    }
  }
  std::uint64_t violations = 0;
  for (const auto& [name, variant] : variants) {
    RandomTraffic traffic(variant, seed);
    traffic.run((commands + variants.size() - 1) / variants.size());
    const mm::DramLegalityChecker& checker = traffic.checker();
    out << fmt::format("{:<26} {:>10} commands {} violations\n", name, checker.commands(),
                       checker.violations());
    for (const std::string& m : checker.messages()) err << name << ": " << m << '\n';
    violations += checker.violations();
  }
  return violations == 0 ? 0 : 1;
}

}  // namespace conform
