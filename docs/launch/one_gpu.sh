#!/usr/bin/env bash
# One GPU that is lent for ten minutes at a time: run this again until it ends with status 0.
set -uo pipefail
CONFIG=${CONFIG:-configs/augmented.py:grocery}
WORKDIR=${WORKDIR:-runs/grocery}
PYTHON=${PYTHON:-.venv/bin/python}

timeout --foreground --signal=TERM --kill-after=30 540 \
    "$PYTHON" main.py --config="$CONFIG" --workdir="$WORKDIR" "$@"
status=$?
[ $status -eq 124 ] && status=75 # timeout's own word for "stopped", which the run survives
exit $status
