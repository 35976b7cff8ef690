#!/usr/bin/env bash
# All that there is to measure on one GPU, in one go: attention, the training step at 1.5 B, scoring, the quickstart.
#
#     bash benchmarks/gpu.sh [OUTPUT]
#     bash benchmarks/gpu.sh --dry-run [OUTPUT]
#
# Made for a GPU of 80 GiB or more and meant to end within eight minutes (each part has a limit); never run on one yet.
# Needs `pip install -e '.[cuda]'` and PyTorch for CUDA. Figures go to benchmarks/results/, logs to OUTPUT (by default
# runs/gpu); a part that fails does not stop the others, and the script then ends with status 1. --dry-run tries every part
# on a CPU at a tiny size and leaves benchmarks/results/ alone. PYTHON names the interpreter.
set -u
cd "$(dirname "$0")/.."
dry=0
if [ "${1:-}" = --dry-run ]; then
  dry=1
  shift
fi
output=${1:-runs/gpu}
python=${PYTHON:-python}
mkdir -p "$output"
failed=()

# run SECONDS NAME COMMAND...: the command within so many seconds, its words in OUTPUT/NAME.log.
run() {
  local limit=$1 name=$2 started=$SECONDS
  shift 2
  echo "== $name: $*"
  if timeout "$limit" "$@" >"$output/$name.log" 2>&1; then
    echo "   $((SECONDS - started)) s"
  else
    echo "   FAILED with status $? after $((SECONDS - started)) s, see $output/$name.log"
    tail -n 5 "$output/$name.log"
    failed+=("$name")
  fi
}

if [ $dry = 1 ]; then
  export JAX_PLATFORMS=cpu
  run 120 attention "$python" benchmarks/gpu_attention.py --tiny --rows 2 --rounds 1
  run 300 train_step "$python" benchmarks/train_step.py --size tiny --step-pairs 8 --rounds 1 \
    --contestants authors_longest best_torch ours_shared
  run 120 scoring "$python" benchmarks/scoring.py --problems 1 --candidates 2 --rounds 1 --dtypes bfloat16
  run 600 quickstart "$python" -m codepmp_jax quickstart --num-steps 2 --output "$output/quickstart"
else
  # Several processes share the GPU, one after the other.
  export XLA_PYTHON_CLIENT_PREALLOCATE=false
  run 30 device nvidia-smi
  run 45 attention "$python" benchmarks/gpu_attention.py --write
  run 270 train_step "$python" benchmarks/train_step.py --size 1b5 --device gpu --step-pairs 64 --rounds 3 \
    --contestants authors_longest best_torch ours_shared --write
  run 45 scoring "$python" benchmarks/scoring.py --device cuda --dtypes bfloat16 --problems 16 --write
  run 90 quickstart env JAX_PLATFORMS=cuda,cpu "$python" -m codepmp_jax quickstart --output "$output/quickstart"
fi

if [ ${#failed[@]} -gt 0 ]; then
  echo "failed: ${failed[*]}"
  exit 1
fi
echo "all parts ended, in $SECONDS s"
