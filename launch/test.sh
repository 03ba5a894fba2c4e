#!/usr/bin/env bash
# The test command: makes .venv, installs, then runs ruff, import-linter and pytest.
#
#   ./launch/test.sh                    the fast tier: all but the tests marked slow
#   ./launch/test.sh --all              everything
#   ./launch/test.sh tests/ops -x       pytest with these arguments, after --all or not
#   ./launch/test.sh -n0 --pdb          in one process, which can be looked into
#
# PYTHON=python3.12 chooses the interpreter, VENV=DIR the environment.
set -euo pipefail
cd "$(dirname "$0")/.."
. launch/install.sh

if [ "${1:-}" = --all ]; then
  # A slow test builds the pages as a site.
  tier=() extras=test,docs
  shift
else
  tier=(-m "not slow") extras=test
  # Compiling takes longer than running what is compiled; --all compiles as users do.
  export JAX_DISABLE_MOST_OPTIMIZATIONS="${JAX_DISABLE_MOST_OPTIMIZATIONS:-true}"
fi
install "[$extras]"

"$python" -m ruff check .
"$python" -m ruff format --check .
"$VENV/bin/lint-imports"
# A worker a core, of one thread each (tests/conftest.py).
"$python" -m pytest --numprocesses=logical --maxprocesses=4 --dist=worksteal \
  ${tier[@]+"${tier[@]}"} "$@"
