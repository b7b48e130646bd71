"""Ask with KServe's Python client: over ``rest`` with JSON, ``rest-binary``, or ``grpc``."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import httpx
from job import Job, perform
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig
from kserve.protocol.infer_type import InferResponse, RequestedOutput, to_http_parameters


async def infer(job: Job) -> InferResponse:
    tensor = InferInput("image", list(job.images.shape), job.datatype)
    tensor.set_data_from_numpy(job.images, binary_data=job.how != "rest")
    wanted = RequestedOutput("age", {"binary_data": True} if job.how == "rest-binary" else None)
    request = InferRequest(job.model, [tensor], parameters=job.parameters or None, request_outputs=[wanted])
    if job.how == "grpc":
        async with InferenceGRPCClient(job.url) as client:
            assert await client.is_model_ready(job.model)
            return await client.infer(request)
    rest = InferenceRESTClient(RESTConfig(protocol="v2"))
    return await rest.infer(f"http://{job.url}", request, model_name=job.model)


def ask(job: Job) -> tuple[Any, Any]:
    response = asyncio.run(infer(job))
    (output,) = response.outputs
    assert output.name == "age"
    return output.as_numpy(), to_http_parameters(response.parameters or {})


def words(error: grpc.aio.AioRpcError | httpx.HTTPStatusError) -> str:
    """What a user finds: of REST the body too, which the message lacks where the answer has no Content-Type,
    as a backend's errors from tritonserver 2.51."""
    return f"{error} {error.response.text}" if isinstance(error, httpx.HTTPStatusError) else str(error)


perform(ask, (grpc.aio.AioRpcError, httpx.HTTPStatusError), words)
