# shellcheck shell=bash
# Sourced by the scripts that start here: makes the virtual environment and installs into
# it; after dry_run.sh, prints how.
#
#   install EXTRAS    "" or "[test]"
#
# PYTHON=python3.12 chooses the interpreter, VENV=DIR the environment (.venv).
# Afterwards $python runs in the environment.

VENV="${VENV:-.venv}"

fail() {
  echo "${0##*/}: $*" >&2
  exit 1
}

new_enough() {
  "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
  if [ -n "${PYTHON:-}" ]; then
    command -v "$PYTHON" >/dev/null || fail "PYTHON=$PYTHON: no such command"
    new_enough "$PYTHON" || fail "PYTHON=$PYTHON: needs Python 3.11 or newer, is $("$PYTHON" --version 2>&1)"
    echo "$PYTHON"
    return
  fi
  local candidate
  for candidate in python3 python3.13 python3.12 python3.11; do
    if command -v "$candidate" >/dev/null && new_enough "$candidate"; then
      echo "$candidate"
      return
    fi
  done
  fail "needs Python 3.11 or newer; on Debian: apt-get install python3 python3-venv, or set PYTHON=/path/to/python3.12"
}

install() {
  local extras="$1" base version stamp wanted
  base="$(find_python)" || exit 1
  version="$("$base" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
  python="$VENV/bin/python"
  local pip=("$python" -m pip install --quiet --disable-pip-version-check
    --constraint requirements.lock --editable ".$extras")
  if [ -n "${dry_run:-}" ]; then
    run "$base" -m venv "$VENV"
    run "${pip[@]}"
    return
  fi
  if [ -x "$python" ] && ! "$python" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$version')"; then
    # Only what was made here is made anew; somebody's own environment is not touched.
    ls "$VENV"/installed* >/dev/null 2>&1 ||
      fail "$VENV is of another Python than $version and was not made here; set VENV=DIR"
    echo "$VENV is of another Python than $version: made anew"
    rm -rf "$VENV"
  fi
  if [ ! -x "$python" ]; then
    "$base" -c 'import ensurepip, venv' 2>/dev/null ||
      fail "$base has no venv; on Debian: apt-get install python$version-venv (or python3-venv)"
    "$base" -m venv "$VENV" || fail "could not make the virtual environment $VENV"
  fi
  stamp="$VENV/installed$extras"
  wanted="$(cat setup.cfg pyproject.toml requirements.lock | cksum) $PWD"
  if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
    echo "installing zf_jax$extras into $VENV (Python $version, a few minutes the first time)"
    "${pip[@]}" >"$VENV/pip.log" 2>&1 || {
      grep -v '^WARNING' "$VENV/pip.log" | tail -n 5 >&2
      fail "pip could not install; is the network, or a package index, within reach? All it said: $VENV/pip.log"
    }
    echo "$wanted" >"$stamp"
  fi
}
