"""How a face is cut: the contract's ``interface.crop``."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import Any, cast

from ssr_bundle import alignment
from ssr_bundle.alignment import Points
from ssr_bundle.errors import SsrError
from ssr_bundle.fields import ContractError, Fields, check_choice, is_number
from ssr_bundle.shown import shown

BOXES = ("yunet", "haar")
BORDERS = ("clip", "replicate", "constant")

MARGINS = (-0.9, 4.0)
"""Within which a margin lies, in box widths or heights."""

LEAST_OF_BOX = 0.1
"""What margins must leave of a box's width and height."""

TEMPLATE_SIZES = (8, 4096)
"""Least and largest side of the picture that a template's points are of, in pixels."""

_DEFAULT_MARGIN = (0.4, 0.4, 0.4, 0.4)


@dataclass(frozen=True)
class Template:
    """Where the five landmarks of an aligned face lie: ``points`` in the order of
    :data:`ssr_bundle.alignment.NAMES`, x and y in pixels of a picture of ``size`` x ``size``, whose first
    pixel covers 0 to 1."""

    points: Points
    size: int


@dataclass(frozen=True)
class Crop:
    """How a face is cut from a picture, leaving nothing to guess: by the margins of its box, or aligned.

    ``box``: the detector whose boxes (x, y, w, h in pixels), or landmarks, are meant.
    ``margin``: what is added on the left, top, right and bottom, in box widths and heights; a negative one
    cuts into the box. Two numbers are for both sides. Rounding is ``floor-inclusive``: the cut covers the
    pixel columns floor(x - left * w) to floor(x + w + right * w), both included, rows alike (the released
    demos).
    ``border``: beyond the picture, ``clip`` cuts less (the face is stretched), ``replicate`` repeats the last
    pixel, ``constant`` is black.
    ``template``: a similarity brings the detector's five landmarks there (:mod:`ssr_bundle.alignment`); the
    margin means nothing then, and becomes the default.
    Pixels are interpolated bilinearly at half-pixel centres, without anti-aliasing (``cv2.INTER_LINEAR``).

    Raises :class:`ContractError` for margins that leave a box no face, and a template that is none.
    """

    box: str = "yunet"
    margin: tuple[float, ...] = _DEFAULT_MARGIN
    border: str = "clip"
    template: Template | None = None

    def __post_init__(self) -> None:
        for key, value, known in (("box", self.box, BOXES), ("border", self.border, BORDERS)):
            check_choice(value, known, f"interface.crop.{key}")
        if self.template is not None:
            object.__setattr__(self, "template", self._checked(self.template))
            object.__setattr__(self, "margin", _DEFAULT_MARGIN)  # equal crops are written equally
            return
        low, high = MARGINS
        try:
            margin = tuple(map(float, self.margin))
        except (TypeError, ValueError, OverflowError):
            raise _no_margin(self.margin) from None
        margin = margin * 2 if len(margin) == 2 else margin
        object.__setattr__(self, "margin", margin)
        if len(margin) != 4 or not all(low <= m <= high for m in margin):
            raise _no_margin(margin)
        left, top, right, bottom = self.margin
        if min(1 + left + right, 1 + top + bottom) < LEAST_OF_BOX:
            raise ContractError(
                f"interface.crop.margin: {shown(list(margin))} leaves less than {LEAST_OF_BOX:g} of a box's "
                "width or height"
            )

    def _checked(self, template: Template) -> Template:
        low, high = TEMPLATE_SIZES
        size = template.size
        if isinstance(size, bool) or not isinstance(size, Integral) or not low <= size <= high:
            raise ContractError(
                f"interface.crop.size: expected a whole number in {low}..{high} pixels, got {shown(size)}"
            )
        size = int(size)
        try:
            points = alignment.check_points(template.points, "interface.crop.template")
        except SsrError as error:
            raise ContractError(str(error)) from None
        if any(not -size <= v <= 2 * size for point in points for v in point):
            raise ContractError(f"interface.crop.template: expected points in {-size}..{2 * size}")
        if self.border == "clip":
            raise ContractError(
                "interface.crop.border: an aligned crop cannot be clipped, expected replicate or constant"
            )
        return Template(points, size)

    @property
    def alignment(self) -> str:
        """``none``, or ``similarity`` where there is a template."""
        return "none" if self.template is None else "similarity"

    @property
    def contract_version(self) -> int:
        """The version of the contract that can say this crop: the oldest that can."""
        left, top, right, bottom = self.margin
        plain = self.border == "clip" and (left, top) == (right, bottom) and min(left, top) >= 0
        return 1 if plain else 2

    def to_json(self) -> dict[str, Any]:
        data: dict[str, Any] = {"box": self.box}
        if self.template is None:
            data["margin"] = list(self.margin[:2] if self.contract_version == 1 else self.margin)
            data["rounding"] = "floor-inclusive"
        data |= {"border": self.border, "interpolation": "bilinear", "alignment": self.alignment}
        if self.template is not None:
            data |= {"template": [list(p) for p in self.template.points], "size": self.template.size}
        return data

    def describe(self) -> str:
        """In a few words."""
        border = {"clip": "clipped at the border", "replicate": "border repeated", "constant": "border black"}
        left, top, right, bottom = self.margin
        how = f"{self.box} box + {left:g} left, {top:g} top, {right:g} right, {bottom:g} bottom"
        if (left, top) == (right, bottom):
            how = f"{self.box} box + {left:g} x {top:g} on each side"
        if self.template is not None:
            how = f"aligned by {self.box}'s five landmarks"
        return f"{how}, {border[self.border]}"

    @classmethod
    def from_json(cls, data: Any) -> Crop:
        block = Fields(data, "interface.crop")
        block.choice("interpolation", "bilinear")
        kind = block.choice("alignment", "none", "similarity")
        box, border = block.choice("box", *BOXES), block.choice("border", *BORDERS)
        if kind == "similarity":
            points = [_pair(p) for p in block.list("template")]
            return cls(box, border=border, template=Template(tuple(points), block.whole("size")))
        block.choice("rounding", "floor-inclusive")
        margin = block.list("margin")
        if not all(map(is_number, margin)):
            raise _no_margin(margin)
        return cls(box, cast(Any, tuple(margin)), border)


def _no_margin(given: Any) -> ContractError:
    low, high = MARGINS
    return ContractError(
        f"interface.crop.margin: expected two numbers in 0..{high:g} (version 1), or four in "
        f"{low:g}..{high:g} (left, top, right, bottom), got {shown(given)}"
    )


def _pair(value: Any) -> tuple[float, float]:
    if not isinstance(value, list) or len(value) != 2 or not all(map(is_number, value)):
        raise ContractError(f"interface.crop.template: expected points as two numbers, got {shown(value)}")
    return float(value[0]), float(value[1])
