"""What a program is made of, as numbers: what choosers of lists look at."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from codezero._native import SHAPE_FEATURES, Module

NUM_AUTOPHASE = 56
NUM_FEATURES = NUM_AUTOPHASE + len(SHAPE_FEATURES) + 1
"""Of a program in one state; see `Features`."""

Observation = npt.NDArray[np.float32]


class Features(NamedTuple):
    """What a program is made of, at the start and as the baseline makes it.

    Each float32, shape (`NUM_FEATURES`,): Autophase over the instruction count, native/shape.h, and
    ln of the instruction count.
    """

    initial: Observation
    baseline: Observation


def features_of(module: Module) -> Observation:
    """Of a program in one state; see `Features`."""
    features = np.zeros(NUM_FEATURES, np.float32)
    instructions = module.observe(features[:NUM_AUTOPHASE])
    module.observe_shape(features[NUM_AUTOPHASE:-1])
    features[-1] = math.log(max(instructions, 1))
    return features
