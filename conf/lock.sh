#!/usr/bin/env bash
# Renews conf/*.lock from the ranges of setup.py and conf/constraints.in. Needs uv (pip install uv).
set -euo pipefail
cd "$(dirname "$0")/.."
compile() { # OUTPUT EXTRA...
  local out=$1; shift
  uv pip compile setup.py $(printf -- '--extra %s ' "$@") -c conf/constraints.in --universal --python-version 3.10 \
    --generate-hashes --no-header --quiet --output-file "$out"
  sed -i '1i # Made by conf/lock.sh from setup.py: every package with its hashes. Do not edit.' "$out"
}
compile conf/requirements.lock spark tracking tuning plots cluster
compile conf/requirements-dev.lock spark tracking tuning plots cluster dev
compile conf/requirements-benchmark.lock spark tracking tuning plots cluster benchmark
