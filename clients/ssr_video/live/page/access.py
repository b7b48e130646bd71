"""Who may see the page: the token, the ``Host`` that a request names, the ``Origin`` of a socket."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping

from ssr_bundle.errors import UsageError
from ssr_video.live.page.address import host_of, is_loopback

SHORTEST_TOKEN = 16
"""Characters of a token, at least."""
COOKIE_SECONDS = 30 * 24 * 3600
"""How long a browser that was let in needs no token; each load of the page begins it anew."""


class Access:
    """The rules of one page. ``token``: what a request needs to show; None where only this machine gets to
    the page. ``port`` tells the cookie from those of other pages of the same host."""

    def __init__(self, token: str | None, port: int) -> None:
        self.token = token
        self.cookie = f"ssr_video_{port}"
        # Every server of this host gets the cookie, whatever its port: it must not hold the token itself.
        self.cookie_value = hmac.new((token or "").encode(), b"ssr-video page", hashlib.sha256).hexdigest()

    def good_host(self, headers: Mapping[str, str]) -> bool:
        """Whether the request means this page. Without a token, somebody else's name that leads here (DNS
        rebinding) would make the page readable to that somebody's scripts; with one, it has no cookie."""
        return self.token is not None or is_loopback(host_of(headers.get("host", "")))

    def good_origin(self, headers: Mapping[str, str]) -> bool:
        """Whether the page itself opens the socket: browsers let every page open one to anywhere."""
        host = headers.get("host", "").lower()
        return bool(host) and headers.get("origin", "").lower() in {f"http://{host}", f"https://{host}"}

    def good_token(self, token: str) -> bool:
        return self.token is None or _same(token, self.token)

    def let_in(self, headers: Mapping[str, str]) -> bool:
        """Whether the request shows the token, as a bearer or by the cookie."""
        if self.token is None:
            return True
        kind, _, shown = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and self.good_token(shown.strip()):
            return True
        cookies = (part.strip().partition("=") for part in headers.get("cookie", "").split(";"))
        return any(name == self.cookie and _same(value, self.cookie_value) for name, _, value in cookies)


def _same(one: str, other: str) -> bool:
    """In a time that does not tell how much of it is right."""
    return hmac.compare_digest(one.encode("utf-8", "replace"), other.encode("utf-8", "replace"))


def check_token(token: str | None, loopback: bool, where: str) -> None:
    """Raises :class:`UsageError` for a page that others reach at ``where`` without a token, and for a token
    that can be guessed or not be sent."""
    if token is None:
        if not loopback:
            raise UsageError(
                f"page: {where} is open to other machines: give it a token with --page-token, "
                "or let it listen on 127.0.0.1"
            )
        return
    if len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError(
            f"page: the token must be at least {SHORTEST_TOKEN} printable ASCII characters without spaces, "
            'such as python3 -c "import secrets; print(secrets.token_urlsafe())" prints'
        )
