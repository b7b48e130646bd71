"""Metrics in Prometheus' form: most are what is known of the cameras at the moment somebody asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress

from ssr_bundle.errors import SsrError
from ssr_video.live.status import CameraStatus, SinkStatus

try:
    from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
except ImportError as error:
    raise SsrError(f"watching needs more: pip install 'ssr-client[live]' ({error})") from None

BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.0, 5.0)
"""Seconds of end-to-end latency."""

_COUNTED = {
    "read": "Frames that were decoded.",
    "analysed": "Frames that were searched and told of.",
    "detections": "Searches for faces.",
    "tracks": "People who were tracked.",
    "asks": "Looks whose age the server was asked for.",
    "reconnections": "Times that the camera was opened again.",
}


class Metrics:
    """``cameras`` and ``sinks`` give what is known now."""

    def __init__(
        self,
        cameras: Callable[[], Iterable[CameraStatus]],
        sinks: Callable[[], Iterable[SinkStatus]],
    ) -> None:
        self._cameras, self._sinks = cameras, sinks
        self._registry = CollectorRegistry()
        self._registry.register(self)
        self._latency = Histogram(
            "ssr_video_latency_seconds",
            "From a frame's arrival to what is told of it.",
            ["camera"],
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._people = Counter(
            "ssr_video_people", "Tracks that ended, by age band.", ["camera", "band"], registry=self._registry
        )

    def latencies(self, camera: str, seconds: Sequence[float]) -> None:
        """Frames were told of, so long after their arrival."""
        histogram = self._latency.labels(camera)
        for latency in seconds:
            histogram.observe(latency)

    def ended(self, camera: str, band: str) -> None:
        """A track ended, its age in ``band``."""
        self._people.labels(camera, band).inc()

    def forget(self, camera: str) -> None:
        """A camera is watched no more."""
        with suppress(KeyError):
            self._latency.remove(camera)
        self._people.remove_by_labels({"camera": camera})

    def text(self) -> tuple[bytes, str]:
        """The body of ``/metrics``, and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST

    def collect(self) -> Iterator[Metric]:
        """What is known now; called by the registry."""
        cameras = list(self._cameras())
        for name, about in _COUNTED.items():
            counter = CounterMetricFamily(f"ssr_video_{name}", about, labels=["camera"])
            for camera in cameras:
                counter.add_metric([camera.name], getattr(camera.counts, name))
            yield counter
        dropped = CounterMetricFamily(
            "ssr_video_dropped", "Frames that were not worked on, by cause.", labels=["camera", "cause"]
        )
        up = GaugeMetricFamily("ssr_video_camera_up", "Whether frames arrive.", labels=["camera"])
        answers = GaugeMetricFamily(
            "ssr_video_server_up", "Whether the server answers this camera.", labels=["camera"]
        )
        present = GaugeMetricFamily("ssr_video_present", "People on the newest frame.", labels=["camera"])
        for camera in cameras:
            for cause, count in camera.counts.dropped.items():
                dropped.add_metric([camera.name, cause], count)
            up.add_metric([camera.name], camera.state == "live")
            answers.add_metric([camera.name], camera.server is None)
            present.add_metric([camera.name], len(camera.people))
        yield from (dropped, up, answers, present)
        failing = GaugeMetricFamily("ssr_video_sink_failing", "Whether events pile up.", labels=["sink"])
        waiting = GaugeMetricFamily("ssr_video_sink_waiting", "Events in the spool.", labels=["sink"])
        delivered = CounterMetricFamily("ssr_video_sink_delivered", "Events delivered.", labels=["sink"])
        lost = CounterMetricFamily("ssr_video_sink_lost", "Events lost.", labels=["sink"])
        for sink in self._sinks():
            failing.add_metric([sink.name], sink.failing is not None)
            waiting.add_metric([sink.name], sink.waiting)
            delivered.add_metric([sink.name], sink.delivered)
            lost.add_metric([sink.name], sink.lost)
        yield from (failing, waiting, delivered, lost)
