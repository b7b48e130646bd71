"""The page's routes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from importlib.resources import files

from ssr_video.live.page.access import Access
from ssr_video.live.page.asgi import (
    JSONResponse,
    PlainTextResponse,
    Request,
    Response,
    Route,
    Starlette,
    WebSocket,
    WebSocketDisconnect,
    WebSocketRoute,
)
from ssr_video.live.page.guard import Application, Guard
from ssr_video.live.page.messages import said
from ssr_video.live.page.source import Source
from ssr_video.live.page.viewers import Viewer, Viewers

STATIC = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
TAKING_SECONDS = 30.0
"""A browser that takes nothing for so long is let go; it comes back by itself."""
HEALTH_SECONDS = 5.0
_BAD_MESSAGE, _TRY_LATER = 1008, 1013  # RFC 6455


def make_app(source: Source, access: Access, say: Callable[[str], object]) -> Application:
    """The page of ``source``. ``say`` is told, in a line, what fails and is not the browser's fault."""

    async def state(_: Request) -> Response:
        return JSONResponse(await asyncio.to_thread(source.snapshot))

    async def metrics(_: Request) -> Response:
        body, kind = await asyncio.to_thread(source.metrics)
        return Response(body, headers={"content-type": kind})

    async def health(_: Request) -> Response:
        """Whether the watch answers: for whoever restarts it."""
        try:
            await asyncio.wait_for(asyncio.to_thread(source.snapshot), HEALTH_SECONDS)
        except asyncio.TimeoutError:
            return PlainTextResponse(f"the watch does not answer within {HEALTH_SECONDS:.0f} s\n", 503)
        return PlainTextResponse("ok\n")

    async def failed(request: Request, error: Exception) -> Response:
        say(f"page: {request.url.path}: {type(error).__name__}: {error}")
        return PlainTextResponse("the watch could not answer; its own output says why\n", 503)

    viewers = Viewers(source, say)
    routes = [
        *(_file_route(name, text, kind) for name, text, kind in _static()),
        Route("/state", _caught(state, failed)),
        Route("/metrics", _caught(metrics, failed)),
        Route("/healthz", _caught(health, failed)),
        WebSocketRoute("/live", _Live(viewers, say).serve),
    ]
    return Guard(Starlette(routes=routes), access)


Handler = Callable[[Request], Awaitable[Response]]


def _caught(handler: Handler, failed: Callable[[Request, Exception], Awaitable[Response]]) -> Handler:
    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except Exception as error:
            return await failed(request, error)

    return answer


def _static() -> list[tuple[str, bytes, str]]:
    """Name, content and type of every file of the page."""
    found = []
    for entry in files(__package__).joinpath("static").iterdir():
        kind = STATIC.get("." + entry.name.rpartition(".")[2])
        if kind and entry.name != "login.html":
            found.append((entry.name, entry.read_bytes(), kind))
    return found


def _file_route(name: str, content: bytes, kind: str) -> Route:
    async def answer(_: Request) -> Response:
        return Response(content, headers={"content-type": kind})

    return Route("/" if name == "index.html" else f"/{name}", answer)


class _Live:
    """The WebSocket of one page, from when it is let in until it leaves."""

    def __init__(self, viewers: Viewers, say: Callable[[str], object]) -> None:
        self._viewers = viewers
        self._say = say

    async def serve(self, socket: WebSocket) -> None:
        await socket.accept()
        if self._viewers.full:
            await socket.close(_TRY_LATER, "too many pages are open")
            return
        with self._viewers.viewer() as viewer:
            both = [
                asyncio.create_task(self._send(socket, viewer)),
                asyncio.create_task(self._hear(socket, viewer)),
            ]
            try:
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in both:
                    task.cancel()
                for error in await asyncio.gather(*both, return_exceptions=True):
                    if isinstance(error, Exception):
                        self._say(f"page: /live: {type(error).__name__}: {error}")

    async def _send(self, socket: WebSocket, viewer: Viewer) -> None:
        this = asyncio.current_task()
        assert this is not None
        # The browser may be gone at any moment: Starlette and the servers under it say so in several ways.
        with suppress(WebSocketDisconnect, RuntimeError, OSError):
            while True:
                message = await viewer.next()
                too_long = asyncio.get_running_loop().call_later(TAKING_SECONDS, this.cancel)
                try:
                    await (
                        socket.send_text(message) if isinstance(message, str) else socket.send_bytes(message)
                    )
                finally:
                    too_long.cancel()

    async def _hear(self, socket: WebSocket, viewer: Viewer) -> None:
        with suppress(WebSocketDisconnect, RuntimeError, OSError):
            while True:
                message = await socket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                try:
                    heard = said(message.get("text") or "")
                except ValueError as error:
                    await socket.close(_BAD_MESSAGE, str(error))
                    return
                if heard.visible is not None:
                    self._viewers.look_at(viewer, heard.visible)
                if heard.drawn is not None:
                    viewer.drawn(heard.drawn)
