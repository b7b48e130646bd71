"""Events to a web server: posted as JSON until it has accepted them."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from ssr_bundle import __version__
from ssr_bundle.errors import SsrError
from ssr_video.live.backoff import Backoff
from ssr_video.live.sinks.delivery import Delivery, Refused, Undelivered
from ssr_video.live.sinks.reasons import tls_context, why
from ssr_video.live.sinks.settings import WebhookSettings
from ssr_video.live.sinks.sink import Event
from ssr_video.live.sinks.spool import Spool
from ssr_video.live.sinks.spooled import Spooled

try:
    import httpx
except ImportError as error:
    raise SsrError(f"a webhook needs httpx: pip install 'ssr-client[live]' ({error})") from None

for _name in ("httpx", "httpcore"):  # their lines hold the address and the headers
    logging.getLogger(_name).setLevel(logging.WARNING)

NAME = "webhook"
SCHEMA = 1

LONGEST_WAIT = 300.0
"""Seconds of ``Retry-After`` that are granted."""

_LONGEST_ANSWER = 65536
"""Bytes of an answer that are read, so that the connection can be used again."""

_TO_REPAIR = {
    401: "check the credentials in headers",
    403: "check the credentials in headers",
    404: "check url",
    405: "check url",
    407: "check the proxy",
    410: "check url",
}
"""Answers that say nothing of the events, and that somebody has to do something about."""

_FOR_NOW = {408, 421, 425, 429}


class Webhook(Spooled):
    """A sink. An event is kept in the spool until a request that held it was answered with 2xx.

    A request holds up to 100 events, ``{"schema": 1, "events": [...]}``, and the header ``Idempotency-Key``,
    the same where the same events are posted again. What no answer, 5xx and those of 3xx and 4xx that concern
    the address or the credentials say is tried again for as long as it takes. Any other 4xx refuses the
    events: see :class:`Delivery`.

    Raises :class:`SsrError` where the spool or the certificates cannot be opened.
    """

    def __init__(
        self,
        settings: WebhookSettings,
        spool_folder: Path,
        say: Callable[[str], None],
        backoff: Backoff | None = None,
    ) -> None:
        self._url = settings.url
        headers = {**dict(settings.headers), "Content-Type": "application/json"}
        headers.setdefault("User-Agent", f"ssr-video/{__version__}")
        self._client = httpx.Client(
            headers=headers,
            timeout=settings.timeout,
            verify=tls_context(settings.ca),
            follow_redirects=False,
        )
        self._spool = Spool(spool_folder / f"{NAME}.spool", settings.spool_bytes, say)
        self._delivery = Delivery(NAME, self._spool, self._post, say, end=self._client.close, backoff=backoff)

    def _post(self, events: Sequence[Event]) -> None:
        if not events:
            return
        ids = "\n".join(str(event["id"]) for event in events)
        headers = {"Idempotency-Key": hashlib.sha256(ids.encode()).hexdigest()[:32]}
        body = json.dumps({"schema": SCHEMA, "events": events}).encode()
        try:
            with self._client.stream("POST", self._url, content=body, headers=headers) as answer:
                length = 0
                for block in answer.iter_raw():
                    length += len(block)
                    if length > _LONGEST_ANSWER:
                        break
                status, after = answer.status_code, answer.headers.get("Retry-After", "")
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise Undelivered(why(error)) from None
        if 200 <= status < 300:
            return
        told = f"HTTP {status}"
        if 300 <= status < 400:
            raise Undelivered(f"{told}: redirects are not followed, check url")
        if status in _TO_REPAIR:
            raise Undelivered(f"{told}: {_TO_REPAIR[status]}")
        if status >= 500 or status in _FOR_NOW:
            seconds = min(float(after), LONGEST_WAIT) if after.isascii() and after.isdigit() else 0.0
            raise Undelivered(told, after=seconds)
        raise Refused(told)
