// SPDX-License-Identifier: Apache-2.0
#include "testbenches/conform/dram_conform.h"

#include <fmt/format.h>

#include <charconv>
#include <memory>
#include <ostream>
#include <sstream>
#include <string_view>

#include "mm/dram_channel.h"
#include "mm/dram_legality.h"
#include "mm/latency_histogram.h"
#include "sim/error.h"
#include "testbenches/conform/dram_config.h"
#include "testbenches/conform/text_input.h"

namespace conform {
namespace {

constexpr const char* kOutcome[] = {"hit", "closed", "conflict"};

/// What became of a request.
struct Answer {
  sim::Cycle arrival = 0, issue = 0, completion = 0;
  mm::RowOutcome outcome = mm::RowOutcome::kHit;
};

class Replay {
 public:
  Replay(const mm::DramConfig& config, const std::vector<DramRequest>& trace, unsigned outstanding)
      : timing_(config.resolved_timing()),
        mapping_(config.mapping, timing_, config.channels, config.ranks),
        trace_(trace),
        limit_(outstanding),
        answers_(trace.size()) {
    for (unsigned i = 0; i < config.channels; ++i) {
      channels_.push_back(std::make_unique<mm::DramChannel>(timing_, config.channel()));
      checkers_.push_back(std::make_unique<mm::DramLegalityChecker>(timing_, config.ranks));
      channels_.back()->report_writes(true);
      channels_.back()->listen(checkers_.back().get());
    }
  }

  void run() {
    for (sim::Cycle now = 0; ends_.size() < trace_.size(); now = next_event(now)) {
      for (auto& channel : channels_) channel->advance(now);
      admit(now);
      bool issued = false;
      for (auto& channel : channels_) issued |= channel->step(now);
      if (issued) admit(now);
      for (auto& channel : channels_) {
        for (; channel->next_completion() <= now; channel->pop()) {
          const mm::DramCompletion& c = channel->front();
          answers_[c.token].issue = c.issue;
          answers_[c.token].completion = c.end;
          answers_[c.token].outcome = c.outcome;
          ends_.push_back(c.end);
        }
      }
    }
  }

  void print(std::ostream& out) const {
    fmt::memory_buffer text;
    for (std::size_t i = 0; i < trace_.size(); ++i) {
      const Answer& a = answers_[i];
      fmt::format_to(std::back_inserter(text), "{} {:#x} {} {} {} {} {}\n", i, trace_[i].address,
                     trace_[i].write ? 'W' : 'R', a.arrival, a.issue, a.completion,
                     kOutcome[static_cast<unsigned>(a.outcome)]);
      if (text.size() > 60'000) {
        out.write(text.data(), static_cast<std::streamsize>(text.size()));
        text.clear();
      }
    }
    out.write(text.data(), static_cast<std::streamsize>(text.size()));
  }

  void print_totals(std::ostream& out) const {
    mm::LatencyHistogram latency[2];
    for (std::size_t i = 0; i < trace_.size(); ++i) {
      latency[trace_[i].write].add(answers_[i].completion - answers_[i].arrival);
    }
    out << fmt::format("total requests {} cycles {}\n", trace_.size(), last());
    for (const bool write : {false, true}) {
      const mm::LatencyHistogram& h = latency[write];
      out << fmt::format("total {} {} latency mean {:.2f} p50 {} p99 {} max {} cycles\n",
                         write ? "writes" : "reads", h.count(), h.mean(), h.quantile(0.5), h.quantile(0.99),
                         h.max());
    }
    std::uint64_t commands[mm::kDramCommands] = {}, outcomes[3] = {};
    for (const auto& channel : channels_) {
      for (unsigned i = 0; i < mm::kDramCommands; ++i) commands[i] += channel->counters().commands[i];
      for (unsigned i = 0; i < 3; ++i)
        outcomes[i] += channel->counters().reads[i] + channel->counters().writes[i];
    }
    const double seconds = static_cast<double>(last()) * timing_.clock.period_fs() * 1e-15;
    const double pins =
        static_cast<double>(last()) / timing_.data_cycles() * static_cast<double>(channels_.size());
    const auto n = static_cast<double>(trace_.size());
    out << fmt::format("total bandwidth {:.3f} GB/s, {:.2f} % of the pins\n",
                       last() == 0 ? 0.0 : n * 64 / seconds * 1e-9, last() == 0 ? 0.0 : 100 * n / pins);
    out << fmt::format("total hit {} closed {} conflict {}\n", outcomes[0], outcomes[1], outcomes[2]);
    out << "total commands";
    for (unsigned i = 0; i < mm::kDramCommands; ++i) {
      if (i > static_cast<unsigned>(mm::DramCommand::kRef) && commands[i] == 0) continue;
      out << fmt::format(" {} {}", mm::to_string(static_cast<mm::DramCommand>(i)), commands[i]);
    }
    out << '\n';
  }

