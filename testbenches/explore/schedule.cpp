// SPDX-License-Identifier: Apache-2.0
#include "testbenches/explore/schedule.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "sim/error.h"

namespace explore {
namespace {

std::string party_text(Party p) {
  if (p == sim::kTimeParty) return "t";
  if (p == sim::kNoParty) return "n";
  if (p == kQueueParty) return "q";
  return fmt::to_string(p);
}

bool read_party(std::string_view text, Party& party) {
  if (text == "t") return party = sim::kTimeParty, true;
  if (text == "n") return party = sim::kNoParty, true;
  if (text == "q") return party = kQueueParty, true;
  unsigned value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value >= 32) return false;
  party = static_cast<Party>(value);
  return true;
}

}  // namespace

std::string to_text(const Schedule& schedule) {
  std::string text;
  for (const Step& s : schedule) {
    if (!text.empty()) text += ',';
    text += fmt::format("{}.{}>{}", party_text(s.party), s.count, party_text(s.next));
  }
  return text.empty() ? "natural" : text;
}

Schedule parse_schedule(std::string_view text) {
  Schedule schedule;
  if (text == "natural") return schedule;
  while (!text.empty()) {
    const std::string_view step = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.size(), step.size() + 1));
    const std::size_t dot = step.find('.'), arrow = step.find('>');
    Step s;
    std::uint32_t count = 0;
    bool good = dot != step.npos && arrow != step.npos && dot < arrow && read_party(step.substr(0, dot), s.party) &&
                read_party(step.substr(arrow + 1), s.next);
    if (good) {
      const auto [end, error] = std::from_chars(step.data() + dot + 1, step.data() + arrow, count);
      good = error == std::errc{} && end == step.data() + arrow && count != 0;
    }
    if (!good) throw sim::Error(fmt::format("schedule: '{}' is not a step like 0.17>1, 1.3>t or n.2>0", step));
    s.count = count;
    schedule.push_back(s);
  }
  return schedule;
}

void ScheduleOracle::start(const Schedule& schedule, const Policy& policy) {
  schedule_ = schedule;
  policy_ = policy;
  state_ = policy.seed * 0x9e37'79b9'7f4a'7c15 + 0x1234'5678'9abc'def1;
  std::fill(std::begin(counts_), std::end(counts_), 0);
  asked_ = 0;
  next_change_ = 0;
  taken_.clear();
  taken_.reserve(256);
  if (policy_.kind != Policy::Kind::kPct) return;
  // A random order of the cores and of time, all above the places that change points lead to.
  std::vector<Party> order;
  for (unsigned c = 0; c < policy_.cores; ++c) order.push_back(static_cast<Party>(c));
  order.push_back(sim::kTimeParty);
  for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random(i)]);
  for (std::size_t i = 0; i < order.size(); ++i) {
    priority_[order[i]] = static_cast<std::uint32_t>(policy_.change_at.size() + 1 + i);
  }
}

// splitmix64: a stream for one schedule, from its seed alone.
std::uint64_t ScheduleOracle::random(std::uint64_t below) {
  std::uint64_t z = state_ += 0x9e37'79b9'7f4a'7c15;
  z = (z ^ (z >> 30)) * 0xbf58'476d'1ce4'e5b9;
  z = (z ^ (z >> 27)) * 0x94d0'49bb'1331'11eb;
  z ^= z >> 31;
  return static_cast<std::uint64_t>((static_cast<unsigned __int128>(z) * below) >> 64);
}

std::uint32_t ScheduleOracle::by_priority(const sim::ChoicePoint& point) {
  if (next_change_ < policy_.change_at.size() && asked_ >= policy_.change_at[next_change_]) {
    const Party running = point.running == sim::kNoParty ? point.parties[0] : point.running;
    priority_[running] = static_cast<std::uint32_t>(policy_.change_at.size() - next_change_);
    ++next_change_;
  }
  std::uint32_t best = 0;
  for (std::uint32_t i = 1; i < point.parties.size(); ++i) {
    if (priority_[point.parties[i]] > priority_[point.parties[best]]) best = i;
  }
  return best;
}

std::uint32_t ScheduleOracle::by_policy(std::uint32_t n, const sim::ChoicePoint& point) {
  switch (policy_.kind) {
    case Policy::Kind::kNatural:
      return 0;
    case Policy::Kind::kPct:
      return point.parties.empty() ? static_cast<std::uint32_t>(random(n)) : by_priority(point);
    case Policy::Kind::kRandom:
      if (n == 1) return 0;
      // Where somebody is running it takes a decision to stop him; elsewhere somebody has to be chosen anyway.
      if (point.running != sim::kNoParty && !point.parties.empty() &&
          static_cast<double>(random(1u << 24)) >= policy_.switch_probability * (1u << 24)) {
        return 0;
      }
      return static_cast<std::uint32_t>(random(n));
  }
  return 0;
}

std::uint32_t ScheduleOracle::choose(std::uint32_t n, const sim::ChoicePoint& point) {
  const Party running = point.parties.empty() ? kQueueParty : point.running;
  const std::uint32_t count = ++counts_[running];
  ++asked_;
  std::uint32_t answer = 0;
  bool given = false;
  for (const Step& s : schedule_) {
    if (s.party != running || s.count != count) continue;
    given = true;
    if (running == kQueueParty) {
      answer = s.next < n ? s.next : 0;
    } else {
      for (std::uint32_t i = 0; i < n; ++i) {
        if (point.parties[i] == s.next) answer = i;
      }
    }
  }
  if (!given) answer = by_policy(n, point);
  if (answer != 0) {
    taken_.push_back({running, count, running == kQueueParty ? static_cast<Party>(answer) : point.parties[answer]});
  }
  if (asked_ <= capacity_) {
    Record& r = records_[asked_ - 1];
    r = {point.subject, point.place, count, running, static_cast<std::uint8_t>(n), static_cast<std::uint8_t>(answer),
         point.writes, {}};
    for (std::uint32_t i = 0; i < 5 && i < n; ++i) {
      r.parties[i] = running == kQueueParty ? static_cast<Party>(i) : point.parties[i];
    }
  }
  return answer;
}

}  // namespace explore
