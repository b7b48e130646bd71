"""Options of a command from the fields of dataclasses."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from typer.testing import CliRunner

from ssr_bundle.commandline import Before, given, unfolded
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
