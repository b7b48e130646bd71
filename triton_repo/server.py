"""Run a real tritonserver over a model repository, and keep it in step with what is published there."""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from dataclasses import KW_ONLY, dataclass
from functools import partial
from pathlib import Path

from ssr_bundle import scratch
from ssr_bundle.errors import SsrError
from triton_repo import access, drain, keyfile, limits, process
from triton_repo import ports as port_chooser
from triton_repo.bounded_log import BoundedLog, tail
from triton_repo.control import IDENTITY, Control, ControlError
from triton_repo.follower import Follower, ReadyModel
from triton_repo.tritonserver import SAFE_RELEASE, VERSION, TritonServer, find, is_unsafe, words
from triton_repo.view import Failure, View

_MANAGED = (
    *("model-repository", "model-store", "model-control-mode", "load-model", "repository-poll-secs"),
    *("id", "exit-on-error", "strict-readiness", "exit-timeout-secs", "log-file", "backend-directory"),
    *("allow-http", "allow-grpc", "allow-client-shm", "allow-sagemaker", "allow-vertex-ai"),
    "model-config-name",  # what is verified is config.pbtxt
    *("http-port", "http-address", "grpc-port", "grpc-address", "metrics-port", "metrics-address"),
)
"""Options of tritonserver that are set here; it takes the beginning of a name for the whole."""
_BIND_FAILED = re.compile(r"Address already in use|failed to start|Socket '.*' already in use", re.IGNORECASE)
_ASK_SECONDS, _END_SECONDS = 5.0, 3.0
_LINES_OF_A_REASON = 400
"""Of the log's end, in which a reason is looked for that the server gave nowhere else."""
_JOIN_SECONDS = 5.0
"""How long the end waits for the watcher, which may hang in a filesystem that does not answer."""


class ServerError(SsrError):
    """The server did not start, serves nothing, or ended by itself."""


