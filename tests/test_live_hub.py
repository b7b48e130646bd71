"""What the watch knows: told by keepers, handed on to sinks, page and metrics."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest

pytest.importorskip("av")
pytest.importorskip("prometheus_client")

from ssr_video.live.cameras import Camera
from ssr_video.live.hub import Hub
from ssr_video.live.messages import Events, Opened, Preview, Report
from ssr_video.live.status import CameraStatus, Present, SinkStatus


class Kept:
    """A sink that keeps all."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.statuses: list[CameraStatus] = []

    def take(self, event: dict[str, Any]) -> None:
        self.events.append(event)

    def camera(self, status: CameraStatus) -> None:
        self.statuses.append(status)

    def cameras(self, names: Collection[str]) -> None:
        pass

    @property
    def status(self) -> SinkStatus:
        return SinkStatus("kept", delivered=len(self.events))

    def close(self, seconds: float) -> None:
        pass


def report(**changed: Any) -> Report:
    values: dict[str, Any] = {
        "read": 10,
        "analysed": 8,
        "dropped": {"stale": 2},
        "detections": 3,
        "tracks": 1,
        "asks": 2,
        "latencies": (0.1, 0.2),
        "people": (Present(1, (0.1, 0.1, 0.2, 0.2), 30.0, (25.0, 35.0), None, ("till",)),),
        "server": None,
    }
    return Report(**{**values, **changed})


def event(kind: str, track: int, age: float | None = 30.0) -> dict[str, Any]:
    return {
        "event": kind,
        "camera": "a",
        "session": "s",
        "id": f"s-{kind}-{track}",
        "track": track,
        "age": age,
    }


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def hub(lines: list[str], kept: Kept) -> Hub:
    hub = Hub(say=lines.append)
    hub.use([kept])
    hub.add(Camera("a", "rtsp://u:s3cret@h/x"))
    return hub


def metric(hub: Hub, name: str) -> float | None:
    """A sample of /metrics by its name and labels."""
    for line in hub.metrics()[0].decode().splitlines():
        if line.startswith(name + " "):
            return float(line.rpartition(" ")[2])
    return None


def test_states_are_said_once_and_become_events(hub: Hub, kept: Kept, lines: list[str]) -> None:
    hub.connecting("a")
    hub.lost("a", "nobody there", 4.0)
    hub.connecting("a")
    assert hub.statuses()[0].state == "lost"
    assert hub.statuses()[0].next_try is None
    hub.lost("a", "nobody there", 8.0)
    assert 7 < (hub.statuses()[0].next_try or 0) <= 8
    hub.said("a", Opened(640, 480, "h264"))
    hub.stopped("a")
    assert lines == ["a: lost: nobody there", "a: live", "a: stopped"]
    assert [(e["event"], e["state"], e["why"]) for e in kept.events] == [
        ("camera", "lost", "nobody there"),
        ("camera", "live", None),
        ("camera", "stopped", None),
    ]
    assert len({e["id"] for e in kept.events}) == 3
    assert "s3cret" not in str(hub.snapshot()) + str(kept.events) + str(lines)


def test_counts_grow_over_connections(hub: Hub) -> None:
    for _ in range(3):
        hub.said("a", Opened(640, 480, "h264"))
        hub.said("a", report())
        hub.lost("a", "broke", 0.5)
    (status,) = hub.statuses()
    assert (status.counts.read, status.counts.analysed, status.counts.dropped) == (30, 24, {"stale": 6})
    assert status.counts.reconnections == 2
    assert status.people == ()
    assert metric(hub, 'ssr_video_read_total{camera="a"}') == 30
    assert metric(hub, 'ssr_video_dropped_total{camera="a",cause="stale"}') == 6
    assert metric(hub, 'ssr_video_reconnections_total{camera="a"}') == 2
    assert metric(hub, 'ssr_video_camera_up{camera="a"}') == 0
    assert metric(hub, 'ssr_video_latency_seconds_count{camera="a"}') == 6
    assert metric(hub, 'ssr_video_latency_seconds_bucket{camera="a",le="0.1"}') == 3
    assert metric(hub, 'ssr_video_sink_delivered_total{sink="kept"}') == 6
    hub.remove("a")
    assert b'camera="a"' not in hub.metrics()[0]


def test_every_track_that_began_ends(hub: Hub, kept: Kept) -> None:
    hub.said("a", Opened(640, 480, "h264"))
    hub.said("a", Events([event("new", 1), event("new", 2), event("update", 2, 40.0), event("end", 1)]))
    hub.lost("a", "killed", 0.5)
    tracks = [e for e in kept.events if e["event"] != "camera"]
    assert [(e["event"], e["track"]) for e in tracks] == [
        ("new", 1), ("new", 2), ("update", 2), ("end", 1), ("end", 2),
    ]  # fmt: skip
    assert tracks[-1]["complete"] is False
    assert tracks[-1]["age"] == 40.0
    assert len({e["id"] for e in tracks}) == 5
    snapshot = hub.snapshot()
    assert [e["track"] for e in snapshot["tracks"]] == [2, 1]
    (minute,) = snapshot["bands"]["minutes"]
    assert dict(zip(snapshot["bands"]["names"], minute["people"], strict=True))["25-34"] == 1
    assert metric(hub, 'ssr_video_people_total{band="35-44",camera="a"}') == 1


def test_sinks_hear_of_cameras_that_changed(hub: Hub, kept: Kept) -> None:
    hub.tick()
    hub.tick()
    assert len(kept.statuses) == 1
    hub.said("a", Opened(640, 480, "h264"))
    hub.said("a", report())
    hub.tick()
    hub.said("a", report(latencies=(0.3,)))  # nobody came or went
    hub.tick()
    assert [(s.state, len(s.people)) for s in kept.statuses] == [("connecting", 0), ("live", 1)]
    other = Kept()
    hub.use([kept, other])
    hub.tick()
    assert [s.state for s in other.statuses] == ["live"]


def test_pictures_newest_of_each_camera(hub: Hub) -> None:
    hub.add(Camera("b", "webcam:0"))
    for camera, jpeg in (("a", b"1"), ("a", b"2"), ("b", b"3")):
        hub.said(camera, Preview(jpeg, 1.0, "2026-11-29T00:00:00.000Z", ()))
    newest, found = hub.pictures(0)
    assert [(p.camera, p.jpeg) for p in found] == [("a", b"2"), ("b", b"3")]
    hub.said("a", Preview(b"4", 1.0, "2026-11-29T00:00:00.000Z", ()))
    assert [p.jpeg for p in hub.pictures(newest)[1]] == [b"4"]


def test_a_server_that_is_away_is_shown(hub: Hub) -> None:
    hub.said("a", Opened(640, 480, "h264"))
    hub.said("a", report(server="no server answers"))
    assert hub.statuses()[0].server == "no server answers"
    assert metric(hub, 'ssr_video_server_up{camera="a"}') == 0
    assert hub.snapshot()["cameras"][0]["server"] == "no server answers"
