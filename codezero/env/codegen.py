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
            frame_pointers: whether functions get one that are smaller with it: an address in the
                frame takes a byte less, and the tables to unwind by a good deal. Which these are is
                told by the first way, as the best one is not known until all are done.
        """
        if self._subject.for_objects and made.object is None:
            return made
        module = parse_module(replace(self._subject.program, bitcode=made.bitcode))
        tried = options_on(ways, module)
        futures = [self._pool.submit(self._generate, module.clone(), each) for each in tried]
        way, without = (tried[0], futures[0]) if tried else ((), made.object)
        framed = self._submit_framed(module, way, without) if frame_pointers else None
        if framed is None and len(futures) < 2:  # a thread has nothing to do
            self._subject.measure_start_meanwhile()
        best = made._replace(plain_cost=made.cost)
        for options, future in zip(tried, futures, strict=True):
            measured = future.result()
            if measured is not None and measured.cost < best.cost:
                best = best._replace(
                    cost=measured.cost, object=self._subject.object_of(measured), codegen=options
                )
        if framed is None:
            return best
        names = self._smaller(framed)
        if names is None and best.codegen != way:  # there is no code of that way
            framed = self._submit_framed(module, best.codegen, best.object)
            names = framed and self._smaller(framed)
        if not names:
            return best
        self._subject.measure_start_meanwhile()
        for name in names:
            module.keep_frame_pointer(name)
        measured = self._generate(module, best.codegen)
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
        way: tuple[str, ...],
        without: Future[Measured | None] | bytes | None,
    ) -> _Framed | None:
        """Have code generated with a frame pointer in all functions, to see which are smaller.

        Args:
            way: to generate it.
            without: the same without frame pointers, if that is there.

        None where what that does to a function cannot be told, or none can have one.
        """
        if not module.tells_function_sizes:
            return None
        framed = module.clone()
        names = [name for name in module.instruction_counts() if framed.keep_frame_pointer(name)]
        if not names:
            return None
        if without is None:
            without = self._pool.submit(self._generate, module.clone(), way)
        return _Framed(names, self._pool.submit(self._generate, framed, way), without)

    def _smaller(self, framed: _Framed) -> list[str] | None:
        """The functions that are smaller with a frame pointer; None where there is no code."""
        without, with_all = _code(framed.without), _code(framed.with_all)
        if without is None or with_all is None:
            return None
        before = self._subject.sizes_by_function(without)
        after = self._subject.sizes_by_function(with_all)
        return [n for n in framed.names if n in after and after[n] < before.get(n, 0)]

    def _generate(self, module: Module, codegen: tuple[str, ...]) -> Measured | None:
        """The code and its cost; None where LLVM fails, or warns of it."""
        with contextlib.suppress(LLVMError):
            measured = self._subject.measure(module, codegen)
            return None if module.has_warned else measured
        return None


def _code(generated: Future[Measured | None] | bytes) -> bytes | None:
    if isinstance(generated, bytes):
        return generated
    measured = generated.result()
    return None if measured is None else measured.code
