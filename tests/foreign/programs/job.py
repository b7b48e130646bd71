"""The requests that a program of this folder sends, and how it tells the answers: ``battery.run_program``."""

from __future__ import annotations

import base64
import contextlib
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Job:
    """A request; ``how``: of several ways that a client has, the one to take."""

    url: str
    model: str
    how: str
    images: Any
    datatype: str
    parameters: dict[str, str]


def perform(
    ask: Callable[[Job], tuple[Any, Mapping[str, Any]]],
    refusals: tuple[type[BaseException], ...],
    words: Callable[[Any], str] = str,
) -> None:
    """Read the requests, ``ask`` each, print ages and parameters, or the ``words`` of a refusal.

    What a client logs goes to standard error.
    """
    given = json.load(sys.stdin)
    for one in given["requests"]:
        images = np.frombuffer(base64.b64decode(one["data"]), one["dtype"]).reshape(one["shape"])
        where = given["url"], given["model"], given["how"]
        try:
            with contextlib.redirect_stdout(sys.stderr):
                ages, parameters = ask(Job(*where, images, one["datatype"], one["parameters"]))
        except refusals as error:
            print(json.dumps({"refused": words(error)}))
        else:
            print(json.dumps({"ages": np.ravel(ages).tolist(), "parameters": dict(parameters)}))
