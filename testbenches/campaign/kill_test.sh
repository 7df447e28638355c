#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# kill_test.sh POOLSIM CAMPAIGN [N]: kills the coordinator, or one of its processes, N times at random moments and lets the
# campaign go on each time; whenever it is complete the rows must be those of an undisturbed run.
set -eu
poolsim=$1 campaign=$2 n=${3:-20}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
digest() { "$poolsim" campaign status "$1" --json | grep '"rows_digest"'; }
run() { "$poolsim" campaign run "$campaign" --db "$1" --quiet >/dev/null 2>&1; }
run "$dir"/calm.db || [ $? = 1 ]
calm=$(digest "$dir"/calm.db)
kills=0 completed=0 seed=${KILL_TEST_SEED:-1}
while [ $kills -lt "$n" ] || [ $completed = 0 ]; do
  "$poolsim" campaign run "$campaign" --db "$dir"/killed.db --quiet >/dev/null 2>&1 &
  pid=$!
  seed=$(((seed * 1103515245 + 12345) % 2147483648))
  sleep $((seed / 65536 % 3)).$((seed / 1024 % 9 + 1))
  # The coordinator, or the process of its variant, or a worker.
  victim=$pid
  for level in $(seq 1 $((seed / 8192 % 3))); do
    child=$(pgrep -P "$victim" | head -1)
    victim=${child:-$victim}
  done
  if [ $kills -lt "$n" ] && kill -9 "$victim" 2>/dev/null; then kills=$((kills + 1)); fi
  code=0
  wait $pid 2>/dev/null || code=$?
  [ $code -le 1 ] || continue
  completed=$((completed + 1))
  [ "$(digest "$dir"/killed.db)" = "$calm" ] || { echo "after $kills kills the rows differ" >&2; exit 1; }
  rm -f "$dir"/killed.db*
done
echo "$kills kills, $completed completed campaigns with the rows of an undisturbed one"
