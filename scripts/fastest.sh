#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what is missing and builds the fastest `poolsim` for x86-64-v3, into build/fastest: a first build counts what
# typical runs execute, the second is compiled for these counts and linked in one piece. For campaigns, exploration and
# studies; twice the time of a release build. Results stay what they are: the script compares the digests of its runs with
# those of the first build, and of the release build where there is one, and fails if one differs.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib/setup.sh"
if ! /lib64/ld-linux-x86-64.so.2 --help 2>/dev/null | grep -q 'x86-64-v3 (supported'; then
  echo "fastest.sh: this processor is not an x86-64-v3 (no AVX2); use the release build of scripts/test.sh." >&2
  exit 1
fi
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
digests() {  # POOLSIM
  local scenario strategy
  for scenario in testbenches/scenarios/{unbind_short,forwarding_at_unbind,gro_at_unbind,queues_at_unbind}.yaml; do
    for strategy in stock scan xarray_merged; do
      "$1" run "$scenario" --set pool.strategy="$strategy" | sed -n "s|^digest|$scenario $strategy|p"
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
before=$(set +o pipefail; digests "$poolsim")
train >&2
build_with use
after=$(set +o pipefail; digests "$poolsim")
same_as() {  # WHOSE DIGESTS
  [ "$2" = "$after" ] && return
  diff <(echo "$2") <(echo "$after") >&2 || true
  echo "fastest.sh: this build does not compute what $1 did (above: that one's and its own); do not use it." >&2
  exit 1
}
same_as "the first one" "$before"
release=build/release/bin/poolsim
# A release build of other sources than these has other digests, too.
if [ -x "$release" ] && cmake --build build/release -j "$(nproc)" --target poolsim >&2; then
  same_as "the release build" "$(set +o pipefail; digests "$release")"
fi
echo "$poolsim_root/$poolsim: $(wc -l <<<"$after") runs, the same digests as before"
