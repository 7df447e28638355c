#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what is missing, builds, replays "the driver was unbound while skbs were outstanding" with three page_pool
# strategies, and records the run of the stock one as a waveform.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib/setup.sh"
setup_packages
build_release >&2
cd "$poolsim_root"
poolsim=build/release/bin/poolsim
scenario=testbenches/scenarios/unbind_outstanding.yaml
mkdir -p out

# Exit code 1 says that the checker found something: that is what this demonstration shows.
tell() {
  echo
  echo "\$ $*"
  "$@" || [ $? -eq 1 ]
}
tell "$poolsim" compare "$scenario" --strategies stock,scan,xarray_merged
tell "$poolsim" run "$scenario" --vcd out/unbind_outstanding.vcd

cat <<TEXT

The waveform of the second run is in out/unbind_outstanding.vcd. To look at it:
  apt-get install gtkwave && gtkwave out/unbind_outstanding.gtkw
(groups: NIC queue and descriptor cache, IOTLB, walks, faults, link, DRAM commands, core contexts, pool counters).
TEXT
