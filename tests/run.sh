#!/usr/bin/env bash
# Installs what the tests need into .venv and runs them; arguments go to pytest (tests/run.sh tests/unit -k lake).
# Without arguments: all but the slow ones, two files at a time (most of a Spark test is waiting).
set -euo pipefail
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
# shellcheck source=conf/env.sh
. "$ROOT/conf/env.sh"

check_java
ensure_venv "$ROOT/conf/requirements-dev.lock" "$ROOT/conf/requirements.lock"

# The tests bring their own Spark settings: none of the caller's.
unset SPARK_HOME SPARK_CONF_DIR SPARK_REMOTE MASTER PYTHONPATH
export PYSPARK_PYTHON="$VENV/bin/python" PYSPARK_DRIVER_PYTHON="$VENV/bin/python"
cd "$ROOT"
[ $# -gt 0 ] || set -- -n 2 --dist loadfile --no-loadscope-reorder
exec "$VENV/bin/python" -m pytest "$@"
