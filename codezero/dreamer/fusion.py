"""How the networks compute on a GPU: small functions as one kernel, matrices in bfloat16."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

Function = TypeVar("Function", bound=Callable[..., Any])


KINDS_OF_INPUT = 64
"""Shapes, types and needs of gradients that a function may be compiled for; torch's own limit of 8
is too few, and past it functions run unfused."""


def compute_type(weight: Tensor) -> torch.dtype:
    """The type that autocast multiplies matrices in where it is on, and else the weights' own."""
    kind = weight.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype


def wide(x: Tensor) -> Tensor:
    """What sums and exponentials are computed in: float32, or float64 where that comes in."""
    return x if x.dtype == torch.float64 else x.float()


def fused(function: Function) -> Function:
    """Have torch.compile make one kernel of a function of tensors, on a GPU; elsewhere, nothing.

    Compiling takes seconds for each function and kind of input, which pays where an update runs
    thousands of times, and makes a CPU, where one runs hundreds of times, wait.
    """
    compiled: list[Callable[..., Any]] = []

    @functools.wraps(function)
    def call(*args: Any) -> Any:
        if not args[0].is_cuda:
            return function(*args)
        if not compiled:
            from torch._dynamo import config  # takes a second to import

            config.recompile_limit = max(config.recompile_limit, KINDS_OF_INPUT)
            compiled.append(torch.compile(function, dynamic=False))
        return compiled[0](*args)

    return call  # type: ignore[return-value]
