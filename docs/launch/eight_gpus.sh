#!/usr/bin/env bash
# All GPUs of one host: one process drives them. Again and again while it says 75 (preempted).
set -uo pipefail
CONFIG=${CONFIG:-configs/augmented.py:folder256}
WORKDIR=${WORKDIR:-runs/folder256}
PYTHON=${PYTHON:-.venv/bin/python}

status=75
while [ $status -eq 75 ]; do
    "$PYTHON" main.py --config="$CONFIG" --workdir="$WORKDIR" "$@"
    status=$?
done
exit $status
