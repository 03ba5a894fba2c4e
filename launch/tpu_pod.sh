#!/usr/bin/env bash
# Trains on a slice of Cloud TPUs, from a machine with gcloud: copies this repository to
# every host of the slice, makes the environment there, and starts the same command on all
# of them. JAX tells the hosts who they are.
#
#   launch/tpu_pod.sh NAME ZONE --spec=zfnet --dataset=imagenet2012 \
#       --data_dir=/mnt/data/tensorflow_datasets --workdir=runs/zfnet
#   launch/tpu_pod.sh --dry_run NAME ZONE ...    prints the commands, runs nothing
#
# The flags are those of `python -m launch.train`. Every host must see the data under the
# same path, for example on a disk that is attached read-only to all. The workdir is the
# first host's own: it alone writes. A slice with such a disk is made by
#
#   gcloud compute tpus tpu-vm create NAME --zone=ZONE --accelerator-type=v5litepod-16 \
#       --version=v2-alpha-tpuv5-lite \
#       --data-disk=source=projects/PROJECT/zones/ZONE/disks/DISK,mode=read-only
#   gcloud compute tpus tpu-vm ssh NAME --zone=ZONE --worker=all \
#       --command='sudo mkdir -p /mnt/data && sudo mount -o ro,noload /dev/sdb /mnt/data'
#
# Training goes on when this script is interrupted, which only follows the first host's
# output. To stop and save, and to fetch the run:
#
#   gcloud compute tpus tpu-vm ssh NAME --zone=ZONE --worker=all \
#       --command='kill "$(cat zf_jax/train.pid)"'
#   gcloud compute tpus tpu-vm scp --recurse NAME:zf_jax/runs . --zone=ZONE --worker=0
set -euo pipefail
cd "$(dirname "$0")/.."
. launch/dry_run.sh

if [ $# -lt 3 ]; then
  echo "usage: launch/tpu_pod.sh [--dry_run] NAME ZONE FLAGS..." >&2
  exit 2
fi
name=$1 zone=$2
shift 2

on() { # WORKER COMMAND: on one host, or on all
  run gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker="$1" --command="$2"
}

archive="$(mktemp -d)/zf_jax.tar.gz"
trap 'rm -rf "${archive%/*}"' EXIT
run git archive --format=tar.gz --prefix=zf_jax/ --output="$archive" HEAD
run gcloud compute tpus tpu-vm scp "$archive" "$name": --zone="$zone" --worker=all
# The hosts' own Python may be older than 3.11.
on all "tar -xzf zf_jax.tar.gz && python3 -m pip install --user --quiet uv && \
~/.local/bin/uv python install --quiet 3.12 && cd zf_jax && \
PYTHON=\"\$(~/.local/bin/uv python find 3.12)\" bash -c '. launch/install.sh && install [tpu]'"
# A host's cores decode its images, but for four that feed its chips.
on all "cd zf_jax && mkdir -p runs && { nohup .venv/bin/python -m launch.train \
--dtype=bfloat16 --workers=\"\$((\$(nproc) - 4))\" $(printf '%q ' "$@")\
</dev/null >train.log 2>&1 & echo \$! >train.pid; }"
on 0 "tail --pid=\"\$(cat zf_jax/train.pid)\" -n +1 -F zf_jax/train.log"
