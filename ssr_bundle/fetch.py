"""Released files by name: the authors' weights and the YuNet face detector, always checked by sha256.

Where a file comes from, first hit wins: a local folder (``SSR_WEIGHTS_DIR`` or ``SSR_DETECTORS_DIR``;
in a development checkout also ``../shared/weights`` and ``../shared/detectors``, ``SSR_SHARED`` names
another place), the cache (``SSR_CACHE``, else ``XDG_CACHE_HOME/ssr``), the public URL.

pooch asks the server; it is imported only then. Its cache is not used: it tries again what must be refused at
once, and writes to standard error and files that only their owner can read.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import http.client
import io
import os
import socket
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ssr_bundle.disk import locked, replace_file, room_for, sha256_of
from ssr_bundle.errors import SsrError

Progress = Callable[[int, "int | None"], None]
"""Called with the bytes so far and, if the server said it, the bytes in all."""

CONNECT_SECONDS = 5.0
READ_SECONDS = 20.0
ATTEMPTS = 3
LARGEST = 64 << 20
"""No released file comes near this many bytes: more is a wrong answer, not a large file."""

_FOLDERS = {"weights": ("SSR_WEIGHTS_DIR", "weights"), "detector": ("SSR_DETECTORS_DIR", "detectors")}
"""By kind of file: the variable that names a local folder, and the folder's name among shared material."""

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


_WEIGHTS = {
    "imdb": (
        "f51ac230a68bafdcd9699160f01e4d67a78232419ebcfae8622e0638e6dd4ca3",
        "age, in-the-wild pictures (IMDB)",
    ),
    "wiki": (
        "f8b677f1a61fcf1233de0bd942f3172b1397fcbfe0f2784220154af1faf833e0",
        "age, in-the-wild pictures (WIKI)",
    ),
    "morph2": (
        "0ad001c42cc2425ffaebd7d374983eba5c89e4f695ab10431c4c95573dc69f4d",
        "age, controlled portraits (MORPH2)",
    ),
    "megaface_asian": (
        "4bc9348a8ee89dc21d16a4e06a994e287650d068eb9f789578698c7377a07ef7",
        "age, Asian faces (MegaAge-Asian)",
    ),
    "imdb_gender_models": (
        "e295148efe9c282a27ebd69a64f6495b1b280728141047866ff81001089b1767",
        "probability of male, in-the-wild pictures (IMDB)",
    ),
    "wiki_gender_models": (
        "2d15bfa72869526d1e2b80385157e34a55fb5a4b184bbac5ea56d623141d7e8c",
        "probability of male, in-the-wild pictures (WIKI)",
    ),
    "morph_gender_models": (
        "da8f77eadb15653360bde466691eb77516e4c5e0ba5b603959b4c27aa86eeff5",
        "probability of male, controlled portraits (MORPH2)",
    ),
}
"""The authors' networks: sha256, and what they answer."""

_WEIGHTS_PATH = "pre-trained/{0}/ssrnet_3_3_3_64_1.0_1.0/ssrnet_3_3_3_64_1.0_1.0.h5"

