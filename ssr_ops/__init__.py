"""The native core's Python face: operator, engine, face detector, and their readable references.

Names are resolved on first use, so that ``ssr_ops.reference`` needs no native module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssr_bundle.lazy import on_first_use

if TYPE_CHECKING:
    from ssr_ops.detector import Detections as Detections
    from ssr_ops.detector import Detector as Detector
    from ssr_ops.engine import Engine as Engine
    from ssr_ops.op import implementations as implementations
    from ssr_ops.op import soft_stagewise_regression as soft_stagewise_regression
    from ssr_ops.precision import PrecisionChoice as PrecisionChoice
    from ssr_ops.precision import SlowPrecision as SlowPrecision
    from ssr_ops.precision import choose_precision as choose_precision
    from ssr_ops.reference import Stages as Stages

__getattr__, __all__ = on_first_use(
    __name__,
    {
        "detector": ("Detections", "Detector"),
        "engine": ("Engine",),
        "op": ("implementations", "soft_stagewise_regression"),
        "precision": ("PrecisionChoice", "SlowPrecision", "choose_precision"),
        "reference": ("Stages",),
    },
)
