// SPDX-License-Identifier: Apache-2.0
// A campaign on a Slurm cluster: one job array, a task a shard, and a merge that waits for all of them. Each
// task owns one database file and goes on where it was when the node died and the task was queued again.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace campaign {

struct SlurmJob {
  std::string program;            ///< absolute
  std::string campaign_file, db;  ///< absolute
  std::uint64_t shards = 1;
  unsigned jobs = 1;                 ///< experiments at a time, CPUs of a task
  std::vector<std::string> options;  ///< for sbatch: --partition=...
};
struct SlurmFiles {
  std::string directory, shard_script, merge_script;
};
/// Writes DB.slurm/shard.sh and merge.sh. Throws sim::Error.
SlurmFiles write_slurm_job(const SlurmJob& job);
struct SlurmIds {
  std::string array, merge;
};
/// Hands both to sbatch. Throws sim::Error with what it says.
SlurmIds submit_slurm_job(const SlurmJob& job, const SlurmFiles& files);

}  // namespace campaign
