"""The page's server: binds first, then serves in a thread of its own."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable

from ssr_bundle.errors import SsrError
from ssr_video.live.page.access import Access, check_token
from ssr_video.live.page.address import is_loopback, listen, resolve, shown
from ssr_video.live.page.app import make_app
from ssr_video.live.page.asgi import uvicorn
from ssr_video.live.page.messages import LONGEST
from ssr_video.live.page.source import Source

START_SECONDS = 30.0
_FORCED_SECONDS = 1.0
"""Of the time for an end, what is left for those who do not end by themselves."""


class Page:
    """The live page of ``source`` at ``host``:``port`` (0: a free port), from :meth:`start` to :meth:`close`.

    ``token``: what a browser must show; without one, the page must be this machine's own. ``say`` is told,
    in a line, what fails on the way. Raises :class:`ssr_bundle.errors.UsageError` for an open page without
    a token or a token that is too short, :class:`SsrError` where it cannot listen.
    """

    def __init__(
        self,
        source: Source,
        host: str,
        port: int,
        token: str | None = None,
        say: Callable[[str], object] = lambda _: None,
    ) -> None:
        self._source, self._host, self._port, self._token, self._say = source, host, port, token, say
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def address(self) -> str:
        """``127.0.0.1:8080``, with the port that was taken."""
        return shown(self._host, self._port)

    @property
    def url(self) -> str:
        """What to open in a browser on this machine, without the token."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._host, self._host)
        return f"http://{shown(host, self._port)}/"

    def start(self) -> Page:
        """Listen, then answer. Nothing is left behind where that fails."""
        family, place = resolve(self._host, self._port)
        check_token(self._token, is_loopback(place[0]), self.address)
        listening = listen(family, place, self.address)
        self._port = listening.getsockname()[1]
        app = make_app(self._source, Access(self._token, self._port), self._say)
        config = uvicorn.Config(
            app,
            loop="asyncio",
            http="h11",
            lifespan="off",
            ws_max_size=LONGEST,
            ws_per_message_deflate=False,  # pictures are packed already
            log_config=None,
            log_level="critical",  # addresses may hold the token
            access_log=False,
            proxy_headers=False,
            server_header=False,
        )
        self._server = _Server(config)
        self._thread = threading.Thread(target=self._serve, args=(self._server, listening), name="page")
        self._thread.daemon = True
        self._thread.start()
        if not self._server.up.wait(START_SECONDS) or not self._server.started:
            self.close(_FORCED_SECONDS)
            raise SsrError(f"page: {self.address} could not be served")
        return self

    def _serve(self, server: _Server, listening: socket.socket) -> None:
        try:
            server.run(sockets=[listening])
        except Exception as error:
            self._say(f"page: ended: {type(error).__name__}: {error}")
        finally:
            listening.close()
            server.up.set()

    def close(self, seconds: float = 5.0) -> None:
        """End within ``seconds``, also while browsers are connected; the port is free then."""
        if self._server is None or self._thread is None:
            return
        ends = time.monotonic() + seconds
        # (From Python 3.12 on, a server that closes waits for every connection, whatever force_exit says.)
        self._server.config.timeout_graceful_shutdown = max(0, seconds - _FORCED_SECONDS)  # type: ignore[assignment]
        self._server.should_exit = True
        self._thread.join(max(0.0, seconds - _FORCED_SECONDS / 2))
        self._server.force_exit = True
        self._thread.join(max(0.0, ends - time.monotonic()))

    def __enter__(self) -> Page:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()


class _Server(uvicorn.Server):
    """``up`` is set once it answers, or has ended without."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()
