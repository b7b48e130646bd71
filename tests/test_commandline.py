"""Options of a command from the fields of dataclasses, and how a command shows an error."""

from __future__ import annotations

import errno
import inspect
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from ssr_bundle.commandline import Before, given, run, unfolded
from ssr_bundle.errors import SsrError


@dataclass(frozen=True)
class Pictures:
    data: Annotated[str | None, typer.Option(help="Which set.", rich_help_panel="Pictures")] = None
    count: Annotated[int, typer.Option(min=1, help="Faces to draw.")] = 7

    def __post_init__(self) -> None:
        if self.count == 13:
            raise SsrError("--count 13 brings bad luck")


@dataclass(frozen=True)
class PicturesOfBundle(Pictures):
    data: Annotated[str | None, typer.Option(help="Which other set.")] = "synthetic"


app = typer.Typer(pretty_exceptions_enable=False)


@app.command()
@unfolded
def evaluate(
    context: typer.Context,
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Bundle folder.")],
    *,
    out: Annotated[Path, typer.Option(help="Where to write.")],
    pictures: Pictures,
    force: Annotated[bool, typer.Option("--force", help="Replace it."), Before("count")] = False,
) -> None:
    """Measure errors."""
    print(bundle, out, pictures, force, sorted(given(context)))


@app.command()
@unfolded
def card(*, pictures: PicturesOfBundle) -> None:
    """Write the card."""
    print(pictures)


def ask(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(words), env={"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "100"})
    return result.exit_code, result.output


def test_fields_of_a_dataclass_become_options_at_its_place() -> None:
    names = ["context", "bundle", "out", "data", "force", "count"]
    assert list(inspect.signature(evaluate).parameters) == names
    status, text = ask("evaluate", "--help")
    assert status == 0
    for words in ("Measure errors.", "BUNDLE", "Which set.", "Pictures", "[default: 7]", "x>=1"):
        assert words in text
    assert text.index("--out") < text.index("--force") < text.index("--count")


def test_the_command_gets_the_dataclass() -> None:
    status, text = ask("evaluate", "b", "--out", "o", "--count", "3", "--force")
    assert status == 0
    assert text == "b o Pictures(data=None, count=3) True ['bundle', 'count', 'force', 'out']\n"


def test_a_subclass_describes_a_field_anew_at_the_same_place() -> None:
    assert list(inspect.signature(card).parameters) == ["data", "count"]
    assert ask("card") == (0, "PicturesOfBundle(data='synthetic', count=7)\n")
    assert "Which other set." in ask("card", "--help")[1]


def test_limits_and_refusals_are_usage_errors() -> None:
    for count, words in (("0", "Invalid value for '--count'"), ("13", "--count 13 brings bad luck")):
        status, text = ask("card", "--count", count)
        assert status == 2
        assert words in " ".join(text.split())


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """A command takes them for itself."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def told(capsys: pytest.CaptureFixture[str], error: BaseException) -> str:
    def main() -> None:
        raise error

    with pytest.raises(SystemExit) as ended:
        run(main, "ssr-x")
    assert ended.value.code == 1
    text = capsys.readouterr().err
    assert text.endswith("\n")
    return text[:-1]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            SsrError("unit \x1b[2K\x9b1A\r\u202eshow\u2028n\x7f é"),
            r"unit \x1b[2K\x9b1A\r\u202eshow\u2028n\x7f é",
        ),
        (SsrError("ended; its log:\nssr-x: all is well"), "ended; its log:\n  ssr-x: all is well"),
        (SsrError("a" * 5000), "a" * 4000 + "... (5,000 characters)"),
        (OSError(errno.EACCES, "Permission denied", "a\x1b[1mb"), r"a\x1b[1mb: Permission denied"),
        (OSError(errno.ENOSPC, "No space left", "source", None, "target"), "target: No space left"),
        (OSError(errno.EACCES, "Permission denied", "source", None, "target"), "source: Permission denied"),
        (MemoryError(), "too little memory"),
        (MemoryError("std::bad_alloc"), "too little memory: std::bad_alloc"),
        (MemoryError("Unable to allocate 3 GiB"), "too little memory: Unable to allocate 3 GiB"),
        (
            ImportError("\nREAD\nx.so: failed to map segment from shared object\n"),
            "too little memory: x.so: failed",
        ),
        (RuntimeError("can't start new thread"), "too little memory: can't start new thread"),
    ],
)
def test_an_error_is_shown_as_text(
    error: BaseException, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = told(capsys, error)
    assert found.startswith(f"ssr-x: {expected}")
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\u2028]", found)


@pytest.mark.parametrize("error", [ImportError("No module named 'x'"), RuntimeError("a bug"), KeyError("x")])
def test_a_bug_shows_its_traceback(error: Exception) -> None:
    def main() -> None:
        raise error

    with pytest.raises(type(error)):
        run(main, "ssr-x")


@pytest.mark.parametrize("module", ["ssr_train.cli", "triton_repo.cli", "ssr_client.cli"])
def test_a_command_line_imports_no_compiled_module(module: str) -> None:
    """Its commands do, under ``run``, which says in one line that there is too little memory for one."""
    code = f"import sys, {module}; print(*(getattr(m, '__file__', '') for m in sys.modules.values()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    compiled = [path for path in done.stdout.split() if path.endswith(".so")]
    assert [path for path in compiled if "lib-dynload" not in path] == []


def test_a_command_without_memory_says_so_in_one_line() -> None:
    """The limit leaves what the interpreter and the libraries need, and nothing for the array."""
    code = (
        "import resource, numpy; from ssr_bundle.commandline import run; "
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize(); "
        "resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20),) * 2); "
        "run(lambda: numpy.ones(1 << 30), 'ssr-x')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert re.fullmatch(r"ssr-x: too little memory: Unable to allocate .*\n", done.stderr)
