#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds poolsim and poolsim-bench for speed: optimised at link time, with a profile of what they do on this machine
# (gcc -fprofile-use). Same sources, same bytes out; the build takes some three times as long as the release preset's.
# For long campaigns and studies.
#
#   scripts/fastest.sh [BUILD] [JOBS]        default: build/fastest, all cores
set -eu
cd "$(dirname "$0")/.."
build=${1:-build/fastest}
jobs=${2:-$(nproc)}
mkdir -p "$build"
build=$(cd "$build" && pwd)
profile=$build/profile

configure() {  # FLAGS
  cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_FLAGS_RELEASE="$1" >"$build/configure.log" ||
    { cat "$build/configure.log" >&2; exit 70; }
}

rm -rf "$profile"
configure "-O2 -fprofile-generate=$profile -fprofile-update=atomic"
cmake --build "$build" -j "$jobs" --target poolsim-bench poolsim
echo "fastest.sh: profile"
"$build/bin/poolsim-bench" --benchmark_filter='^BM_(Machine_Rx|Dram/controller|Iommu|Platform)' --benchmark_min_time=0.1 \
  >"$build/profile.log" 2>&1 || { cat "$build/profile.log" >&2; exit 70; }
configure "-O2 -flto=auto -fprofile-use=$profile -fprofile-partial-training -Wno-missing-profile"
cmake --build "$build" -j "$jobs" --target poolsim-bench poolsim
echo "fastest.sh: $build/bin/poolsim, $build/bin/poolsim-bench"
