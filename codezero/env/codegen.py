"""The smallest code for a finished program: ways to generate it, and frame pointers."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple

from codezero._native import LLVMError, Module
from codezero.compiler.spaces import Codegen, options_on
from codezero.env.subject import Made, Measured, Subject
from codezero.programs.load import parse_module


class _Framed(NamedTuple):
    """Code that is being generated to see which functions are smaller with a frame pointer."""

    names: list[str]
    """Functions that can have one and have not."""
    with_all: Future[Measured | None]
    """Where all of these have one."""
    without: Future[Measured | None] | bytes
    """Where none of them has; the object itself, if it is at hand."""


class CodeGenerator:
    """Generates code for what has been made of a program.

    Args:
        pool: of threads, for ways that are tried side by side.
    """

    def __init__(self, subject: Subject, pool: ThreadPoolExecutor) -> None:
        self._subject = subject
        self._pool = pool

    def generate(self, made: Made, ways: Sequence[Codegen], frame_pointers: bool) -> Made:
        """The smallest code for a finished program.

        Nothing is tried of what clang has to generate, of an episode for objects, and nothing stays
        that LLVM warns of, as of a frame that is larger than flags say.

        Args:
            ways: to generate code, that are tried side by side.
            frame_pointers: whether functions get one, after the best of these, that are smaller
                with it: an address in the frame takes a byte less, and the tables to unwind by a
                good deal.
        """
        if self._subject.for_objects and made.object is None:
            return made
        module = parse_module(replace(self._subject.program, bitcode=made.bitcode))
        tried = options_on(ways, module)
        futures = [self._pool.submit(self._generate, module.clone(), each) for each in tried]
        framed = self._submit_framed(module, made, tried, futures) if frame_pointers else None
        best = made._replace(plain_cost=made.cost)
        for options, future in zip(tried, futures, strict=True):
            measured = future.result()
            if measured is not None and measured.cost < best.cost:
                best = best._replace(
                    cost=measured.cost, object=self._subject.object_of(measured), codegen=options
                )
        if framed is None:
            return best
        names = self._smaller_with_frame_pointer(*framed)
        for name in names:
            module.keep_frame_pointer(name)
        measured = self._generate(module, best.codegen) if names else None
        if measured is None or measured.cost >= best.cost:
            return best
        return best._replace(
            cost=measured.cost,
            bitcode=module.bitcode(),
            object=self._subject.object_of(measured),
            frame_pointers=tuple(names),
        )

    def _submit_framed(
        self,
        module: Module,
        made: Made,
        tried: Sequence[tuple[str, ...]],
        futures: Sequence[Future[Measured | None]],
    ) -> _Framed | None:
        """Have code generated with a frame pointer in all functions, to see which are smaller.

        It is generated in the first of the ways that are tried, which does not wait for the best of
        them. None where what that does to a function cannot be told, or none can have one.
        """
        if not module.tells_function_sizes:
            return None
        framed = module.clone()
        names = [name for name in module.instruction_counts() if framed.keep_frame_pointer(name)]
        if not names:
            return None
        way, without = (tried[0], futures[0]) if tried else ((), made.object)
        if without is None:
            without = self._pool.submit(self._generate, module.clone(), way)
        return _Framed(names, self._pool.submit(self._generate, framed, way), without)

    def _smaller_with_frame_pointer(
        self,
        names: Sequence[str],
        with_all: Future[Measured | None],
        without: Future[Measured | None] | bytes,
    ) -> list[str]:
        """Those functions; see `_Framed`."""
        before, after = (
            self._subject.sizes_by_function(
                _code(each.result()) if isinstance(each, Future) else each
            )
            for each in (without, with_all)
        )
        return [name for name in names if name in after and after[name] < before.get(name, 0)]

    def _generate(self, module: Module, codegen: tuple[str, ...]) -> Measured | None:
        """The code and its cost; None where LLVM fails, or warns of it."""
        with contextlib.suppress(LLVMError):
            measured = self._subject.measure(module, codegen)
            return None if module.has_warned else measured
        return None


def _code(measured: Measured | None) -> bytes | None:
    return None if measured is None else measured.code
