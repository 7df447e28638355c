#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what is missing and builds the fastest `poolsim` for this very machine, into build/fastest: a first build counts
# what typical runs execute, the second is compiled for these counts, for this processor and linked in one piece. For
# campaigns, exploration and studies; about ten minutes on two cores. Results are those of the release build, byte for
# byte: the script compares the digests of its own runs before and after, and fails if one differs.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib/setup.sh"
setup_packages
cd "$poolsim_root"
build=build/fastest
poolsim=$build/bin/poolsim

# Built twice in one directory, because the counts lie beside the objects.
build_with() {
  cmake --preset release -B "$build" -DPOOLSIM_PROFILE="$1" >&2
  cmake --build "$build" -j "$(nproc)" --target poolsim poolsim-bench >&2
}

# Exit code 1 says that the checker found something, as it should in most of these.
digests() {
  local scenario strategy
  for scenario in testbenches/scenarios/{unbind_short,forwarding_at_unbind,gro_at_unbind,queues_at_unbind}.yaml; do
    for strategy in stock scan xarray_merged; do
      "$poolsim" run "$scenario" --set pool.strategy="$strategy" | sed -n "s|^digest|$scenario $strategy|p"
    done
  done
}

# What the long jobs execute: the whole machine. No bench of one part: its loops, run a thousand times as often, would make
# everything else look not worth optimising.
train() {
  local family
  for family in BM_Machine_Rx BM_Cold_Rx BM_Pf8_Rx; do
    "$build/bin/poolsim-bench" --benchmark_filter="^$family" --benchmark_min_time=0.1
  done
}

find "$build" -name '*.gcda' -delete 2>/dev/null || true
build_with generate
before=$(set +o pipefail; digests)
train >&2
build_with use
after=$(set +o pipefail; digests)
if [ "$before" != "$after" ]; then
  diff <(echo "$before") <(echo "$after") >&2 || true
  echo "fastest.sh: this build does not compute what the first one did (above: before and after); do not use it." >&2
  exit 1
fi
echo "$poolsim_root/$poolsim: $(wc -l <<<"$after") runs, the same digests as before"
