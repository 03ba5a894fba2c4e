#!/usr/bin/env bash
# Makes requirements.lock anew: what the test command and the demo install, on the oldest
# Python and on newer ones. A line with a marker holds for one of the two.
#
#   ./launch/lock.sh python3.11 python3.12
set -euo pipefail
cd "$(dirname "$0")/.."
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

freeze() { # PYTHON NAME: the newest releases that setup.cfg allows
  "$1" -m venv "$work/$2"
  "$work/$2/bin/pip" install --quiet --disable-pip-version-check ".[test,docs]"
  "$work/$2/bin/pip" freeze --exclude zf_jax | LC_ALL=C sort >"$work/$2.txt"
}

freeze "$1" old
freeze "$2" new
{
  echo "# Made by launch/lock.sh; constraints, so that both README commands install the same."
  LC_ALL=C comm -12 "$work/old.txt" "$work/new.txt"
  LC_ALL=C comm -23 "$work/old.txt" "$work/new.txt" | sed 's/$/ ; python_version < "3.12"/'
  LC_ALL=C comm -13 "$work/old.txt" "$work/new.txt" | sed 's/$/ ; python_version >= "3.12"/'
} >requirements.lock
