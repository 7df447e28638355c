// SPDX-License-Identifier: Apache-2.0
// A GTKWave save file (.gtkw) beside a waveform: groups with titles and colours, number formats, and one
// filter file a state machine, so that a viewer opens with the story of the run and not with an empty window.
#pragma once
#include <string>
#include <vector>

#include "sim/probe.h"
#include "waveforms/vcd.h"

namespace waveforms {

/// GTKWave's palette.
enum class GtkwColor : unsigned { kNormal = 0, kRed, kOrange, kYellow, kGreen, kBlue, kIndigo, kViolet };

enum class GtkwFormat { kHex, kDecimal, kBinary, kAnalog };

/// Traces under one heading: the probes its patterns select (waveforms/select.h), each probe in the first
/// group that wants it. A pattern may select nothing: a layout serves machines of several shapes.
struct GtkwGroup {
  std::string title;
  GtkwColor color = GtkwColor::kNormal;
  std::vector<std::string> patterns;
  GtkwFormat format = GtkwFormat::kHex;  ///< of multi-bit values that have no state names
  bool open = true;                      ///< false: shown collapsed
};

/// Writes `path` for the waveform that `vcd` writes, and `STEM.filters/SIGNAL.txt` for each shown probe that
/// names its states. `marker` (kNever: none) is where the view opens. Probes that never changed
/// are left out, unless nothing was recorded yet. Returns the number of traces shown. Throws sim::Error if a file cannot be written.
std::size_t write_gtkw(const std::string& path, const VcdWriter& vcd, const std::vector<GtkwGroup>& groups,
                       sim::Tick marker = sim::kNever);

}  // namespace waveforms
