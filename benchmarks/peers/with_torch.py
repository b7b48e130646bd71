"""PyTorch: eager, and compiled by inductor with frozen weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from peers.contestant import Answers, Call, Contestant, Images, Material, Session, as_planes

TITLE = "torch"
PRECISIONS = ("fp32",)


def contestants(material: Material, precision: str) -> Sequence[Contestant]:
    import torch

    from peers.network import ORDERS, Network

    def session_of(network: object, memory: torch.memory_format, threads: int) -> Session:
        def session(images: Images) -> Call:
            given = torch.from_numpy(as_planes(images)).contiguous(memory_format=memory)

            def run() -> Answers:
                if torch.get_num_threads() != threads:
                    torch.set_num_threads(threads)
                with torch.inference_mode():
                    answers: Answers = network(given)[:, 0].numpy()  # type: ignore[operator]
                return answers

            return run

        return session

    def eager(variant: str, chunk: int, threads: int) -> Session:
        order, layout = variant.split(", ")
        memory = torch.channels_last if layout == "channels last" else torch.contiguous_format
        network = Network(material, order).to(memory_format=memory)
        return session_of(network, memory, threads)

    def compiled(variant: str, chunk: int, threads: int) -> Session:
        import torch._inductor.config as inductor

        torch.set_num_threads(threads)
        inductor.freezing = True
        network = Network(material, variant).to(memory_format=torch.channels_last)
        for parameter in network.parameters():
            parameter.requires_grad_(False)
        session = session_of(torch.compile(network, dynamic=False), torch.channels_last, threads)
        session(np.zeros((chunk, 64, 64, 3), np.uint8))()
        return session

    layouts = tuple(f"{order}, {layout}" for order in ORDERS for layout in ("planes", "channels last"))
    return [
        Contestant("torch eager fp32", "torch", "fp32", eager, variants=layouts, copies=False),
        Contestant(
            "torch.compile fp32",
            "torch",
            "fp32",
            compiled,
            variants=ORDERS[1:],
            chunks=(1, 32),  # each compiles for seconds
            copies=False,
        ),
    ]
