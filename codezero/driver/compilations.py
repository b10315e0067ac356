"""What the server does for one compilation: from unoptimised bitcode to the smallest object."""

from __future__ import annotations

import hashlib
import json
import os
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, Protocol

import codezero
from codezero import __version__
from codezero._native import LLVM_VERSION, SOURCES, CodegenError
from codezero.agents.shipped import agent_for
from codezero.compiler.clang_driver import is_fortran, not_followed
from codezero.compiler.frontends import compile_options
from codezero.compiler.objectives import Objective
from codezero.compiler.program import Program
from codezero.compiler.spaces import load_space
from codezero.driver.cache import Json, ObjectCache
from codezero.driver.seen import Found, Results, Seen
from codezero.driver.settings import OFF, DriverSettings
from codezero.env.session import make_settings
from codezero.optimize import Optimized, Optimizer
from codezero.parallel import MOST_THREADS, available_cores
from codezero.programs.load import ProgramLoader
from codezero.search.agent import AgentPolicy
from codezero.search.budget import ONE_TRIAL, Budget, TrialLimit
from codezero.search.policy import CodegenChoice

OBJECTIVE, PROTOCOL, SPACE = Objective.LOADED, "clang", "sound"


class Compilations:
    """Compilations, as many at a time as there are cores; others wait.

    Thread-safe.
    """

    def __init__(self) -> None:
        cores = available_cores()
        self._free: queue.LifoQueue[_Slot] = queue.LifoQueue()
        # The one used last is the one that has its process running.
        for _ in range(cores):
            self._free.put(_Slot(min(cores, MOST_THREADS)))
        self._policies = lru_cache(maxsize=64)(policy_of)
        self._seen = Seen()
        self._caches: dict[tuple[str, int], ObjectCache] = {}
        self._lock = threading.Lock()
        self.version = _version()
        """Of all that decides what is made of a program."""

    def warm_up(self) -> None:
        """Load what the first compilation needs."""
        with self._slot() as slot:
            policy = self._policies(_of_choice(DriverSettings()))
            slot.optimizer(keep_speed=False).warm_up(policy)
            policy.warm_up()

    def known(self, key: str, settings: DriverSettings) -> Found:
        """What is known of a compilation.

        Args:
            key: what it is known by (`codezero.driver.seen.key_of`); empty: nothing.
        """
        cache = self._cache(settings) if key else None
        return Found() if cache is None else self._seen.find(cache, key)

    def make(self, task: Task, clang: Clang) -> Made:
        """The smallest object.

        Raises:
            CodeZeroError: it cannot be made.
        """
        fortran = is_fortran(task.flags)
        if not (fortran or self._seen.bitcode_tells_all(task.files or ())):
            # To generate code takes the files that its assembly reads, in the driver's folder.
            record = {"reason": "its assembly reads files", "passes": []}
            return Made(clang.compile(), record)
        cache = self._cache(task.settings) if task.files else None
        key = self._key(task)
        kept = cache.get(key) if cache is not None else None
        if kept is not None:
            message, data = kept
            return Made(data, {**message["record"], "cached": True}, key)
        by_clang = not_followed(task.flags) is not None
        program = Program(task.name, task.bitcode, compile_options(task.flags))
        with self._slot() as slot:
            optimizer = slot.optimizer(task.settings.keep_speed)
            policy = self._policies(_of_choice(task.settings), by_clang=by_clang)
            if fortran:
                program = optimizer.loader.mark_for_size(program)
                result = _with_object(optimizer.run(program, policy), optimizer.loader)
            else:
                result = optimizer.run(program, policy, bitcode=by_clang)
        if result.object is not None and not by_clang:
            by = "clang" if result.fell_back else "us"
            record = _record(by, result, result.cost, result.costs.baseline)
            made = Made(result.object, record, key)
        else:
            made = _with_clang(clang, result)
            if clang.says_the_same:
                made = made._replace(key=key)
        if cache is not None and made.key:
            cache.put(key, {"record": made.record}, made.object)
        return made

    def remember(
        self,
        key: str,
        task: Task,
        made: Made,
        results: Results,
        began: float,
    ) -> None:
        """Keep what came of a compilation, by the words that asked for it; see `Seen.remember`.

        Args:
            key: what it is known by.
            began: before it read the first file, in seconds since 1970.
        """
        cache = self._cache(task.settings)
        files = self._seen.digests(task.files or (), began)
        if cache is not None and files is not None:
            self._seen.remember(cache, key, files, made.key, results)

    @contextmanager
    def _slot(self) -> Iterator[_Slot]:
        slot = self._free.get()
        try:
            yield slot
        finally:
            self._free.put(slot)

    def _cache(self, settings: DriverSettings) -> ObjectCache | None:
        if settings.cache == OFF:
            return None
        which = settings.cache, settings.cache_bytes
        with self._lock:
            if which not in self._caches:
                self._caches[which] = ObjectCache(Path(settings.cache), settings.cache_bytes)
            return self._caches[which]

    def _key(self, task: Task) -> str:
        """What an object is made of: bitcode, flags, and what we are."""
        compiler = os.stat(task.flags[0])
        identity = task.flags[0], compiler.st_size, compiler.st_mtime_ns
        what = json.dumps([self.version, task.flags, identity, _of_choice(task.settings)])
        return hashlib.blake2b(what.encode() + task.bitcode, digest_size=20).hexdigest()

    def close(self) -> None:
        """End the processes of those that are free."""
        while not self._free.empty():
            self._free.get().close()


