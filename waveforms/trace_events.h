// SPDX-License-Identifier: Apache-2.0
// Writes a timeline as Chrome trace events (JSON), which Perfetto (ui.perfetto.dev), chrome://tracing and
// Speedscope open. Format: "Trace Event Format", and what Perfetto's importer makes of it.
//
//   waveforms::TraceEventFile file("run.json");
//   const waveforms::Track core = file.thread(1, "cores", "core 0");
//   file.slice(core, "NET_RX", begin, end);
//   file.close();                                       // the file appears under its name
//
// Time: `ts` and `dur` are microseconds with three decimals, as viewers keep whole nanoseconds. Both ends of
// a slice are rounded down, so what is nested stays nested. Events go to FILE.part as they come, in any order
// of time, and are not kept: memory does not grow with the run. Viewers sort by time and keep the order of
// the file within one nanosecond, so write what encloses first.
#pragma once
#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "sim/types.h"

namespace waveforms {

/// Where an event is drawn. Thread ids are unique in the file, not only in their process.
struct Track {
  std::uint32_t process = 0, thread = 0;
};

/// What a viewer shows for a chosen event, in the order given.
class TraceArgs {
 public:
  TraceArgs&& add(std::string_view key, std::uint64_t value) &&;
  TraceArgs&& hex(std::string_view key, std::uint64_t value) &&;
  TraceArgs&& add(std::string_view key, std::string_view text) &&;
  std::string_view json() const { return json_; }

 private:
  void key(std::string_view key);
  std::string json_;
};

enum class FlowStep : char { kStart = 's', kNext = 't', kEnd = 'f' };
enum class InstantScope : char { kThread = 't', kProcess = 'p', kGlobal = 'g' };

class TraceEventFile {
 public:
  /// Opens PATH.part. Only what touches [from, to] is written. Throws sim::Error if the file cannot be
  /// written or the window is empty.
  explicit TraceEventFile(const std::string& path, sim::Tick from = 0, sim::Tick to = sim::kNever);
  ~TraceEventFile();  // closes; an error in writing is then lost, so close() where it matters
  TraceEventFile(const TraceEventFile&) = delete;
  TraceEventFile& operator=(const TraceEventFile&) = delete;

  /// Names a process (1..; drawn in this order) and a track in it. Both as often as wanted.
  void process(std::uint32_t process, std::string_view name);
  Track thread(std::uint32_t process, std::string_view name);

  /// A stretch of time. Slices of one track nest or follow each other.
  void slice(Track track, std::string_view name, sim::Tick begin, sim::Tick end, const TraceArgs& args = {});
  /// The same when the end is not known yet. One a track at a time; end() without begin() is nothing.
  void begin(Track track, std::string_view name, sim::Tick t, const TraceArgs& args = {});
  void end(Track track, sim::Tick t);
  void instant(Track track, std::string_view name, sim::Tick t, InstantScope scope = InstantScope::kThread,
               const TraceArgs& args = {});
  /// A step of flow `id`, bound to the slice of `track` that encloses `t`.
  void flow(FlowStep step, Track track, std::string_view name, std::uint64_t id, sim::Tick t);
  /// A stretch that may overlap others of its name; `id` tells them apart.
  void async_begin(std::uint32_t process, std::string_view name, std::uint64_t id, sim::Tick t,
                   const TraceArgs& args = {});
  void async_end(std::uint32_t process, std::string_view name, std::uint64_t id, sim::Tick t);
  void counter(std::uint32_t process, std::string_view name, std::string_view unit, sim::Tick t,
               double value);

  bool in_window(sim::Tick t) const { return t >= from_ && t <= to_; }
  sim::Tick to() const { return to_; }
  std::uint64_t events() const { return events_; }

  /// Ends what began at `now`, ends the file and gives it its name. Throws sim::Error if it could not be
  /// written.
  void close(sim::Tick now);
  /// Closed, or in a forked child, which writes nothing.
  bool closed() const;

 private:
  struct Open {
    bool open = false, written = false;
    sim::Tick begin = 0;
    std::string name, args;
  };
  void head(char phase, std::string_view name, std::uint32_t process, std::uint32_t thread, sim::Tick t);
  void tail(const TraceArgs& args);
  void metadata(std::string_view what, std::uint32_t process, std::uint32_t thread, std::string_view key,
                std::string_view value);
  void finish_event();
  void flush();

  std::string path_, part_;
  sim::Tick from_, to_;
  std::vector<Track> tracks_;
  std::vector<Open> open_;  // per track
  std::uint64_t events_ = 0;
  std::string buffer_;
  int fd_ = -1;
  int error_ = 0;
  pid_t owner_;
};

}  // namespace waveforms
