#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Instructions per operation of benchmarks, counted by callgrind: independent of the load of the machine. The count of
# N iterations is taken twice, with N and 3N, and the difference divided, so that start-up does not count.
#
#   scripts/instructions.sh [BUILD] [FILTER]        default: build/release ^BM_PagePool/
# Prints a table: benchmark, instructions per iteration. Needs valgrind; benchmarks take the number of iterations from
# POOLSIM_BENCH_ITERATIONS.
set -eu
build=${1:-build/release}
filter=${2:-^BM_PagePool/}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

count() {  # NAME ITERATIONS -> instructions of the whole run
  POOLSIM_BENCH_ITERATIONS=$2 valgrind --tool=callgrind --callgrind-out-file="$out/callgrind" --log-file="$out/log" \
    "$build/bin/poolsim-bench" --benchmark_filter="^$1(/iterations:.*)?\$" >/dev/null 2>"$out/errors" ||
    { cat "$out/errors" "$out/log" >&2; exit 70; }
  sed -n 's/^summary: *//p; s/^totals: *//p' "$out/callgrind" | head -n 1
}

printf '%-28s %12s\n' benchmark instructions
"$build/bin/poolsim-bench" --benchmark_filter="$filter" --benchmark_list_tests=true 2>/dev/null | while read -r name; do
  one=$(count "$name" 2000)
  three=$(count "$name" 6000)
  printf '%-28s %12s\n' "$name" "$(awk "BEGIN { printf \"%.1f\", ($three - $one) / 4000 }")"
done
