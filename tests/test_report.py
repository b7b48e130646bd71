"""Reports show what strangers wrote (bundles, servers, file names) as text that no terminal obeys."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from random_bundles import random_bundle
from rich.console import Console

from ssr_bundle.contract import Architecture
from ssr_bundle.report import Facts, Picture, Report, State, Table, markdown, table
from ssr_bundle.shown import cut, note, printable, printable_json, say, shown
from ssr_train.progress import Reporter, bar
from triton_repo.ladder.status import shown as shown_progress

FORGED = "\x1b[2J\x1b[1;1Hall is well\r\x9b1A\x07\u202e\x7f\u2028"
SHOWN = r"\x1b[2J\x1b[1;1Hall is well\r\x9b1A\x07\u202e\x7f\u2028"
COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\u2028\u2066]")


def report() -> Report:
    return Report(
        f"Title {FORGED}\nforged",
        [
            f"paragraph {FORGED}\nits second line",
            Facts([f"fact {FORGED}\nforged: fact"], f"facts {FORGED}"),
            Table(f"table {FORGED}", ("name", "value"), [(f"{FORGED}\nforged", f"{FORGED}\nbehind")]),
            Table("states", ("name", "state"), [("one", State("broken", "red", f"{FORGED}\n"))], ruled=True),
            Picture(f"picture {FORGED}\nforged", lambda figure: None, (1, 1)),
        ],
        {"text": f"{FORGED}\nline", FORGED: [FORGED, "\U000e0001"]},
    )  # fmt: skip


def test_the_terminal_gets_no_commands(capsys: pytest.CaptureFixture[str]) -> None:
    report().show()
    text = capsys.readouterr().out
    assert not COMMANDS.search(text)
    assert not re.search("^forged", text, re.MULTILINE)
    assert text.count(r"\x1b[2J") == 7
    assert f"paragraph {SHOWN}\nits second line\n" in text


def test_a_real_terminal_gets_only_the_table_s_own_colours() -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-c", _IN_A_TERMINAL])
    told = b""
    try:
        while block := os.read(terminal, 1 << 16):
            told += block
    except OSError:  # the other side is closed
        pass
    os.waitpid(pid, 0)
    text = re.sub(r"\x1b\[[0-9;]*m", "", told.decode())
    assert r"\x1b[2J" in text
    assert "\x1b" not in text


_IN_A_TERMINAL = (
    "from ssr_bundle.report import table, State; "
    r"table([('\x1b[2J', '\x1b[31mred'), ('x', State('ok', 'green', '\x1b[2J'))])"
)


def test_markdown_gets_no_commands() -> None:
    text = report().markdown()
    assert not COMMANDS.search(text)
    assert not re.search("^(- )?forged", text, re.MULTILINE)
    assert markdown(("a",), [("b|\x1b\nc",)]).endswith(r"| b\|\x1b<br>c |")


def test_json_is_escaped_and_the_same_value(capsys: pytest.CaptureFixture[str]) -> None:
    report().show(as_json=True)
    text = capsys.readouterr().out
    assert not COMMANDS.search(text)
    assert "\U000e0001" not in text
    assert json.loads(text) == report().numbers
    assert printable_json(json.dumps({"é": "你好"}, ensure_ascii=False)) == '{"é": "你好"}'


def test_what_is_harmless_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    table([("naïve – 你好 😀", "a\nb [bold]")])
    first, second = capsys.readouterr().out.splitlines()
    assert first.split() == ["naïve", "–", "你好", "😀", "a"]
    assert second.strip() == "b [bold]"


def test_long_values_are_cut() -> None:
    assert cut("a" * 160) == "a" * 160
    assert cut("a" * 102_400) == "a" * 160 + "... (102,400 characters)"
    assert shown({"a": "\x1b" * 1000}).startswith(r"{'a': '\x1b\x1b")
    assert printable("a\tb\nc", "\t") == "a\tb\\nc"
    assert printable("\ud800") == r"\ud800"


def test_a_line_stays_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """On each way out: of a bundle's texts and of names of files none can end it and begin another."""
    say(f"learned from {FORGED}\n/models/forged: version 9")
    console = Console(file=sys.stdout)
    note(console, f"skipped: [/b] {FORGED}\nforged", "dim")
    Reporter(console).say(f"data: {FORGED}\nforged")
    with shown_progress(console) as progress:
        progress(f"{FORGED}\nforged")
    told = capsys.readouterr().out
    assert told.count("[2J") == 4
    assert not COMMANDS.search(told)
    assert not [line for line in told.splitlines() if line.startswith(("forged", "/models"))]


def test_a_bar_s_title_is_no_markup() -> None:
    terminal = Console(file=io.StringIO(), force_terminal=True)
    with bar(terminal, "faces in photos[/b] \x1b]0;forged\x07", 3) as tick:
        tick()
    told = terminal.file.getvalue()  # type: ignore[attr-defined]
    assert "photos[/b] \\x1b]0;forged" in told
    assert "\x1b]" not in told


def test_a_bundle_s_texts_are_escaped_where_they_are_printed(tmp_path: Path) -> None:
    """The whole way: a contract that clears the screen, by way of ``ssr-train info``, and refused."""
    architecture = Architecture(stages=(2,), width_x=4, width_s=4, width_fusion=2)
    bundle = random_bundle(tmp_path / "bundle", architecture, provenance={"data": FORGED, f"k{FORGED}": "v"})
    path = bundle.path / "contract.json"
    text = path.read_text()
    for edit, options, status in (
        (text, [], 0),
        (text, ["--json"], 0),
        (text.replace('"random"', json.dumps(FORGED)), [], 1),
    ):
        path.write_text(edit)
        command = [sys.executable, "-m", "ssr_train.cli", "info", str(bundle.path), *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == status
        assert "[2J" in done.stdout + done.stderr
        assert not COMMANDS.search(done.stdout + done.stderr)
