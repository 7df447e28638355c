// SPDX-License-Identifier: Apache-2.0
#include "testbenches/campaign/keep.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>

#include "sim/digest.h"
#include "testbenches/campaign/replay.h"
#include "testbenches/campaign/report.h"

namespace campaign {
namespace {

namespace fs = std::filesystem;

const std::vector<std::string>& trace_names() {
  static const std::vector<std::string> all = {"vcd", "fst", "perfetto", "ftrace", "pcap"};
  return all;
}

/// A signature as the name of a directory: readable, and another for another signature.
std::string directory_name(const std::string& signature) {
  std::string name;
  for (const char c : signature.substr(0, 80)) {
    const bool plain = std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '-';
    if (plain) name += c;
    if (!plain && !name.empty() && name.back() != '.') name += '.';
  }
  return fmt::format("{}.{:08x}", name,
                     static_cast<std::uint32_t>(sim::hash64(signature.data(), signature.size())));
}

void write(const fs::path& file, const std::string& text) {
  std::ofstream out(file);
  out << text;
  out.close();
  if (!out) throw Refusal(fmt::format("{}: cannot be written", file.string()));
}

scenario::RunOptions options_for(const Keep& keep, const Result& r, const fs::path& dir) {
  scenario::RunOptions o;
  for (const std::string& t : keep.traces) {
    if (t == "vcd" || t == "fst") o.vcd = (dir / ("wave." + t)).string();
    if (t == "perfetto") o.perfetto = (dir / "timeline.json").string();
    if (t == "ftrace") o.ftrace = (dir / "trace.txt").string();
    if (t == "pcap") o.pcap = (dir / "packets.pcap").string();
  }
  o.vcd_from = r.injected - std::min(r.injected, keep.before);
  o.vcd_to = r.injected + keep.after;
  return o;
}

void keep_one(const Campaign& campaign, const std::string& build, const Result& r, const fs::path& dir) {
  const fs::path part = dir.string() + ".new";
  fs::remove_all(part);
  fs::create_directories(part);
  const Replayed again =
      replay({campaign, r.id, r.digest, r.outcome, build}, options_for(campaign.keep, r, part));
  if (again.digest != r.digest || again.outcome != r.outcome) {
    fs::remove_all(part);
    throw NotReproducible(fmt::format("experiment {} was {} {}, now {} {}", r.id, r.outcome, r.digest,
                                      again.outcome, again.digest));
  }
  write(part / "token.txt", token(campaign, r, build) + "\n");
  write(part / "report.txt",
        fmt::format("{}\nexperiment {}: {}\n  into   {}\n  detail {}\n  digest {}\n", again.report, r.id,
                    again.signature, again.entity, again.detail, again.digest));
  fs::rename(part, dir);
}

}  // namespace

void Keep::parameters(platform::ParameterSet& set) {
  set.integer("keep.per_bucket", per_bucket, 0, 100, "smallest examples of each bucket of failures to keep");
  set.text("keep.trace", trace_text, "of each: vcd, fst, perfetto, ftrace, pcap; any of them, by commas");
  set.time("keep.before", before, 0, sim::kSecond, "traces begin so long before the fault");
  set.time("keep.after", after, sim::kMicrosecond, 100 * sim::kSecond, "and end so long after it");
}

void Keep::validate() {
  std::string word;
  traces.clear();
  for (const char c : trace_text + ",") {
    if (c != ',' && c != ' ') {
      word += c;
      continue;
    }
    if (word.empty()) continue;
    if (std::find(trace_names().begin(), trace_names().end(), word) == trace_names().end())
      throw sim::Error(
          fmt::format("keep.trace: no trace '{}'{}", word, sim::suggestion(word, trace_names())));
    traces.push_back(std::exchange(word, {}));
  }
}

std::vector<std::string> keep_examples(const Database& db,
                                       const std::function<void(const std::string&)>& progress) {
  std::vector<std::string> written;
  const Campaign campaign = db.campaign();
  if (campaign.keep.per_bucket == 0) return written;
  for (const Database::Bucket& b : db.buckets()) {
    // What crashes this program, or what it cannot end, is not run once more.
    if (!is_failure_signature(b.signature) || b.signature.starts_with("crash_tool") ||
        b.signature.starts_with("hang_host"))
      continue;
    for (const std::uint64_t id : db.smallest(b.signature, campaign.keep.per_bucket)) {
      const fs::path dir = fs::path(db.file() + ".kept") / directory_name(b.signature) / std::to_string(id);
      if (fs::exists(dir)) continue;
      if (progress) progress(dir.string());
      keep_one(campaign, db.meta("build"), *db.find(id), dir);
      written.push_back(dir.string());
    }
  }
  return written;
}

}  // namespace campaign
