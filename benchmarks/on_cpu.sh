#!/usr/bin/env bash
# The tables of benchmarks/README.md that need no GPU, but for the faults', on one machine in one run of two hours,
# in which it should do nothing else. From the repository's root:
#     OUT=some/folder PYTHON=.venv/bin/python bash benchmarks/on_cpu.sh [PHOTOS]
# PHOTOS is a zip or folder of photographs, for the second table of backbones. Needs benchmarks/requirements.txt.
# Each part writes when it ends; one that fails is named, and the next one starts.
set -uo pipefail
export GLIBC_TUNABLES=glibc.malloc.hugetlb=1  # as the Makefile does
out=${OUT:-benchmarks/results}
python=${PYTHON:-.venv/bin/python}
run=$(mktemp -d)/augmented

part() {  # module or script, arguments
  local start=$SECONDS
  "$python" "$@"
  local status=$?
  echo "== $* : status $status after $((SECONDS - start)) s"
}

"$python" -c 'import diffusers, torch' || exit 1
part main.py --config=configs/augmented.py --workdir="$run"  # as `make run` does
part -m benchmarks.startup --run="$run" --out="$out"
part -m benchmarks.startup --out="$out"
part -m benchmarks.train_throughput --memory --out="$out"
part -m benchmarks.input_pipeline --out="$out"
part -m benchmarks.sampling --run="$run" --out="$out"
part -m benchmarks.scaling --largest=1000000 --out="$out"
part -m benchmarks.decoding --out="$out"
part -m benchmarks.backbones --out="$out"
[ -z "${1:-}" ] || part -m benchmarks.backbones --variant=folder --train="$1" --out="$out"
part -m benchmarks.streaming --out="$out"
