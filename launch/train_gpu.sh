#!/usr/bin/env bash
# Trains on all NVIDIA GPUs of this machine: makes the environment with JAX for CUDA, looks
# whether JAX sees the GPUs, and starts one process that drives all of them.
#
#   launch/train_gpu.sh --spec=zfnet --dataset=imagenet2012 --workdir=runs/zfnet
#   launch/train_gpu.sh --dry_run --spec=zfnet ...    prints the commands, runs nothing
#
# The flags are those of `python -m launch.train`, and the same command resumes. Images
# are computed in bfloat16, and decoded by a process a core but for one; --dtype=float32
# and --workers=N say otherwise.
#
# PYTHON=python3.12 chooses the interpreter, VENV=DIR the environment.
set -euo pipefail
cd "$(dirname "$0")/.."
. launch/dry_run.sh
. launch/install.sh

[ $# -gt 0 ] || fail "give the flags of launch.train, as --dataset=... --workdir=..."
cores="$(nproc)"
install "[cuda]"
run "$python" -c 'import jax; print(*jax.devices("gpu"), sep="\n")' ||
  fail "JAX sees no GPU; nvidia-smi tells whether the driver does"
run exec "$python" -m launch.train --dtype=bfloat16 --workers="$((cores - 1))" "$@"
