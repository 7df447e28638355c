// SPDX-License-Identifier: Apache-2.0
#include "testbenches/campaign/cluster.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

#include "sim/error.h"

namespace campaign {
namespace {

/// For the shell.
std::string shell_quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

void write_script(const std::string& file, const std::string& text) {
  std::ofstream out(file);
  out << text;
  out.close();
  if (!out || ::chmod(file.c_str(), 0755) != 0) throw sim::Error(fmt::format("{}: cannot be written", file));
}

/// What the command prints, without the end of line. Throws what it says if it fails.
std::string output_of(const std::string& command) {
  std::FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");
  if (pipe == nullptr) throw sim::Error("sbatch cannot be started");
  std::string text;
  char buffer[512];
  while (std::fgets(buffer, sizeof buffer, pipe) != nullptr) text += buffer;
  const int status = ::pclose(pipe);
  while (!text.empty() && text.back() == '\n') text.pop_back();
  if (status != 0) throw sim::Error(fmt::format("sbatch: {}", text.empty() ? "is not there" : text));
  return text;
}

}  // namespace

SlurmFiles write_slurm_job(const SlurmJob& job) {
  SlurmFiles files;
  files.directory = job.db + ".slurm";
  std::error_code error;
  std::filesystem::create_directories(files.directory, error);
  files.shard_script = files.directory + "/shard.sh";
  files.merge_script = files.directory + "/merge.sh";
  // Failures that were found (1) and a margin that one shard cannot know (3) are no failures of the job.
  write_script(
      files.shard_script,
      fmt::format(
          "#!/bin/sh\n# One shard of {0}; can be run again at any time.\n"
          "code=0\n{1} campaign run {2} --db {3}/shard_\"$SLURM_ARRAY_TASK_ID\".db --shards {4} --jobs "
          "{5} || code=$?\ncase $code in 0|1|3) exit 0;; esac\nexit $code\n",
          job.campaign_file, shell_quoted(job.program), shell_quoted(job.campaign_file),
          shell_quoted(files.directory), job.shards, job.jobs));
  write_script(files.merge_script,
               fmt::format("#!/bin/sh\n{} campaign merge {} {}/shard_*.db\n", shell_quoted(job.program),
                           shell_quoted(job.db), shell_quoted(files.directory)));
  return files;
}

SlurmIds submit_slurm_job(const SlurmJob& job, const SlurmFiles& files) {
  std::string options;
  for (const std::string& o : job.options) options += " " + shell_quoted(o);
  SlurmIds ids;
  ids.array = output_of(fmt::format(
      "sbatch --parsable --requeue --array=0-{} --cpus-per-task={} --output={}{} {}", job.shards - 1,
      job.jobs, shell_quoted(files.directory + "/shard_%a.log"), options, shell_quoted(files.shard_script)));
  // A shard that fails for good takes the merge with it: nothing waits in the queue for ever.
  ids.merge = output_of(fmt::format("sbatch --parsable --requeue --dependency=afterok:{} "
                                    "--kill-on-invalid-dep=yes --output={}{} {}",
                                    ids.array, shell_quoted(files.directory + "/merge.log"), options,
                                    shell_quoted(files.merge_script)));
  return ids;
}

}  // namespace campaign
