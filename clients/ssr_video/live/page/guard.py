"""In front of every request: who is let in, and what a browser may do with the answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qs

from ssr_video.live.page.access import COOKIE_SECONDS, Access
from ssr_video.live.page.asgi import (
    Headers,
    HTMLResponse,
    MutableHeaders,
    PlainTextResponse,
    RedirectResponse,
    Request,
    Response,
)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]
"""ASGI, see its specification."""

OPEN_TO_ALL = frozenset({"/healthz", "/page.css", "/icon.svg"})
"""What needs no token: it tells nothing, and the page that asks for the token is made of it."""
_LONGEST_FORM = 4096
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}


class Guard:
    """ASGI around ``app``: only what :class:`Access` allows gets there, and every answer has the headers
    that keep it from being framed, cached, read by other pages, or run scripts that are not the page's."""

    def __init__(self, app: Application, access: Access) -> None:
        self._app = app
        self._access = access
        self._login_html = files(__package__).joinpath("static/login.html").read_text(encoding="utf-8")
        let_in = Response()
        let_in.set_cookie(
            access.cookie, access.cookie_value, COOKIE_SECONDS, httponly=True, samesite="strict"
        )
        self._cookie = let_in.headers["set-cookie"]

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        # Each load of the page lets its browser in for as long again.
        renews = self._access.token is not None and scope["type"] == "http" and scope["path"] == "/"

        async def guarded(message: Message) -> None:
            if message["type"] in {"http.response.start", "websocket.http.response.start"}:
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                if renews and message["status"] in {200, 303}:
                    headers["set-cookie"] = self._cookie
            await send(message)

        answer: Application = self._app
        if scope["type"] == "http":
            answer = await self._before(Request(scope, receive)) or answer
        elif scope["type"] == "websocket":
            answer = self._refusal(Headers(scope=scope)) or answer
        await answer(scope, receive, guarded)

    def _refusal(self, headers: Headers) -> Response | None:
        """Of a WebSocket."""
        if not self._access.good_host(headers):
            return _wrong_host()
        if not self._access.good_origin(headers):
            return PlainTextResponse("only the page itself may open this\n", 403)
        return None if self._access.let_in(headers) else _unknown()

    async def _before(self, request: Request) -> Response | None:
        """The answer to a request that gets no further: it is refused, or it brings the token."""
        access, path = self._access, request.url.path
        if not access.good_host(request.headers):
            return _wrong_host()
        if access.token is None or path in OPEN_TO_ALL:
            return None
        if path == "/" and request.method == "POST":
            return self._login(await _form_token(request))
        if path == "/" and "token" in request.query_params:
            return self._login(request.query_params["token"])
        if access.let_in(request.headers):
            return None
        return self._ask("This page needs its token.") if path == "/" else _unknown()

    def _login(self, token: str) -> Response:
        if self._access.good_token(token):
            return RedirectResponse("/", 303)
        return self._ask("That is not the token of this page.")

    def _ask(self, why: str) -> Response:
        return HTMLResponse(self._login_html.replace("{why}", why), 401)


async def _form_token(request: Request) -> str:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _LONGEST_FORM:
            return ""
    return parse_qs(body.decode("latin-1")).get("token", [""])[0]


def _wrong_host() -> Response:
    text = "this page answers to 127.0.0.1, [::1] and localhost; by another name it needs a token\n"
    return PlainTextResponse(text, 403)


def _unknown() -> Response:
    text = "this needs the page's token: send 'Authorization: Bearer TOKEN', or open / in a browser first\n"
    return PlainTextResponse(text, 401, {"WWW-Authenticate": "Bearer"})
