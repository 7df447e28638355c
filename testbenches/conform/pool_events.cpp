// SPDX-License-Identifier: Apache-2.0
#include "testbenches/conform/pool_events.h"

namespace conform {

std::string format_ids(const std::vector<std::uint64_t>& ids) {
  std::string out;
  for (std::size_t i = 0; i < ids.size();) {
    std::size_t end = i + 1;
    if (ids[i] != 0 && end < ids.size() && ids[end] != 0) {
      std::int64_t step = static_cast<std::int64_t>(ids[end] - ids[i]);
      if (step == 1 || step == -1) {
        while (end < ids.size() && ids[end] != 0 &&
               static_cast<std::int64_t>(ids[end] - ids[end - 1]) == step)
          ++end;
      }
    }
    if (!out.empty()) out += ',';
    out += std::to_string(ids[i]);
    if (end - i > 1) out += '-' + std::to_string(ids[end - 1]);
    i = end;
  }
  return out;
}

void PoolEvents::page(std::string head, std::uint64_t id, std::string tail) {
  for (Line& line : lines_) {
    if (line.mergeable && line.head == head && line.tail == tail) {
      line.ids.push_back(id);
      return;
    }
  }
  lines_.push_back({std::move(head), std::move(tail), {id}, true});
}

void PoolEvents::plain(std::string text) { lines_.push_back({std::move(text), {}, {}, false}); }

void PoolEvents::print(std::string& out) const {
  for (const Line& line : lines_) {
    out += '+';
    out += line.head;
    if (line.mergeable) {
      out += " ids=";
      out += format_ids(line.ids);
      out += line.tail;
    }
    out += '\n';
  }
}

}  // namespace conform
