#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# browser_test.sh POOLSIM SOURCE: the page of a small study in a browser without window. Its script draws every plot and
# complains of nothing - what the page would load from elsewhere, its own policy makes a complaint - and the button
# writes the CSV. Skipped (77) where there is no Chromium.
set -euo pipefail
poolsim=$1 source=$2
for name in chromium chromium-browser google-chrome; do
  browser=$(command -v "$name") && break
done
[ -n "${browser:-}" ] || { echo "no chromium here"; exit 77; }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cat > "$dir/small.yaml" <<EOF
base: $source/testbenches/scenarios/unbind_short.yaml
modes: [strict, lazy]
parameters: {pool.size: [8, 64, 512]}
measures: {packets: packets, unbind: {formula: checker.unbind_s * 1e6, unit: us}}
plots:
  - {x: pool.size, y: unbind, by: mode, log_x: true, log_y: true}
  - {x: mode, y: packets}
EOF
cd "$dir"
"$poolsim" study small.yaml --quiet --html page.html --csv runs.csv > /dev/null

cat > probe.html <<'EOF'
<script>
URL.createObjectURL = blob => { blob.text().then(text => { document.body.dataset.csv = text; }); return "#"; };
document.querySelector("button").click();
document.body.dataset.lit = [...document.querySelectorAll(".live canvas")].filter(c =>
  c.getContext("2d").getImageData(0, 0, c.width, c.height).data.some(v => v !== 0)).length;
</script>
EOF
cat page.html probe.html > probed.html
"$browser" --headless --no-sandbox --disable-gpu --user-data-dir="$dir/profile" --enable-logging=stderr --dump-dom \
  --virtual-time-budget=4000 "file://$dir/probed.html" > dom 2> log || { cat log; echo "skipped: no browser starts here"; exit 77; }
fail() { echo "$1"; exit 1; }
! grep CONSOLE log || fail "the page complains"
[ "$(grep -c '<figure data-plot="[01]" class="on">' dom)" = 2 ] || fail "not every plot is drawn"
[ "$(grep -o 'data-lit="[0-9]*"' dom)" = 'data-lit="2"' ] || fail "a plot is empty"
dom=$(cat dom) csv=$(cat runs.csv)
[[ "$dom" == *"data-csv=\"$csv"* ]] || fail "the button writes another CSV"
echo "2 plots, $(wc -l < runs.csv) lines of CSV"
