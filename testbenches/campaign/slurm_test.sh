#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# slurm_test.sh POOLSIM SOURCE: a campaign as a job array on three nodes of this machine gives the rows of a plain run,
# also when a node dies with a shard on it. Exit code 77: there is no Slurm here.
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
  # slurmd, its step and the job of node 2: the shard is queued again after SlurmdTimeout.
  sleep 1
  node=$(cat "$dir"/slurmd.n2.pid)
  kill -9 "$node" $(pgrep -P "$node") 2>/dev/null || true
  slurmd -f "$SLURM_CONF" -N n2 -c
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
echo "the same rows: $(digest "$dir"/slurm.db)"
