# SPDX-License-Identifier: Apache-2.0
# Sourced by the scripts beside this folder. setup_packages makes sure that every package of packages.txt is there,
# build_release configures and builds into build/release. Progress goes to stderr. Never asks a question.

poolsim_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

# Prints the packages of packages.txt that dpkg does not know as installed.
missing_packages() {
  local name status
  while read -r name; do
    case $name in '' | '#'*) continue ;; esac
    status=$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null) || status=
    [ "$status" = installed ] || printf '%s\n' "$name"
  done <"$poolsim_root/scripts/lib/packages.txt"
}

setup_packages() {
  if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    echo "poolsim: this is not a Debian machine (no dpkg-query, apt-get). The libraries of" \
      "scripts/lib/packages.txt are needed under the names that Debian 12 gives them." >&2
    return 1
  fi
  local missing
  mapfile -t missing < <(missing_packages)
  [ ${#missing[@]} -eq 0 ] && return 0

  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null || ! sudo -n true 2>/dev/null; then
      echo "poolsim: ${#missing[@]} packages are missing and this account may not install them. As root, run:" >&2
      echo "  apt-get update && apt-get install -y --no-install-recommends ${missing[*]}" >&2
      return 1
    fi
    as_root=(sudo -n)
  fi
  local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -y -q -o DPkg::Lock::Timeout=300)
  local install=("${apt[@]}" install --no-install-recommends "${missing[@]}")
  echo "poolsim: installing ${missing[*]}" >&2
  # The package lists may be absent (a fresh container) or too old to download from: only then they are fetched.
  if apt-get -s -q install --no-install-recommends "${missing[@]}" >/dev/null 2>&1 && "${install[@]}" >&2; then
    return 0
  fi
  "${apt[@]}" update >&2
  if ! "${install[@]}" >&2; then
    echo "poolsim: the packages could not be installed; see the messages of apt-get above." >&2
    return 1
  fi
}

build_release() {
  (
    cd "$poolsim_root"
    cmake --preset release
    cmake --build build/release -j "$(nproc)"
  )
}
