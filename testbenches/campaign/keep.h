// SPDX-License-Identifier: Apache-2.0
// `keep:` of a campaign file: for each bucket of failures its smallest examples once more, with waveform,
// timeline and packets around the fault, in a directory beside the database. Rows are not touched.
//
//   DB.kept/<signature>/<id>/{token.txt, report.txt, wave.vcd, timeline.json, trace.txt, packets.pcap}
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "platform/parameters.h"
#include "sim/types.h"

namespace campaign {

class Database;

struct Keep {
  unsigned per_bucket = 0;                   ///< examples of each bucket; 0: nothing is kept
  std::string trace_text = "vcd, perfetto";  ///< as in the file
  std::vector<std::string> traces;           ///< of vcd, fst, perfetto, ftrace, pcap
  sim::Tick before = 20 * sim::kMicrosecond, after = 100 * sim::kMicrosecond;  ///< of the fault

  void parameters(platform::ParameterSet& set);
  /// Throws sim::Error "keep.key: what is wrong".
  void validate();
};

/// Writes what is missing; a directory is there whole or not at all. Directories that were written. Throws
/// sim::Error, NotReproducible if an example does not come to the recorded digest.
std::vector<std::string> keep_examples(const Database& db,
                                       const std::function<void(const std::string&)>& progress = {});

}  // namespace campaign
