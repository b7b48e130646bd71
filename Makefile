# make demo and make test set up everything they need in .venv; `make` alone says what there is.
PYTHON ?= python3
VENV ?= .venv
PHOTO ?=
VIDEO ?=
OUT ?= demo/annotated.jpg

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
# (setuptools: tensorrt-rtx-cu13 comes as source, and is installed without build isolation like the rest.)
BUILD_TOOLS := scikit-build-core pybind11 nlohmann-json cmake ninja setuptools hatchling editables
# A file's tests stay together, for they share servers; more processes than four would wait for each other.
# Threads of one that wait for work leave the core to another.
PYTEST := env OMP_WAIT_POLICY=passive $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile
# The environment of the lowest versions, and the tests of what each extra promises (h5py, OpenCV, ONNX, matplotlib,
# torch, scikit-learn and scipy, ONNX Runtime's detector, TensorBoard, the client).
LOWEST := .lowest
LOWEST_PIP := $(LOWEST)/bin/python -m pip --disable-pip-version-check -q
LOWEST_OF := 'ssr-client[photo,onnxruntime]' 'ssr-serve[train,log]'
LOWEST_TESTS := $(addprefix tests/test_,keras_import.py picture_files.py pillow.py client.py yunet_runtime.py \
  export.py evaluation.py zoo.py training.py commandline.py report.py fetch.py)
# Everything that the compiled part is made from: the editable install does not rebuild by itself.
NATIVE := pyproject.toml clients/pyproject.toml constraints.txt CMakeLists.txt $(shell find ssr_ops/csrc -type f)
# The environment's own tools (cmake, ninja) come before the machine's.
export PATH := $(abspath $(BIN)):$(PATH)

# Where there is a ccache, what was compiled once is not compiled again: a clone, a wheel, the programs of the tests.
ifneq ($(shell command -v ccache),)
export CMAKE_CXX_COMPILER_LAUNCHER := ccache
export CMAKE_CUDA_COMPILER_LAUNCHER := ccache
export CCACHE_BASEDIR := $(CURDIR)
export CCACHE_NOHASHDIR := 1
endif

.PHONY: help demo demo-video test test-lowest test-foreign lint format bench peers clean
.DEFAULT_GOAL := help

help:
	@echo "make demo              serve on a real tritonserver and ask for the ages in a photo (PHOTO=path for yours)"
	@echo "make demo-video        the same for the people in a clip, drawn ones by default (VIDEO=path for yours)"
	@echo "make test              the whole test suite (adds PyTorch; ARGS='-k engine' to choose, ARGS='-n 0' for one process)"
	@echo "make test-lowest       the tests of each extra, with the lowest versions that it promises (in .lowest)"
	@echo "make test-foreign      perf_analyzer, kserve, mlserver, grpc-js and others against our server, those that install"
	@echo "make lint              ruff, mypy, clang-format, who may import whom"
	@echo "make bench             every benchmark; tables go to benchmarks/results/"
	@echo "make peers             install the runtimes that make bench compares with (1 GB; optional)"
	@echo "make format            let ruff and clang-format rewrite"
	@echo "make clean             remove the environment and the build folders"

demo: $(VENV)/.demo
	@$(BIN)/python demo.py $(if $(PHOTO),--photo "$(PHOTO)") --out "$(OUT)"

demo-video: $(VENV)/.video
	@$(BIN)/python demo_video.py $(if $(VIDEO),--video "$(VIDEO)")

test: $(VENV)/.test
	@$(PYTEST) $(ARGS)

# What each extra promises at its lowest versions, in an environment of its own.
test-lowest: $(VENV)/.test
	@$(BIN)/python tests/lowest.py $(LOWEST_OF) > $(VENV)/lowest.txt
	@echo "creating $(LOWEST), building the native code for it"
	@$(PYTHON) -m venv --clear $(LOWEST)
	@$(LOWEST_PIP) install -c constraints.txt $(BUILD_TOOLS) pytest pytest-timeout pytest-xdist hypothesis
	@PATH=$(abspath $(LOWEST))/bin:$$PATH $(LOWEST_PIP) install -c $(VENV)/lowest.txt --no-build-isolation \
	  --config-settings=build-dir=build/lowest -e './clients[photo,onnxruntime]' -e '.[train,log]'
	@env OMP_WAIT_POLICY=passive $(LOWEST)/bin/python -m pytest $(LOWEST_TESTS) $(ARGS)

# Clients of others, each in a folder of build/foreign; what cannot be installed is skipped with the reason.
test-foreign: $(VENV)/.test
	@$(BIN)/python tests/foreign/install.py
	@$(PYTEST) tests/foreign $(ARGS)

lint: $(VENV)/.test
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo --no-cache
	@$(BIN)/clang-format --dry-run --Werror $(shell git ls-files '*.cc' '*.h' '*.cu')

format: $(VENV)/.test
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .
	@$(BIN)/clang-format -i $(shell git ls-files '*.cc' '*.h' '*.cu')

bench: $(VENV)/.test
	@missed=; for question in fused_operator engine layers cutting serving loading training; do \
	  echo "== $$question"; $(BIN)/python benchmarks/$$question.py || missed="$$missed $$question"; done; \
	  [ -z "$$missed" ] || { echo "failed, or short of a bar:$$missed" >&2; exit 1; }
	@[ -e $(VENV)/.peers ] || echo "OpenVINO, TFLite and their quantizers join after: make peers"

peers: $(VENV)/.test
	@echo "installing OpenVINO, NNCF, LiteRT and its converter (1 GB)"
	@$(PIP) install -c constraints.txt --no-build-isolation -e './clients[photo,video]' -e '.[bench]'
	@touch $(VENV)/.peers

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "Python 3.10 or newer is needed; name one with: make PYTHON=python3.12" >&2; exit 1; }
	@c++ --version >/dev/null 2>&1 || g++ --version >/dev/null 2>&1 || [ -n "$$CXX" ] || \
	  { echo "a C++17 compiler is needed (Debian, Ubuntu: apt-get install g++)" >&2; exit 1; }
	@echo "creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.tools: constraints.txt | $(BIN)/python
	@echo "installing the build tools"
	@$(PIP) install -c constraints.txt $(BUILD_TOOLS)
	@touch $@

$(VENV)/.demo: $(VENV)/.tools $(NATIVE)
	@echo "building the native code and installing what serving needs (a minute or two)"
	@$(PIP) install -c constraints.txt --no-build-isolation -e './clients[photo]' -e '.[import]'
	@touch $@

$(VENV)/.video: $(VENV)/.demo
	@echo "installing what videos need"
	@$(PIP) install -c constraints.txt --no-build-isolation -e './clients[photo,video]'
	@touch $@

$(VENV)/.test: $(VENV)/.tools $(NATIVE)
	@echo "building the native code and installing what the tests need (PyTorch among it)"
	@$(PIP) install -c constraints.txt --no-build-isolation -e './clients[live,parquet]' -e '.[dev]'
	@touch $@ $(VENV)/.demo $(VENV)/.video

clean:
	rm -rf $(VENV) $(LOWEST) build dist
