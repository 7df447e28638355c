#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs every command of a document: the lines that begin with "$ ", in order, in one directory. A comment
# "# exit code N" at the end of a line says what it must return; without one that is 0.
#
#   tutorial_test.sh POOLSIM SOURCE DOCUMENT
set -eu
poolsim=$1
source=$2
document=$3
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
ln -s "$source/testbenches" "$scratch/testbenches"
mkdir "$scratch/bin"
ln -s "$poolsim" "$scratch/bin/poolsim"
PATH=$scratch/bin:$PATH
export PATH
sed -n 's/^\$ //p' "$document" > "$scratch/commands"
cd "$scratch"
count=0
while read -r line <&3; do
  expected=$(printf '%s\n' "$line" | sed -n 's/.*# exit code \([0-9]*\)$/\1/p')
  code=0
  sh -c "$line" > "$scratch/stdout" 2> "$scratch/stderr" || code=$?
  count=$((count + 1))
  if [ "$code" != "${expected:-0}" ]; then
    echo "$document: '$line' returned $code, not ${expected:-0}"
    cat "$scratch/stdout" "$scratch/stderr"
    exit 1
  fi
done 3< "$scratch/commands"
[ "$count" -gt 0 ] || { echo "$document: no commands"; exit 1; }
echo "$count commands"
