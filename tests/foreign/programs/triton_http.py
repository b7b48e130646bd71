"""Ask with NVIDIA's Python client over HTTP: ``binary``, in ``json``, or with its ``aio`` variant."""

from __future__ import annotations

import asyncio
from typing import Any

from job import Job, perform
from tritonclient import http
from tritonclient.http import aio
from tritonclient.utils import InferenceServerException


def ask(job: Job) -> tuple[Any, Any]:
    binary = job.how != "json"
    tensor = http.InferInput("image", list(job.images.shape), job.datatype)
    tensor.set_data_from_numpy(job.images, binary_data=binary)
    wanted = [http.InferRequestedOutput("age", binary_data=binary)]
    asked = {"inputs": [tensor], "outputs": wanted, "parameters": job.parameters or None}
    if job.how == "aio":
        result = asyncio.run(ask_later(job, asked))
    else:
        with http.InferenceServerClient(job.url) as client:
            assert client.is_model_ready(job.model)
            result = client.infer(job.model, **asked)
    return result.as_numpy("age"), result.get_response()["parameters"]


async def ask_later(job: Job, asked: dict[str, Any]) -> Any:
    async with aio.InferenceServerClient(job.url) as client:
        return await client.infer(job.model, **asked)


perform(ask, (InferenceServerException,))
