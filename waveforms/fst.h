// SPDX-License-Identifier: Apache-2.0
// A Fast Signal Trace: GTKWave's compressed waveform format, written by its own fstapi (MIT), which Debian
// ships as source in the package verilator. Where the build did not find it, create() says so and the rest of
// the program does without.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "sim/types.h"
#include "waveforms/fst_change.h"

namespace waveforms {

class FstFile {
 public:
  /// Whether this build can write FST.
  static bool available();
  /// Throws sim::Error if the file cannot be written, or without fstapi.
  static std::unique_ptr<FstFile> create(const std::string& path);
  virtual ~FstFile() = default;

  virtual void scope(const std::string& name) = 0;
  virtual void upscope() = 0;
  /// Signal `number` in the present scope; `states` names its values (may be empty).
  virtual void variable(std::uint32_t number, const std::string& name, unsigned bits,
                        const std::vector<std::string>& states) = 0;
  /// Femtoseconds, ascending. Then the values of that time.
  virtual void time(sim::Tick t) = 0;
  virtual void value(std::uint32_t signal, std::uint64_t value) = 0;
  /// A time() with what changes then, each signal once.
  virtual void changes(sim::Tick t, std::span<const fst_change> changes) = 0;
  /// Ends the file. Throws sim::Error if it could not be written.
  virtual void close() = 0;
  /// In a forked child: forgets the file without a write to it.
  virtual void abandon() = 0;
};

}  // namespace waveforms
