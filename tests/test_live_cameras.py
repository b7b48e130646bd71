"""cameras.toml: what is accepted, what is refused by one line, and that no secret is ever said."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("av")

from ssr_video.live.address import shown_address, unreachable
from ssr_video.live.cameras import Camera, Settings, read_settings
from ssr_video.live.zones import Zone, cover

from ssr_bundle.errors import SsrError

SECRETS = {"FRONT_PASSWORD": "s3cret"}


def read(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "cameras.toml"
    path.write_text(text)
    return read_settings(path, SECRETS)


def test_a_camera_and_its_defaults(tmp_path: Path) -> None:
    settings = read(
        tmp_path,
        """
        [defaults]
        fps = 10
        silence = 7
        [camera.front]
        url = "rtsp://admin:${FRONT_PASSWORD}@10.0.0.5/stream1?channel=2"
        zones.till = [[0.1, 0.2], [0.5, 0.2], [0.5, 0.9]]
        masks = [[[0, 0], [1, 0], [1, 0.1]]]
        [camera."Back door"]
        url = "webcam:0"
        fps = 0
        """,
    )
    front, back = settings.cameras.values()
    assert front.url == "rtsp://admin:s3cret@10.0.0.5/stream1?channel=2"
    assert (front.fps, front.silence, front.transport) == (10, 7, "tcp")
    assert front.zones == (Zone("till", ((0.1, 0.2), (0.5, 0.2), (0.5, 0.9))),)
    assert front.masks == (((0.0, 0.0), (1.0, 0.0), (1.0, 0.1)),)
    assert (back.name, back.fps, back.silence) == ("Back door", 0, 7)


def test_secrets_are_encoded_where_they_are_part_of_an_address_and_never_shown(tmp_path: Path) -> None:
    environ = {"P": "p@ss/w:rd?#", "CAMERA": "rtsp://u:p%40@h/a"}
    path = tmp_path / "cameras.toml"
    path.write_text(
        "[camera.a]\nurl = 'rtsp://u:${P}@h:8554/a?key=${P}'\n"
        "[camera.b]\nurl = '${CAMERA}'\n[camera.c]\nurl = 'rtsp://h/x&password=${P}'"
    )
    a, b, c = read_settings(path, environ).cameras.values()
    assert a.url == "rtsp://u:p%40ss%2Fw%3Ard%3F%23@h:8554/a?key=p%40ss%2Fw%3Ard%3F%23"
    assert (a.address, b.address, c.address) == ("rtsp://h:8554/a", "an address", "rtsp://h/x...")
    assert b.url == environ["CAMERA"]
    for camera in (a, b, c):
        assert "p@ss" not in repr(camera)
        assert "p%40" not in repr(camera)
    path.write_text("[camera.a]\nurl = 'rtsp://u:p#ss@h/a'")
    with pytest.raises(SsrError, match="%23"):
        read_settings(path, environ)


FAULTS = {
    "": "no camera, expected tables such as",
    "[camera.a": "no TOML",
    "[camera.a]\nurl='webcam:0'\n[camera.a]\nurl='webcam:1'": "cameras are called 'a', the second at line 3",
    "[camera.a]\nurl='webcam:0'\nurl='webcam:1'": "no TOML",
    "[camera.a]\nulr='webcam:0'": "url",
    "[camera.a]\nurl='webcam:0'\nfsp=3": "fps",
    "[camera.a]\nurl='webcam:0'\nfps='3'": "fps: expected a number",
    "[camera.a]\nurl='webcam:0'\nfps=true": "fps: expected a number",
    "[camera.a]\nurl='webcam:0'\nfps=nan": "fps: expected a number",
    "[camera.a]\nurl='webcam:0'\nfps=-1": "fps: expected a number from 0",
    "[camera.a]\nurl='webcam:0'\nstaleness=0": "staleness: expected a number from 0.05",
    "[camera.a]\nurl='webcam:0'\ntransport='tpc'": "transport: 'tpc' is unknown, expected one of tcp, udp",
    "[camera.a]\nurl='webcam:front'": "expected webcam: and the number",
    "[camera.a]\nurl='webcam:99999999999'": "expected webcam: and the number",
    "[camera.a]\nurl='rtsp://a..b/'": "no host",
    "[camera.a]\nurl='rtsp://h/a b'": "without spaces",
    "[camera.a]\nurl='webcam:0'\nzones.''=[[0,0],[1,0],[1,1]]": "expected names of 1 to 64",
    "[[camera]]\nurl='webcam:0'": "expected tables such as",
    "[camera.a]\nurl='clip:'": "expected clip: and the path",
    "[camera.a]\nurl='ftp://h/x'": "got scheme 'ftp'",
    "[camera.a]\nurl='10.0.0.5'": "got none",
    "[camera.a]\nurl='rtsp://'": "no host",
    "[camera.a]\nurl='rtsp://h:99999/'": "port",
    "[camera.a]\nurl=5": "url: expected a string, got int",
    "[camera.a]\nfps=5": "'url' is missing",
    "[camera]\na='webcam:0'": "expected a table, got",
    "camera=3": "camera: expected tables such as [camera.front], got 3",
    "[camera.'a/b']\nurl='webcam:0'": "expected a name of letters",
    "[camera.'']\nurl='webcam:0'": "expected a name of letters",
    "[camera.a]\nurl='rtsp://u:${NOPE}@h/'": "NOPE",
    "[camera.a]\nurl='webcam:0'\nzones.till=[[0,0],[1,1]]": "zones.till: expected at least three corners",
    "[camera.a]\nurl='webcam:0'\nzones.till=[[0,0],[1,1],[0.5,0.5]]": "that span an area",
    "[camera.a]\nurl='webcam:0'\nzones.till=[[0,0],[1,1],[0,2]]": "got [0, 2]",
    "[camera.a]\nurl='webcam:0'\nzones=3": "zones: expected a table",
    "[camera.a]\nurl='webcam:0'\nmasks={a=1}": "masks: expected a list",
    "[camera.a]\nurl='webcam:0'\n[sinks.mqtt]\nurl='x'": "sink",
    "[defaults]\nurl='webcam:0'\n[camera.a]\nurl='webcam:0'": "url",
}


@pytest.mark.parametrize("text", FAULTS)
def test_a_fault_is_one_line_that_names_it(tmp_path: Path, text: str) -> None:
    with pytest.raises(SsrError) as refused:
        read(tmp_path, text)
    message = str(refused.value)
    assert message.startswith(str(tmp_path / "cameras.toml"))
    assert FAULTS[text] in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "url",
    [
        "rtsp://admin:s3cret@",
        "rtsp://admin:s3cret@h:99999/",
        "ftp://admin:s3cret@h/",
        "s3cret@h",
        "rtsp://admin:s3cret@[h/",
        "s3cret://h",
    ],
)
def test_a_refused_address_is_not_repeated(tmp_path: Path, url: str) -> None:
    with pytest.raises(SsrError) as refused:
        read(tmp_path, f"[camera.a]\nurl='{url}'")
    assert "s3cret" not in str(refused.value) or url == "s3cret://h"  # a scheme is no secret


def test_what_is_shown_of_an_address() -> None:
    shown = {
        "rtsp://u:p@h/a?user=u&password=p#p": "rtsp://h/a",
        "rtsps://h:8554/a": "rtsps://h:8554/a",
        "http://u@[::1]:80/a": "http://[::1]:80/a",
        "webcam:0": "webcam:0",
        "clip:a.mp4": "clip:a.mp4",
        "rtsp://h/user=u&password=${P}&channel=1": "rtsp://h/user...",
        "rtsp://h/cam;password=p": "rtsp://h/cam...",
        "rtsp://${U}:${P}@h/a": "rtsp://h/a",
        "${CAMERA}": "an address",
    }
    for url, safe in shown.items():
        assert shown_address(url) == safe
        assert "p@" not in repr(Camera("a", url))
    assert "u:p" not in repr(Camera("a", "rtsp://u:p@h/a"))


def test_who_listens_is_reachable(tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        assert unreachable(f"rtsp://127.0.0.1:{port}/a") is None
    assert unreachable(f"rtsp://127.0.0.1:{port}/a") == "nothing answers at its port (connection refused)"
    assert unreachable("rtsp://no-such-host.invalid/a") == "the name of its host is not known"
    assert unreachable("webcam:0") is None


def test_a_file_too_large_and_one_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "cameras.toml"
    path.write_bytes(b"#" * (1 << 20) + b"\n")
    with pytest.raises(SsrError, match="at most"):
        read_settings(path, {})
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(SsrError, match="UTF-8"):
        read_settings(path, {})
    with pytest.raises(SsrError, match="is a folder"):
        read_settings(tmp_path, {})


def test_masks_are_black_and_zones_hold_the_middle_of_a_box() -> None:
    import numpy as np

    image = np.full((100, 200, 3), 255, np.uint8)
    cover(image, [((0, 0), (0.5, 0), (0.5, 0.5), (0, 0.5))])
    assert image[:50, :100].max() == 0
    assert image[52:].min() == 255
    assert image[:, 102:].min() == 255
    zone = Zone("left", ((0, 0), (0.5, 0), (0.5, 1), (0, 1)))
    assert zone.holds((0.1, 0.1, 0.5, 0.5))
    assert not zone.holds((0.4, 0.1, 0.5, 0.5))
