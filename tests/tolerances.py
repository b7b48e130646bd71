"""The tolerances that tests read. They live in the package, since the installed commands read them too."""

from ssr_bundle.tolerances import (
    OFFICIAL,
    PROBABILITY,
    REQUIRED,
    TABLE,
    Limits,
    Tolerance,
    operator_tolerance,
    required,
    tolerance,
)
from ssr_ops.magnitude import operator_scale

__all__ = [
    "OFFICIAL",
    "PROBABILITY",
    "REQUIRED",
    "TABLE",
    "Limits",
    "Tolerance",
    "operator_scale",
    "operator_tolerance",
    "required",
    "tolerance",
]
