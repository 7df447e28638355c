// SPDX-License-Identifier: Apache-2.0
#include "testbenches/explore/dpor.h"

#include <algorithm>
#include <bit>

namespace explore {

void Dpor::learn(const Record* records, std::uint32_t n) {
  struct Transition {
    std::size_t node;
    Party core;
    Access access;
    std::vector<std::uint32_t> clock;  // per core: transitions that happened before, itself included
  };
  std::vector<Transition> run;
  std::vector<Access> pending(cores_);
  std::vector<std::vector<std::uint32_t>> clock_of(cores_, std::vector<std::uint32_t>(cores_));
  std::vector<std::uint32_t> steps_of(cores_);
  std::size_t depth = 0;
  for (std::uint32_t i = 0; i < n; ++i) {
    const Record& r = records[i];
    if (r.running == kQueueParty) continue;
    if (r.running < cores_) pending[r.running] = {r.subject, r.writes, true};
    const Party chosen = r.parties[r.answer];
    if (r.answer >= 5 || chosen >= cores_) continue;  // time
    if (depth == path_.size()) {
      Node node;
      node.running = r.running;
      node.count = r.count;
      node.natural = r.parties[0];
      for (unsigned a = 0; a < std::min<unsigned>(r.n, 5); ++a) {
        if (r.parties[a] < cores_) node.enabled |= 1u << r.parties[a];
      }
      node.backtrack = node.done = 1u << chosen;
      node.chosen = chosen;
      node.next = pending;
      if (depth > 0) {
        // Who was tried at the last node, or slept there, sleeps on if its step does not touch what was done.
        const Node& last = path_[depth - 1];
        const Access& did = last.next[last.chosen];
        for (unsigned q = 0; q < cores_; ++q) {
          const bool asleep = ((last.sleep | (last.done & ~(1u << last.chosen))) >> q & 1) != 0;
          const bool apart = !did.known || !last.next[q].known || !dependent(did, last.next[q]);
          if (asleep && q != last.chosen && apart) {
            node.sleep |= 1u << q;
          }
        }
      }
      path_.push_back(std::move(node));
    }
    const Access access = pending[chosen];
    Transition t{depth, chosen, access, clock_of[chosen]};
    ++depth;
    // The last dependent step of another core that does not happen before this one: they race.
    if (access.known) {
      for (std::size_t j = run.size(); j-- > 0;) {
        const Transition& earlier = run[j];
        if (earlier.core == chosen || !earlier.access.known || !dependent(earlier.access, access)) continue;
        const std::uint32_t its_step = earlier.clock[earlier.core];
        if (clock_of[chosen][earlier.core] < its_step) {
          Node& node = path_[earlier.node];
          if ((node.enabled >> chosen & 1) != 0) {
            node.backtrack |= 1u << chosen;
          } else {
            node.backtrack |= node.enabled;
          }
          break;
        }
      }
      for (const Transition& earlier : run) {
        if (earlier.access.known && dependent(earlier.access, access)) {
          for (unsigned q = 0; q < cores_; ++q) t.clock[q] = std::max(t.clock[q], earlier.clock[q]);
        }
      }
    }
    t.clock[chosen] = ++steps_of[chosen];
    clock_of[chosen] = t.clock;
    pending[chosen].known = false;
    run.push_back(std::move(t));
  }
  path_.resize(std::min(path_.size(), depth));
}

bool Dpor::next(Schedule& schedule) {
  while (!path_.empty()) {
    Node& node = path_.back();
    const std::uint32_t open = node.backtrack & ~node.done & ~node.sleep;
    if (open != 0) {
      node.chosen = static_cast<Party>(std::countr_zero(open));
      node.done |= 1u << node.chosen;
      break;
    }
    path_.pop_back();
  }
  if (path_.empty()) return false;
  schedule.clear();
  for (const Node& node : path_) {
    if (node.chosen != node.natural) schedule.push_back({node.running, node.count, node.chosen});
  }
  return true;
}

}  // namespace explore
