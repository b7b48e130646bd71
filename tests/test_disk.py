"""Files that are whole or not there, swapped folders, and a folder that one process holds."""

from __future__ import annotations

import os
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
