// SPDX-License-Identifier: Apache-2.0
#include "mm/row_disturbance.h"

#include <algorithm>

#include "sim/error.h"

namespace mm {

RowDisturbance::RowDisturbance(const DramTiming& timing, unsigned ranks, std::uint64_t threshold,
                               Disturbed disturbed)
    : groups_(timing.bank_groups),
      banks_(timing.banks),
      rows_(timing.rows),
      rows_a_refresh_(std::max(1u, timing.rows / kRefreshesOfAll)),
      threshold_(threshold),
      disturbed_(std::move(disturbed)),
      next_row_(ranks * groups_ * banks_, 0) {
  POOLSIM_ASSERT(threshold > 0);
}

std::uint64_t RowDisturbance::key(unsigned rank, unsigned group, unsigned bank, std::uint32_t row) const {
  return (std::uint64_t{rank * groups_ + group} * banks_ + bank) << 32 | row;
}

std::uint64_t RowDisturbance::count(const DramAddress& a) const {
  const auto found = counts_.find(key(a.rank, a.bank_group, a.bank, a.row));
  return found == counts_.end() ? 0 : found->second;
}

void RowDisturbance::on_command(const DramCommandRecord& r) {
  switch (r.command) {
    case DramCommand::kAct:
      counts_.erase(key(r.rank, r.bank_group, r.bank, r.row));
      if (r.row % rows_ != 0) hammer(r, r.row - 1);
      if ((r.row + 1) % rows_ != 0) hammer(r, r.row + 1);
      break;
    case DramCommand::kRef:
    case DramCommand::kRefSb:
      for (unsigned b = 0; b < groups_ * banks_; ++b) {
        if (r.command == DramCommand::kRefSb && b % banks_ != r.bank) continue;
        std::uint32_t& next = next_row_[r.rank * groups_ * banks_ + b];
        if (!counts_.empty()) restore(r.rank, b, next);
        next = (next + rows_a_refresh_) % rows_;
      }
      break;
    default:
      break;
  }
}

void RowDisturbance::hammer(const DramCommandRecord& aggressor, std::uint32_t row) {
  const std::uint64_t k = key(aggressor.rank, aggressor.bank_group, aggressor.bank, row);
  if (++counts_[k] < threshold_) return;
  counts_.erase(k);
  disturbed_(
      {.rank = aggressor.rank, .bank_group = aggressor.bank_group, .bank = aggressor.bank, .row = row});
}

void RowDisturbance::restore(unsigned rank, unsigned bank, std::uint32_t first) {
  for (std::uint32_t row = first; row < first + rows_a_refresh_; ++row) {
    counts_.erase(key(rank, bank / banks_, bank % banks_, row));
  }
}

}  // namespace mm
