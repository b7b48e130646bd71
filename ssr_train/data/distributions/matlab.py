"""Structs of arrays in Matlab files, and an honest word when one is broken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class BrokenMat(ValueError):
    """A .mat file that does not hold what it should. The message says what is wrong with it."""


def read_struct(path: Path, name: str, numbers: tuple[str, ...], texts: tuple[str, ...]) -> dict[str, Any]:
    """Fields of struct ``name``: ``numbers`` as (N,) float64, ``texts`` as lists of N strings, N in common.

    An element that is no text is "". Raises :class:`BrokenMat` for anything that cannot be read so.
    """
    from scipy.io import loadmat

    try:
        struct = loadmat(path, variable_names=[name])[name][0, 0]
        fields: dict[str, Any] = {field: _numbers(struct[field]) for field in numbers}
        fields |= {field: [_text(cell) for cell in struct[field].ravel()] for field in texts}
    except Exception as error:  # a corrupt file makes scipy raise almost anything
        raise BrokenMat(f"struct {name} is unreadable ({type(error).__name__}: {error})") from None
    lengths = {field: len(values) for field, values in fields.items()}
    if len(set(lengths.values())) != 1:
        shown = ", ".join(f"{field} {length:,}" for field, length in lengths.items())
        raise BrokenMat(f"struct {name}: fields of different length ({shown})")
    return fields


def _numbers(field: NDArray[Any]) -> NDArray[np.float64]:
    return field.ravel().astype(np.float64)


def _text(cell: Any) -> str:
    if isinstance(cell, str):
        return cell
    return str(cell.flat[0]) if isinstance(cell, np.ndarray) and cell.size else ""
