"""Paints one face from its traits with OpenCV primitives, at twice the size, then shrinks it.

Face coordinates: u and v are -1..1 over the box a detector would report (v = 1 the chin, v = -1 the
upper forehead); the crop adds a margin of 0.4 boxes on each side, as the contract's crop does. Points
lie on a rough ellipsoid, so a turn of the head moves the nose more than the ears.
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssr_bundle.contract import IMAGE_SIZE
from ssr_train.data.synthetic.traits import Colour, Traits

Picture = NDArray[Any]
Points = NDArray[np.float64]

_SIZE = 2 * IMAGE_SIZE
_SOFT = _SIZE // 4
_SHIFT = 4  # fractional bits of OpenCV's coordinates
_ONE, _SOFT_ONE = 160, 200  # the values that mean "unchanged" in the fine and soft shading layers
_ARC = np.linspace(0.0, math.pi, 13)
_ROUNDNESS = np.array([0.9, 0.3])  # how fast depth falls off with u and v
_RING = np.stack([f(np.linspace(0.0, 2 * math.pi, 20, endpoint=False)) for f in (np.cos, np.sin)], 1)
_ROW, _COLUMN = (
    i.astype(np.float32) / (IMAGE_SIZE - 1) * 2 - 1 for i in np.indices((IMAGE_SIZE, IMAGE_SIZE))
)


class Pose:
    """Face coordinates to pixels: yaw and pitch on the ellipsoid, then a similarity in the plane."""

    def __init__(self, rng: np.random.Generator) -> None:
        yaw, pitch = rng.normal(0, 0.20), rng.normal(0, 0.10)
        roll = rng.normal(0, 0.11)
        self.scale = _SIZE / 3.6 * float(rng.uniform(0.88, 1.12))
        stretch = float(rng.uniform(0.94, 1.06))
        shift = rng.normal(0, 0.03, 2) * _SIZE
        sin, cos = np.array([math.sin(yaw), math.sin(pitch)]), np.array([math.cos(yaw), math.cos(pitch)])
        plane = np.array(
            [[math.cos(roll) * stretch, math.sin(roll) * stretch], [-math.sin(roll), math.cos(roll)]]
        ) * (self.scale * (1 << _SHIFT))
        # The detector's box follows the face: part of what a turn moves the middle is undone.
        centre = (_SIZE / 2 + shift) * (1 << _SHIFT) - 0.3 * sin * self.scale * (1 << _SHIFT)
        self._linear, self._depth, self._offset = cos[:, None] * plane, 0.6 * sin @ plane, centre + 0.5

    def __call__(self, points: ArrayLike) -> NDArray[np.int32]:
        """(K, 2) face coordinates to (K, 2) fixed-point pixels."""
        uv = np.asarray(points, np.float64)
        depth = np.sqrt(np.maximum(1.0 - (uv * uv) @ _ROUNDNESS, 0.0))
        pixels = uv @ self._linear + depth[:, None] * self._depth + self._offset
        fixed: NDArray[np.int32] = pixels.astype(np.int32)
        return fixed


class Painter:
    """The drawing of a face with ``traits`` under random pose, light and camera; a method adds one part."""

    def __init__(self, rng: np.random.Generator, traits: Traits) -> None:
        self.rng, self.t, self.pose = rng, traits, Pose(rng)
        a = traits.proportions
        self.grown = g = min(a / 17.0, 1.0) ** 0.75
        self.old = float(np.clip((a - 42.0) / 50.0, 0.0, 1.0))
        self.eye_v = 0.10 - 0.32 * g + 0.03 * self.old
        self.eye_u = 0.43 + 0.02 * traits.jaw
        self.eye_w = (0.245 - 0.065 * g) * (1 + 0.08 * traits.eyes)
        self.nose_v = self.eye_v + 0.27 + (0.23 + 0.04 * traits.nose) * g + 0.07 * self.old
        self.mouth_v = 0.60 + 0.02 * traits.lips - 0.01 * g
        self.mouth_w = 0.25 + 0.11 * g + 0.06 * max(traits.smile, 0) + 0.02 * traits.lips
        self.picture = self._background()
        self.fine = np.full((_SIZE, _SIZE), _ONE, np.uint8)
        self.soft = np.full((_SOFT, _SOFT, 3), _SOFT_ONE, np.uint8)

    def paint(self) -> Picture:
        """The picture, 64 x 64 x 3, BGR; once."""
        self._neck_and_back_hair()
        self._head()
        self._sockets_and_folds()
        self._wrinkles()
        self._spots()
        self._shade()
        self._beard()
        self._nose()
        self._mouth()
        self._eyes()
        self._brows()
        self._hair()
        if self.t.glasses:
            self._glasses()
        return self._camera(cv2.resize(self.picture, (IMAGE_SIZE, IMAGE_SIZE), interpolation=cv2.INTER_AREA))

    # Drawing tools.

    def _fill(
        self, points: ArrayLike, colour: Colour | int, layer: Picture | None = None, edge: int = cv2.LINE_AA
    ) -> None:
        """An area of the picture, or of ``layer``."""
        target = self.picture if layer is None else layer
        cv2.fillPoly(target, [self.pose(points)], colour, edge, _SHIFT)

    def _stroke(self, points: ArrayLike, colour: Colour, width: float) -> None:
        thickness = max(int(width * self.pose.scale + 0.5), 1)
        cv2.polylines(self.picture, [self.pose(points)], False, colour, thickness, cv2.LINE_AA, _SHIFT)

    def _ellipse(self, u: float, v: float, a: float, b: float) -> Points:
        return _RING * (a, b) + (u, v)

    def _crease(self, points: ArrayLike, contrast: float, width: int = 1) -> None:
        """A line in the skin, ``contrast`` 0..1 darker, in the fine layer."""
        if contrast > 0.01:
            value = int(_ONE * (1.0 - min(contrast, 0.75)))
            cv2.polylines(self.fine, [self.pose(points)], False, value, width, cv2.LINE_AA, _SHIFT)

    def _soften(self, u: float, v: float, a: float, b: float, *factor: float) -> None:
        """A soft-edged ellipse of the skin, multiplied by ``factor``, one or one per channel."""
        colour = [min(_SOFT_ONE * f, 255.0) for f in (factor if len(factor) == 3 else factor * 3)]
        cv2.fillPoly(self.soft, [self.pose(self._ellipse(u, v, a, b)) // 4], colour, cv2.LINE_8, _SHIFT)

    # Parts, from back to front.

    def _background(self) -> Picture:
        rng = self.rng
        cells = int(rng.integers(2, 7))
        base = rng.integers(25, 226) + rng.normal(0, 25, 3)
        spread, tint = rng.uniform(4, 45, 2)
        grid = base + rng.normal(0, spread, (cells, cells, 1)) + rng.normal(0, tint / 2, (cells, cells, 3))
        grid = np.clip(grid, 0, 255).astype(np.uint8)
        how = cv2.INTER_LINEAR if rng.random() < 0.75 else cv2.INTER_NEAREST
        picture = cv2.resize(grid, (_SIZE, _SIZE), interpolation=how)
        for _ in range(int(rng.poisson(0.8))):
            x, y, w, h = rng.integers(0, _SIZE, 4).tolist()
            cv2.rectangle(picture, (x, y), (x + w, y + h), rng.integers(0, 256, 3).tolist(), -1)
        return picture

    def _outline(self, grow: float = 0.0) -> Points:
        """Head contour: a cranium above, a jaw below whose shape tells sex and age."""
        t, g = self.t, self.grown
        width = 0.97 + 0.04 * (1 - g) + grow
        top = 1.42 + 0.06 * (1 - g) + grow
        power = 2.0 + (0.25 + 0.5 * t.masculine + 0.25 * t.jaw) * g
        cos, sin = np.cos(_ARC), np.sin(_ARC)
        lower_u = np.sign(cos) * np.abs(cos) ** (2 / power) * width
        lower_v = sin ** (2 / power) * (1.0 + grow + 0.03 * g)
        cheek = np.exp(-(((lower_v - 0.45) / 0.25) ** 2)) * 0.05 * (1 - g)
        jowl = np.exp(-(((lower_v - 0.80) / 0.16) ** 2)) * 0.10 * self.old
        hollow = np.exp(-(((lower_v - 0.35) / 0.2) ** 2)) * 0.06 * self.old
        lower_u += np.sign(cos) * (cheek + jowl - hollow)
        round_ = 2 / (2.35 + 0.25 * (1 - g))
        upper = _curve(-np.sign(cos) * np.abs(cos) ** round_ * width, -(sin**round_) * top)
        return np.concatenate([_curve(lower_u, lower_v), upper])

    def _neck_and_back_hair(self) -> None:
        t, g = self.t, self.grown
        cloth = tuple(self.rng.integers(10, 245, 3).tolist())
        self._fill([(-2.6, 3), (-2.3, 1.7), (-0.9, 1.35), (0.9, 1.35), (2.3, 1.7), (2.6, 3)], cloth)
        if t.hair_length > 0.3:
            end = -0.2 + 2.0 * t.hair_length
            bulk = 1.12 + 0.16 * t.hair_length * (1 - t.thinning)
            colour = _scale(t.hair_colour, 0.8)
            self._fill(
                [(-bulk, -0.6), (-0.5, -1.62), (0.5, -1.62), (bulk, -0.6), (bulk, end), (-bulk, end)], colour
            )
        neck = 0.45 + 0.14 * g + 0.14 * g * t.masculine - 0.05 * self.old
        self._fill(
            [(-neck, 0.5), (neck, 0.5), (neck + 0.08, 1.5), (-neck - 0.08, 1.5)], _scale(t.skin_colour, 0.78)
        )
        for side in (-1, 1):
            ear = self._ellipse(side * 1.0, 0.02 + 0.08 * (1 - g), 0.13, 0.25 + 0.05 * self.old)
            self._fill(ear, _scale(t.skin_colour, 0.86))

    def _head(self) -> None:
        outline = self._outline()
        self._fill(outline, self.t.skin_colour)
        self.mask = np.zeros((_SIZE, _SIZE), np.uint8)
        self._fill(outline, 255, self.mask, cv2.LINE_8)

    def _sockets_and_folds(self) -> None:
        t, g = self.t, self.grown
        skin = float(np.clip((t.skin - 30.0) / 55.0, 0.0, 1.0))
        rosy = 1.0 - 0.13 * max(1 - t.skin / 14.0, 0.0)
        bag = 1 - 0.24 * skin
        below = self.eye_v + 0.15 + 0.03 * skin
        for s in (-1, 1):
            self._soften(s * self.eye_u, self.eye_v - 0.04, 0.30, 0.17, 0.93, 0.91, 0.91)
            self._soften(s * 0.72, 0.5, 0.14, 0.3, 0.94 - 0.05 * g)
            self._soften(s * 0.52, 0.30, 0.22, 0.17, rosy, rosy, 1.0 + (1 - rosy) * 0.4)
            self._soften(s * 0.66, 0.42, 0.11, 0.22, 1 - 0.16 * self.old)
            self._soften(s * self.eye_u, below, 0.2, 0.06, bag * 1.02, bag * 0.97, bag)
        for s in (-1, 1):
            self._soften(s * 0.15, self.nose_v - 0.2, 0.05, 0.22 * (0.5 + 0.5 * g), 0.90 - 0.04 * g)
        self._soften(0, self.nose_v - 0.04, 0.09, 0.08, 1.07, 1.07, 1.08)
        self._soften(0, -0.75, 0.45, 0.2, 1.05)
        self._soften(0, self.mouth_v + 0.17, 0.2, 0.035, 0.9, 0.9, 0.91)

    def _wrinkles(self) -> None:
        rng, t = self.rng, self.t
        w = float(np.clip((t.wrinkles - 22.0) / 58.0, 0.0, 1.25))
        if w <= 0.0:
            return
        jitter = rng.normal(0, 0.015, 64)
        across = np.linspace(-1, 1, 7)
        for i in range(min(int(1 + 3.4 * w), 4)):  # forehead
            v = self.eye_v - 0.40 - 0.15 * i + jitter[i]
            length = 0.38 + 0.22 * w - 0.03 * i
            wave = 0.025 * np.cos(across * 4 + jitter[i + 8] * 90)
            self._crease(_curve(across * length, v + wave), 0.34 * w * (1 - 0.08 * i))
        for s in (-1, 1):
            u, v, reach = self.eye_u + self.eye_w + 0.04, self.eye_v + 0.02, 0.09 + 0.15 * w
            for i in range(min(int(1 + 3.2 * w), 4)):  # crow's feet
                angle = (i - 1.3) * 0.42 + jitter[16 + i] * 4
                end = (s * (u + reach * math.cos(angle)), v + reach * math.sin(angle))
                self._crease([(s * u, v + 0.04 * (i - 1)), end], 0.40 * w)
            fold = 0.1 + 0.06 * w + abs(t.smile) * 0.02
            corner = self.mouth_v - 0.06 + 0.10 * w
            nasolabial = [
                (s * (0.20 + 0.02 * w), self.nose_v - 0.08),
                (s * (0.30 + fold * 0.6), (self.nose_v + corner) / 2 - 0.02),
                (s * (self.mouth_w + fold), corner),
            ]
            self._crease(nasolabial, 0.10 + 0.30 * w, 1 + (w > 0.6))
            if w > 0.35:  # marionette lines, then the neck-side of the cheek
                start = (s * (self.mouth_w + 0.03), self.mouth_v + 0.05)
                self._crease([start, (s * (self.mouth_w + 0.08), self.mouth_v + 0.10 + 0.18 * w)], 0.3 * w)
            if w > 0.25:  # under the eye
                arc = np.linspace(-1, 1, 5)
                lid = _curve(s * self.eye_u + arc * 0.19, self.eye_v + 0.17 + 0.045 * (1 - arc**2))
                self._crease(lid, 0.35 * w)
                self._crease(lid + np.array([0.0, 0.07]), 0.25 * w)
            if w > 0.45:  # between the brows
                self._crease([(s * 0.08, self.eye_v - 0.30), (s * 0.07, self.eye_v - 0.10)], 0.3 * w)
            if w > 0.6:  # cheek
                self._crease([(s * 0.72, 0.1), (s * (0.66 + jitter[30]), 0.55)], 0.3 * w)
        if w > 0.7:  # upper lip
            for u in np.linspace(-0.22, 0.22, 6):
                self._crease([(u, self.mouth_v - 0.15), (u * 0.95, self.mouth_v - 0.06)], 0.3 * w)

    def _spots(self) -> None:
        rng, t = self.rng, self.t
        for count, size, low, high in ((t.spots, 0.055, 0.12, 0.4), (t.freckles, 0.018, 0.08, 0.25)):
            for _ in range(count):
                u, v, a, c = rng.uniform((-0.85, -1.15, 0.4, low), (0.85, 0.85, 1.0, high))
                self._fill(self._ellipse(u, v, size * a, size * a * 1.2)[::4], int(_ONE * (1 - c)), self.fine)

    def _shade(self) -> None:
        """Multiply the skin by both layers and by its texture, which roughens with age."""
        t, rng = self.t, self.rng
        rough = 0.010 + 0.055 * float(np.clip((t.skin - 20.0) / 70.0, 0.0, 1.0))
        if 12.5 < t.skin < 20:  # adolescent skin
            rough += 0.012
        texture = rng.standard_normal((IMAGE_SIZE, IMAGE_SIZE), np.float32) * rough + 1.0
        fine = cv2.GaussianBlur(self.fine, (3, 3), 0.7).astype(np.float32)
        grain = cv2.resize(texture, (_SIZE, _SIZE), interpolation=cv2.INTER_LINEAR)
        fine *= grain * (1.0 / (_ONE * _SOFT_ONE))
        soft = cv2.GaussianBlur(self.soft, (5, 5), 1.3)
        soft = cv2.resize(soft, (_SIZE, _SIZE), interpolation=cv2.INTER_LINEAR)
        # Ageing skin loses its red and turns sallow.
        red = np.float32(1.0 - 0.077 * float(np.clip((t.skin - 35.0) / 60.0, 0.0, 1.0)))
        shaded = cv2.multiply(soft, cv2.merge((fine, fine, fine * red)), dtype=cv2.CV_32F)
        result = cv2.multiply(self.picture, shaded, dtype=cv2.CV_8U)
        cv2.copyTo(result, self.mask, self.picture)

    def _beard(self) -> None:
        t = self.t
        if t.beard == 0.0:
            return
        layer = np.zeros((_SIZE, _SIZE), np.uint8)
        along = np.linspace(-1, 1, 9)
        jaw = _curve(along * 0.88, 1.05 - 0.85 * along**4)
        inner = _curve(along[::-1] * 0.66, self.mouth_v + 0.0 - 0.42 * along**2 + 0.12)
        self._fill(np.concatenate([jaw, inner]), 255, layer, cv2.LINE_8)
        self._fill(self._ellipse(0, self.mouth_v - 0.1, 0.34, 0.07), 255, layer, cv2.LINE_8)
        self._blend(cv2.GaussianBlur(layer, (7, 7), 2.0), t.hair_colour, 0.25 + 0.6 * t.beard)

    def _nose(self) -> None:
        t, v = self.t, self.nose_v
        width = 0.13 + 0.06 * self.grown + 0.03 * self.old + 0.02 * t.nose
        dark = _scale(t.skin_colour, 0.45)
        for s in (-1, 1):
            self._fill(self._ellipse(s * width * 0.55, v + 0.035, 0.04, 0.022), dark)
            wing = [(s * width, v - 0.08), (s * (width + 0.03), v), (s * width * 0.8, v + 0.04)]
            self._stroke(wing, _scale(t.skin_colour, 0.72), 0.02)
        tip = _curve(np.cos(_ARC) * width * 0.5, v + 0.03 + np.sin(_ARC) * 0.035)
        self._stroke(tip, _scale(t.skin_colour, 0.75), 0.02)

    def _mouth(self) -> None:
        t = self.t
        thick = (0.085 - 0.015 * self.grown + 0.015 * t.lips) * (1 - 0.62 * self.old) + 0.012
        droop = 0.07 * self.old - 0.09 * t.smile
        along = np.linspace(-1, 1, 9)
        line = self.mouth_v + droop * along**2
        u = along * self.mouth_w
        red = np.array(t.skin_colour) * (0.68, 0.62, 0.86) + np.array([0, 0, 12.0]) * (1 - self.old)
        bow = thick * (1 - along**2) * (1 - 0.25 * np.exp(-((along / 0.2) ** 2)))
        lower = line + 1.25 * thick * (1 - along**2)
        upper = _curve(u, line - bow)
        self._fill(np.concatenate([upper, _curve(u, lower)[::-1]]), tuple(red))
        if t.smile > 0.55:
            teeth = np.concatenate(
                [_curve(u, line - 0.2 * bow), _curve(u, line + 0.6 * (lower - line))[::-1]]
            )
            yellow = 20 * float(np.clip(t.skin / 80, 0, 1))
            self._fill(teeth * (0.92, 1.0), (222 - 2 * yellow, 230 - yellow, 234 - yellow))
        else:
            self._stroke(_curve(u, line), _scale(t.skin_colour, 0.38), 0.022)

    def _eyes(self) -> None:
        t, g, old = self.t, self.grown, self.old
        open_ = (0.125 - 0.045 * g) * (1 - 0.38 * old) * (1 + 0.12 * t.eyes) * (1 - 0.2 * max(t.smile, 0))
        iris = 0.085 - 0.008 * g
        gaze = float(self.rng.normal(0, 0.02))
        along = np.linspace(-1, 1, 9)
        for s in (-1, 1):
            u = s * self.eye_u + along * self.eye_w
            outer = np.clip(along * s, 0, 1)
            sag = 0.05 * old * outer - 0.015 * outer
            top = self.eye_v - open_ * (1 - along**2) + sag + 0.035 * old * outer
            bottom = self.eye_v + 0.72 * open_ * (1 - along**2) + sag
            white = 12 * float(np.clip(t.skin / 90, 0, 1))
            almond = np.concatenate([_curve(u, top), _curve(u, bottom)[::-1]])
            self._fill(almond, (226 - 2 * white, 228 - 1.5 * white, 230 - white))
            # The iris, cut by the lids.
            ring = self._ellipse(s * self.eye_u + gaze, self.eye_v - 0.005, iris, iris * 1.02)
            pupil = self._ellipse(s * self.eye_u + gaze, self.eye_v - 0.005, iris * 0.48, iris * 0.48)
            for shape, colour in ((ring, t.iris), (pupil, (12.0, 12.0, 12.0))):
                high = np.interp(shape[:, 0], u, top)
                low = np.interp(shape[:, 0], u, bottom)
                self._fill(_curve(shape[:, 0], np.clip(shape[:, 1], high, low)), colour)
            glint = self._ellipse(s * self.eye_u + gaze + 0.025, self.eye_v - 0.03, 0.018, 0.018)[::3]
            self._fill(glint, (240, 240, 240))
            lash = _scale(t.skin_colour, 0.28 + 0.15 * t.grey)
            self._stroke(_curve(u, top), lash, 0.02 + 0.012 * (1 - t.masculine))
            self._stroke(_curve(u, bottom), _scale(t.skin_colour, 0.62), 0.012)
            hood = _curve(u, top - 0.05 - 0.01 * g + 0.04 * old * outer)
            self._stroke(hood, _scale(t.skin_colour, 0.74 - 0.1 * old), 0.014 + 0.012 * old)

    def _brows(self) -> None:
        t, g, old = self.t, self.grown, self.old
        height = 0.17 + 0.05 * (1 - g) + 0.02 * t.brows - 0.03 * t.masculine * g
        width = (0.022 + 0.028 * g) * (1 + 0.35 * t.masculine) * (1 - 0.2 * t.thinning)
        along = np.linspace(-1, 1, 6)
        base = np.array(_scale(t.hair_colour, 0.8)) * 0.8 + np.array(t.skin_colour) * (0.2 + 0.25 * (1 - g))
        for s in (-1, 1):
            outer = along * s
            v = self.eye_v - height - 0.05 * (1 - outer**2) + 0.06 * old * np.clip(outer, 0, 1)
            self._stroke(_curve(s * self.eye_u + along * 0.24, v), _scale(tuple(base), 1.0), width)

    def _hair(self) -> None:
        """Hair on the head: a cap whose lower edge is the hairline, rising and thinning with age."""
        t, rng = self.t, self.rng
        layer = np.zeros((_SIZE, _SIZE), np.uint8)
        along = np.linspace(-1, 1, 13)
        r = t.recession
        line = -1.02 + 0.05 * (1 - self.grown) - 0.10 * r
        line += 0.38 * t.fringe if t.fringe > 0 else 0.0
        temples = np.exp(-(((np.abs(along) - 0.62) / 0.22) ** 2)) * (0.05 + 0.36 * r)
        crown = np.exp(-((along / 0.55) ** 2)) * max(r - 0.55, 0.0) * 1.1
        edge = line - temples - crown + 0.72 * np.abs(along) ** 7
        edge += rng.normal(0, 0.012, 13)
        bottom = _curve(along * 1.0, edge)
        volume = 0.10 + 0.08 * (1 - r) * (1 - t.thinning) + 0.05 * t.hair_length
        top = self._outline(volume)[len(_ARC) :]
        self._fill(np.concatenate([bottom, top[::-1]]), 255, layer)
        for s in (-1, 1):  # sideburns, or hair that falls beside the face
            end = 0.05 + 0.25 * (t.hair_length < 0.3) * t.masculine + 1.3 * max(t.hair_length - 0.3, 0)
            inner, outer = 0.90 - 0.10 * max(t.hair_length - 0.3, 0), 1.14 + 0.1 * t.hair_length
            side = [(s * inner, -0.75), (s * 1.14, -0.75), (s * outer, end), (s * (inner + 0.06), end)]
            self._fill(side, 255, layer)
        # Strands: darker and lighter streaks, more contrast in greying hair.
        coarse = rng.standard_normal((1, 32), np.float32) * (16 + 22 * t.grey * (1 - t.grey) * 4)
        streaks = cv2.resize(coarse, (_SIZE, _SIZE), interpolation=cv2.INTER_LINEAR)
        self._blend(cv2.GaussianBlur(layer, (5, 5), 1.0), t.hair_colour, 1.0 - t.thinning, streaks)

    def _blend(self, mask: Picture, colour: Colour, alpha: float, add: NDArray[Any] | None = None) -> None:
        """Lay ``colour`` (plus ``add``) over the picture where ``mask`` is, ``alpha`` opaque."""
        weight = mask.astype(np.float32) * np.float32(alpha / 255.0)
        planes = []
        for plane, value in zip(cv2.split(self.picture), colour, strict=True):
            target = np.float32(value) if add is None else add + np.float32(value)
            planes.append(cv2.add(plane, (target - plane) * weight, dtype=cv2.CV_8U))
        self.picture = cv2.merge(planes)

    def _glasses(self) -> None:
        rng = self.rng
        frame = tuple(rng.integers(10, 150, 3).tolist())
        width, height = rng.uniform(0.27, 0.34), rng.uniform(0.2, 0.28)
        for s in (-1, 1):
            lens = self._ellipse(s * self.eye_u, self.eye_v + 0.03, width, height)
            self._stroke(np.concatenate([lens, lens[:1]]), frame, 0.035)
            self._stroke([(s * (self.eye_u + width), self.eye_v), (s * 1.0, self.eye_v - 0.05)], frame, 0.035)
        self._stroke([(-self.eye_u + width, self.eye_v), (self.eye_u - width, self.eye_v)], frame, 0.035)

    def _camera(self, picture: Picture) -> Picture:
        """Light from one side, its colour, exposure; blur, sensor noise, JPEG."""
        rng = self.rng
        angle, strength = rng.uniform(0, 2 * math.pi), abs(rng.normal(0, 0.22))
        towards = _COLUMN * np.float32(math.cos(angle)) + _ROW * np.float32(math.sin(angle) * 0.6)
        light = 1.0 + np.float32(strength) * towards
        gain = rng.normal(1.0, 0.06, 3) * rng.uniform(0.7, 1.2)
        sigma = rng.uniform(0.0, 6.0)
        noise = rng.standard_normal((IMAGE_SIZE, IMAGE_SIZE, 3), np.float32) * np.float32(sigma)
        lit = picture * (np.maximum(light, 0.25)[..., None] * gain.astype(np.float32))
        if rng.random() < 0.5:
            lit = cv2.GaussianBlur(lit, (3, 3), float(rng.uniform(0.3, 0.9)))
        lit += noise + np.float32(rng.normal(0, 8))
        result: Picture = np.clip(lit, 0, 255).astype(np.uint8)
        if rng.random() < 0.6:
            quality = int(rng.integers(45, 96))
            _, code = cv2.imencode(".jpg", result, [cv2.IMWRITE_JPEG_QUALITY, quality])
            return cv2.imdecode(code, cv2.IMREAD_COLOR)  # type: ignore[return-value]
        return result


def _scale(colour: Colour, factor: float) -> Colour:
    b, g, r = colour
    return b * factor, g * factor, r * factor


def _curve(u: Points, v: Points | float) -> Points:
    points = np.empty((len(u), 2))
    points[:, 0], points[:, 1] = u, v
    return points
