#!/usr/bin/env bash
# What a lent GPU is asked, in two calls of under ten minutes each, from the repository's root:
#     OUT=some/folder PYTHON=python3 bash benchmarks/on_gpu.sh step [VARIANT]   # training steps
#     OUT=some/folder PYTHON=python3 bash benchmarks/on_gpu.sh start [VARIANT]  # drawing, wait for data, start-up
# VARIANT is one of configs/augmented.py ('' for the glyphs), grocery unless named. Needs requirements.txt;
# peers are measured where torch and diffusers are installed. Each network, and each sampler, is written when it is
# measured; a part that fails or runs out of its time is named, and the next one starts.
set -uo pipefail
out=${OUT:-benchmarks/results/gpu}
python=${PYTHON:-.venv/bin/python}
variant=${2-grocery}
case ${1:-} in step | start) ;; *) sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2 ;; esac
mkdir -p "$out"

part() {  # seconds, module, arguments
  local seconds=$1 start=$SECONDS
  shift
  timeout "$seconds" "$python" -m "$@" --variant "$variant"
  local status=$?
  echo "== $* : status $status after $((SECONDS - start)) s"
}

"$python" - << 'CHECK' || exit 1
import importlib.util
import subprocess
import sys

import grain, jax, loky, ml_collections, rich  # what is missing is said before anything is measured

print(jax.__version__, jax.devices())
if jax.default_backend() != 'gpu':
    sys.exit('JAX sees no GPU here; nothing is measured')
peers = importlib.util.find_spec('torch') and importlib.util.find_spec('diffusers')
seen = 'import sys, torch; sys.exit(not torch.cuda.is_available())'
if not peers:
    print('== no torch or no diffusers: our own rows alone')
elif subprocess.run([sys.executable, '-c', seen]).returncode:
    sys.exit('PyTorch sees no GPU here, and would be measured on the CPU; uninstall it or mend it')
CHECK

case $1 in
  step)  # most of the time is spent compiling
    part 340 benchmarks.train_throughput --rounds 5 --steps 10 --out "$out" \
      --only 'U-Net, (ours|torch$|diff)|CNN, (ours|torch$)'
    # XLA's own level of optimisation, where train/parallel.py asks for 1: is the step faster?
    XLA_FLAGS="${XLA_FLAGS:-} --xla_backend_optimization_level=3" part 200 \
      benchmarks.train_throughput --rounds 5 --steps 10 --out "$out/level_3" --only '(U-Net|CNN), ours'
    ;;
  start)
    part 150 benchmarks.sampling --rounds 3 --out "$out"
    part 180 benchmarks.input_pipeline --rounds 3 --out "$out"
    part 220 benchmarks.startup --rounds 1 --out "$out"
    ;;
esac
