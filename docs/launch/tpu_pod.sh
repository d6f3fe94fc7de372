#!/usr/bin/env bash
# One run over a Cloud TPU pod: the same command on every host, which JAX finds by the metadata.
# The repository lies in ~/project on each of them, the run folder on NFS that all have mounted (Filestore).
set -euo pipefail
TPU=${TPU:?name of the TPU VM} ZONE=${ZONE:?its zone}
CONFIG=${CONFIG:-configs/augmented.py:folder256}
WORKDIR=${WORKDIR:-/mnt/nfs/runs/folder256}

gcloud compute tpus tpu-vm ssh "$TPU" --zone="$ZONE" --worker=all --command="
    cd ~/project && .venv/bin/pip install --quiet 'jax[tpu]' &&
    .venv/bin/python main.py --config=$CONFIG --workdir=$WORKDIR --distributed ${1+$(printf '%q ' "$@")}"