  bool legal(std::ostream& err) const {
    bool ok = true;
    for (std::size_t i = 0; i < checkers_.size(); ++i) {
      for (const std::string& m : checkers_[i]->messages()) err << fmt::format("channel {}: {}\n", i, m);
      ok &= checkers_[i]->violations() == 0;
    }
    return ok;
  }

 private:
  /// The cycle from which request next_ may enter, kNever if it must wait for a completion.
  sim::Cycle ready_at() const {
    if (next_ == trace_.size()) return sim::kNeverCycle;
    if (limit_ == 0) return trace_[next_].cycle + 1;
    if (next_ < limit_) return 1;
    return next_ - limit_ < ends_.size() ? ends_[next_ - limit_] + 1 : sim::kNeverCycle;
  }

  void admit(sim::Cycle now) {
    for (; ready_at() <= now; ++next_) {
      const DramRequest& r = trace_[next_];
      const mm::DramAddress a = mapping_.decode(r.address);
      if (!channels_[a.channel]->has_room(r.write)) return;
      answers_[next_].arrival = ready_at() - 1;
      channels_[a.channel]->enqueue(now, r.write, a, static_cast<std::uint32_t>(next_));
    }
  }

  sim::Cycle next_event(sim::Cycle now) const {
    const sim::Cycle enter = ready_at();
    sim::Cycle next = enter > now ? enter : sim::kNeverCycle;
    for (const auto& channel : channels_) {
      next = std::min({next, channel->next_command(), channel->next_completion()});
    }
    POOLSIM_ASSERT(next != sim::kNeverCycle || ends_.size() == trace_.size());
    return std::max(next, now + 1);
  }

  sim::Cycle last() const { return ends_.empty() ? 0 : ends_.back(); }

  mm::DramTiming timing_;
  mm::AddressMapping mapping_;
  const std::vector<DramRequest>& trace_;
  unsigned limit_;
  std::vector<std::unique_ptr<mm::DramChannel>> channels_;
  std::vector<std::unique_ptr<mm::DramLegalityChecker>> checkers_;
  std::vector<Answer> answers_;
  std::size_t next_ = 0;
  std::vector<sim::Cycle> ends_;  // of data, in the order they came
};

}  // namespace

std::vector<DramRequest> read_dram_trace(std::istream& in, const std::string& name) {
  std::vector<DramRequest> trace;
  std::string line;
  for (std::size_t number = 1; std::getline(in, line); ++number) {
    if (line.empty() || line[0] == '#') continue;
    std::istringstream words(line);
    std::string cycle, kind, address, rest;
    words >> cycle >> kind >> address;
    DramRequest r{};
    const auto parse = [&](std::string_view text, std::uint64_t& value, int base, const char* what) {
      if (base == 16 && (text.starts_with("0x") || text.starts_with("0X"))) text.remove_prefix(2);
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
      if (error != std::errc() || end != text.data() + text.size() || text.empty()) {
        throw sim::Error(name, number, fmt::format("'{}' is no {}", text, what));
      }
    };
    if (address.empty() || words >> rest) {
      throw sim::Error(name, number, fmt::format("'{}': a line is '<cycle> R|W <hex address>'", line));
    }
    parse(cycle, r.cycle, 10, "cycle");
    if (kind != "R" && kind != "W")
      throw sim::Error(name, number, fmt::format("'{}' is neither R nor W", kind));
    r.write = kind == "W";
    parse(address, r.address, 16, "hexadecimal address");
    if (!trace.empty() && r.cycle < trace.back().cycle) {
      throw sim::Error(name, number, fmt::format("cycle {} comes after {}", r.cycle, trace.back().cycle));
    }
    trace.push_back(r);
  }
  return trace;
}

int run_dram_conform(const mm::DramConfig& config, const std::vector<DramRequest>& trace,
                     const DramOptions& options, std::ostream& out, std::ostream& err) {
  config.validate();
  Replay replay(config, trace, options.outstanding);
  replay.run();
  if (!options.totals_only) replay.print(out);
  replay.print_totals(out);
  return replay.legal(err) ? 0 : 1;
}

int run_dram_conform(const std::string& config, const std::string& mapping, const std::string& trace,
                     const DramOptions& options, std::ostream& out, std::ostream& err) {
  mm::DramConfig c = read_dram_config(config);
  if (!mapping.empty()) c.mapping = mapping;
  std::istringstream in(read_text(trace));
  return run_dram_conform(c, read_dram_trace(in, trace), options, out, err);
}

}  // namespace conform
