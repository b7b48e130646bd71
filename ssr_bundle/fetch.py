"""Released files by name: the authors' weights and the YuNet face detector, always checked by sha256.

Where a file comes from, first hit wins: a local folder (``SSR_WEIGHTS_DIR`` or ``SSR_DETECTORS_DIR``;
in a development checkout also ``../shared/weights`` and ``../shared/detectors``, ``SSR_SHARED`` names
another place), the cache (``SSR_CACHE``, else ``XDG_CACHE_HOME/ssr``), the public URL.
Standard library only, but for the progress bar.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.client
import os
import shutil
import socket
import sys
import tempfile
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssr_bundle.errors import SsrError

Progress = Callable[[int, "int | None"], None]
"""Called with the bytes so far and, if the server said it, the bytes in all."""

CONNECT_SECONDS = 5.0
READ_SECONDS = 20.0
ATTEMPTS = 3
LARGEST = 64 << 20
"""No released file comes near this many bytes: more is a wrong answer, not a large file."""

_AUTHORS = "https://github.com/shamangary/SSR-Net/raw/master/"
_YUNET = "https://github.com/ShiqiYu/libfacedetection.train/raw/master/onnx/yunet_n_640_640.onnx"


class FetchError(SsrError):
    """A released file that could not be had, or that is not the released one."""


@dataclass(frozen=True)
class Asset:
    """One released file: ``file`` is its name in a local folder, ``url`` its public place."""

    name: str
    kind: str
    file: str
    url: str
    sha256: str
    about: str

    @property
    def folder_variable(self) -> str:
        return "SSR_WEIGHTS_DIR" if self.kind == "weights" else "SSR_DETECTORS_DIR"


def _released(name: str, sha256: str, about: str) -> Asset:
    path = f"pre-trained/{name}/ssrnet_3_3_3_64_1.0_1.0/ssrnet_3_3_3_64_1.0_1.0.h5"
    return Asset(name, "weights", f"ssrnet_{name}.h5", _AUTHORS + path, sha256, about)


ASSETS: dict[str, Asset] = {
    asset.name: asset
    for asset in (
        _released(
            "imdb",
            "f51ac230a68bafdcd9699160f01e4d67a78232419ebcfae8622e0638e6dd4ca3",
            "age, in-the-wild pictures (IMDB)",
        ),
        _released(
            "wiki",
            "f8b677f1a61fcf1233de0bd942f3172b1397fcbfe0f2784220154af1faf833e0",
            "age, in-the-wild pictures (WIKI)",
        ),
        _released(
            "morph2",
            "0ad001c42cc2425ffaebd7d374983eba5c89e4f695ab10431c4c95573dc69f4d",
            "age, controlled portraits (MORPH2)",
        ),
        _released(
            "megaface_asian",
            "4bc9348a8ee89dc21d16a4e06a994e287650d068eb9f789578698c7377a07ef7",
            "age, Asian faces (MegaAge-Asian)",
        ),
        _released(
            "imdb_gender_models",
            "e295148efe9c282a27ebd69a64f6495b1b280728141047866ff81001089b1767",
            "probability of male, in-the-wild pictures (IMDB)",
        ),
        _released(
            "wiki_gender_models",
            "2d15bfa72869526d1e2b80385157e34a55fb5a4b184bbac5ea56d623141d7e8c",
            "probability of male, in-the-wild pictures (WIKI)",
        ),
        _released(
            "morph_gender_models",
            "da8f77eadb15653360bde466691eb77516e4c5e0ba5b603959b4c27aa86eeff5",
            "probability of male, controlled portraits (MORPH2)",
        ),
        Asset(
            "yunet",
            "detector",
            "yunet_n_640_640.onnx",
            _YUNET,
            "25a606a145a5b6d7271ae138fbd00eba91dad8b83222ae3f2c7ecd0f4a7b0e31",
            "YuNet face detector (OpenCV FaceDetectorYN)",
        ),
    )
}


def fetch(name: str, out: Path | None = None, progress: Progress | None = None) -> Path:
    """Path of the released file ``name``, fetched if need be and checked against its pinned sha256.

    ``out``: a folder to place the file in; without it a local or cached file is used where it lies.
    ``progress``: called while downloading; without it a bar is drawn if stderr is a terminal.
    Raises :class:`FetchError`: unknown name, wrong file (named), unreachable server (one line).
    """
    asset = _asset(name)
    local = find(name)
    if out is None:
        return local or _download(asset, cache_dir() / asset.kind / asset.file, progress)
    target = out / asset.file
    if target.exists():
        _verify(asset, target)
    elif local is not None:
        _copy(local, target)
    else:
        _download(asset, target, progress)
    return target


def find(name: str) -> Path | None:
    """The released file ``name`` if a local folder or the cache has it, checked; else None."""
    asset = _asset(name)
    for folder in local_folders(asset.kind):
        if (folder / asset.file).is_file():
            return _verify(asset, folder / asset.file)
    cached = cache_dir() / asset.kind / asset.file
    if not cached.is_file():
        return None
    if _sha256(cached) != asset.sha256:  # a torn cache heals itself; a folder of the user's is not touched
        cached.unlink()
        return None
    return cached


def available() -> list[tuple[str, str, str]]:
    """Rows for a table: name, what it is, and where it is now (a path, or "to be fetched")."""
    rows = []
    for asset in ASSETS.values():
        try:
            place = find(asset.name)
            where = str(place) if place else "to be fetched"
        except FetchError as error:
            where = str(error)
        rows.append((asset.name, asset.about, where))
    return rows


def cache_dir() -> Path:
    """Where fetched files are kept: ``SSR_CACHE``, else ``XDG_CACHE_HOME/ssr``, else ``~/.cache/ssr``."""
    if own := os.environ.get("SSR_CACHE"):
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "ssr"


def local_folders(kind: str) -> list[Path]:
    """Folders looked into before the cache, for "weights" or "detector" files."""
    variable = "SSR_WEIGHTS_DIR" if kind == "weights" else "SSR_DETECTORS_DIR"
    folders = []
    if own := os.environ.get(variable):
        if not Path(own).is_dir():
            raise FetchError(f"{variable}={own}: not a folder")
        folders.append(Path(own))
    checkout = Path(__file__).resolve().parents[1]
    if (checkout / "pyproject.toml").is_file():
        shared = Path(os.environ.get("SSR_SHARED") or checkout.parent / "shared")
        folders.append(shared / ("weights" if kind == "weights" else "detectors"))
    return folders


def _asset(name: str) -> Asset:
    if name not in ASSETS:
        raise FetchError(f"{name!r} is not a released file, expected one of {', '.join(ASSETS)}")
    return ASSETS[name]


def _verify(asset: Asset, path: Path) -> Path:
    found = _sha256(path)
    if found != asset.sha256:
        raise FetchError(
            f"{path}: sha256 {found}, expected {asset.sha256}: not the released {asset.name!r}; remove it"
        )
    return path


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=".tmp-", dir=target.parent)
    try:
        with source.open("rb") as stream, open(handle, "wb") as copy:
            shutil.copyfileobj(stream, copy)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(target)
    finally:
        Path(temporary).unlink(missing_ok=True)


class _Truncated(Exception):
    """The connection ended early; what arrived is kept and the next attempt goes on from there."""


@contextlib.contextmanager
def _alone(target: Path) -> Iterator[None]:
    """One process or thread at a time writes ``target``; the others wait."""
    target.parent.mkdir(parents=True, exist_ok=True)
    path = target.with_name(f".{target.name}.lock")
    with path.open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _download(asset: Asset, target: Path, progress: Progress | None) -> Path:
    with _alone(target):
        if target.is_file() and _sha256(target) == asset.sha256:
            return target  # somebody else fetched it meanwhile
        return _download_alone(asset, target, progress)


def _download_alone(asset: Asset, target: Path, progress: Progress | None) -> Path:
    part = target.with_name(target.name + ".part")
    with _bar(asset.name, progress) as report:
        for attempt in range(ATTEMPTS):
            resumed = part.is_file() and part.stat().st_size > 0
            try:
                _receive(asset, part, report)
            except _Truncated as error:
                if attempt + 1 == ATTEMPTS:
                    raise FetchError(f"{asset.url}: {error}; run the command again to go on") from None
                continue
            found = _sha256(part)
            if found == asset.sha256:
                part.replace(target)
                return target
            part.unlink()
            if not resumed:  # a stale .part is worth one fresh start
                raise FetchError(
                    f"{asset.url}: what came has sha256 {found}, expected {asset.sha256}: refused"
                )
    raise FetchError(f"{asset.url}: no whole file after {ATTEMPTS} attempts")


def _receive(asset: Asset, part: Path, report: Progress) -> None:
    """Append to ``part`` what it lacks. Raises :class:`_Truncated` if the connection ends early."""
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(asset.url, headers={"User-Agent": "ssr-train"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        with _opener().open(request, timeout=CONNECT_SECONDS) as response:
            if have and not _continues(response, have):
                have = 0
            length = response.headers.get("Content-Length", "")
            total = have + int(length) if length.isdigit() else None
            part.parent.mkdir(parents=True, exist_ok=True)
            with part.open("ab" if have else "wb") as stream:
                while block := response.read(1 << 16):
                    have += stream.write(block)
                    if have > LARGEST:
                        break
                    report(have, total)
        if have > LARGEST:
            part.unlink()
            raise FetchError(f"{asset.url}: more than {LARGEST >> 20} MB came: not the released file")
        if total is not None and have < total:
            raise _Truncated(f"the connection ended after {have} of {total} bytes")
    except urllib.error.HTTPError as error:
        if error.code == 416:  # the .part is no beginning of this file
            part.unlink()
            raise _Truncated("the server could not go on where the last download stopped") from None
        answer = f"{error.code} {error.reason}"
        raise FetchError(f"{asset.url}: the server answered {answer}{_advice(asset)}") from None
    except (http.client.IncompleteRead, ConnectionResetError) as error:
        raise _Truncated(f"the connection ended early ({type(error).__name__})") from None
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        if isinstance(error, OSError) and error.filename:
            raise  # the disk, not the network
        reason = getattr(error, "reason", None) or error
        host = urllib.parse.urlsplit(asset.url).netloc
        raise FetchError(f"cannot fetch {asset.name!r}: {host}: {_plain(reason)}{_advice(asset)}") from None


def _continues(response: Any, have: int) -> bool:
    """Whether the answer is the rest of the file from byte ``have`` on (else it is the whole)."""
    begins = str(response.headers.get("Content-Range", "")).startswith(f"bytes {have}-")
    return response.status == 206 and begins


def _plain(reason: object) -> str:
    if isinstance(reason, socket.gaierror):
        return "the name cannot be resolved (offline?)"
    if isinstance(reason, TimeoutError):
        return "no answer in time (offline?)"
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror
    return str(reason) or type(reason).__name__


def _advice(asset: Asset) -> str:
    return f"; if you have {asset.file} already, set {asset.folder_variable} to its folder"


def _opener() -> urllib.request.OpenerDirector:
    """urllib as ever (proxies of the environment, redirects), but a dead network is noticed in seconds."""

    class Http(urllib.request.HTTPHandler):
        def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(_Plain, request)

    class Https(urllib.request.HTTPSHandler):
        def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(_Secure, request)

    return urllib.request.build_opener(Http, Https)


class _Plain(http.client.HTTPConnection):
    def connect(self) -> None:
        _resolve(self.host, self.port)
        super().connect()
        self.sock.settimeout(READ_SECONDS)


class _Secure(http.client.HTTPSConnection):
    def connect(self) -> None:
        _resolve(self.host, self.port)
        super().connect()
        self.sock.settimeout(READ_SECONDS)


def _resolve(host: str, port: int | None) -> None:
    """Look the name up, bounded in time: the system's resolver itself may hang for half a minute."""
    failure: list[OSError] = []

    def look_up() -> None:
        try:
            socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            failure.append(error)

    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(CONNECT_SECONDS)
    if thread.is_alive():
        raise TimeoutError(f"looking up {host}")
    if failure:
        raise failure[0]


@contextlib.contextmanager
def _bar(name: str, progress: Progress | None) -> Iterator[Progress]:
    """The caller's callback, or a bar on a terminal, or nothing."""
    if progress is not None or not sys.stderr.isatty():
        yield progress or (lambda have, total: None)
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn(name), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=None)
        yield lambda have, total: bar.update(task, completed=have, total=total)
