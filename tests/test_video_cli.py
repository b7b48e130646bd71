"""The command ``ssr-video``: what it writes, refuses and says, with an analysis that needs no server."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from conftest import ROOT, material
from made_clips import OnePerson, pictures, write_clip
from ssr_video import cli
from ssr_video.events import Told
from ssr_video.frame import Frame
from ssr_video.video_file import VideoFile

from ssr_bundle.commandline import run
from ssr_bundle.errors import SsrError


class Command:
    """Runs ``ssr-video`` in this process, with an analysis of its own in place of the served one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.analysis: Callable[[], Any] = OnePerson
        self._monkeypatch, self._capsys = monkeypatch, capsys
        people, service = ModuleType("ssr_video.people"), ModuleType("ssr_video.service")
        people.__dict__.update(Options=lambda **_: None, People=lambda *_: self.analysis())
        service.__dict__.update(Service=_Service)
        monkeypatch.setitem(sys.modules, "ssr_video.people", people)
        monkeypatch.setitem(sys.modules, "ssr_video.service", service)

    def __call__(self, *words: object) -> tuple[int, str, str]:
        """Exit status, stdout, stderr."""
        self._monkeypatch.setattr(sys, "argv", ["ssr-video", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            run(cli.app, "ssr-video")
        out, err = self._capsys.readouterr()
        return int(left.value.code or 0), out, err


class _Service:
    @classmethod
    def open(cls, client: Any, *_: Any, **__: Any) -> _Service:
        found = cls()
        found.client = client
        return found

    client: Any
    detector = "none"

    def __enter__(self) -> _Service:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "clip.mp4", pictures(30))


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def events(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_output_of_a_run(command: Command, clip: Path, tmp_path: Path) -> None:
    names = {
        "--out": "a.jsonl",
        "--csv": "a.csv",
        "--vtt": "a.vtt",
        "--annotated": "a.mp4",
        "--counts": "a.json",
    }
    words = [word for option, name in names.items() for word in (option, tmp_path / name)]
    status, out, err = command("run", clip, *words)
    assert (status, err) == (0, "")
    assert f"{clip}: 30 frames, 1.2 s, 1 person" in out
    new, update, end, summary = events(tmp_path / "a.jsonl")
    assert [new["event"], update["event"], end["event"]] == ["new", "update", "end"]
    assert (summary["complete"], summary["frames"], summary["tracks"], summary["dropped"]) == (True, 30, 1, 0)
    assert summary["sources"][0]["codec"] == "h264"
    assert "person 1: 36 (31 to 41)" in (tmp_path / "a.vtt").read_text()
    with VideoFile(tmp_path / "a.mp4") as video:
        assert len(list(video)) == 30
    assert not list(tmp_path.glob("*.part"))

    before = {name: (tmp_path / name).read_bytes() for name in names.values()}
    for option, name in names.items():
        status, _, err = command("run", clip, option, tmp_path / name)
        assert (status, err) == (1, f"ssr-video: {tmp_path / name}: exists; --force replaces it\n")
    assert before == {name: (tmp_path / name).read_bytes() for name in names.values()}
    assert command("run", clip, "--force", *words)[0] == 0


def test_without_outputs_a_line_for_every_person(command: Command, clip: Path) -> None:
    status, out, _ = command("run", clip)
    assert status == 0
    expected = f"{clip}: person 1, 00:00:00.080 to 00:00:01.160: 36.4 years (31.4 to 41.4), 3 looks"
    assert out.splitlines()[0] == expected


def test_json_lines_on_stdout_are_alone_there(command: Command, clip: Path) -> None:
    status, out, err = command("run", clip, "--out", "-")
    assert status == 0
    assert [json.loads(line)["event"] for line in out.splitlines()] == ["new", "update", "end", "summary"]
    assert "30 frames" in err


def test_several_videos_of_which_some_are_none(command: Command, clip: Path, tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    clip.rename(tmp_path / "in" / "clip.mp4")
    write_clip(tmp_path / "in" / "deep" / "clip.mkv", pictures(10))
    (tmp_path / "in" / "broken.mp4").write_bytes(b"no video")
    status, _, err = command(
        *("run", tmp_path / "in", tmp_path / "gone.mp4", "--out", tmp_path / "a.jsonl"),
        *("--annotated", tmp_path / "drawn", "--vtt", tmp_path / "said"),
    )
    assert status == 1
    assert err.splitlines() == [
        f"ssr-video: {tmp_path}/in/broken.mp4: not a video that can be read (invalid data found when "
        "processing input)",
        f"ssr-video: {tmp_path}/gone.mp4: no such file or directory",
    ]
    summary = events(tmp_path / "a.jsonl")[-1]
    assert (summary["complete"], summary["frames"], summary["tracks"]) == (False, 40, 2)
    assert [bool(source["error"]) for source in summary["sources"]] == [True, False, False, True]
    assert names_in(tmp_path / "drawn") == ["clip-2.mp4", "clip.mp4"]
    assert names_in(tmp_path / "said") == ["clip-2.vtt", "clip.vtt"]


def test_what_is_unreadable_is_told_and_strict_fails(command: Command, tmp_path: Path) -> None:
    clip = material("real/videos/truncated_video_01.mp4")
    status, out, err = command("run", clip, "--out", tmp_path / "a.jsonl")
    assert status == 0
    assert f"{clip}: 39 frames, 1.3 s" in out
    assert f"ssr-video: {clip}: 51 frames are unreadable" in err.splitlines()
    assert events(tmp_path / "a.jsonl")[-1]["unreadable"] == 51
    assert command("run", clip, "--strict")[0] == 1


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_with_what_was_done(
    command: Command, clip: Path, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    class Interrupted(OnePerson):
        def advance(self, frame: Frame) -> Told:
            if frame.index == 12:
                signal.raise_signal(number)
            return super().advance(frame)

    command.analysis = Interrupted
    left, _, err = command("run", clip, "--out", tmp_path / "a.jsonl", "--annotated", tmp_path / "a.mp4")
    assert left == status
    assert err.splitlines()[-1] == f"ssr-video: stopped by {number.name}; what was done is written"
    *_, end, summary = events(tmp_path / "a.jsonl")
    assert (end["event"], end["frame"]) == ("end", 12)
    assert (summary["complete"], summary["stopped_by"], summary["frames"]) == (False, number.name, 13)
    assert summary["dropped"] == summary["sources"][0]["dropped"] > 0
    with VideoFile(tmp_path / "a.mp4") as video:
        assert len(list(video)) == 13


def test_an_error_of_the_analysis_leaves_parts(command: Command, clip: Path, tmp_path: Path) -> None:
    class Failing(OnePerson):
        def advance(self, frame: Frame) -> Told:
            if frame.index == 12:
                raise SsrError("the server is gone")
            return super().advance(frame)

    command.analysis = Failing
    status, _, err = command("run", clip, "--out", tmp_path / "a.jsonl", "--annotated", tmp_path / "a.mp4")
    assert (status, err.splitlines()[-1]) == (1, "ssr-video: the server is gone")
    assert [event["event"] for event in events(tmp_path / "a.jsonl.part")] == ["new", "update"]
    assert names_in(tmp_path) == ["a.jsonl.part", "clip.mp4"]


_SMALL_DISK = """
import resource, sys
sys.path.insert(0, {tests!r})
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
from types import ModuleType
from test_video_cli import _Service, OnePerson
people, service = ModuleType("ssr_video.people"), ModuleType("ssr_video.service")
people.Options, people.People, service.Service = (lambda **_: None), (lambda *_: OnePerson()), _Service
sys.modules["ssr_video.people"], sys.modules["ssr_video.service"] = people, service
from ssr_video.cli import main
sys.argv = ["ssr-video", *{words!r}]
main()
"""


@pytest.mark.parametrize(
    ("option", "name"), [("--annotated", "a.mp4"), ("--out", "a.jsonl"), ("--csv", "a.csv")]
)
def test_a_full_disk_is_one_error(option: str, name: str, clip: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands for it: the same error at the same calls."""
    words = ["run", str(clip), option, str(tmp_path / name)]
    program = _SMALL_DISK.format(tests=str(ROOT / "tests"), limit=100, words=words)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr == f"ssr-video: {tmp_path / name}: File too large\n"
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (["run"], 2, "Missing argument"),
        (["run", "CLIP", "--show-faces"], 2, "--show-faces is for --annotated"),
        (["run", "CLIP", "--out", "-", "--counts", "-"], 2, "- is for one of --out and --counts"),
        (["run", "CLIP", "--annotated", "x.gif"], 2, "expected a video to write"),
        (["run", "CLIP", "--out", "x", "--csv", "./x"], 2, "two outputs would go here"),
        (["run", "CLIP", "--counts", "x", "--bands", "5,3"], 2, "expected years that begin with 0 and rise"),
        (["run", "CLIP", "--start", "yesterday"], 2, "expected a time with its zone"),
        (["run", "CLIP", "--start", "2026-11-29T08:00:00"], 2, "expected a time with its zone"),
        (["run", "CLIP", "OTHER", "--start", "2026-11-29T08:00:00Z"], 2, "there are 2"),
        (["run", "CLIP", "OTHER", "--annotated", "x.mp4"], 2, "expected a folder for 2"),
        (["run", "CLIP", "--out", "CLIP", "--force"], 1, "would overwrite a video that is read"),
        (["run", "EMPTY"], 1, "no video in this folder"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    command: Command,
    clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    status: int,
    told: str,
) -> None:
    (tmp_path / "EMPTY").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "dumb")
    before = names_in(tmp_path)
    left, _, err = command(*(word.replace("CLIP", "clip.mp4") for word in words))
    assert (left, told in err) == (status, True), err
    assert names_in(tmp_path) == before


def test_what_is_not_installed_is_named(clip: Path) -> None:
    program = f"import sys; sys.modules['av'] = None; sys.argv = ['ssr-video', 'run', {str(clip)!r}]; "
    program += "from ssr_video.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith("ssr-video: videos need PyAV: pip install 'ssr-client[video]'")
    assert done.stderr.count("\n") == 1


def test_an_evaluation_prints_and_draws(command: Command, clip: Path, tmp_path: Path) -> None:
    picture = tmp_path / "ages.png"
    status, out, _ = command("evaluate", clip, "--picture", picture)
    assert status == 0
    assert "video noise of published ages" in out
    assert picture.stat().st_size > 1000
    status, out, err = command("evaluate", clip, "--picture", picture, "--json")
    assert (status, err) == (1, f"ssr-video: {picture}: exists; --force replaces it\n")
    status, out, _ = command("evaluate", clip, "--json")
    assert json.loads(out)["frames"] == 30
    assert command("evaluate", tmp_path / "gone.mp4")[0] == 1


def test_help_teaches(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    status, out, _ = command("run", "--help")
    assert status == 0
    for words in ("--annotated", "--show-faces", "--budget", "--url", "--follow", "small cells suppressed"):
        assert words in out
