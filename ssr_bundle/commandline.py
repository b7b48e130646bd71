"""What the three command lines share: one line per error, the right exit status, never a traceback.

A command line imports no compiled module but in its commands, under :func:`run`: so that a machine with too
little memory for one is told so in a line.
"""

from __future__ import annotations

import functools
import inspect
import io
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast, get_type_hints

import typer
from typer.core import TyperCommand
from typer.models import CommandFunctionType

from ssr_bundle.disk import is_full
from ssr_bundle.errors import SsrError, UsageError
from ssr_bundle.regular import address
from ssr_bundle.shown import cut, printable
from ssr_bundle.signals import once_per_request

_Result = TypeVar("_Result")

_LONGEST_LINE = 4000
"""Characters of a line of an error message; no path needs more."""

_NO_MEMORY = re.compile(
    "failed to map segment|annot allocate memory|start new thread|allocate memory: you tried"
)

Header = Annotated[
    list[str] | None,
    typer.Option(
        "--header",
        metavar="KEY=VALUE",
        help="Sent to the server with every request, such as the key of a restricted API. Repeat for more.",
    ),
]


def headers_of(given: Sequence[str] | None) -> dict[str, str]:
    """What :data:`Header` was given, by key; a usage error for what is no KEY=VALUE."""
    headers = {}
    for text in given or ():
        key, is_whole, value = text.partition("=")
        if not key or not is_whole:
            raise typer.BadParameter(f"--header: expected KEY=VALUE, got {text!r}")
        headers[key] = value
    return headers


class Application(typer.Typer):
    """A typer application whose commands show a :class:`UsageError` as typer shows a bad parameter."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(add_completion=False, pretty_exceptions_enable=False, **settings)

    def command(
        self, *arguments: Any, **settings: Any
    ) -> Callable[[CommandFunctionType], CommandFunctionType]:
        register = super().command(*arguments, **{"cls": _Command, **settings})

        def command(function: CommandFunctionType) -> CommandFunctionType:
            register(_on_this_machine(function))
            return function

        return command


def _on_this_machine(function: CommandFunctionType) -> CommandFunctionType:
    """``function``, which refuses a web address in a path's place."""

    @functools.wraps(function)
    def checked(*arguments: Any, **values: Any) -> Any:
        for value in values.values():
            for path in value if isinstance(value, list | tuple) else (value,):
                if isinstance(path, Path) and (given := address(path)):
                    raise UsageError(f"{given} is an address, expected a path: download it first")
        return function(*arguments, **values)

    return cast(CommandFunctionType, checked)


class _Command(TyperCommand):
    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except UsageError as error:
            raise typer.BadParameter(_shown(error), ctx) from None


@dataclass(frozen=True)
class Before:
    """Stands in the ``Annotated`` of a command's own parameter: its option comes before that ``field``."""

    field: str


def unfolded(function: Callable[..., _Result]) -> Callable[..., _Result]:
    """Let a command take the fields of dataclasses as its options.

    A parameter (keyword-only, without a default) whose type is a dataclass becomes one option a field, at its
    place; the command gets the dataclass. ``Annotated`` fields give an option's help, panel and limits as
    parameters do; a field's default is the option's. A subclass may describe a field of its base anew, at the
    same place. What the dataclass refuses with an :class:`SsrError` is a usage error::

        @dataclass(frozen=True)
        class Pictures:
            data: Annotated[str, typer.Option(help="Which set.")] = "synthetic"
            count: Annotated[int | None, typer.Option(min=1, help="Faces to draw.")] = None

        @app.command()
        @unfolded
        def evaluate(bundle: Path, *, pictures: Pictures, out: Path | None = None) -> None: ...

    A parameter of the command stands between two fields by ``Annotated[..., Before("count")]``.
    """
    options: list[inspect.Parameter] = []
    groups: dict[str, type] = {}
    hints = get_type_hints(function, include_extras=True)
    for parameter in inspect.signature(function).parameters.values():
        kind = hints[parameter.name]
        if not is_dataclass(kind):
            options.append(_option(parameter.name, kind, parameter.default))
            continue
        assert isinstance(kind, type)
        groups[parameter.name] = kind
        of_fields = get_type_hints(kind, include_extras=True)
        for field in fields(kind):
            default = inspect.Parameter.empty if field.default is MISSING else field.default
            options.append(_option(field.name, of_fields[field.name], default))
    for option in list(options):
        for mark in getattr(option.annotation, "__metadata__", ()):
            if isinstance(mark, Before):
                options.remove(option)
                options.insert([other.name for other in options].index(mark.field), option)

    @functools.wraps(function)
    def command(**values: Any) -> _Result:
        for name, kind in groups.items():
            given = {field.name: values.pop(field.name) for field in fields(kind)}
            try:
                values[name] = kind(**given)
            except SsrError as error:
                raise typer.BadParameter(_shown(error)) from None
        return function(**values)

    vars(command)["__signature__"] = inspect.Signature(options)
    command.__annotations__ = {option.name: option.annotation for option in options}
    return command


