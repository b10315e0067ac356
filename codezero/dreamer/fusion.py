"""How the networks compute on a GPU: small functions as one kernel, matrices in bfloat16, and all
that is done again and again as one CUDA graph."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

Function = TypeVar("Function", bound=Callable[..., Any])
Result = TypeVar("Result")

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


class Captured(Generic[Result]):
    """A function that always works on the same tensors, called as one CUDA graph.

    What it reads has to be changed in place, and what it returns is overwritten by the next call.
    Random numbers are new ones each time.

    Args:
        function: of no arguments; nothing in it may wait for the GPU.
        stream: to run in, the eager calls as well.
        eager_calls: before the function is captured: they let libraries choose and allocate.
    """

    def __init__(
        self, function: Callable[[], Result], stream: torch.cuda.Stream, eager_calls: int = 3
    ) -> None:
        self._function = function
        self._stream = stream
        self._eager_calls = eager_calls
        self._graph: torch.cuda.CUDAGraph | None = None
        self._result: Result

    def __call__(self) -> Result:
        if self._graph is None and self._eager_calls:
            self._eager_calls -= 1
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                result = self._function()
            torch.cuda.current_stream().wait_stream(self._stream)
            return result
        if self._graph is None:
            self._graph = torch.cuda.CUDAGraph()
            # Threads of communication make calls of their own, which are not of the graph.
            with torch.cuda.graph(
                self._graph, stream=self._stream, capture_error_mode="thread_local"
            ):
                self._result = self._function()
        self._graph.replay()
        return self._result
