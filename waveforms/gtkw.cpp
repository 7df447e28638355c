// SPDX-License-Identifier: Apache-2.0
#include "waveforms/gtkw.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <set>

#include "sim/error.h"
#include "waveforms/select.h"

namespace waveforms {
namespace {

namespace fs = std::filesystem;

// Trace flags of GTKWave (analyzer.h, TraceEntFlagBits).
constexpr unsigned kHexFlag = 1u << 1, kDecFlag = 1u << 2, kBinFlag = 1u << 3, kRightJustify = 1u << 5;
constexpr unsigned kBlank = 1u << 9, kFileTranslated = 1u << 13, kAnalogStep = 1u << 15;
constexpr unsigned kAnalogFullScale = 1u << 19, kCollapsed = 1u << 12, kClosed = 1u << 22;
constexpr unsigned kGroupBegin = 1u << 23, kGroupEnd = 1u << 24;

void write_file(const fs::path& path, const std::string& text) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << text;
  out.close();
  if (!out) throw sim::Error(path.string(), 0, "cannot write the viewer's save file");
}

/// Names of the states, keyed by the value as GTKWave prints it in hexadecimal.
std::string filter_text(const sim::Probe& probe) {
  const unsigned digits = (probe.bits() + 3) / 4;
  std::string text;
  for (std::size_t i = 0; i < probe.states().size(); ++i) {
    text += fmt::format("{:0{}x} {}\n", i, digits, probe.states()[i]);
  }
  return text;
}

unsigned flags_of(const sim::Probe& probe, GtkwFormat format) {
  if (probe.bits() == 1) return kBinFlag | kRightJustify;
  switch (format) {
    case GtkwFormat::kHex:
      return kHexFlag | kRightJustify;
    case GtkwFormat::kDecimal:
      return kDecFlag | kRightJustify;
    case GtkwFormat::kBinary:
      return kBinFlag | kRightJustify;
    case GtkwFormat::kAnalog:
      return kDecFlag | kRightJustify | kAnalogStep | kAnalogFullScale;
  }
  return kHexFlag | kRightJustify;
}

/// What the window shows around the marker.
constexpr sim::Tick kBeforeMarker = 100 * sim::kMicrosecond, kAfterMarker = 200 * sim::kMicrosecond;

/// The exponent of GTKWave's zoom at which `span` femtoseconds fill a window of about 1000 pixels; GTKWave counts in
/// frames of 200 pixels.
double zoom_for(sim::Tick span) { return -std::log2(std::max(1.0, static_cast<double>(span) / 5.0)); }

}  // namespace

std::size_t write_gtkw(const std::string& path, const VcdWriter& vcd, const std::vector<GtkwGroup>& groups,
                       sim::Tick marker) {
  const fs::path save = fs::absolute(path);
  const fs::path filters = fs::path(save).replace_extension(".filters");
  const sim::Tick now = vcd.now();
  sim::Tick begin = std::min(vcd.options().from, now), end = std::min(vcd.options().to, now);
  if (marker != sim::kNever && marker >= begin && marker <= end) {
    begin = std::max(begin, marker - std::min(marker, kBeforeMarker));
    end = std::min(end, marker + kAfterMarker);
  }
  std::string text;
  text += fmt::format("[dumpfile] \"{}\"\n", fs::absolute(vcd.path()).string());
  text += fmt::format("[savefile] \"{}\"\n", save.string());
  text += fmt::format("[timestart] {}\n[size] 1600 900\n[pos] -1 -1\n", begin);
  text += fmt::format("*{:.6f} {}{}\n", zoom_for(end - begin), marker == sim::kNever ? begin : marker, [] {
    std::string unset;
    for (int i = 0; i < 26; ++i) unset += " -1";
    return unset;
  }());
  text += fmt::format("[treeopen] {}.\n[sst_width] 180\n[signals_width] 280\n[sst_expanded] 1\n", vcd.options().top);

  std::set<const sim::Probe*> shown;
  for (const GtkwGroup& group : groups) {
    std::vector<const sim::Probe*> members;
    for (const auto& pattern : group.patterns) {
      for (std::size_t i = 0; i < vcd.probes().size(); ++i) {
        const sim::Probe* p = vcd.probes()[i];
        if (vcd.changes() != 0 && !vcd.changed(i)) continue;
        if (selects(pattern, p->path()) && shown.insert(p).second) members.push_back(p);
      }
    }
    if (members.empty()) continue;
    text += fmt::format("@{:x}\n-{}\n", kGroupBegin | kBlank | (group.open ? 0 : kClosed), group.title);
    for (const sim::Probe* p : members) {
      unsigned flags = flags_of(*p, group.format);
      if (!p->states().empty()) flags = kHexFlag | kRightJustify | kFileTranslated;
      text += fmt::format("@{:x}\n", flags);
      if (!p->states().empty()) {
        const fs::path filter = filters / (p->path() + ".txt");
        fs::create_directories(filters);
        write_file(filter, filter_text(*p));
        text += fmt::format("^1 {}\n", filter.string());
      }
      if (group.color != GtkwColor::kNormal) {
        text += fmt::format("[color] {}\n", static_cast<unsigned>(group.color));
      }
      // Under its whole name, with other separators: of what stands between dots GTKWave shows the last only, and
      // "context" does not say of which core.
      std::string shown_as = p->path();
      std::ranges::replace(shown_as, '.', '/');
      text += fmt::format("+{{{}}} {}.{}", shown_as, vcd.options().top, p->path());
      text += p->bits() == 1 ? "\n" : fmt::format("[{}:0]\n", p->bits() - 1);
    }
    text += fmt::format("@{:x}\n-{}\n", kGroupEnd | kBlank | (group.open ? 0 : kClosed | kCollapsed),
                        group.title);
  }
  text += "[pattern_trace] 1\n[pattern_trace] 0\n";
  write_file(save, text);
  return shown.size();
}

}  // namespace waveforms
