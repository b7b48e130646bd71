"""A gRPC server between a client and a real one: passes everything on, but for what it refuses or alters."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc

Refusal = tuple[grpc.StatusCode, str]


@contextmanager
def stand_in(
    url: str,
    refuse: Mapping[str, Refusal] | None = None,
    change: Callable[[Any], None] | None = None,
    spoil: Collection[str] = (),
) -> Iterator[str]:
    """The address of a stand-in for the server at ``url``. ``refuse``: methods that it answers by an error;
    looked at anew at every call. ``change`` alters every ``ModelInferResponse``; the methods ``spoil``
    answer by what is no message."""
    from tritonclient.grpc import service_pb2

    channel = grpc.insecure_channel(url)

    class Passing(grpc.GenericRpcHandler):
        def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
            name = details.method.rpartition("/")[2]

            def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
                if name in (refuse or {}):
                    context.abort(*(refuse or {})[name])
                try:
                    found: bytes = channel.unary_unary(details.method)(request)
                except grpc.RpcError as error:
                    context.abort(error.code(), error.details())
                if name in spoil:
                    return b"\xff"
                if change is not None and name == "ModelInfer":
                    response = service_pb2.ModelInferResponse.FromString(found)
                    change(response)
                    found = response.SerializeToString()
                return found

            return grpc.unary_unary_rpc_method_handler(answer)

    server = grpc.server(ThreadPoolExecutor(8), handlers=[Passing()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()
        channel.close()
