// SPDX-License-Identifier: Apache-2.0
// Event lines of one op of a pool script: events of the same kind, pool and attributes are merged into one
// line at the place of the first, with the page ids in order of happening.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace conform {

/// "1-64,70" : runs of +1 or -1, greedy from the left; 0 (null) never joins a run.
std::string format_ids(const std::vector<std::uint64_t>& ids);

class PoolEvents {
 public:
  /// An event with a page: printed as `+<head> ids=<ids><tail>`.
  void page(std::string head, std::uint64_t id, std::string tail);
  /// An event without pages: `+<text>`, never merged.
  void plain(std::string text);
  void clear() { lines_.clear(); }
  void print(std::string& out) const;

 private:
  struct Line {
    std::string head, tail;
    std::vector<std::uint64_t> ids;
    bool mergeable;
  };
  std::vector<Line> lines_;
};

}  // namespace conform