_COMPETITORS = {
    ("imdb", "mobilenet", "0.25"): "825e4b63659667cbeecce60e36200981689b8b04e2e6e48340972905a6da4a2e",
    ("imdb", "mobilenet", "0.5"): "a77ae12b646b6ebe6c4e1d01cb7e53b8f90e92d7a21c324c2aa7862c4eca7dbd",
    ("imdb", "densenet", "13"): "ea779e65b2247ac6ab78048d8f40d3412aa26371aaf5935ddbcf408eda4ec7e6",
    ("imdb", "densenet", "19"): "d2b893267f51c78c81b65d97e36cc40e46ef595c8f0d8d8408d4c1c7acc09348",
    ("wiki", "mobilenet", "0.25"): "3fabbdc1a7f152d4ef4cd98850704eea043a140fc5755976ff7a4aeec13111a2",
    ("wiki", "mobilenet", "0.5"): "626f61aff4fce7247b3d3920504f7f5c331e87d595aebfe6dc78a7d61334f220",
    ("wiki", "densenet", "13"): "8f966c4cc5563e8b80795ab6f97879db75d0715bf9f0766b5cb2894ac0dc7a41",
    ("wiki", "densenet", "19"): "885233b2551aabcf370bd23cc5ebbf9f52192b44625499531f055674d0ce80e9",
    ("morph2", "mobilenet", "0.25"): "f473ebcf5e4a631f28710c4702732522fad8fdbd225c2ceb693366b48ce34da9",
    ("morph2", "mobilenet", "0.5"): "c31855290aa6852d4e0de1096a64530e30e13dffd8e0ea5e898a2c5b46847c41",
    ("morph2", "densenet", "13"): "ce75fc86a3a4c8a60e7df718998c51485391eed815d7a511dcc52bfa30d37af5",
    ("morph2", "densenet", "19"): "7e143db913a476320cd5784b1d150526466b3260396ee45297a59c7bf63b0cea",
}
"""SSR-Net's competitors as the authors trained them, by data set, network, and its width or depth: sha256."""


def _competitor(data: str, network: str, size: str, sha256: str) -> Asset:
    run = f"{network}_reg_{size}_64"
    title = {"mobilenet": f"MobileNet {size}", "densenet": f"DenseNet {size}"}[network]
    return Asset(
        f"{data}_{network}_{size}",
        "weights",
        f"{data}_{run}.h5",
        f"{_AUTHORS}pre-trained/{data}/{run}/{run}.h5",
        sha256,
        f"age, {title} ({data.upper()})",
    )


