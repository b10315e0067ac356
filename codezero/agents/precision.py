"""Smaller policies: weights in fewer bits, where the decisions stay the same."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from codezero.agents.agent import PolicyRuntime
from codezero.errors import CodeZeroError
from codezero.training import checkpoints

Precision = Literal["float32", "float16", "int8"]

SAME = 0.999
"""Share of decisions that must stay as they were."""
ROWS_OF_AN_EPISODE = 50
"""About so many, to know how much to read."""
SMALL = 1_024
"""Weights of so few numbers stay as they are."""
NARROW = ".float16"
"""What the names of weights in float16 end in."""


@dataclass(frozen=True)
class Agreement:
    """How a policy of other precision decides where the original one has been."""

    decisions: int
    same: int
    bytes: int
    """Of the file."""

    @property
    def share(self) -> float:
        return self.same / max(self.decisions, 1)


@dataclass(frozen=True)
class Episodes:
    """Episodes that were played, of one length."""

    observations: npt.NDArray[np.float32]
    """Shape (T, B, D)."""
    actions: npt.NDArray[np.int64]
    """What led to each observation, shape (T, B); of no meaning at t = 0."""


def smallest(original: Path, target: Path, episodes: Episodes) -> tuple[Precision, dict[str, Any]]:
    """Write the smallest policy that decides as the original does.

    Args:
        original: an ONNX file in float32.
        target: where the smallest goes.
        episodes: what decisions are compared on.

    Returns:
        Its precision, and what was measured of each.
    """
    decided = decisions(original, "float32", episodes)
    measured: dict[Precision, Agreement] = {}
    for precision in ("int8", "float16", "float32"):
        convert(original, target, precision)
        same = int((decisions(target, precision, episodes) == decided).sum())
        measured[precision] = Agreement(decided.size, same, target.stat().st_size)
        if measured[precision].share >= SAME:
            break
    return precision, {name: asdict(value) for name, value in measured.items()}


def decisions(policy: Path, precision: Precision, episodes: Episodes) -> npt.NDArray[np.int64]:
    """The likeliest action at each observation, shape (T, B), given the actions that were taken."""
    runtime = PolicyRuntime(policy, by_row=precision == "int8")
    memory = runtime.begin(episodes.actions.shape[1])
    result = np.empty_like(episodes.actions)
    for t, observation in enumerate(episodes.observations):
        memory.action = episodes.actions[t]
        result[t] = runtime.decide(memory, observation).policy.argmax(-1)
    return result


def convert(original: Path, target: Path, precision: Precision) -> None:
    """Write a policy in another precision; ``"float32"`` is a copy."""
    _CONVERT[precision](original, target)


def _to_float16(original: Path, target: Path) -> None:
    """Weights are stored in float16, and made float32 once, when the file is loaded."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(original)
    graph, casts = model.graph, []
    for weight in list(graph.initializer):
        if weight.data_type != TensorProto.FLOAT or np.prod(weight.dims) < SMALL:
            continue
        narrow = numpy_helper.to_array(weight).astype(np.float16)
        name = f"{weight.name}{NARROW}"
        graph.initializer.append(numpy_helper.from_array(narrow, name))
        casts.append(helper.make_node("Cast", [name], [weight.name], to=TensorProto.FLOAT))
        graph.initializer.remove(weight)
    for cast in reversed(casts):
        graph.node.insert(0, cast)
    onnx.save(model, target)


def _to_int8(original: Path, target: Path) -> None:
    """Matrix products in eight bits: weights by column, what they are multiplied with by call."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    logging.disable(logging.WARNING)  # it advises what is for convolutions
    try:
        quantize_dynamic(original, target, per_channel=True, weight_type=QuantType.QInt8)
    finally:
        logging.disable(logging.NOTSET)


_CONVERT: dict[Precision, Callable[[Path, Path], Any]] = {
    "float32": shutil.copyfile,
    "float16": _to_float16,
    "int8": _to_int8,
}


def newest_episodes(run: Path, most: int) -> Episodes:
    """The last episodes of a run's replay that have the commonest length: the limit on steps.

    Raises:
        CodeZeroError: the run has no replay, or one that cannot be read.
    """
    rows = checkpoints.newest_rows(run / "replay", most * ROWS_OF_AN_EPISODE)
    if rows is None:
        raise CodeZeroError(f"{run}: no episodes to compare decisions on: give --precision")
    starts = np.flatnonzero(rows.is_first)
    lengths = np.diff([*starts, len(rows.is_first)])
    length = int(np.bincount(lengths).argmax())
    where = starts[lengths == length][-most:] + np.arange(length)[:, None]
    return Episodes(rows.observation[where], rows.action[where])
