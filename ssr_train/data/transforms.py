"""The augmentations of the public SSR-Net code, as one affine warp of the whole batch."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

FLIP = 0.5
APPLY = 0.25
"""Probability of each of rotation, shear, shift and zoom, which are drawn independently."""
ROTATION, SHEAR, SHIFT, ZOOM = math.radians(20), 0.2, 0.2, (0.8, 1.2)
"""Largest angle and shear (radians), shift (share of the picture's side), zoom per axis."""


def to_network(images: Tensor) -> Tensor:
    """uint8 (N, 64, 64, 3) to the network's float32 (N, 3, 64, 64), channels last in memory."""
    return images.permute(0, 3, 1, 2).float()


def augment(images: Tensor) -> Tensor:
    """Randomly moved and mirrored float (N, 3, 64, 64); draws from torch's global CPU generator."""
    return warp(images, random_matrices(len(images)))


def random_matrices(count: int) -> Tensor:
    """(count, 2, 3) maps from output to input coordinates, both -1..1 over the picture."""

    def maybe(low: float, high: float, neutral: float) -> Tensor:
        value = torch.empty(count).uniform_(low, high)
        return torch.where(torch.rand(count) < APPLY, value, neutral)

    def both(low: float, high: float, neutral: float) -> tuple[Tensor, Tensor]:
        on = torch.rand(count) < APPLY
        x, y = torch.empty(2, count).uniform_(low, high)
        return torch.where(on, x, neutral), torch.where(on, y, neutral)

    angle, shear = maybe(-ROTATION, ROTATION, 0.0), maybe(-SHEAR, SHEAR, 0.0)
    shift_x, shift_y = both(-2 * SHIFT, 2 * SHIFT, 0.0)
    zoom_x, zoom_y = both(*ZOOM, 1.0)
    mirror = torch.where(torch.rand(count) < FLIP, -1.0, 1.0)
    cos, sin = angle.cos(), angle.sin()
    # rotation @ shear @ zoom, then the mirror on the output's x
    xx, xy = cos * zoom_x * mirror, (-cos * shear.sin() - sin * shear.cos()) * zoom_y
    yx, yy = sin * zoom_x * mirror, (-sin * shear.sin() + cos * shear.cos()) * zoom_y
    rows = torch.stack([xx, xy, shift_x, yx, yy, shift_y], dim=1)
    return rows.reshape(count, 2, 3)


def warp(images: Tensor, matrices: Tensor) -> Tensor:
    """Bilinear affine warp; outside the picture its border pixels repeat. Same shape, channels last."""
    size = list(images.shape)
    grid = F.affine_grid(matrices.to(images), size, align_corners=False)
    warped = F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return warped.contiguous(memory_format=torch.channels_last)
