"""What serving needs, what of it this machine has, and how to get the rest."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ssr_bundle.errors import SsrError
from triton_repo.config import PRECISIONS

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


def examine() -> list[Check]:
    """Look at everything; no check changes the machine or the network's state."""
    checks: list[Callable[[], Check]] = [
        _python,
        _native,
        _backend,
        _tritonserver,
        lambda: _package("tritonclient", "missing", "pip install ssr-client", "renders config.pbtxt"),
        lambda: _package("cv2", "optional", "pip install 'ssr-client[photo]'", "photos", "opencv"),
        lambda: _package("torch", "optional", "pip install 'ssr-serve[train]'", "training only"),
        _gpu,
        _tensorrt,
        _ports,
        _cache,
    ]
    return [check() for check in checks]


def _python() -> Check:
    version = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    good = sys.version_info >= (3, 10)
    return Check("Python", "ok" if good else "missing", version, "" if good else "Python 3.10 or newer")


def _native() -> Check:
    remedy = "pip install . in the checkout (needs a C++17 compiler: apt-get install g++)"
    try:
        from ssr_ops import implementations

        names = [f"{p}: {', '.join(implementations(p))}" for p in PRECISIONS]
    except (ImportError, ValueError) as error:
        return Check("native engine", "missing", str(error), remedy)
    return Check("native engine", "ok", "; ".join(names))


def _backend() -> Check:
    from triton_repo.server import backend_library

    library = backend_library()
    if library is None:
        return Check(
            "Triton backend",
            "missing",
            "libtriton_ssr.so is not built",
            "pip install . with -Ccmake.define.SSR_TRITON=ON",
        )
    return Check("Triton backend", "ok", str(library))


def _tritonserver() -> Check:
    from triton_repo import tritonserver

    try:
        found = tritonserver.find(fetch=False)
    except SsrError as error:
        fits = platform.system() == "Linux" and platform.machine() in ("x86_64", "AMD64")
        if os.environ.get("TRITONSERVER") or not fits:
            return Check("tritonserver", "missing", str(error), "set TRITONSERVER to a working binary")
        return Check(
            "tritonserver",
            "optional",
            "not here yet",
            "`ssr-serve run` fetches it once (55 MB); or put it on PATH",
        )
    try:
        found.works()
    except SsrError as error:
        return Check("tritonserver", "missing", str(error), "install the libraries that it names")
    version = _server_version(found)
    remedy = "2.51.0 is for development and CI; in production use a current NGC container"
    return Check(
        "tritonserver",
        "ok",
        f"{version} from {found.source}: {found.binary}",
        remedy if version == tritonserver.VERSION else "",
    )


def _server_version(found: object) -> str:
    from triton_repo import tritonserver

    assert isinstance(found, tritonserver.TritonServer)
    if (found.root.parent.parent / "nvidia_pytriton.libs").is_dir():
        return tritonserver.VERSION
    for name in ("TRITON_VERSION", "VERSION"):
        if (path := found.root / name).is_file():
            return path.read_text(encoding="utf-8", errors="replace").strip()[:40]
    return "unknown version"


def _package(module: str, otherwise: State, remedy: str, purpose: str, label: str = "") -> Check:
    what = label or module
    try:
        loaded = importlib.import_module(module)
    except ImportError as error:
        return Check(what, otherwise, f"not importable: {error} ({purpose})", remedy)
    version = getattr(loaded, "__version__", "")
    if not version:
        try:
            version = importlib.metadata.version(module)
        except importlib.metadata.PackageNotFoundError:
            version = "installed"
    return Check(what, "ok", f"{version} ({purpose})")


def _gpu() -> Check:
    program = shutil.which("nvidia-smi")
    if program is None:
        return Check("GPU", "optional", "no NVIDIA driver: the CPU serves", "")
    try:
        done = subprocess.run(
            [program, "--query-gpu=name,driver_version", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=20,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check("GPU", "optional", f"nvidia-smi: {error}", "")
    names = "; ".join(line.strip() for line in done.stdout.splitlines() if line.strip())
    if done.returncode != 0 or not names:
        return Check("GPU", "optional", "the driver sees none: the CPU serves", "")
    return Check("GPU", "ok", names)


def _tensorrt() -> Check:
    from triton_repo.compile import CompileError, open_library

    try:
        library = open_library()
    except CompileError as error:
        return Check("TensorRT", "optional", "no plans for GPUs can be compiled", str(error))
    builds = ", ".join(map(str, library.targets())) or "the GPU here"
    return Check("TensorRT", "ok", f"{library}, builds for {builds}")


def _ports() -> Check:
    from triton_repo.ports import PortError, choose

    busy = []
    for port in PORTS:
        try:
            choose("127.0.0.1", port, 0, 0)
        except PortError:
            busy.append(port)
    if busy:
        found = f"in use: {', '.join(map(str, busy))}"
        return Check(
            "ports", "optional", found, "--http-port 0 --grpc-port 0 --metrics-port 0 take free ones"
        )
    return Check("ports", "ok", "8000 (HTTP), 8001 (gRPC), 8002 (metrics) are free")


def _cache() -> Check:
    from ssr_bundle.fetch import cache_dir

    folder = cache_dir()
    existing = next((p for p in [folder, *folder.parents] if p.is_dir()), Path("/"))
    free = shutil.disk_usage(existing).free / 2**20
    found = f"{folder}, {free:,.0f} MiB free"
    if not os.access(existing, os.W_OK):
        return Check("cache", "optional", f"{found}, not writable", "set SSR_CACHE to a folder that is")
    if free < 500:
        return Check("cache", "optional", found, "tritonserver needs 200 MiB unpacked: set SSR_CACHE")
    return Check("cache", "ok", found)
