#!/usr/bin/env bash
# Two processes on this machine act as one run, as two hosts would.
set -euo pipefail
CONFIG=${CONFIG:-configs/augmented.py:digits}
WORKDIR=${WORKDIR:-runs/two_processes}
PYTHON=${PYTHON:-.venv/bin/python}
ADDRESS=127.0.0.1:${PORT:-$((20000 + RANDOM % 20000))}

pids=()
for i in 0 1; do
    "$PYTHON" main.py --config="$CONFIG" --workdir="$WORKDIR" \
        --coordinator_address="$ADDRESS" --num_processes=2 --process_id=$i "$@" &
    pids+=($!)
done
trap 'kill -TERM "${pids[@]}" 2>/dev/null' INT TERM # they save, and end with 75
status=0
for pid in "${pids[@]}"; do
    wait "$pid" || status=$?
    while kill -0 "$pid" 2>/dev/null; do wait "$pid" || status=$?; done # a signal ends wait, too
done
exit $status
