#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what is missing, builds, runs every test. The last lines are ctest's own summary.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib/setup.sh"
setup_packages
build_release
exec ctest --test-dir "$poolsim_root/build/release" --output-on-failure -j "$(nproc)"
