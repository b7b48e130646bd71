#!/usr/bin/env bash
# Everything that only a GPU can show, in under ten minutes: builds, tests, benchmarks, serves, compiles to
# TensorRT, and writes benchmarks/results/gpu-<card>.md. What it measures is explained in docs/gpu.md.
# shellcheck disable=SC2317  # steps are functions called by name
set -uo pipefail

readonly LIMIT_S=590
readonly FIRST_ARCHITECTURE=75

usage() {
  cat <<'TEXT'
Usage: benchmarks/gpu_check.sh [--compile-only] [--arch N,...] [--build DIR] [--python PYTHON]

Checks the CUDA code on this machine's GPU and writes benchmarks/results/gpu-<card>.md. A step that fails is
told and the others still run; exits 1 if one failed, 2 for a wrong option.

  --compile-only   only compile every kernel for every architecture that nvcc knows, warnings as errors;
                   needs no GPU
  --arch N,...     architectures to compile for, such as 80,90 (default: all from 75 on)
  --build DIR      where to build (default: build/gpu-check)
  --python PYTHON  of the environment that `make test` made, with a torch built for CUDA
                   (default: .venv/bin/python)

Examples:
  benchmarks/gpu_check.sh
  benchmarks/gpu_check.sh --compile-only --arch 90
TEXT
}

usage_error() {
  echo "gpu_check: $1 (--help says more)" >&2
  exit 2
}

fail() {
  echo "gpu_check: $1" >&2
  exit 1
}

# query FIELD: what nvidia-smi says of the first card.
query() { nvidia-smi -i 0 "--query-gpu=$1" --format=csv,noheader; }

cd "$(dirname "$0")/.." || exit 1
compile_only=
wanted=
build=build/gpu-check
python=.venv/bin/python
while (($#)); do
  case $1 in
    --compile-only) compile_only=1 ;;
    --arch | --build | --python)
      (($# > 1)) || usage_error "$1: expected a value"
      case $1 in
        --arch) wanted=$2 ;;
        --build) build=$2 ;;
        --python) python=$2 ;;
      esac
      shift
      ;;
    --help | -h) usage && exit 0 ;;
    *) usage_error "$1: no such option" ;;
  esac
  shift
done

# -- what is here ------------------------------------------------------------------------------------

nvcc=${CUDACXX:-nvcc}
command -v "$nvcc" >/dev/null || fail "$nvcc not found: install the CUDA toolkit, 12.8 or newer, or set CUDACXX"
known=$("$nvcc" --list-gpu-arch | sed -n 's/^compute_//p' | awk -v first=$FIRST_ARCHITECTURE '$1 >= first' | sort -n)
architectures=()
if [[ -n $wanted ]]; then
  IFS=, read -ra architectures <<<"$wanted"
  for architecture in "${architectures[@]}"; do
    grep -qx -- "$architecture" <<<"$known" ||
      usage_error "--arch $architecture: this nvcc compiles for ${known//$'\n'/, }"
  done
else
  mapfile -t architectures <<<"$known"
fi
if [[ -z $compile_only ]]; then
  if ! card=$(query name 2>/dev/null) || [[ -z $card ]]; then
    fail "no NVIDIA GPU here (nvidia-smi finds none); --compile-only compiles without one"
  fi
  command -v "$python" >/dev/null || fail "$python not found: make test makes it, or name one with --python"
fi
mkdir -p "$build/logs" || fail "$build: cannot be written"
build=$(cd "$build" && pwd)
rm -f "$build/logs/operator" "$build/logs/engine" # another run's numbers are not this one's

# -- steps -------------------------------------------------------------------------------------------

failed=0
rows=()

