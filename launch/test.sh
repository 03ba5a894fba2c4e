#!/usr/bin/env bash
# The test command: makes .venv, installs, then runs ruff, import-linter and pytest.
#
#   ./launch/test.sh                  everything
#   ./launch/test.sh tests/ops -x     pytest with these arguments
#
# PYTHON=python3.12 chooses the interpreter, VENV=DIR the environment.
set -euo pipefail
cd "$(dirname "$0")/.."
. launch/install.sh
install "[test]"

"$python" -m ruff check .
"$python" -m ruff format --check .
"$VENV/bin/lint-imports"
"$python" -m pytest "$@"