ASSETS = {
    name: Asset(name, "weights", f"ssrnet_{name}.h5", _AUTHORS + _WEIGHTS_PATH.format(name), sha256, about)
    for name, (sha256, about) in _WEIGHTS.items()
}
ASSETS |= {asset.name: asset for asset in (_competitor(*key, sha) for key, sha in _COMPETITORS.items())}
ASSETS |= {
    "yunet": Asset(
        "yunet",
        "detector",
        "yunet_n_640_640.onnx",
        _YUNET,
        "25a606a145a5b6d7271ae138fbd00eba91dad8b83222ae3f2c7ecd0f4a7b0e31",
        "YuNet face detector (OpenCV FaceDetectorYN)",
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
        target.parent.mkdir(parents=True, exist_ok=True)
        replace_file(target, functools.partial(sha256_of, local))
    else:
        _download(asset, target, progress)
    return target


def find(name: str) -> Path | None:
    """The released file ``name`` if a local folder or the cache has it, checked; else None."""
    asset = _asset(name)
    for folder in _local_folders(asset.kind):
        if (folder / asset.file).is_file():
            return _verify(asset, folder / asset.file)
    cached = cache_dir() / asset.kind / asset.file
    if not cached.is_file():
        return None
    if sha256_of(cached) != asset.sha256:  # a torn cache heals itself; a folder of the user's is not touched
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


def _local_folders(kind: str) -> list[Path]:
    """Folders looked into before the cache, for "weights" or "detector" files."""
    variable, name = _FOLDERS[kind]
    folders = []
    if own := os.environ.get(variable):
        if not Path(own).is_dir():
            raise FetchError(f"{variable}={own}: not a folder")
        folders.append(Path(own))
    checkout = Path(__file__).resolve().parents[1]
    if (checkout / "pyproject.toml").is_file():
        shared = Path(os.environ.get("SSR_SHARED") or checkout.parent / "shared") / name
        folders += [shared, shared / "competitors"]
    return folders


def _asset(name: str) -> Asset:
    if name not in ASSETS:
        raise FetchError(f"{name!r} is not a released file, expected one of {', '.join(ASSETS)}")
    return ASSETS[name]


def _verify(asset: Asset, path: Path) -> Path:
    found = sha256_of(path)
    if found != asset.sha256:
        raise FetchError(
            f"{path}: sha256 {found}, expected {asset.sha256}: not the released {asset.name!r}; remove it"
        )
    return path


_CUT_OFF = (http.client.IncompleteRead, ConnectionResetError)
"""The connection ended before the file did."""


def _download(asset: Asset, target: Path, progress: Progress | None) -> Path:
    """One process or thread at a time fetches ``target``; the others wait and find it there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = target.with_name(f".{target.name}.lock")
    with locked(lock):
        try:
            if not target.is_file() or sha256_of(target) != asset.sha256:
                content = _ask(asset, progress)
                with room_for(target, f"{asset.name!r} takes {len(content) >> 10} KiB"):
                    replace_file(target, content)
        finally:
            lock.unlink(missing_ok=True)
    return target


def _ask(asset: Asset, progress: Progress | None) -> bytes:
    """The file, tried again where the connection ends early; anything else is refused at once."""
    with _bar(asset.name, progress) as report:
        for _ in range(ATTEMPTS):
            try:
                content = _receive(asset, report)
                break
            except _CUT_OFF as error:
                ended = f"the connection ended early ({type(error).__name__})"
        else:
            raise FetchError(f"{asset.url}: {ended}; run the command again")
    found = hashlib.sha256(content).hexdigest()
    if found != asset.sha256:
        raise FetchError(f"{asset.url}: what came has sha256 {found}, expected {asset.sha256}: refused")
    return content


def _receive(asset: Asset, report: Progress) -> bytes:
    import pooch  # type: ignore[import-untyped]

    received, content = _Received(asset, report), io.BytesIO()
    timeout = (CONNECT_SECONDS, READ_SECONDS)
    ask = pooch.HTTPDownloader(progressbar=received, chunk_size=1 << 16, timeout=timeout)
    try:
        _look_up(asset.url)
        ask(asset.url, content, None)
        if len(content.getvalue()) < received.total:
            raise ConnectionResetError
    except OSError as error:  # what requests raises is one
        reason = _first_of(error)
        if isinstance(reason, _CUT_OFF):
            raise reason from None
        if (response := getattr(error, "response", None)) is not None:
            answer = f"{response.status_code} {response.reason}"
            raise FetchError(f"{asset.url}: the server answered {answer}{_advice(asset)}") from None
        host = urlsplit(asset.url).netloc
        raise FetchError(f"cannot fetch {asset.name!r}: {host}: {_plain(reason)}{_advice(asset)}") from None
    return content.getvalue()


class _Received:
    """What pooch takes for a progress bar. Refuses a file that is too long while it comes."""

    def __init__(self, asset: Asset, report: Progress) -> None:
        self.total, self._have, self._asset, self._report = 0, 0, asset, report

    def update(self, more: int) -> None:
        self._have += more
        if self._have > LARGEST:
            raise FetchError(f"{self._asset.url}: more than {LARGEST >> 20} MB came: not the released file")
        self._report(min(self._have, self.total or self._have), self.total or None)

    def reset(self) -> None:
        self._have = 0

    def close(self) -> None:
        pass


def _first_of(error: BaseException) -> BaseException:
    """What requests and urllib3 wrapped."""
    wrappers = ("requests.", "urllib3.")
    while type(error).__module__.startswith(wrappers) and (within := error.__cause__ or error.__context__):
        error = within
    return error


def _plain(reason: object) -> str:
    if isinstance(reason, socket.gaierror):
        return "the name cannot be resolved (offline?)"
    if isinstance(reason, TimeoutError):
        return "no answer in time (offline?)"
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror
    return str(reason) or type(reason).__name__


def _advice(asset: Asset) -> str:
    return f"; if you have {asset.file} already, set {_FOLDERS[asset.kind][0]} to its folder"


def _look_up(url: str) -> None:
    """Raise TimeoutError if the system's resolver hangs, as it may for half a minute: no timeout of a request
    covers it."""
    parts = urlsplit(url)
    direct = urllib.request.proxy_bypass(parts.netloc)
    proxy = None if direct else urllib.request.getproxies().get(parts.scheme)
    host = urlsplit(proxy or url).hostname

    def look_up() -> None:
        with contextlib.suppress(OSError):
            socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)

    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(CONNECT_SECONDS)
    if thread.is_alive():
        raise TimeoutError


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