# step NAME SECONDS COMMAND...: runs it, keeps what it prints in logs/NAME (faults: NAME.err), tells how it went; 1 if it failed.
step() {
  local name=$1 seconds=$2 log=${1,,} left=$((LIMIT_S - SECONDS)) begin=$SECONDS status
  log=$build/logs/${log//[^a-z0-9]/-}
  shift 2
  if ((left < 5)); then
    tell "$name" FAILED "not run: the ten minutes are over"
    return 1
  fi
  ((seconds < left)) || seconds=$left
  echo "== $name"
  (
    set -euo pipefail
    "$@"
  ) >"$log" 2>"$log.err" &
  watch $! "$seconds"
  status=$?
  if ((status == 0)); then
    tell "$name" passed "$((SECONDS - begin)) s"
    return
  fi
  tail -q -n 20 "$log" "$log.err"
  if ((SECONDS - begin >= seconds)); then
    tell "$name" FAILED "stopped after $seconds s"
  else
    tell "$name" FAILED "exit $status after $((SECONDS - begin)) s, see $log"
  fi
  return 1
}

# watch PID SECONDS: waits for it, and ends it with all that it started when the time is over.
watch() {
  local end=$((SECONDS + $2))
  running=$1
  while kill -0 "$running" 2>/dev/null && ((SECONDS < end)); do sleep 0.2; done
  end_running
  wait "$1"
}

# Each step is a process group of its own.
running=
end_running() {
  if [[ -n $running ]] && kill -0 "$running" 2>/dev/null; then kill -- "-$running" 2>/dev/null; fi
  running=
}
trap end_running EXIT
set -m

# A step that does not apply here, and why: neither passed nor failed.
skip() { tell "$1" "not run" "$2"; }

tell() {
  printf '%-34s %-8s %s\n' "$1" "$2" "$3"
  rows+=("| $1 | $2 | ${3//$PWD\//} |")
  if [[ $2 == FAILED ]]; then failed=1; fi
}

compile_everything() {
  local targets=() source
  for architecture in "${architectures[@]}"; do
    targets+=(-gencode "arch=compute_$architecture,code=sm_$architecture")
  done
  for source in network regression; do
    nice "$nvcc" -std=c++17 -O3 "${targets[@]}" --threads 0 -Werror all-warnings \
      -Xcompiler -Wall,-Wextra,-Werror,-fPIC -Xptxas -v -DSSR_CUDA=1 \
      -I ssr_ops/csrc -I ssr_ops/csrc/include -c "ssr_ops/csrc/cuda/$source.cu" -o "$build/$source.o"
  done
}

# An environment of its own over that of --python: its packages, and our native code built with CUDA for this
# card, C++ programs included.
build_native() {
  local home
  home=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  "$python" -m venv "$build/venv"
  echo "$home" >"$("$build/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/base.pth"
  "$build/venv/bin/python" -m pip --disable-pip-version-check install -q --no-deps --no-build-isolation -e ./clients
  "$build/venv/bin/python" -m pip --disable-pip-version-check install -q --no-deps --no-build-isolation -e . \
    -C "build-dir=$build/native" -C cmake.define.SSR_CUDA=ON -C cmake.define.SSR_TESTS=ON \
    -C "cmake.define.SSR_CUDA_ARCHITECTURES=$1"
  "$build/venv/bin/python" -c 'from ssr_ops import _native; assert _native.built_with_cuda'
}

run_cpp() {
  local bundle
  bundle=$("$build/venv/bin/python" -c 'from ssr_ops.shipped import default_bundle; print(default_bundle())')
  "$build/native/tests/cuda_on_cpu_test" "$bundle"
  "$build/native/tests/concurrency_test" "$bundle"
  "$build/native/tests/backend_test"
}

# Tests marked gpu, in the files that have any; none of them may miss the GPU.
test_gpu() {
  local files
  mapfile -t files < <(grep -l 'pytest.mark.gpu' tests/test_*.py)
  "$build/venv/bin/python" -m pytest -q -m gpu "${files[@]}" | tee "$build/logs/pytest"
  grep -qE '[0-9]+ passed' "$build/logs/pytest"
  ! grep -E '^SKIPPED.*(GPU|CUDA)' "$build/logs/pytest"
}

# sanitize TOOL: the engine and one size of the operator under compute-sanitizer.
sanitize() {
  "$sanitizer" --tool "$1" --error-exitcode 9 "$build/venv/bin/python" -m pytest -q -p no:cacheprovider \
    -m gpu tests/test_engine.py tests/test_operator.py -k 'golden or 257'
}

climb() {
  ssr-serve verify default --rungs native --precision fp32 | tee "$build/logs/native"
  grep -qE 'native .* cuda .* ok' "$build/logs/native"
}

serve_gpu() {
  local repository="$build/repository"
  ssr-serve build --bundle default --repo "$repository" --device gpu --force
  ssr-serve verify "$repository" --rungs served | tee "$build/logs/served"
  grep -qE 'served .* cuda .* ok' "$build/logs/served"
}

# Why the TensorRT installed here, if any, cannot build for this card; nothing if it can.
lacks_tensorrt() {
  "$build/venv/bin/python" -c '
from triton_repo.compile import gpu
from triton_repo.compile.library import NotInstalled, open_library
try:
    library, card = open_library(), gpu.require()
    if library.ahead_of_time and card.target not in library.targets():
        print(f"{library} does not build for the {card}")
except NotInstalled as error:
    print(error)'
}

compile_tensorrt() {
  ssr-serve compile default --precision all --require-tensorrt
}

# -- the check ---------------------------------------------------------------------------------------

step "compile every architecture" 200 compile_everything
if [[ -n $compile_only ]]; then
  ((failed)) || echo "compiled for ${architectures[*]}; nothing was run on a GPU"
  exit "$failed"
fi

PATH="$build/venv/bin:$(cd "$(dirname "$(command -v "$python")")" && pwd):$PATH"
export PATH
if ! step "build with CUDA" 240 build_native native; then
  echo "gpu_check: without the build nothing else can run" >&2
  exit 1
fi
step "tests marked gpu" 120 test_gpu
step "operator" 120 "$build/venv/bin/python" benchmarks/fused_operator_gpu.py
step "engine" 60 "$build/venv/bin/python" benchmarks/engine_gpu.py
if sanitizer=$(command -v compute-sanitizer); then
  step "memcheck" 90 sanitize memcheck
  step "racecheck" 90 sanitize racecheck
else
  skip "memcheck, racecheck" "compute-sanitizer is not installed (it comes with the CUDA toolkit)"
fi
step "served from the GPU" 60 serve_gpu
if lack=$(lacks_tensorrt 2>"$build/logs/tensorrt.err") && [[ -n $lack ]]; then
  skip "TensorRT" "$lack"
else
  step "TensorRT compiled and run" 150 compile_tensorrt
  step "TensorRT in the ladder" 60 ssr-serve verify default --rungs tensorrt --require-tensorrt
fi
step "the engine in the ladder" 60 climb
step "C++ programs" 60 run_cpp

# -- the table ---------------------------------------------------------------------------------------

slug=$(tr '[:upper:]' '[:lower:]' <<<"$card" | sed -E 's/[^a-z0-9]+/-/g; s/^-|-$//g')
result=benchmarks/results/gpu-$slug.md
{
  echo "# On an $card"
  echo
  echo "Driver $(query driver_version), compute capability $(query compute_cap), memory $(query memory.total);" \
    "clocks at most $(query clocks.max.sm) (SM) and $(query clocks.max.mem) (memory), power limit" \
    "$(query power.limit). nvcc $("$nvcc" --version | sed -n 's/.*release \([0-9.]*\).*/\1/p')," \
    "commit $(git describe --always --dirty 2>/dev/null || echo unknown)."
  echo
  echo "| step | | |"
  echo "| --- | --- | --- |"
  printf '%s\n' "${rows[@]}"
  for name in operator engine; do
    echo
    sed -n '/^## /,$p' "$build/logs/$name"
  done
} >"$result"
echo "written to $result"
exit "$failed"
