#!/usr/bin/env bash
# The demo: trains TINY on creatures/64, then draws what it learned, into runs/demo/.
# A second start reuses what is there: environment, data, checkpoints.
#
# PYTHON=python3.12 chooses the interpreter, VENV=DIR the environment.
set -euo pipefail
cd "$(dirname "$0")/.."
. launch/install.sh

out=runs/demo
mkdir -p "$out"
seconds=()

stage() { # NAME COMMAND...: runs it and keeps how long it took
  local name="$1" began=$SECONDS
  shift
  echo "== $name"
  "$@"
  seconds+=("$name=$((SECONDS - began))")
}

data=(--data_dir="$out/data")
stage install install ""
stage data "$python" -m launch.preview --dataset=creatures/64 "${data[@]}" \
  --out="$out"
stage train "$python" -m launch.train --spec=tiny --dataset=creatures/64 "${data[@]}" \
  --workdir="$out/tiny"
stage features "$python" -m experiments.features --checkpoint="$out/tiny" "${data[@]}" \
  --out="$out/features"
stage occlusion "$python" -m experiments.occlusion --checkpoint="$out/tiny" \
  "${data[@]}" --indices=1,2,5,8 --side=20 --stride=4 --out="$out/occlusion"
stage explore "$python" -m experiments.explore --checkpoint="$out/tiny" "${data[@]}" \
  --out="$out/explorer"
"$python" -m launch.report --folder="$out" --stages="$(IFS=,; echo "${seconds[*]}")"
echo "every unit, in a browser: $PWD/$out/explorer/index.html"
