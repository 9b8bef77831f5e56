#!/usr/bin/env bash
# Jurist beside TRL on one GPU of 80 GB: under 12 minutes, no network. bench/gpu.py says what is measured.
#   bash bench/gpu.sh               all rows; writes bench/results/gpu.json and prints a table
#   bash bench/gpu.sh --dry-run     the same with tiny models on the CPU
set -euo pipefail
cd "$(dirname "$0")/.."
export HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 VLLM_NO_USAGE_STATS=1 DO_NOT_TRACK=1 TOKENIZERS_PARALLELISM=false
export PYTHONPATH="$PWD/src${PYTHONPATH:+:$PYTHONPATH}" CUDA_VISIBLE_DEVICES="${CUDA_VISIBLE_DEVICES-0}"
CUDA_VISIBLE_DEVICES="${CUDA_VISIBLE_DEVICES%%,*}"  # one card
case " $* " in *" --dry-run "*) export CUDA_VISIBLE_DEVICES="" ;; esac
python="${PYTHON:-.venv/bin/python}"
command -v "$python" >/dev/null || python=python3
"$python" - "$CUDA_VISIBLE_DEVICES" <<'CHECK'
import importlib.util as found, sys
lacking = [name for name in ("torch", "transformers", "trl", "peft", "accelerate", "msgspec") if not found.find_spec(name)]
if sys.version_info < (3, 11) or lacking:
    sys.exit(f"Python {sys.version.split()[0]} without {lacking}. In an environment of Python 3.11 or newer: pip install -e '.[train]' trl")
import torch
if sys.argv[1] and not torch.cuda.is_available():
    sys.exit("torch sees no GPU. See: nvidia-smi; to try the command: bash bench/gpu.sh --dry-run")
if sys.argv[1] and (free := torch.cuda.mem_get_info()[0] / 1e9) < 75:
    print(f"only {free:.0f} GB of {torch.cuda.get_device_name()} are free, 75 are reckoned with", file=sys.stderr)
CHECK
exec "$python" bench/gpu.py "$@"
