#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# kill_test.sh POOLSIM CAMPAIGN [N]: kills one of the processes of a campaign N times at random moments - the coordinator,
# the process of its variant, a worker, an executor, each in turn - and lets the campaign go on each time; whenever it is
# complete the rows must be those of an undisturbed run. KILL_TEST_SEED: of the moments.
set -eu
poolsim=$1 campaign=$2 n=${3:-20}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
digest() { "$poolsim" campaign status "$1" --json | grep '"rows_digest"'; }
run() { "$poolsim" campaign run "$campaign" --db "$1" --quiet >/dev/null 2>&1; }
now_ms() { date +%s%3N; }
begin=$(now_ms)
run "$dir"/calm.db || [ $? = 1 ]
span=$(($(now_ms) - begin))
calm=$(digest "$dir"/calm.db)
seed=${KILL_TEST_SEED:-1}
kills=0 completed=0 level=0 level0=0 level1=0 level2=0 level3=0
while [ $kills -lt "$n" ] || [ $completed = 0 ]; do
  "$poolsim" campaign run "$campaign" --db "$dir"/killed.db --quiet >/dev/null 2>&1 &
  pid=$!
  seed=$(((seed * 1103515245 + 12345) % 2147483648))
  ms=$((seed / 65536 % span))
  sleep $((ms / 1000)).$(printf %03d $((ms % 1000)))
  if [ $kills -lt "$n" ]; then
    # Down the tree by `level`; a process that is just being replaced is looked for again.
    for try in $(seq 1 20); do
      victim=$pid depth=0
      while [ $depth -lt $level ]; do
        children=$(pgrep -P "$victim" || true)
        count=$(echo "$children" | grep -c . || true)
        [ "$count" -gt 0 ] || break
        seed=$(((seed * 1103515245 + 12345) % 2147483648))
        victim=$(echo "$children" | sed -n $((seed / 65536 % count + 1))p)
        depth=$((depth + 1))
      done
      if [ $depth = $level ] && kill -9 "$victim" 2>/dev/null; then
        kills=$((kills + 1))
        eval "level$level=\$((level$level + 1))"
        level=$(((level + 1) % 4))
        break
      fi
      kill -0 $pid 2>/dev/null || break
    done
  fi
  code=0
  wait $pid 2>/dev/null || code=$?
  [ $code -le 1 ] || continue
  completed=$((completed + 1))
  [ "$(digest "$dir"/killed.db)" = "$calm" ] || { echo "after $kills kills the rows differ" >&2; exit 1; }
  rm -f "$dir"/killed.db*
done
echo "$kills kills ($level0 coordinators, $level1 variants, $level2 workers, $level3 executors)," \
  "$completed completed campaigns with the rows of an undisturbed one"
