// SPDX-License-Identifier: Apache-2.0
// Records probes as a value change dump (IEEE 1364-2005 clause 18), the format every waveform viewer reads; into a file
// whose name ends in .fst as GTKWave's Fast Signal Trace (waveforms/fst.h), a quarter of the size.
//
//   sim::Simulation s("top");  ... build the modules ...
//   waveforms::VcdWriter vcd(s.probes(), "out/run.vcd");          // after the modules, before the run
//   s.timeline().run_until(...);
//   vcd.close();                                                   // or the destructor
//
// Time: the timescale is 1 fs, the Timeline's own unit, so no edge of any rational clock is rounded.
// Changes are pushed by the probes, nothing is sampled: an idle machine costs nothing. What changes within
// one time stamp is written once, with its final value, in order of the variables: the bytes depend on what
// happened when, never on which module was ticked first. No date is written unless asked, so equal runs give
// equal files.
//
// With `before`, the recorder is armed: it keeps the changes of the last `before` in memory and writes nothing until
// trigger() says that something happened; from there on it writes until `after`.
#pragma once
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "sim/probe.h"
#include "sim/types.h"
#include "waveforms/fst_change.h"

namespace waveforms {

class FstFile;

struct VcdOptions {
  std::vector<std::string> select = {};  ///< globs over probe paths (waveforms/select.h); empty = all
  sim::Tick from = 0;                    ///< first time recorded; the values then are the initial values
  sim::Tick to = sim::kNever;            ///< last time recorded; after it the probes have no listener
  std::string top = "poolsim";           ///< name of the outermost scope
  std::string date = {};                 ///< for $date of a VCD; empty = no $date
  sim::Tick before = sim::kNever;        ///< not kNever: armed; what is kept from before the trigger
  sim::Tick after = sim::kNever;         ///< armed: what is recorded from the trigger on
};

class VcdWriter {
 public:
  /// Opens `path`, writes the header and listens to the selected probes.
  /// Throws sim::Error if the file cannot be written, a pattern selects nothing, or the window is empty.
  VcdWriter(const sim::ProbeHub& hub, const std::string& path, VcdOptions options = {});
  ~VcdWriter();  // closes; an error in writing is then lost, so close() where it matters
  VcdWriter(const VcdWriter&) = delete;
  VcdWriter& operator=(const VcdWriter&) = delete;

  /// What the armed recorder waits for has happened, now. Without effect the second time, or when not armed.
  void trigger();
  /// Time of the trigger; kNever: it has not come.
  sim::Tick triggered_at() const { return trigger_at_; }

  /// Stops listening and ends the file at the present time. Throws sim::Error if it could not be written.
  void close();

  /// To be called in a forked child: forgets what the parent has still to write and records, from the present
  /// on, into a file of its own, or nothing any more if `child_path` is empty.
  void on_fork(const std::string& child_path);

  /// The recorded probes, in order of the variables in the file.
  const std::vector<sim::Probe*>& probes() const { return probes_; }
  const std::string& path() const { return path_; }
  const VcdOptions& options() const { return options_; }
  std::uint64_t changes() const { return changes_; }
  /// Has probes()[index] changed in the recorded window so far?
  bool changed(std::size_t index) const;
  sim::Tick now() const;

 private:
  struct Signal;
  void open(const std::string& path);
  void detach();
  void write_header();
  void write_dumpvars(sim::Tick at);
  void write_value(const Signal& s);
  void append_value(const Signal& s);
  void put(std::string_view text);
  void flush_if_full();
  void write_time(sim::Tick t);
  void append_time(sim::Tick t);
  void settle();
  void begin_time(sim::Tick now);
  void settle_changes();
  static bool take(Signal& s);
  void settle_vcd(std::span<Signal*> dirty);
  void settle_fst(std::span<Signal* const> dirty);
  void keep(Signal& s);
  void forget_before(sim::Tick t);
  void write_kept();
  void flush();

  const sim::ProbeHub& hub_;
  std::string path_;
  VcdOptions options_;
  std::vector<sim::Probe*> probes_;
  std::vector<Signal> signals_;
  std::vector<Signal*> dirty_;  // signals touched at time_, unsorted: the first dirty_count_
  std::size_t dirty_count_ = 0;
  sim::Tick time_ = 0;                // of what is in dirty_
  sim::Tick begin_ = 0;               // of the initial values
  sim::Tick stamp_ = 0;               // last time written
  bool dumped_ = false;               // initial values written
  std::uint64_t changes_ = 0;
  struct Kept {
    sim::Tick time;
    std::uint64_t value;
    std::uint32_t signal;
  };
  bool armed_ = false;  // waits for the trigger
  sim::Tick trigger_at_ = sim::kNever;
  std::deque<Kept> kept_;  // armed: changes of the last options_.before
  std::unique_ptr<FstFile> fst_;
  std::vector<fst_change> fst_changes_;  // scratch of settle_fst
  std::vector<char> buffer_;
  char* at_ = nullptr;                  // where the buffer goes on
  sim::Tick stamp_high_ = sim::kNever;  // of the last time in the buffer, without its lowest nine digits ...
  std::string stamp_text_;              // ... as text
  int fd_ = -1;
  int error_ = 0;
};

/// One recorded probe: what is in the file and what is current.
struct VcdWriter::Signal final : sim::ProbeListener {
  void on_change(const sim::Probe& probe, sim::Tick now) override;

  VcdWriter* writer = nullptr;
  std::uint64_t value = 0;
  std::uint64_t written = 0;  // armed: what it was before the first change that is kept
  std::uint64_t last = 0;     // armed: of the last change that is kept
  std::uint32_t index = 0;
  unsigned bits = 1;
  bool dirty = false;
  bool changed = false;
  std::string code;
  char tail[8] = {};  // what follows the digits: " code\n" or, of one bit, "code\n"
  unsigned tail_bytes = 0;
};

}  // namespace waveforms
