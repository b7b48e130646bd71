"""Pillow's images: what they hold, by their mode and EXIF orientation. Pillow itself is not needed.

As an array such an image is pixels of an unsaid order, or not even that: indices of a palette, inks, luma
and chroma. Nothing of ours takes it for BGR.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssr_bundle.errors import SsrError

MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV")
"""Modes that Pillow converts to RGB by themselves, a transparency dropped."""

_GREY_16 = "I;16"
_ORIENTATION = 0x0112


def is_image(value: Any) -> bool:
    """Whether ``value`` is one of Pillow's images."""
    module = sys.modules.get("PIL.Image")
    return module is not None and isinstance(value, module.Image)


def holds_image(values: Any) -> bool:
    """Whether ``values`` is such an image, or a list or tuple with one in it."""
    return is_image(values) or (isinstance(values, list | tuple) and any(map(is_image, values)))


def is_turned(image: Any) -> bool:
    """Whether the EXIF orientation of ``image`` shows it otherwise than its rows lie."""
    return bool(image.getexif().get(_ORIENTATION, 1) != 1)


def as_rgb(image: Any, name: str = "picture") -> NDArray[np.uint8]:
    """``image`` as (H, W, 3) RGB, upright as its EXIF orientation says; 16-bit grey is scaled to 8 bits.

    Raises :class:`SsrError`, which calls it ``name``, for a mode whose values have no known range or need a
    colour profile (I, F, LAB), and for a file that Pillow cannot read to its end.
    """
    from PIL import ImageOps

    try:
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith(_GREY_16):
            grey = (np.asarray(upright) >> 8).astype(np.uint8)
            return np.repeat(grey[:, :, None], 3, axis=2)
        if upright.mode in MODES:
            return np.asarray(upright.convert("RGB"), np.uint8)
    except (OSError, SyntaxError, ValueError) as error:
        raise SsrError(f"{name}: Pillow cannot read it ({error})") from None
    raise SsrError(
        f"{name}: a PIL image of mode {image.mode!r}, expected one of {', '.join((*MODES, _GREY_16))}: "
        "convert it, so that its values are known"
    )


def refuse(values: Any, name: str, expected: str) -> None:
    """Raise :class:`SsrError` where an array is ``expected`` and ``values`` is, or holds, a PIL image."""
    if holds_image(values):
        raise SsrError(f"{name}: a PIL image, {expected}: an array says nothing of its mode and orientation")
