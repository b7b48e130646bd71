"""The tolerances that tests read. They live in the package, since the installed commands read them too."""

from ssr_train.tolerances import (
    OFFICIAL,
    PROBABILITY,
    REQUIRED,
    TABLE,
    Limits,
    Tolerance,
    operator_scale,
    operator_tolerance,
    required,
    tolerance,
)

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
