#!/usr/bin/env bash
# All GPUs of one host: one process drives them. Again and again while it says 75 (preempted).
set -uo pipefail
CONFIG=${CONFIG:-configs/augmented.py:folder256}
WORKDIR=${WORKDIR:-runs/folder256}
PYTHON=${PYTHON:-.venv/bin/python}

status=75
stop() { # whoever stops this script means the run, which saves and ends with 75
    stopped=1
    kill -TERM "$run" 2>/dev/null
}
trap stop INT TERM
while [ $status -eq 75 ] && [ -z "${stopped:-}" ]; do
    "$PYTHON" main.py --config="$CONFIG" --workdir="$WORKDIR" "$@" &
    run=$!
    wait $run
    status=$?
    while kill -0 $run 2>/dev/null; do wait $run; status=$?; done # a signal ends wait, too
done
exit $status
