"""A rising map of a network's answers, fitted to labelled faces (``fit-crop --recalibrate``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssr_bundle.recalibration import LEAST_STEP, Recalibration
from ssr_train.crops.measured import Half
from ssr_train.evaluation.metrics import Years

FACES_A_POINT = 50
"""Faces behind each inner point of the map at least, but for one point, which any number of faces gives."""

_MOST_INNER = 5
_STEEPEST = 3.0

Floats = NDArray[np.float64]


def recalibrate(halves: Sequence[Half], answers: Sequence[Years], clip: tuple[float, float]) -> Recalibration:
    """The map with the smallest mean error over the faces of ``halves``, each set counting alike, given the
    network's clipped ``answers`` to them.

    The ends of the range stay as they are, so that faces beyond those measured move less the further away
    they are. In between lie up to five points at quantiles of the answers. The error is years to the age, or
    to the nearer end of the bin, and its minimum a linear programme: exact, and no choice of a start.
    """
    from scipy.optimize import linprog
    from scipy.sparse import csr_matrix, eye, hstack, vstack

    spans = [half.faces.spans[half.rows] for half in halves]
    low = np.concatenate([one.low for one in spans])
    high = np.concatenate([one.above for one in spans])
    share = np.concatenate([np.full(len(half.rows), 1 / len(half.rows)) for half in halves])
    given = np.concatenate(answers)
    before = _points(given, share, clip)
    weights, faces, points = _hats(given, before), len(given), len(before)
    # Unknown: what the points become, then each face's error. Each row of `at_most` is a bound on them.
    error, none = eye(faces, format="csr"), csr_matrix((points - 1, faces))
    rises = csr_matrix(np.diff(np.eye(points), axis=0))
    young, old = np.isfinite(low), np.isfinite(high)
    at_most = vstack([
        hstack([-weights[young], -error[young]]),
        hstack([weights[old], -error[old]]),
        hstack([-rises, none]),
        hstack([rises, none]),
    ])  # fmt: skip
    limits = np.concatenate([-low[young], high[old], np.zeros(points - 1), _STEEPEST * np.diff(before)])
    inner = [clip] * (points - 2)
    found = linprog(
        np.concatenate([np.zeros(points), share]),
        A_ub=at_most,
        b_ub=limits,
        bounds=[(clip[0],) * 2, *inner, (clip[1],) * 2, *[(0, None)] * faces],
        method="highs",
    )
    assert found.success, found.message  # the identity is a solution
    after = np.clip(np.maximum.accumulate(found.x[:points].round(3)), *clip)
    after[[0, -1]] = clip
    return Recalibration(tuple(before.tolist()), tuple(after.tolist()))


def _points(given: Years, share: Floats, clip: tuple[float, float]) -> Floats:
    """The ends of the range, and between them quantiles of ``given``, of weights ``share``."""
    inner = int(np.clip(len(given) // FACES_A_POINT, 1, _MOST_INNER))
    order = np.argsort(given)
    up_to = np.cumsum(share[order]) / share.sum()
    wanted = np.linspace(0.1, 0.9, inner) if inner > 1 else np.array([0.5])
    quantiles = np.interp(wanted, up_to, given[order]).round(3)
    points = [clip[0]]
    for value in quantiles.tolist():
        apart = 2 * LEAST_STEP * (clip[1] - clip[0])
        if value - points[-1] >= apart and clip[1] - value >= apart:
            points.append(value)
    return np.array([*points, clip[1]])


def _hats(given: Years, points: Floats) -> Any:
    """(N, P), sparse: the weight of each of the ``points`` in what is between them."""
    from scipy.sparse import csr_matrix

    piece = np.clip(np.searchsorted(points, given, side="right") - 1, 0, len(points) - 2)
    along = (given - points[piece]) / np.diff(points)[piece]
    rows = np.arange(len(given)).repeat(2)
    columns = np.stack([piece, piece + 1], axis=1).ravel()
    values = np.stack([1 - along, along], axis=1).ravel()
    return csr_matrix((values, (rows, columns)), shape=(len(given), len(points)))
