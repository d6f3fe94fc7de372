#!/usr/bin/env bash
# What a lent GPU is asked first, in one call of under ten minutes, from the repository's root:
#     OUT=some/folder PYTHON=python3 bash benchmarks/on_gpu.sh [VARIANT...]
# Peers are measured where torch and diffusers are installed and see the GPU. A part that fails or runs
# out of its time is named, and the next one starts.
set -uo pipefail
out=${OUT:-benchmarks/results/gpu}
python=${PYTHON:-.venv/bin/python}
variants=("$@")
[ ${#variants[@]} -gt 0 ] || variants=(grocery)  # each takes three to four minutes, most of them compiling
mkdir -p "$out"

part() {  # seconds, module, arguments
  local seconds=$1 start=$SECONDS
  shift
  timeout "$seconds" "$python" -m "$@"
  local status=$?
  echo "== $* : status $status after $((SECONDS - start)) s"
}

"$python" -c 'import jax; print(jax.__version__, jax.devices())'
for variant in "${variants[@]}"; do
  part 250 benchmarks.train_throughput --variant "$variant" --rounds 5 --steps 10 \
    --out "$out" --only 'U-Net, (ours|torch$|diff)|CNN, (ours|torch$)'
done
part 90 benchmarks.sampling --variant "${variants[0]}" --rounds 3 --out "$out"
part 90 benchmarks.input_pipeline --variant "${variants[0]}" --rounds 3 --out "$out"
part 130 benchmarks.startup --rounds 1 --out "$out"
