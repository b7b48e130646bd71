"""Install the foreign clients, each into a folder of its own: ``make test-foreign``.

    python tests/foreign/install.py [CLIENT ...]

What cannot be installed here is no failure: the reason is kept, and its tests are skipped with it. What was
installed before stays.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

FOLDER = Path(__file__).resolve().parents[2] / "build" / "foreign"


@dataclass(frozen=True)
class Client:
    """What to install, with ``options`` of its package manager, in at most ``seconds``."""

    packages: tuple[str, ...]
    options: tuple[str, ...] = ()
    manager: Literal["pip", "npm"] = "pip"
    seconds: float = 600


CLIENTS = {
    # Its wheels 2.47 to 2.51 carry the program; later ones need glibc 2.38.
    "perf_analyzer": Client(("tritonclient>=2.47,<2.52",), ("--no-deps", "--only-binary=:all:"), seconds=180),
    "tritonclient-http": Client(("tritonclient[http]",), ("--prefer-binary",), seconds=180),
    "grpc-js": Client(("@grpc/grpc-js", "@grpc/proto-loader"), manager="npm", seconds=180),
    "kserve": Client(("kserve",), ("--prefer-binary",)),
    "mlserver": Client(("mlserver",), ("--prefer-binary",)),
}


@dataclass(frozen=True)
class Outcome:
    """``failure`` says why ``packages`` are not there; empty if they are."""

    packages: list[str]
    failure: str


def read_outcome(name: str) -> Outcome | None:
    """What became of the attempt to install a client; None if there was none."""
    try:
        return Outcome(**json.loads(_outcome_file(name).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def install(name: str, client: Client) -> Outcome:
    """Install ``client`` as ``FOLDER/name`` unless it is there, and record what became of it."""
    known = read_outcome(name)
    if known is not None and not known.failure and known.packages == [*client.packages]:
        return known
    folder = FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    failure = ""
    for command in commands(client, folder):
        if failure := run(command, folder / "install.log", client.seconds):
            break
    outcome = Outcome([*client.packages], failure)
    _outcome_file(name).write_text(json.dumps(dataclasses.asdict(outcome)), encoding="utf-8")
    return outcome


def commands(client: Client, folder: Path) -> list[list[str]]:
    """What installs ``client`` into ``folder``; nothing is asked of a network more often than twice."""
    if client.manager == "npm":
        npm = ["npm", "install", "--prefix", str(folder), "--ignore-scripts", "--no-audit", "--no-fund"]
        return [[*npm, "--fetch-retries=1", *client.options, *client.packages]]
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install"]
    return [
        [sys.executable, "-m", "venv", str(folder)],
        [*pip, "--retries=1", *client.options, *client.packages],
    ]


def run(command: list[str], log: Path, seconds: float) -> str:
    """Why ``command`` failed, in one line; empty if it did not. ``log`` gets its output."""
    if shutil.which(command[0]) is None:
        return f"{command[0]} is not installed"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
        try:
            if process.wait(seconds) == 0:
                return ""
        except subprocess.TimeoutExpired:
            return f"{Path(command[0]).name} took more than {seconds:g} s"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    return reason(log.read_text(encoding="utf-8", errors="replace"))


def reason(log: str) -> str:
    """The line of a package manager's ``log`` that says why it failed."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"ERROR|npm error (?!A complete log|code)", line)]
    if re.search(r"NewConnectionError|Name or service not known|ENOTFOUND|EAI_AGAIN|ECONNREFUSED", log):
        return "the package index cannot be reached"
    return (errors or lines[-1:] or ["no output"])[0].removeprefix("ERROR: ")[:300]


def _outcome_file(name: str) -> Path:
    return FOLDER / name / "outcome.json"


def main(names: list[str]) -> int:
    if unknown := sorted({*names} - {*CLIENTS}):
        print(f"{', '.join(unknown)}: expected {', '.join(CLIENTS)}", file=sys.stderr)
        return 2
    for name in names or CLIENTS:
        outcome = install(name, CLIENTS[name])
        print(f"{name}: {outcome.failure or 'installed'}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
