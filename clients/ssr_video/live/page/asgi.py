"""Starlette and uvicorn, which the page is served with: the extra ``live``."""

from __future__ import annotations

from ssr_bundle.errors import SsrError

try:
    import uvicorn as uvicorn
    import websockets as websockets  # uvicorn's own choice for WebSockets
    from starlette.applications import Starlette as Starlette
    from starlette.datastructures import Headers as Headers
    from starlette.datastructures import MutableHeaders as MutableHeaders
    from starlette.requests import Request as Request
    from starlette.responses import HTMLResponse as HTMLResponse
    from starlette.responses import JSONResponse as JSONResponse
    from starlette.responses import PlainTextResponse as PlainTextResponse
    from starlette.responses import RedirectResponse as RedirectResponse
    from starlette.responses import Response as Response
    from starlette.routing import Route as Route
    from starlette.routing import WebSocketRoute as WebSocketRoute
    from starlette.websockets import WebSocket as WebSocket
    from starlette.websockets import WebSocketDisconnect as WebSocketDisconnect
except ImportError as error:
    raise SsrError(
        f"the page needs Starlette, uvicorn and websockets: pip install 'ssr-client[live]' ({error})"
    ) from None
