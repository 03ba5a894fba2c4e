#!/usr/bin/env bash
# local_pod.sh N COMMAND...: runs a command as N processes of one program on this machine,
# over loopback and on CPUs, to try out what runs on many hosts:
#
#   launch/local_pod.sh 2 python -m launch.train --spec=tiny --dataset=creatures/64 \
#       --workdir=runs/pod
#
# Each line of output says of which process it is. The exit code is that of the process
# that failed first; the others get ten seconds to notice, then they are ended. Needs bash 5.1.
# XLA_FLAGS=--xla_force_host_platform_device_count=2 gives each process two devices.
set -euo pipefail

if [ $# -lt 2 ] || ! [[ $1 =~ ^[1-9][0-9]*$ ]]; then
  echo "usage: launch/local_pod.sh N COMMAND..." >&2
  exit 2
fi
count=$1
shift
export JAX_PLATFORMS=cpu PYTHONUNBUFFERED=1
# A port in the range that is not handed out, another for each pod.
port=$((20000 + $$ % 10000))
declare -A running=()
printers=()

send() { # SIGNAL: to every process that runs, as a scheduler does
  kill -s "$1" "${!running[@]}" 2>/dev/null || true
}
trap 'send TERM' TERM
# Ctrl-C reaches them by itself, as the terminal's.
trap 'true' INT

for ((id = 0; id < count; id++)); do
  exec {out}> >(trap '' INT TERM && exec sed -u "s/^/[$id] /")
  printers+=($!)
  "$@" --coordinator="localhost:$port" --num_processes="$count" --process_id="$id" \
    >&"$out" 2>&1 {out}>&- &
  running[$!]=$id
  exec {out}>&-
done

code=0 killer=
while [ ${#running[@]} -gt 0 ]; do
  found=0
  wait -n -p ended "${!running[@]}" || found=$?
  # A signal to this script ends `wait`, but no process.
  [ -n "${ended:-}" ] || continue
  unset "running[$ended]"
  if [ "$found" != 0 ] && [ "$code" = 0 ]; then
    code=$found
    (sleep 10 && send KILL) >/dev/null 2>&1 &
    killer=$!
  fi
done
[ -z "$killer" ] || kill "$killer" 2>/dev/null || true
wait "${printers[@]}" || true
exit "$code"
