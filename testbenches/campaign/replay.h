// SPDX-License-Identifier: Apache-2.0
// One experiment again, by itself: from a cold start in this process, with waveforms and packets if asked
// for, to the same digest.
#pragma once
#include <string>

#include "testbenches/campaign/database.h"

namespace campaign {

/// Which experiment, and what it must come to. "FILE.db#17", or a token:
///   poolsim:campaign file=unbind.yaml id=17 digest=... build=...     (one line)
struct Reference {
  Campaign campaign;
  std::uint64_t id = 0;
  std::string digest, outcome, build;
};
bool is_reference(const std::string& text);
/// Throws sim::Error, Refusal. `build`: of this program; NotReproducible if another one made it - before
/// anything else of it is read, which this one may not understand. Empty: whatever made it.
Reference read_reference(const std::string& text, const std::string& build = "");
/// The token of a result: needs the campaign file, not the database.
std::string token(const Campaign& campaign, const Result& result, const std::string& build);

struct Replayed {
  std::string outcome, digest, entity, signature, detail, report;
  sim::Tick injected = 0;
};
/// In a process of its own.
Replayed replay(const Reference& reference, const scenario::RunOptions& options);

}  // namespace campaign