def _option(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def given(context: typer.Context) -> set[str]:
    """Names of the parameters that stand on the command line, not left at their defaults."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name for name, source in sources.items() if source and source.name == "COMMANDLINE"}


def run(app: Callable[[], object], name: str) -> None:
    """Run a typer application, or a benchmark's ``main``, under the project's error convention.

    Exit status: 0 success, 1 failure (``SsrError``, ``OSError``, too little memory), 2 usage (typer's own,
    ``UsageError``), 130 after Ctrl-C, 143 after SIGTERM, with temporary files removed and servers stopped in
    both cases.
    ``SSR_TRACEBACK=1`` shows the traceback as well, for a bug report. Of the processes of ``torchrun``, which
    refuse alike, the first on each machine says why.
    """
    signal.signal(signal.SIGTERM, once_per_request(_terminate))
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a shell's background job ignores it
        signal.signal(signal.SIGINT, once_per_request(_interrupt))
    _streams()
    try:
        app()
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (SsrError, OSError, MemoryError, ImportError, RuntimeError) as error:
        if not isinstance(error, SsrError | OSError) and _lack_of_memory(error) is None:
            raise
        if os.environ.get("SSR_TRACEBACK") == "1":
            traceback.print_exc()
        if speaks() or not isinstance(error, SsrError):
            print(f"{name}: {_shown(error)}", file=sys.stderr)
        sys.exit(error.status if isinstance(error, SsrError) else 1)  # HTTP's errors have one too


def _streams() -> None:
    """Text that the terminal cannot show is escaped; a stream that was closed (``>&-``) takes all."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115  # for good
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def speaks() -> bool:
    """Whether this process is the first of those that ``torchrun`` started on this machine, or alone."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


def _terminate(number: int, again: bool) -> None:
    """Leave by way of every ``finally``; when asked again, end the process at once."""
    if again:
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
    raise SystemExit(128 + number)


def _interrupt(number: int, again: bool) -> None:
    raise KeyboardInterrupt


def _lack_of_memory(error: BaseException) -> str | None:
    """What ``error`` says if it is that memory, or a thread, is not to be had, as libraries say it."""
    lines = str(error).strip().split("\n")
    if isinstance(error, MemoryError):
        return lines[0]
    return next((line for line in lines if _NO_MEMORY.search(line)), None)


def _shown(error: BaseException) -> str:
    """The message, control characters escaped, the lines behind the first (of a server's log) indented: none
    of them can look like a command's own."""
    lines = [cut(printable(line, "\t"), _LONGEST_LINE) for line in _told(error).split("\n")]
    return "\n".join([lines[0], *(line if line.startswith(" ") else f"  {line}" for line in lines[1:])])


def _told(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename:
        of_target = is_full(error) and error.filename2
        return f"{error.filename2 if of_target else error.filename}: {error.strerror}"
    if not isinstance(error, SsrError | OSError) and (found := _lack_of_memory(error)) is not None:
        return f"too little memory: {found}" if found else "too little memory"
    return str(error) or type(error).__name__
