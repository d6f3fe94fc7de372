#!/usr/bin/env bash
# All GPUs of one host: one process drives them. Again and again while it says 75 (preempted).
set -uo pipefail
CONFIG=${CONFIG:-configs/augmented.py:folder256}
WORKDIR=${WORKDIR:-runs/folder256}
PYTHON=${PYTHON:-.venv/bin/python}

status=75
trap 'stopped=1' INT # Ctrl-C ends the run with 75, too, and is meant
while [ $status -eq 75 ] && [ -z "${stopped:-}" ]; do
    "$PYTHON" main.py --config="$CONFIG" --workdir="$WORKDIR" "$@"
    status=$?
done
exit $status
