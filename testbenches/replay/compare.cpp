// SPDX-License-Identifier: Apache-2.0
#include "testbenches/replay/compare.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace replay {
namespace {

template <class T>
std::string show(const T& value) {
  return fmt::format("{}", value);
}
std::string show(bool value) { return value ? "yes" : "no"; }
std::string show(const std::optional<std::int64_t>& value) { return value ? fmt::format("{}", *value) : "-"; }
std::string show(const std::optional<double>& value) {
  return value ? fmt::format("{:+.3f} s", *value) : "-";
}

template <class T>
Row row(const char* key, const char* label, const T& model, const T& recorded) {
  return {key, label, show(model), show(recorded), model == recorded};
}

std::vector<Row> rows(const PoolNumbers& m, const PoolNumbers& r, double period_s) {
  std::vector<Row> out;
  out.push_back(row("hold", "pages held", m.hold, r.hold));
  out.push_back(row("release", "pages released", m.release, r.release));
  out.push_back(
      row("inflight_at_destroy", "in flight at destroy", m.inflight_at_destroy, r.inflight_at_destroy));
  out.push_back(
      row("unmap_before_destroy", "unmapped before destroy", m.unmap_before_destroy, r.unmap_before_destroy));
  out.push_back(
      row("unmap_inside_destroy", "unmapped inside destroy", m.unmap_inside_destroy, r.unmap_inside_destroy));
  out.push_back(
      row("unmap_after_destroy", "unmapped after destroy", m.unmap_after_destroy, r.unmap_after_destroy));
  out.push_back(
      row("of_these_no_driver", "of these with no driver", m.of_these_no_driver, r.of_these_no_driver));
  out.push_back(row("release_rounds", "release rounds", m.release_rounds, r.release_rounds));
  Row last = row("last_release_after_removal_s", "last release after driver removal",
                 m.last_release_after_removal_s, r.last_release_after_removal_s);
  if (m.last_release_after_removal_s && r.last_release_after_removal_s) {
    last.agrees = std::abs(*m.last_release_after_removal_s - *r.last_release_after_removal_s) <= period_s;
  }
  out.push_back(last);
  out.push_back(row("iova_reused_while_held", "IOVA handed out again while held", m.iova_reused_while_held,
                    r.iova_reused_while_held));
  return out;
}

std::string describe(const PoolEvent& e) {
  std::string text = to_string(e.kind);
  if (e.kind == PoolEvent::kRound) text += fmt::format(" with {} in flight", e.inflight);
  return text + fmt::format(" at +{:.6f} s", static_cast<double>(e.time_ns) * 1e-9);
}

/// Where two stories of one pool part, or nothing.
std::optional<std::string> part(const Capture& capture, const std::string& pool,
                                const std::vector<PoolEvent>& recorded, const std::vector<PoolEvent>& model,
                                std::uint64_t period_ns, std::uint32_t& line) {
  for (std::size_t i = 0; i < std::max(recorded.size(), model.size()); ++i) {
    const PoolEvent* r = i < recorded.size() ? &recorded[i] : nullptr;
    const PoolEvent* m = i < model.size() ? &model[i] : nullptr;
    if (r != nullptr && m != nullptr) {
      const std::uint64_t apart = r->time_ns > m->time_ns ? r->time_ns - m->time_ns : m->time_ns - r->time_ns;
      if (r->kind == m->kind && r->inflight == m->inflight && apart <= period_ns) continue;
    }
    line = r != nullptr ? r->line : recorded.empty() ? 0 : recorded.back().line;
    return fmt::format("{}:{}: pool {}: the capture has {}, the model {}", capture.path, line, pool,
                       r != nullptr ? describe(*r) : std::string("nothing more"),
                       m != nullptr ? describe(*m) : std::string("nothing more"));
  }
  return std::nullopt;
}

}  // namespace

const char* to_string(PoolEvent::Kind kind) {
  switch (kind) {
    case PoolEvent::kHold:
      return "page_pool_state_hold";
    case PoolEvent::kUnmap:
      return "dma_unmap";
    case PoolEvent::kStateRelease:
      return "page_pool_state_release";
    case PoolEvent::kRound:
      return "page_pool_release";
  }
  return "";
}

std::vector<std::vector<PoolEvent>> recorded_events(const Capture& capture, const Joined& joined) {
  std::vector<std::vector<PoolEvent>> out(joined.pools.size());
  for (std::size_t i = 0; i < capture.events.size(); ++i) {
    const Event& e = capture.events[i];
    const Link& link = joined.links[i];
    if (link.pool == kNone) continue;
    PoolEvent event;
    event.time_ns = e.time_ns - capture.begin_ns;
    event.line = e.line;
    const bool unmap = link.mapping != kNone && joined.mappings[link.mapping].unmap == i;
    if (e.kind == EventKind::kHold) {
      event.kind = PoolEvent::kHold;
    } else if (unmap) {
      event.kind = PoolEvent::kUnmap;
    } else if (e.kind == EventKind::kStateRelease) {
      event.kind = PoolEvent::kStateRelease;
    } else if (e.kind == EventKind::kRelease) {
      event.kind = PoolEvent::kRound;
      event.inflight = e.inflight;
    } else {
      continue;
    }
    out[link.pool].push_back(event);
  }
  return out;
}

Comparison compare(const Capture& capture, const Joined& joined, const std::vector<PoolNumbers>& recorded,
                   const ModelResult& model, std::uint64_t release_period_ms) {
  Comparison out;
  std::uint32_t first_line = ~0u;
  const auto keep_first = [&](std::optional<std::string> text, std::uint32_t line) {
    if (!text || line >= first_line) return;
    first_line = line;
    out.first_difference = std::move(*text);
  };
  const auto stories = recorded_events(capture, joined);
  for (std::size_t p = 0; p < recorded.size(); ++p) {
    out.pools.push_back(rows(model.pools[p], recorded[p], static_cast<double>(release_period_ms) * 1e-3));
    const bool agrees =
        std::all_of(out.pools.back().begin(), out.pools.back().end(), [](const Row& r) { return r.agrees; });
    if (agrees) continue;
    out.agree = false;
    std::uint32_t line = 0;
    auto text =
        part(capture, recorded[p].pool, stories[p], model.events[p], release_period_ms * 1'000'000, line);
    if (!text) {
      const auto row = std::find_if(out.pools.back().begin(), out.pools.back().end(),
                                    [](const Row& r) { return !r.agrees; });
      line = stories[p].empty() ? 0 : stories[p].back().line;
      text = fmt::format("{}:{}: pool {}: {}: the capture has {}, the model {}", capture.path, line,
                         recorded[p].pool, row->label, row->recorded, row->model);
    }
    keep_first(std::move(text), line);
  }
  out.oops_agrees = joined.oopses.empty() != model.oops.has_value();
  if (!out.oops_agrees) {
    out.agree = false;
    if (joined.oopses.empty()) {
      keep_first(fmt::format("{}: no oops in the capture; the model dies at +{:.6f} s in {}", capture.path,
                             static_cast<double>(model.oops_ns) * 1e-9, model.oops->symbol),
                 ~0u - 1);
    } else {
      const std::uint32_t line = capture.events[joined.oopses.front()].line;
      keep_first(
          fmt::format("{}:{}: a task dies here in the capture; the model lives on", capture.path, line),
          line);
    }
  }
  return out;
}

}  // namespace replay
