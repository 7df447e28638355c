// SPDX-License-Identifier: Apache-2.0
#include "testbenches/scenario/compare.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "testbenches/cli/table.h"

namespace scenario {
namespace {

struct Child {
  pid_t pid = -1;
  int fd = -1;
  std::string text;
};

/// The run in a process of its own; what it has to say comes through the pipe: JSON, or "!message".
Child launch(const Job& job) {
  int ends[2];
  if (::pipe(ends) != 0) throw sim::ModelError("pipe() failed");
  std::fflush(nullptr);
  const pid_t pid = ::fork();
  if (pid < 0) throw sim::ModelError("fork() failed");
  if (pid == 0) {
    ::close(ends[0]);
    std::string text;
    try {
      ScenarioRun run(job.config, job.options);
      text = run.run().to_json().dump();
    } catch (const std::exception& e) {
      text = std::string("!") + e.what();
    }
    for (std::size_t done = 0; done < text.size();) {
      const ssize_t n = ::write(ends[1], text.data() + done, text.size() - done);
      if (n <= 0) break;
      done += static_cast<std::size_t>(n);
    }
    ::_exit(0);
  }
  ::close(ends[1]);
  return {pid, ends[0], {}};
}

RunResult collect(Child& child, const std::string& strategy) {
  char buffer[4096];
  for (ssize_t n; (n = ::read(child.fd, buffer, sizeof buffer)) != 0;) {
    if (n > 0) child.text.append(buffer, static_cast<std::size_t>(n));
    if (n < 0 && errno != EINTR) break;
  }
  ::close(child.fd);
  int status = 0;
  while (::waitpid(child.pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFSIGNALED(status)) {
    throw sim::ModelError(fmt::format("run with strategy {} ended by signal {}", strategy, WTERMSIG(status)));
  }
  if (child.text.empty()) throw sim::ModelError(fmt::format("run with strategy {} said nothing", strategy));
  if (child.text[0] == '!') throw sim::ModelError(fmt::format("strategy {}: {}", strategy, child.text.substr(1)));
  return RunResult::from_json(nlohmann::ordered_json::parse(child.text));
}

std::string milliseconds(sim::Tick t) { return fmt::format("{:.3f}", static_cast<double>(t) / sim::kMillisecond); }

}  // namespace

std::vector<RunResult> run_jobs(const std::vector<Job>& jobs, unsigned at_a_time) {
  std::vector<RunResult> results;
  std::vector<Child> running;
  std::size_t next = 0;
  while (results.size() < jobs.size()) {
    while (running.size() < std::max(1u, at_a_time) && next < jobs.size()) running.push_back(launch(jobs[next++]));
    results.push_back(collect(running.front(), jobs[results.size()].config.machine.pool.strategy));
    running.erase(running.begin());
  }
  return results;
}

std::vector<RunResult> compare(const RunConfig& config, const std::vector<std::string>& strategies,
                               unsigned at_a_time) {
  std::vector<Job> jobs;
  for (const auto& key : strategies) {
    jobs.push_back({config, {}});
    jobs.back().config.machine.pool.strategy = key;
  }
  return run_jobs(jobs, at_a_time);
}

std::string comparison_table(const std::vector<RunResult>& results, bool colour) {
  if (results.empty()) return {};
  const RunResult& first = results.front();
  std::string text = fmt::format("{}: device {}, DMA {}, {} pages outstanding at the unbind\n\n", first.scenario,
                                 first.device, first.dma_mode, first.pages_outstanding);
  cli::Table figures({"strategy", "unmaps\nbefore", "inside\ndestroy", "after", "late,\nno driver", "IOMMU\nfaults",
                      "leaked\npages", "leaked\nIOVAs", "unbind\nms", "BH off\nmax us", "cycles/\npacket",
                      "tracking\nbytes", "oops"});
  for (const RunResult& r : results) {
    figures.row({r.strategy, fmt::to_string(r.unmap_before), fmt::to_string(r.unmap_inside),
                 fmt::to_string(r.unmap_after), fmt::to_string(r.late_unmaps), fmt::to_string(r.iommu_faults),
                 fmt::to_string(r.leaked_pages), fmt::to_string(r.leaked_iovas), milliseconds(r.unbind),
                 fmt::format("{:.3f}", static_cast<double>(r.longest_bh_off) / sim::kMicrosecond),
                 fmt::format("{:.1f}", r.cycles_per_packet), fmt::to_string(r.tracking_bytes),
                 r.oops.empty() ? "no" : r.oops});
  }
  text += figures.text(colour);
  text += "\nFindings\n";
  for (const RunResult& r : results) {
    std::string line;
    for (const auto& [kind, count] : r.findings) line += fmt::format("{}{} x {}", line.empty() ? "" : ", ", kind, count);
    text += fmt::format("  {:<20} {}\n", r.strategy, line.empty() ? "none" : line);
  }
  return text;
}

}  // namespace scenario
