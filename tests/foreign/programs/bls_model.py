"""A program of Triton's Python backend that asks a served model, and hands on what both sides say."""

from __future__ import annotations

import json
from typing import Any

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests: list[Any]) -> list[Any]:
        return [self.answer(request) for request in requests]

    def answer(self, request: Any) -> Any:
        asked = pb_utils.InferenceRequest(
            model_name="ssrnet",
            requested_output_names=["age"],
            inputs=[pb_utils.get_input_tensor_by_name(request, "image")],
            parameters=json.loads(request.parameters() or "{}"),
        )
        found = asked.exec()
        if found.has_error():
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(found.error().message()))
        age = pb_utils.get_output_tensor_by_name(found, "age")
        output = [pb_utils.Tensor("age", age.as_numpy())]
        if not hasattr(found, "parameters"):  # before container 25.03
            return pb_utils.InferenceResponse(output)
        said = json.loads(found.parameters() or "{}")
        return pb_utils.InferenceResponse(output, parameters=said)
