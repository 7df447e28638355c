// SPDX-License-Identifier: Apache-2.0
// Row hammer: how often the neighbours of each row were activated since it was last refreshed or activated
// itself. Listens to the commands of one channel. When a row's count reaches the threshold, `disturbed` is
// called and the count begins again.
//
// A REF refreshes the next rows of every bank, so that 8192 of them (DDR5: per bank by REFsb as well) pass
// over all. Only rows that were disturbed take host memory.
#pragma once
#include <cstdint>
#include <functional>
#include <unordered_map>

#include "mm/dram_channel.h"

namespace mm {

class RowDisturbance final : public DramCommandListener {
 public:
  using Disturbed = std::function<void(const DramAddress& victim)>;
  /// `threshold` activations of neighbours; above 0.
  RowDisturbance(const DramTiming& timing, unsigned ranks, std::uint64_t threshold, Disturbed disturbed);

  void on_command(const DramCommandRecord& record) override;
  /// Activations of the neighbours since the row was last restored.
  std::uint64_t count(const DramAddress& row) const;

 private:
  static constexpr unsigned kRefreshesOfAll = 8192;
  std::uint64_t key(unsigned rank, unsigned group, unsigned bank, std::uint32_t row) const;
  void hammer(const DramCommandRecord& aggressor, std::uint32_t row);
  void restore(unsigned rank, unsigned bank_of_rank, std::uint32_t first);

  unsigned groups_, banks_, rows_, rows_a_refresh_;
  std::uint64_t threshold_;
  Disturbed disturbed_;
  std::unordered_map<std::uint64_t, std::uint64_t> counts_;  // looked up, never walked
  std::vector<std::uint32_t> next_row_;                      // per bank: what the next refresh restores
};

}  // namespace mm
