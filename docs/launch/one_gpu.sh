#!/usr/bin/env bash
# One GPU that is lent for ten minutes at a time: run this again until it ends with status 0.
set -uo pipefail
CONFIG=${CONFIG:-configs/augmented.py:grocery}
WORKDIR=${WORKDIR:-runs/grocery}
PYTHON=${PYTHON:-.venv/bin/python}

# In this script's place, so that a signal reaches the run; it survives being stopped, with 75.
exec timeout --foreground --preserve-status --signal=TERM --kill-after=30 540 \
    "$PYTHON" main.py --config="$CONFIG" --workdir="$WORKDIR" "$@"
