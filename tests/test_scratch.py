"""Folders of commands in the temporary directory: gone at the end, after a kill with the next command."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ssr_bundle.scratch import scratch

KILLED = """
import os, signal
from ssr_bundle.scratch import scratch
with scratch("tune") as folder:
    (folder / "model").mkdir()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def test_the_next_command_removes_what_a_kill_left(temporary: Path) -> None:
    """But nothing of a living one, and no folder that only has such a name."""
    (temporary / "ssr-tune-abcdefgh").mkdir()
    (temporary / "ssr-models-of-mine").mkdir()
    (temporary / "ssr-models-of-mine" / "in-use").touch()
    kept = {path.name for path in temporary.iterdir()}
    with scratch("verify") as living:
        subprocess.run([sys.executable, "-c", KILLED], check=False)
        assert len(list(temporary.iterdir())) == len(kept) + 2
        with scratch("quantize") as folder:
            assert list(folder.iterdir()) == []
            names = {path.name for path in temporary.iterdir()}
            assert names == {*kept, living.parent.name, folder.parent.name}
    assert {path.name for path in temporary.iterdir()} == kept