@dataclass(eq=False)
class Server:
    """A tritonserver process over ``repository``; use it as a context manager.

    ``http_port`` and the others: 0 takes a free one. ``strict``: any failure stops the server and is
    raised. ``log``: a file for the server's log, kept below 16 MiB, with the 16 before them as ``<name>.1``;
    ``"-"`` for standard error; by default a file that is removed with the rest after a clean end.
    ``arguments`` go to tritonserver as they are. ``watch``: follow publishes and rollbacks in the
    repository. ``on_event`` is told in one line what changed.
    ``shared_memory``: any local client may register memory, read and overwrite that of the others, and end
    the server with it. ``open``: any client may load and unload models, trace and change the log; else
    those need a key, which ``control`` has and :mod:`triton_repo.keyfile` keeps for this user.

    Once started: ``grpc_url`` and ``http_url`` as host:port, ``metrics_url``, ``pid``, ``log``,
    ``served``, ``failures``. Raises :class:`ServerError` when nothing serves.
    """

    repository: Path
    _: KW_ONLY
    host: str = "127.0.0.1"
    http_port: int = 0
    grpc_port: int = 0
    metrics_port: int = 0
    strict: bool = False
    log: str | Path | None = None
    log_verbose: int = 0
    exit_timeout: int = 30
    startup_timeout: float = 120.0
    arguments: Sequence[str] = ()
    tritonserver: TritonServer | None = None
    watch: bool = True
    shared_memory: bool = False
    open: bool = False
    on_event: Callable[[str], None] | None = None

    def __post_init__(self) -> None:
        for argument in self.arguments:
            name = argument.partition("=")[0]
            if name.startswith("--") and any(f"--{managed}".startswith(name) for managed in _MANAGED):
                raise ServerError(f"{argument}: ssr-serve sets this option itself")
        self.returncode: int | None = None
        self._ended = threading.Event()
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._state: Path | None = None
        self._key_file: keyfile.KeyFile | None = None
        self._in_use: int | None = None
        self._log_held: int | None = None
        self._follower: Follower | None = None
        self._watcher: threading.Thread | None = None

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> Server:
        """Start the server and wait until every model answers or is known to have failed."""
        try:
            self._start()
        except BaseException as error:
            self.stop(keep_log=isinstance(error, Exception))
            raise
        return self

    def stop(self, *, keep_log: bool = False) -> None:
        """Let requests in flight finish, then end the server. Safe to call twice, and when it died."""
        self._stopping.set()
        if self._watcher is not None and self._watcher is not threading.current_thread():
            self._watcher.join(_JOIN_SECONDS)
            self._watcher = None
        if self._process is not None and not self._ended.is_set():
            self._end(self._process)
        if self._log_held is not None:
            os.close(self._log_held)
            self._log_held = None
        if self._key_file is not None:
            self._key_file.remove()
            self._key_file = None
        if self._state is not None:
            for folder in ("models", "backends") if keep_log else ("",):
                shutil.rmtree(self._state / folder, ignore_errors=True)
            if self._in_use is not None:
                scratch.release(self._state, self._in_use)
                self._in_use = None
            with contextlib.suppress(OSError):  # it is gone, or the log stays in it
                self._state.rmdir()

    def _end(self, running: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + self.exit_timeout

        def late(seconds: float = 0.0) -> bool:
            return self._ended.wait(seconds) or time.monotonic() > deadline

        control = Control(self.http_url, headers=self._access.headers, timeout=_ASK_SECONDS)
        finished = drain.finish(control, late)
        if not finished and late():
            self.kill()
            return
        running.send_signal(signal.SIGTERM)
        if not self._ended.wait(_END_SECONDS if finished else self.exit_timeout + 15):
            ports = [int(url.rpartition(":")[2]) for url in (self.http_url, self.grpc_url)]
            while finished and drain.has_unsent(ports) and not late(0.05):
                pass
            self.kill()  # held up by idle connections

    def kill(self) -> None:
        """End the server at once; requests in flight are lost."""
        if self._process is not None and not self._ended.is_set():
            self._process.kill()
            self._ended.wait(15)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the server to end, however it does; True if it has."""
        return self._ended.wait(timeout)

    @property
    def pid(self) -> int:
        if self._process is None:
            raise ServerError("the server was not started")
        return self._process.pid

    @property
    def served(self) -> list[ReadyModel]:
        """What answered when the server was last looked at."""
        return self._follower.served if self._follower else []

    @property
    def failures(self) -> list[Failure]:
        """What does not serve, and why."""
        return self._follower.failures if self._follower else []

    def refresh(self) -> None:
        """Bring the running server in step with the repository now (the watcher does it by itself)."""
        if self._follower is None:
            raise ServerError("the server was not started")
        self._follower.refresh()

    def log_tail(self, lines: int = 15) -> str:
        """The last lines of the server's log (empty when it goes to standard error)."""
        if not isinstance(self.log, Path) or not self.log.is_file():
            return ""
        text = words(tail(self.log).decode(errors="replace"))
        return "\n".join(text.splitlines()[-lines:])

    def _tell(self, text: str) -> None:
        """A listener that fails (standard output is closed, or its disk full) does not stop the watcher."""
        if self.on_event is not None:
            with contextlib.suppress(OSError, ValueError):
                self.on_event(text)

    # -- process ---------------------------------------------------------------------------------

    def _start(self) -> None:
        self._stopping = threading.Event()
        self._follower = None
        if told := limits.check_files():
            self._tell(told)
        self._binary = self.tritonserver or find()
        self._state, self._in_use = scratch.make("serve")
        self._view = View(self.repository, self._state / "models", self._binary.working_backends())
        signature = self._view.signature()
        self._view.update()
        self._check(self._view.models, self._view.failures)
        backends = self._link_backends(self._state / "backends")
        if self.log != "-":
            self.log = Path(self.log or self._state / "tritonserver.log")
            try:
                self.log.parent.mkdir(parents=True, exist_ok=True)
                # Without waiting for one who reads a pipe; held, for that one would see its end otherwise.
                flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC
                self._log_held = os.open(self.log, flags, 0o666)
            except OSError as error:
                if error.errno == errno.ENXIO:
                    raise ServerError(f"log {self.log}: is a pipe that nobody reads") from None
                raise ServerError(f"log {self.log}: cannot be written to ({error.strerror})") from None
        self._access = access.restrict(
            self.arguments, shared_memory=self.shared_memory, open_to_all=self.open
        )
        asked = self.http_port, self.grpc_port, self.metrics_port
        for attempt in range(5):
            chosen = port_chooser.choose(self.host, *asked)
            reach = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
            reach = f"[{reach}]" if ":" in reach else reach
            self.http_url = f"{reach}:{chosen.http}"
            self.grpc_url = f"{reach}:{chosen.grpc}"
            self.metrics_url = f"http://{reach}:{chosen.metrics}/metrics"
            self.control = Control(self.http_url, headers=self._access.headers)
            if self._launch(chosen, backends):
                break
            if attempt == 4 or all(asked) or not _BIND_FAILED.search(self.log_tail(60)):
                raise ServerError(
                    f"tritonserver ended with status {self.returncode} while starting\n{self.log_tail()}"
                )
        self._keep_key(chosen.http)
        self._warn_of_holes()
        log = partial(self.log_tail, _LINES_OF_A_REASON)
        self._follower = Follower(self._view, self.control, self._ended, self._tell, log)
        self._follower.begin()
        self._check(self.served, self.failures)
        if self.watch:
            self._watcher = threading.Thread(
                target=self._follower.follow,
                args=(signature, self._stopping),
                name="ssr-serve-watch",
                daemon=True,
            )
            self._watcher.start()

    def _launch(self, chosen: port_chooser.Ports, backends: Path) -> bool:
        """Start the process; True once it answers, False if it ended before that."""
        identity = f"{IDENTITY}-{uuid.uuid4().hex[:12]}"
        command = [
            str(self._binary.binary),
            f"--id={identity}",
            f"--model-repository={self._view.folder}",
            f"--backend-directory={backends}",
            "--model-control-mode=explicit",
            "--exit-on-error=false",
            "--strict-readiness=false",
            *(f"--{kind}-address={self.host}" for kind in chosen._fields),
            *(f"--{kind}-port={port}" for kind, port in chosen._asdict().items()),
            *(f"--load-model={model}" for model in self._view.models),
            f"--log-verbose={self.log_verbose}",
            f"--exit-timeout-secs={self.exit_timeout}",
            *self.arguments,
            *self._access.arguments,
        ]
        if self.shared_memory and self._binary.knows("allow-client-shm"):
            command.append("--allow-client-shm=true")
        for kind in ("cache", "repoagent"):
            if (folder := self._binary.root / f"{kind}s").is_dir():
                command.append(f"--{kind}-directory={folder}")
        self._ended = threading.Event()  # those who waited for the end of another process go on
        self._process = self.returncode = None
        started: Future[None] = Future()
        # A thread of its own owns the process: it outlives whoever called start(), as the guard demands.
        threading.Thread(
            target=self._own, args=(command, started), name="ssr-serve-server", daemon=True
        ).start()
        if error := started.exception():
            raise ServerError(f"{command[0]}: cannot be run ({error})")
        deadline = time.monotonic() + self.startup_timeout
        quick = Control(self.http_url, headers=self._access.headers, timeout=_ASK_SECONDS)
        while not self._ended.is_set():
            with contextlib.suppress(ControlError):
                if quick.metadata().get("name") == identity:
                    if process.is_shown(self.pid, [command[k] for k in access.holds_key(command)]):
                        self._tell(
                            "the server's keys stand in its command line, for every local user to read"
                        )
                    return True
            if time.monotonic() > deadline:
                self.kill()
                raise ServerError(
                    f"tritonserver was not up after {self.startup_timeout:.0f} s\n{self.log_tail()}"
                )
            self._ended.wait(0.05)
        return False

    def _own(self, command: list[str], started: Future[None]) -> None:
        """Start the server's process and wait for its end."""
        ended, stopping = self._ended, self._stopping
        try:
            with open(self.log if isinstance(self.log, Path) else os.dup(sys.stderr.fileno()), "ab") as log:
                environment = self._binary.environment()
                kept = () if self._in_use is None else (self._in_use,)
                try:
                    secret = access.holds_key(command)
                    self._process = process.start_hidden(command, secret, log, environment, kept)
                except process.CannotHide:
                    self._process = process.start(command, log, environment, kept)
        except BaseException as error:
            started.set_exception(error)
            return
        started.set_result(None)
        if stopping.is_set():  # by who did not wait for it
            self._process.kill()
        if isinstance(self.log, Path):
            log_watch = BoundedLog(self.log, self._tell).watch
            threading.Thread(target=log_watch, args=(ended,), name="ssr-serve-log", daemon=True).start()
        self.returncode = self._process.wait()
        ended.set()

    def _warn_of_holes(self) -> None:
        version = str(self.control.metadata()["version"])
        if is_unsafe(version) and not port_chooser.is_loopback(self.host):
            what = " is for development and tests only and" if version == VERSION else ""
            self._tell(
                f"tritonserver {version} on {self.host}{what} has published holes: take the newest "
                f"container, {SAFE_RELEASE} or later (docs/operations.md, Security)"
            )

    def _keep_key(self, port: int) -> None:
        """Let the other commands of this user find the key."""
        if self._access.key is None:
            return
        try:
            self._key_file = keyfile.write(port, self._access.key)
        except OSError as error:
            self._tell(
                f"{error.filename}: {error.strerror}; no command with --url will find this server's key"
            )

    def _link_backends(self, folder: Path) -> Path:
        """A backend folder of links: the stock backends, and this project's own."""
        folder.mkdir()
        for name, path in self._binary.backends().items():
            (folder / name).symlink_to(path)
        if own := backend_library():
            (folder / "ssr").unlink(missing_ok=True)
            (folder / "ssr").symlink_to(own.parent)
        elif self._view.needs_backend and not (folder / "ssr").exists():
            raise ServerError("libtriton_ssr.so is not built (`ssr-serve doctor` says what is missing)")
        return folder

    def _check(self, served: Collection[object], failures: Collection[Failure]) -> None:
        """Raise :class:`ServerError` where nothing is ``served`` or, if strict, anything failed."""
        reasons = "".join(f"\n  {failure}" for failure in failures)
        if not served:
            raise ServerError(f"{self.repository}: nothing to serve{reasons or ': there is no model in it'}")
        if self.strict and reasons:
            raise ServerError(f"--strict: not everything serves{reasons}")


def backend_library() -> Path | None:
    """``libtriton_ssr.so`` beside the native module: in an editable install not here."""
    native = importlib.util.find_spec("ssr_ops._native")  # not imported: that takes memory
    if native is None or native.origin is None:
        return None
    path = Path(native.origin).parent / "backends" / "ssr" / "libtriton_ssr.so"
    return path if path.is_file() else None
