"""The crops that int8 is quantized on, and others to measure drift on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from peers.contestant import Images
from ssr_bundle.bundle import Bundle
from ssr_bundle.errors import SsrError


def drawn_crops(given: int, fresh: int, bundle: Bundle) -> tuple[Images, Images, str]:
    """Drawn faces of two seeds in the contract's colour order, and what to call them."""
    from ssr_train.data.synthetic import draw_faces

    source = f"{given} drawn faces; drift on {fresh} others"
    drawn = [draw_faces(count, seed).images for count, seed in ((given, 11), (fresh, 12))]
    if bundle.contract.interface.input.colour == "rgb":
        drawn = [np.ascontiguousarray(images[..., ::-1]) for images in drawn]
    return drawn[0], drawn[1], source


def photographed_crops(folder: Path, bundle: Bundle) -> tuple[Images, Images, str]:
    """The faces in the photos of ``folder``: of every other photo to quantize on, of the rest for drift."""
    from ssr_client.gather import gather

    given, fresh = gather(folder, bundle.contract.interface, jitter=7).split(2)
    if not (len(given.images) and len(fresh.images)):
        raise SsrError(f"--images {folder}: two photos with faces are needed at least")
    parts = [f"{len(each.images)} crops of {each.faces} faces in photos" for each in (given, fresh)]
    return given.images, fresh.images, f"{parts[0]}; drift on {parts[1]}"
