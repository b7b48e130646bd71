"""Our engine: every implementation that this machine runs, starting from the uint8 crops."""

from __future__ import annotations

from collections.abc import Sequence

import ssr_ops
from peers import Absent
from peers.contestant import Answers, Call, Contestant, Images, Material, Session
from ssr_bundle.errors import SsrError
from ssr_ops.engine import Engine

TITLE = "ours"
PRECISIONS = ("fp32", "bf16", "int8")


def contestants(material: Material, precision: str) -> Sequence[Contestant | Absent]:
    found: list[Contestant | Absent] = []
    for name in ssr_ops.implementations(precision):
        title = f"ours {precision}, {name}"
        try:
            Engine(material.bundle, precision=precision, implementation=name)
        except SsrError as error:
            found.append(Absent(title, str(error)))
            continue
        found.append(contestant(material, precision, name, title))
    return found or [Absent(f"ours {precision}", "not in this build")]


def contestant(material: Material, precision: str, implementation: str, title: str) -> Contestant:
    def compile(variant: str, chunk: int, threads: int) -> Session:
        engine = Engine(
            material.bundle, precision=precision, threads=threads, implementation=implementation, note=False
        )

        def session(images: Images) -> Call:
            def run() -> Answers:
                return engine.predict(images)

            return run

        return session

    return Contestant(
        title, "ours", precision, compile, chunks=(), implementation=implementation, copies=False
    )
