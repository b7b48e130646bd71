"""Which frames are worked on: fresh ones all, and none whose answer would come too late."""

from __future__ import annotations

from collections import deque

from ssr_video.live.pace import Pace


def run(rate: float, work: float, seconds: float = 60, burst: int = 1) -> tuple[float, list[float]]:
    """Share of frames worked on, and their latencies: ``rate`` frames a second that come in bursts and take
    ``work`` seconds each."""
    pace = Pace(0.5)
    arrivals = deque((i // burst) * burst / rate for i in range(int(rate * seconds)))
    count, now, latencies = len(arrivals), 0.0, []
    while arrivals:
        arrived = arrivals.popleft()
        now = max(now, arrived)
        if pace.takes(now - arrived, not arrivals or arrivals[0] > now):
            now += work
            pace.took(work)
            latencies.append(now - arrived)
    return len(latencies) / count, latencies


def test_with_time_for_all_all_are_taken() -> None:
    share, latencies = run(25, 0.03)
    assert share == 1.0
    assert max(latencies) < 0.031


def test_a_burst_is_taken_whole() -> None:
    share, latencies = run(25, 0.03, burst=12)
    assert share == 1.0
    assert max(latencies) < 0.45


def test_without_time_for_all_answers_stay_young() -> None:
    for work in (0.05, 0.1, 0.3):
        share, latencies = run(25, work)
        assert 0.9 < share * 25 * work <= 1.01
        assert max(latencies) <= 0.5 + work / 2
        assert sorted(latencies)[len(latencies) // 2] < 0.35


def test_work_longer_than_is_allowed_still_goes_on() -> None:
    share, latencies = run(25, 0.8)
    assert share > 0.03
    assert max(latencies) < 0.8 + 0.05
