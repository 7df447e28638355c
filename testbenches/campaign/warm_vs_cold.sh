#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# warm_vs_cold.sh POOLSIM DB [N]: replays N experiments of a database, which ran from a warm machine, from a cold start and
# counts those that do not come to the same outcome and digest. Exit code 1 if there are any.
set -eu
poolsim=$1 db=$2 n=${3:-1000}
ids=$("$poolsim" campaign report "$db" --csv /dev/stdout --json 2>/dev/null | awk -F, '/^[0-9]+,/ && !/,pruned,/ && !/,exhausted,/ && !/,died,/ {print $1}' | head -"$n")
compared=0 different=0
for id in $ids; do
  compared=$((compared + 1))
  "$poolsim" replay "$db#$id" >/dev/null 2>&1 || { different=$((different + 1)); echo "experiment $id differs" >&2; }
done
echo "$compared experiments compared, $different differ"
[ "$different" = 0 ] && [ "$compared" -gt 0 ]
