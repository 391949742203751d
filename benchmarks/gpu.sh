#!/usr/bin/env bash
# Measures a run on this machine's GPU in less than six minutes: images a second, the share of time in the networks,
# memory, and equality with the CPU's verdicts; writes results/gpu.json. PYTHON=python3 takes another interpreter.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD"
read -ra python <<<"${PYTHON:-uv run --group dev python}"
exec timeout 360 "${python[@]}" benchmarks/gpu.py "$@"