def _version() -> str:
    """Of this package, as it is installed now, with its space of passes, and the agent."""
    what = f"{__version__} {LLVM_VERSION} {SOURCES} {load_space(SPACE)}"
    digest = hashlib.blake2b(what.encode(), digest_size=16)
    package = Path(codezero.__file__).parent
    agent = agent_for(make_settings(SPACE, OBJECTIVE, PROTOCOL))
    for folder, ending in ((package, "py"), (agent, "json"), (agent, "onnx")):
        for path in sorted(folder.rglob(f"*.{ending}")):
            contents = path.read_bytes()
            digest.update(f"{path.relative_to(folder)} {len(contents)}\n".encode() + contents)
    return digest.hexdigest()


class Task(NamedTuple):
    """A compilation, from the front end on."""

    name: str
    bitcode: bytes
    """Before the first pass."""
    flags: list[str]
    """The command of clang's back end."""
    files: list[str] | None
    """That were read, absolute, as far as they can be listed; None: nothing is known of them."""
    settings: DriverSettings


class Made(NamedTuple):
    """What came of it."""

    object: bytes
    record: Json
    key: str = ""
    """What the object is kept by; empty if it may not be kept."""


class Clang(Protocol):
    """Clang, for a compilation whose code it has to generate itself."""

    def generate(self, bitcode: bytes) -> bytes:
        """The object that it makes of optimised bitcode. Raises `CodeZeroError` if it cannot."""

    def compile(self) -> bytes:
        """The object that it makes by itself."""

    @property
    def says_the_same(self) -> bool:
        """Whether its messages, if it has compiled by itself, are those of its front end."""


class _Slot:
    """What one compilation at a time works with."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._optimizers: dict[bool, Optimizer] = {}

    def optimizer(self, keep_speed: bool) -> Optimizer:
        if keep_speed not in self._optimizers:
            settings = make_settings(SPACE, OBJECTIVE, PROTOCOL, keep_speed=keep_speed)
            self._optimizers[keep_speed] = Optimizer(
                settings, threads=self._threads, for_objects=True, estimate_start=True
            )
        return self._optimizers[keep_speed]

    def close(self) -> None:
        for optimizer in self._optimizers.values():
            optimizer.close()


def _of_choice(settings: DriverSettings) -> DriverSettings:
    """The settings that decide which passes are chosen, and none of the others."""
    return DriverSettings(
        keep_speed=settings.keep_speed,
        effort=settings.effort,
        seconds=settings.seconds,
        budget=settings.budget,
    )


def policy_of(settings: DriverSettings, *, by_clang: bool = False) -> AgentPolicy:
    """What chooses passes, as a user wants it.

    Args:
        by_clang: whether clang generates the code, as flags say that are not followed here.

    Raises:
        CodeZeroError: a budget that is none.
    """
    return AgentPolicy(
        agent_for(make_settings(SPACE, OBJECTIVE, PROTOCOL)),
        Budget.parse(settings.budget) if settings.budget else ONE_TRIAL,
        limit=TrialLimit(settings.effort, settings.seconds),
        objective=OBJECTIVE,
        codegen=CodegenChoice.IR if by_clang else CodegenChoice.ALL,
    )


def _with_object(result: Optimized, loader: ProgramLoader) -> Optimized:
    """With code that is generated here, which no one else does for flang's bitcode."""
    if result.object is not None:
        return result
    return replace(result, object=loader.emit(result.optimized, ".o"))


def _with_clang(clang: Clang, result: Optimized) -> Made:
    """The smallest object, where clang makes them: of what was chosen, by itself, or both where
    what was measured is wrong."""
    ours = b""
    if not result.fell_back:
        ours = clang.generate(result.bitcode)
        size = _size(ours, result.cost)
        if size == result.cost:
            return Made(ours, _record("us", result, size, result.costs.baseline))
        # A flag changes clang's code generation in a way that the measurements did not see.
    clangs = clang.compile()
    baseline = _size(clangs, result.costs.baseline)
    if ours and size < baseline:
        return Made(ours, _record("us", result, size, baseline))
    return Made(clangs, _record("clang", result, baseline, baseline))


def _size(made: bytes, measured: int) -> int:
    """Bytes that are loaded; what was measured, where that cannot be told of an object."""
    try:
        return OBJECTIVE.measure_object(made)
    except CodegenError:
        return measured


def _record(by: str, result: Optimized, size: int, baseline: int) -> Json:
    if by == "us":
        reason = "" if result.passes or result.functions else "other code for what -Oz makes"
    else:
        reason = "-Oz makes it as small"
    return {
        "size": size,
        "baseline": baseline,
        "passes": list(result.passes) if by == "us" else [],
        "codegen": [f"-{option}" for option in result.codegen] if by == "us" else [],
        "frame_pointers": len(result.frame_pointers) if by == "us" else 0,
        "inlining": len(result.inlining) if by == "us" else 0,
        "seconds": round(result.seconds, 3),
        "reason": reason,
    }
