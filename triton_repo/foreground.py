"""What ``ssr-serve run`` does: a server until a signal asks for its end, and a table of what it serves."""

from __future__ import annotations

import signal
import sys
import threading

from ssr_bundle.errors import SsrError
from ssr_bundle.report import Cell, State, table
from ssr_bundle.shown import say
from ssr_bundle.signals import once_per_request
from triton_repo.server import Server


def run(server: Server) -> None:
    """Start ``server``, show it, and stop it after SIGINT or SIGTERM; a second one ends it at once.

    Raises :class:`SsrError` with the log's end when it ended by itself.
    """
    stopping, is_up = threading.Event(), threading.Event()

    def on_signal(number: int, again: bool) -> None:
        if stopping.is_set():
            print("killed", file=sys.stderr)
            server.kill()
            return
        stopping.set()
        if not is_up.is_set():
            raise KeyboardInterrupt

    previous = {n: signal.signal(n, once_per_request(on_signal)) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        server.start()
        is_up.set()
        _show(server)
        while not stopping.wait(0.2):
            if server.wait(0):
                tail = server.log_tail()
                where = "" if server.log == "-" else f"; its last words, from {server.log}:\n{tail}"
                raise SsrError(f"tritonserver ended by itself with status {server.returncode}{where}")
        print(f"stopping: up to {server.exit_timeout} s for requests in flight", flush=True)
    except KeyboardInterrupt:
        print("stopped while starting", flush=True)
    finally:
        server.stop(keep_log=server.wait(0))
        for number, handler in previous.items():
            signal.signal(number, handler)


def _show(server: Server) -> None:
    """Print a table of what is ready, and what failed, and where the server is."""
    rows: list[list[Cell]] = []
    for ready in server.served:
        versions = ", ".join(map(str, ready.versions))
        rows.append([ready.model, versions, State("ready", "green"), server.grpc_url])
    for failure in server.failures:
        state = State("failed", "red", failure.reason)
        rows.append([failure.model, str(failure.version or "-"), state, ""])
    table(rows, ("model", "versions", "state", "url"), ruled=True)
    print(f"gRPC {server.grpc_url}   HTTP http://{server.http_url}   metrics {server.metrics_url}")
    say(f"pid {server.pid}   log {server.log}")
