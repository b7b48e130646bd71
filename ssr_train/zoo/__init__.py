"""The methods of the paper's tables, each trainable and evaluable by the same commands.

``build("dex", backbone="vgg16")`` makes one, :func:`save_system` and :func:`load_system` keep it.
"""

from __future__ import annotations

from ssr_train.zoo.count import Count
from ssr_train.zoo.registry import NAMES, build, check_options, describe, options
from ssr_train.zoo.storage import load_system, save_system
from ssr_train.zoo.system import Description, Paper, System

__all__ = [
    "NAMES",
    "Count",
    "Description",
    "Paper",
    "System",
    "build",
    "check_options",
    "describe",
    "load_system",
    "options",
    "save_system",
]
