#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# slurm_test.sh POOLSIM SOURCE: a campaign as a job array on three nodes of this machine gives the rows of a plain run.
# With SLURM_TEST_KILL=node a node dies with a shard on it, and comes back when the others have noticed.
# Exit code 77: there is no Slurm here.
set -eu
# One cluster at a time: it has fixed ports.
exec 9>"${TMPDIR:-/tmp}"/poolsim_slurm.lock
flock -n 9 || { echo "another Slurm test runs on this machine" >&2; exit 77; }
poolsim=$1 source=$2 here=$(dirname "$0")
dir=$(mktemp -d)
campaign="$source"/testbenches/campaigns/unbind_short.yaml
# The daemons write their last words while they stop.
trap '"$here"/slurm_one_box.sh stop "$dir" || true; rm -rf "$dir" || { sleep 1; rm -rf "$dir"; } || true' EXIT
# The daemons must not inherit the lock.
"$here"/slurm_one_box.sh start "$dir" 9>&- || exit $?
export SLURM_CONF="$dir"/slurm.conf

"$poolsim" campaign run "$campaign" --db "$dir"/plain.db --quiet >/dev/null || [ $? = 1 ]
"$poolsim" campaign run "$campaign" --db "$dir"/slurm.db --slurm --shards 6 --jobs 1
if [ "${SLURM_TEST_KILL:-}" = node ]; then
  # Processes of jobs on node 2 of this cluster.
  job_pids() {
    # grep fails, too, where a process has gone in the meantime.
    all=$(grep -lzx SLURMD_NODENAME=n2 /proc/[0-9]*/environ 2>/dev/null || true)
    for f in $(grep -lzx "SLURM_CONF=$SLURM_CONF" /dev/null $all 2>/dev/null || true); do
      f=${f#/proc/} && echo "${f%/environ}"
    done
  }
  for i in $(seq 1 200); do
    jobs=$(job_pids)
    [ -n "$jobs" ] && [ -e "$dir"/slurm.db.slurm/shard_1.db ] && break
    sleep 0.05
  done
  [ -n "$jobs" ] || { echo "no shard came to node 2" >&2; exit 1; }
  # All of it at once, so that nobody is left to tell: slurmd, the step daemons above the jobs, the jobs.
  steps=$(for p in $jobs; do ps -o ppid= -p "$p"; done | sort -u)
  kill -9 $(cat "$dir"/slurmd.n2.pid) $(for s in $steps; do
    if [ "$(ps -o comm= -p "$s")" = slurmstepd ]; then echo "$s"; fi
  done) $jobs 2>/dev/null || true
  # The shard is queued again after SlurmdTimeout.
  for i in $(seq 1 120); do
    sinfo -h -N -n n2 -o %T | grep -q down && break
    sleep 1
  done
  sinfo -h -N -n n2 -o "node 2 is %T"
  slurmd -f "$SLURM_CONF" -N n2 -c 9>&-
fi
for i in $(seq 1 "${SLURM_TEST_WAIT:-120}"); do
  [ -z "$(squeue -h -o %A)" ] && break
  sleep 1
done
squeue
digest() { "$poolsim" campaign status "$1" --json | grep '"rows_digest"'; }
[ -n "$(digest "$dir"/plain.db)" ]
if [ "$(digest "$dir"/plain.db)" != "$(digest "$dir"/slurm.db)" ]; then
  echo "the rows differ" >&2
  cat "$dir"/slurm.db.slurm/*.log >&2
  exit 1
fi
if [ "${SLURM_TEST_KILL:-}" = node ]; then
  grep -q "Requeuing" "$dir"/slurmctld.log || { echo "nothing was queued again" >&2; exit 1; }
fi
echo "the same rows: $(digest "$dir"/slurm.db)"
