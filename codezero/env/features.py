"""What a program is made of, as numbers: what choosers of lists look at."""

from __future__ import annotations

import array
import math
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from codezero._native import SHAPE_FEATURES, Module

if TYPE_CHECKING:  # half of what a worker would have to import
    import numpy as np
    import numpy.typing as npt

Observation: TypeAlias = "npt.NDArray[np.float32]"

NUM_AUTOPHASE = 56
NUM_FEATURES = NUM_AUTOPHASE + len(SHAPE_FEATURES) + 1
"""Of a program in one state; see `Features`."""


class Features(NamedTuple):
    """What a program is made of, at the start and as the baseline makes it.

    Each float32, length `NUM_FEATURES`: Autophase over the instruction count, native/shape.h, and
    ln of the instruction count.
    """

    initial: array.array[float]
    baseline: array.array[float]


def features_of(module: Module) -> array.array[float]:
    """Of a program in one state; see `Features`."""
    features = array.array("f", bytes(4 * NUM_FEATURES))
    with memoryview(features) as view:
        instructions = module.observe(view[:NUM_AUTOPHASE])
        module.observe_shape(view[NUM_AUTOPHASE:-1])
    features[-1] = math.log(max(instructions, 1))
    return features
