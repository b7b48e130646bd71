"""What serving needs, what of it this machine has, and how to get the rest."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from ssr_bundle.contract import PRECISIONS
from ssr_bundle.errors import SsrError
from ssr_bundle.fetch import cache_dir
from triton_repo import tritonserver
from triton_repo.ports import PortError, choose

State = Literal["ok", "optional", "missing"]
COLOURS = {"ok": "green", "optional": "yellow", "missing": "red"}
PORTS = (8000, 8001, 8002)


@dataclass(frozen=True)
class Check:
    """One line of the doctor's table. Only ``missing`` makes serving impossible."""

    what: str
    state: State
    found: str
    remedy: str = ""


Found = tuple[State, str] | tuple[State, str, str]
"""A check's state, what it found and, if there is one, the remedy."""


def examine() -> list[Check]:
    """Look at everything; no check changes the machine or the network's state."""
    checks: dict[str, Callable[[], Found]] = {
        "Python": lambda: ("ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        "native engine": _native,
        "Triton backend": _backend,
        "tritonserver": _tritonserver,
        "tritonclient": partial(
            _package, "tritonclient", "missing", "pip install ssr-client", "renders config.pbtxt"
        ),
        "opencv": partial(_package, "cv2", "optional", "pip install 'ssr-client[photo]'", "photos"),
        "torch": partial(_package, "torch", "optional", "pip install 'ssr-serve[train]'", "training only"),
        "GPU": _gpu,
        "TensorRT": _tensorrt,
        "ports": _ports,
        "cache": _cache,
    }
    return [Check(what, *check()) for what, check in checks.items()]


def _native() -> Found:
    try:
        from ssr_ops import implementations

        names = [f"{p}: {', '.join(implementations(p))}" for p in ("fp32", *PRECISIONS)]
    except (ImportError, ValueError) as error:
        remedy = "pip install . in the checkout (needs a C++17 compiler: apt-get install g++)"
        return "missing", str(error), remedy
    return "ok", "; ".join(names)


def _backend() -> Found:
    from triton_repo.server import backend_library

    if library := backend_library():
        return "ok", str(library)
    remedy = "pip install . with -Ccmake.define.SSR_TRITON=ON"
    return "missing", "libtriton_ssr.so is not built", remedy


def _tritonserver() -> Found:
    try:
        found = tritonserver.find(fetch=False)
    except SsrError as error:
        fits = platform.system() == "Linux" and platform.machine() in ("x86_64", "AMD64")
        if os.environ.get("TRITONSERVER") or not fits:
            return "missing", str(error), "set TRITONSERVER to a working binary"
        remedy = "`ssr-serve run` fetches it once (55 MB); or put it on PATH"
        return "optional", "not here yet", remedy
    try:
        found.works()
    except SsrError as error:
        return "missing", str(error), "install the libraries that it names"
    version = _server_version(found)
    told = f"{version} from {found.source}: {found.binary}"
    remedy = "2.51.0 is for development and CI; in production use a current NGC container"
    return "ok", told, remedy if version == tritonserver.VERSION else ""


def _server_version(found: tritonserver.TritonServer) -> str:
    if (found.root.parent.parent / "nvidia_pytriton.libs").is_dir():
        return tritonserver.VERSION
    for name in ("TRITON_VERSION", "VERSION"):
        if (path := found.root / name).is_file():
            return path.read_text(encoding="utf-8", errors="replace").strip()[:40]
    return "unknown version"


def _package(module: str, otherwise: State, remedy: str, purpose: str) -> Found:
    try:
        loaded = importlib.import_module(module)
    except ImportError as error:
        return otherwise, f"not importable: {error} ({purpose})", remedy
    version = getattr(loaded, "__version__", "")
    if not version:
        try:
            version = importlib.metadata.version(module)
        except importlib.metadata.PackageNotFoundError:
            version = "installed"
    return "ok", f"{version} ({purpose})"


def _gpu() -> Found:
    program = shutil.which("nvidia-smi")
    if program is None:
        return "optional", "no NVIDIA driver: the CPU serves"
    command = [program, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired) as error:
        return "optional", f"nvidia-smi: {error}"
    names = "; ".join(line.strip() for line in done.stdout.splitlines() if line.strip())
    if done.returncode != 0 or not names:
        return "optional", "the driver sees none: the CPU serves"
    return "ok", names


def _tensorrt() -> Found:
    from triton_repo.compile.library import CompileError, open_library

    try:
        library = open_library()
    except CompileError as error:
        return "optional", "no plans for GPUs can be compiled", str(error)
    builds = ", ".join(map(str, library.targets())) or "the GPU here"
    return "ok", f"{library}, builds for {builds}"


def _ports() -> Found:
    busy = []
    for port in PORTS:
        try:
            choose("127.0.0.1", port, 0, 0)
        except PortError:
            busy.append(str(port))
    if busy:
        remedy = "--http-port 0 --grpc-port 0 --metrics-port 0 take free ones"
        return "optional", f"in use: {', '.join(busy)}", remedy
    return "ok", "8000 (HTTP), 8001 (gRPC), 8002 (metrics) are free"


def _cache() -> Found:
    folder = cache_dir()
    existing = next((p for p in [folder, *folder.parents] if p.is_dir()), Path("/"))
    free = shutil.disk_usage(existing).free / 2**20
    found = f"{folder}, {free:,.0f} MiB free"
    if not os.access(existing, os.W_OK):
        return "optional", f"{found}, not writable", "set SSR_CACHE to a folder that is"
    if free < 500:
        return "optional", found, "tritonserver needs 200 MiB unpacked: set SSR_CACHE"
    return "ok", found
