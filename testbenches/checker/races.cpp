// SPDX-License-Identifier: Apache-2.0
#include "testbenches/checker/races.h"

#include <algorithm>

#include "testbenches/checker/checker.h"

namespace checker {
namespace {

using Kind = kernel::MemoryAccess::Kind;

bool writes(Kind k) { return k != Kind::kLoad && k != Kind::kMarkedLoad; }
bool plain(Kind k) { return k == Kind::kLoad || k == Kind::kStore; }

}  // namespace

RaceDetector::RaceDetector(unsigned cores, Report report)
    : cores_(cores), report_(std::move(report)), now_(cores, Clock(cores)) {
  for (unsigned cpu = 0; cpu < cores; ++cpu) now_[cpu][cpu] = 1;
}

void RaceDetector::join(Clock& to, const Clock& from) {
  for (std::size_t i = 0; i < to.size(); ++i) to[i] = std::max(to[i], from[i]);
}

RaceDetector::Clock& RaceDetector::object(std::uint64_t id) {
  return objects_.try_emplace(id, cores_).first->second;
}

void RaceDetector::on(const kernel::Ordered& e) {
  Clock& mine = now_[e.cpu];
  if (e.acquire) {
    join(mine, object(e.object));
  } else {
    join(object(e.object), mine);
    ++mine[e.cpu];
  }
}

void RaceDetector::compare(const kernel::MemoryAccess& e, unsigned other, const Last& last,
                           bool last_writes) {
  if (last.at == 0 || other == e.cpu || last.at <= now_[e.cpu][other] || !(last.plain || plain(e.kind)))
    return;
  const auto chain = kernel::CallChain(last.chain, last.depth);
  report_({e.field,
           {other, last_writes, last.plain, chain_text(chain), last.time},
           {e.cpu, writes(e.kind), plain(e.kind), chain_text(e.chain), e.time}});
}

void RaceDetector::on(const kernel::MemoryAccess& e) {
  Location& place = locations_.try_emplace(e.address).first->second;
  if (place.reads.empty()) place.reads.resize(cores_);
  // What a marked access sees was published before it.
  if (e.kind == Kind::kMarkedLoad || e.kind == Kind::kAtomic) join(now_[e.cpu], object(e.address));
  compare(e, place.writer, place.write, true);
  if (writes(e.kind)) {
    for (unsigned cpu = 0; cpu < cores_; ++cpu) compare(e, cpu, place.reads[cpu], false);
  }
  Last& mine = writes(e.kind) ? place.write : place.reads[e.cpu];
  if (writes(e.kind)) place.writer = e.cpu;
  mine.at = now_[e.cpu][e.cpu];
  mine.plain = plain(e.kind);
  mine.time = e.time;
  mine.depth = static_cast<std::uint8_t>(std::min<std::size_t>(e.chain.size(), kChain));
  std::copy_n(e.chain.begin(), mine.depth, mine.chain);
  if (e.kind == Kind::kMarkedStore || e.kind == Kind::kAtomic) {
    join(object(e.address), now_[e.cpu]);
    ++now_[e.cpu][e.cpu];
  }
}

}  // namespace checker
