"""Files that are whole or not there, swapped folders, and a folder that one process holds."""

from __future__ import annotations

import io
import os
import threading
from pathlib import Path
from typing import BinaryIO

import pytest

from ssr_bundle import disk
from ssr_bundle.errors import SsrError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_two_writers_of_one_file_do_not_share_their_temporary_one(tmp_path: Path) -> None:
    path = tmp_path / "file"

    def slow(stream: BinaryIO) -> None:
        stream.write(b"first")
        disk.replace_file(path, b"second, meanwhile")
        assert path.read_bytes() == b"second, meanwhile"

    disk.replace_file(path, slow)
    assert path.read_bytes() == b"first"
    assert names(tmp_path) == ["file"]


def test_a_written_file_can_be_read_by_everyone(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        disk.replace_file(tmp_path / "file", b"bytes")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644


def test_a_writer_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")

    def failing(stream: BinaryIO) -> None:
        stream.write(b"ne")
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        disk.replace_file(tmp_path / "file", failing)
    assert (tmp_path / "file").read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_exchange(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        folder.mkdir()
        (folder / folder.name).touch()
    if not disk.exchange(one, other):
        pytest.skip("this filesystem swaps nothing in one step")
    assert (names(one), names(other)) == (["other"], ["one"])
    with pytest.raises(FileNotFoundError, match="nowhere"):
        disk.exchange(one, tmp_path / "nowhere")


def test_a_folder_is_held_by_one_and_cleared_of_what_a_kill_left(tmp_path: Path) -> None:
    (tmp_path / ".tmp-checkpoint-x1y2").write_bytes(b"half")
    (tmp_path / "checkpoint").write_bytes(b"whole")
    with disk.held(tmp_path):
        assert names(tmp_path) == [".lock", "checkpoint"]
        with pytest.raises(SsrError, match="another ssr-train is at work"), disk.held(tmp_path):
            pass


@pytest.mark.parametrize("swaps", [True, False])
def test_a_folder_is_replaced_as_a_whole(
    swaps: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not swaps:
        monkeypatch.setattr(disk, "exchange", lambda one, other: False)
    path = tmp_path / "made" / "folder"
    for text in ("first", "second"):
        before = os.umask(0o077)
        try:
            with disk.new_folder(path) as made:
                (made / text).write_text(text)
        finally:
            os.umask(before)
        assert (names(path), names(path.parent)) == ([text], ["folder"])
        assert (path.stat().st_mode & 0o777, (path / text).stat().st_mode & 0o777) == (0o755, 0o644)
    with pytest.raises(FileNotFoundError), disk.new_folder(path) as made:
        (made / "no" / "third").touch()
    assert (names(path), names(path.parent)) == (["second"], ["folder"])


def test_another_process_may_have_made_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "folder"
    with disk.new_folder(path) as made:
        (made / "ours").touch()
        path.mkdir()
        (path / "theirs").touch()
        monkeypatch.setattr(Path, "exists", lambda _: False)
    monkeypatch.undo()
    assert (names(path), names(tmp_path)) == (["ours"], ["folder"])


def test_a_folder_moved_aside_gets_its_name_back(tmp_path: Path) -> None:
    for name in (".replaced-lost", ".replaced-there", "there"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    disk.put_back(tmp_path)
    assert names(tmp_path) == ["lost", "there"]
    assert (names(tmp_path / "lost"), names(tmp_path / "there")) == ([".replaced-lost"], ["there"])


@pytest.mark.parametrize("name", ["", "lock"])
def test_a_lock_is_held_by_one(name: str, tmp_path: Path) -> None:
    seen: list[str] = []
    started = threading.Event()

    def other() -> None:
        started.set()
        with disk.locked(tmp_path / name):
            seen.append("other")

    with disk.locked(tmp_path / name):
        thread = threading.Thread(target=other)
        thread.start()
        started.wait()
        thread.join(0.05)
        seen.append("first")
    thread.join()
    assert seen == ["first", "other"]
    assert names(tmp_path) == ([name] if name else [])


def test_hash_of_what_is_copied(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    copy = io.BytesIO()
    found = disk.sha256_of(tmp_path / "file", copy)
    assert found == disk.sha256_of(tmp_path / "file")
    assert found.startswith("ba7816bf8f01cfea")
    assert copy.getvalue() == b"abc"
