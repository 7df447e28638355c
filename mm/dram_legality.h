// SPDX-License-Identifier: Apache-2.0
// Checks a stream of DRAM commands of one channel against JEDEC's rules, from the timing parameters alone. It
// shares no table and no code with the scheduler: it keeps the times of past commands and asks, for each new
// one, every question of the standard. For tests and for anyone who writes another scheduler.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "mm/dram_channel.h"

namespace mm {

class DramLegalityChecker final : public DramCommandListener {
 public:
  DramLegalityChecker(const DramTiming& timing, unsigned ranks);

  void on_command(const DramCommandRecord& record) override;

  std::uint64_t commands() const { return commands_; }
  std::uint64_t violations() const { return violations_; }
  /// The first few violations, one a line: "cycle 812: RD rank 0 group 1 bank 2: tRCD 16, got 15 (ACT at
  /// 797)".
  const std::vector<std::string>& messages() const { return messages_; }

 private:
  static constexpr std::int64_t kLongAgo = -1'000'000;
  struct Bank {
    bool open = false;
    std::uint32_t row = 0;
    std::int64_t act = kLongAgo, pre = kLongAgo, rd = kLongAgo, wr = kLongAgo, ref_sb = kLongAgo;
  };
  struct Group {
    std::int64_t act = kLongAgo, rd = kLongAgo, wr = kLongAgo;
  };
  struct Rank {
    std::vector<Bank> banks;
    std::vector<Group> groups;
    std::vector<std::int64_t> acts;  // the last four
    std::int64_t act = kLongAgo, pre = kLongAgo, rd = kLongAgo, wr = kLongAgo, ref = kLongAgo;
    std::int64_t ref_sb = kLongAgo;
  };

  void at_least(const char* rule, std::int64_t since, std::int64_t cycles);
  void require(bool ok, const char* rule);
  void violation(const std::string& text);
  void check_activate(Rank& rank, Group& group, Bank& bank);
  void check_column(Rank& rank, Group& group, Bank& bank, bool write);
  void check_precharge(Rank& rank, Bank& bank);
  void check_refresh(Rank& rank);
  void check_same_bank_refresh(Rank& rank);
  void precharge_itself(Bank& bank);

  DramTiming t_;
  std::vector<Rank> ranks_;
  std::int64_t bus_free_ = kLongAgo;   // first free cycle of the command bus
  std::int64_t data_free_ = kLongAgo;  // first free cycle of the data bus
  DramCommandRecord now_{};
  std::uint64_t commands_ = 0, violations_ = 0;
  std::vector<std::string> messages_;
};

}  // namespace mm
