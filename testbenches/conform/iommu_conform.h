// SPDX-License-Identifier: Apache-2.0
// Replays IOMMU conformance cases (text, one operation a line) against the functional core and prints what it
// answers, in the format of the expected-output files. Cases come from a plain file, an .xz file or standard
// input.
#pragma once
#include <iosfwd>
#include <string>

namespace conform {

struct IommuOptions {
  bool caches = false;  ///< translate with the IOTLB, directory and walk caches instead of walking every time
};

/// Throws sim::Error (file:line) for input that is not a case file.
void replay_iommu_cases(std::istream& in, const std::string& name, std::ostream& out,
                        const IommuOptions& options = {});

/// `path` "-" is standard input.
void replay_iommu_file(const std::string& path, std::ostream& out, const IommuOptions& options = {});

}  // namespace conform
