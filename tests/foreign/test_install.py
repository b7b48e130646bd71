"""What is told of a foreign client that cannot be installed."""

from __future__ import annotations

import sys
from pathlib import Path

import install
import pytest
from battery import environment


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(install, "FOLDER", tmp_path)
    return tmp_path


def fails(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """Let ``program`` stand for every package manager."""
    monkeypatch.setattr(install, "commands", lambda client, folder: [[sys.executable, "-c", program]])


def test_the_reason_becomes_that_of_the_skip(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(pytest.skip.Exception, match="kserve is not installed: make test-foreign tries to"):
        environment("kserve")
    fails(monkeypatch, "print('Looking'); print('ERROR: No matching distribution'); raise SystemExit(1)")
    assert install.main(["kserve"]) == 0
    with pytest.raises(pytest.skip.Exception, match="kserve could not be installed: No matching"):
        environment("kserve")
    fails(monkeypatch, "pass")
    assert install.main(["kserve"]) == 0
    assert environment("kserve").name == "kserve"


def test_what_is_there_stays(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fails(monkeypatch, "pass")
    assert install.install("kserve", install.CLIENTS["kserve"]).failure == ""
    fails(monkeypatch, "raise SystemExit(1)")
    assert install.install("kserve", install.CLIENTS["kserve"]).failure == ""
    other = install.Client(("kserve==0.1",))
    assert install.install("kserve", other).failure == "no output", "other packages are another attempt"


def test_it_takes_no_longer_than_it_may(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fails(monkeypatch, "import threading; threading.Event().wait()")
    outcome = install.install("kserve", install.Client(("kserve",), seconds=0.5))
    assert outcome.failure.endswith("took more than 0.5 s")


@pytest.mark.parametrize(
    ("log", "told"),
    [
        ("npm error code E404\nnpm error 404 Not Found\n", "npm error 404 Not Found"),
        ("WARNING: Retrying NewConnectionError\nERROR: No matching\n", "the package index cannot be reached"),
        ("something\nelse\n", "else"),
        ("", "no output"),
    ],
)
def test_the_line_that_says_why(log: str, told: str) -> None:
    assert install.reason(log) == told


def test_an_unknown_client_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert install.main(["nobody"]) == 2
    assert "nobody: expected perf_analyzer, tritonclient-http" in capsys.readouterr().err


def test_a_manager_that_is_not_here(tmp_path: Path) -> None:
    assert install.run(["no-such-manager"], tmp_path / "log", 1) == "no-such-manager is not installed"
