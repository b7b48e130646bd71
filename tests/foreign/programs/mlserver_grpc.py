"""Ask with what MLServer brings for gRPC: its types, NumPy codec, converters and stub."""

from __future__ import annotations

from typing import Any

import grpc
import numpy as np
from job import Job, perform
from mlserver.codecs import NumpyCodec
from mlserver.grpc import converters
from mlserver.grpc.dataplane_pb2_grpc import GRPCInferenceServiceStub
from mlserver.types import InferenceRequest, Parameters, RequestOutput


def ask(job: Job) -> tuple[Any, Any]:
    tensor = NumpyCodec.encode_input("image", job.images)
    tensor.parameters = None  # its content type is MLServer's own
    assert tensor.datatype == job.datatype
    request = InferenceRequest(
        inputs=[tensor],
        outputs=[RequestOutput(name="age")],
        parameters=Parameters(**job.parameters) if job.parameters else None,
    )
    message = converters.ModelInferRequestConverter.from_types(
        request, model_name=job.model, model_version=None
    )
    with grpc.insecure_channel(job.url) as channel:
        response = GRPCInferenceServiceStub(channel).ModelInfer(message, timeout=60)
    (output,) = response.outputs
    assert output.name == "age"
    (raw,) = response.raw_output_contents
    parameters = {key: value.string_param for key, value in response.parameters.items()}
    return np.frombuffer(raw, np.float32), parameters


perform(ask, (grpc.RpcError,))
