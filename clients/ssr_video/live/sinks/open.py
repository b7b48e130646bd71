"""Sinks from their settings. What a sink needs is imported when it is opened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ssr_video.live.sinks.settings import (
    LinesSettings,
    MqttSettings,
    ParquetSettings,
    SinkSettings,
    WebhookSettings,
)
from ssr_video.live.sinks.sink import Sink


def open_sink(settings: SinkSettings, spool_folder: Path, say: Callable[[str], None]) -> Sink:
    """The sink of ``settings``, which keeps what is not delivered yet in ``spool_folder``.

    ``say`` is told, by any thread, what goes wrong and when it is right again. Raises
    :class:`ssr_bundle.errors.SsrError` for what only a person can repair: a package that is not installed, a
    file or folder that cannot be used, a spool or file that another process uses. What a network or a full
    disk does is no error, see :class:`Sink`.
    """
    if isinstance(settings, LinesSettings):
        from ssr_video.live.sinks.lines import Lines

        return Lines(settings, say)
    if isinstance(settings, WebhookSettings):
        from ssr_video.live.sinks.webhook import Webhook

        return Webhook(settings, spool_folder, say)
    if isinstance(settings, MqttSettings):
        from ssr_video.live.sinks.mqtt import Mqtt

        return Mqtt(settings, spool_folder, say)
    assert isinstance(settings, ParquetSettings)
    from ssr_video.live.sinks.parquet import Parquet

    return Parquet(settings, spool_folder, say)
