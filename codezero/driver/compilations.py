"""What the server does for one compilation: from unoptimised bitcode to the smallest object."""

from __future__ import annotations

import hashlib
import json
import os
import queue
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path

from codezero import __version__
from codezero._native import LLVM_VERSION, CodegenError
from codezero.agents.shipped import agent_for
from codezero.compiler.clang_driver import is_fortran, not_followed
from codezero.compiler.frontends import compile_options
from codezero.compiler.objectives import Objective
from codezero.compiler.program import Program
from codezero.compiler.spaces import load_space
from codezero.driver import question as questions
from codezero.driver import records
from codezero.driver.cache import ObjectCache
from codezero.driver.messages import Message, receive, send
from codezero.driver.question import Question
from codezero.driver.seen import Found, Seen
from codezero.driver.settings import OFF, DriverSettings
from codezero.env.session import make_settings
from codezero.errors import CodeZeroError
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

    def warm_up(self) -> None:
        """Load what the first compilation needs."""
        with self._slot() as slot:
            policy = self._policies(_of_choice(DriverSettings()))
            slot.optimizer(keep_speed=False).warm_up(policy)
            policy.warm_up()

    def serve(self, connection: socket.socket) -> None:
        """One conversation, as `codezero.driver.messages` has it.

        Raises:
            OSError: the driver has gone.
        """
        message, bitcode = receive(connection)
        question: Question | None = None
        if "question" in message:
            question, found = self._known(bitcode)
            if question is not None and found.results is not None:
                _send_known(connection, question, found)
                return
            send(connection, {"answer": "unknown"})
            message, bitcode = receive(connection)
            if "jobs" in message:
                send(connection, {"answer": "jobs"}, found.jobs)
                message, bitcode = receive(connection)
        task = message["task"]
        settings = DriverSettings(**task["settings"])
        fortran = is_fortran(task["flags"])
        if not (fortran or self._seen.bitcode_tells_all(task["files"])):
            # To generate code takes the files that its assembly reads, in the driver's folder.
            _leave_to_clang(connection, "its assembly reads files")
            return
        cache = self._cache(settings) if task["files"] else None
        key = self._key(task, settings, bitcode)
        by_clang = not_followed(task["flags"]) is not None
        made = self._make(connection, task, settings, bitcode, cache, key, by_clang)
        if made and cache is not None and question is not None and task["results"] is not None:
            files = self._seen.digests(task["files"], task["began"])
            if files is not None:
                self._seen.remember(
                    cache,
                    question.depends_on,
                    files,
                    key,
                    task["results"],
                    task["jobs"].encode("latin-1"),
                    task["folders"],
                )

    def _known(self, data: bytes) -> tuple[Question | None, Found]:
        """A question, and what is known of it."""
        try:
            question = questions.parse(data)
        except CodeZeroError:  # a setting is wrong, as the driver itself will say
            return None, Found()
        cache = self._cache(question.settings)
        return question, Found() if cache is None else self._seen.find(cache, question.depends_on)

    def _make(
        self,
        connection: socket.socket,
        task: Message,
        settings: DriverSettings,
        bitcode: bytes,
        cache: ObjectCache | None,
        key: str,
        by_clang: bool,
    ) -> bool:
        """The rest of a conversation; whether there is an object now that may be kept.

        Args:
            by_clang: whether clang has to generate the code.
        """
        kept = cache.get(key) if cache is not None else None
        if kept is not None:
            _send_kept(connection, *kept)
            return True
        try:
            program = Program(task["name"], bitcode, compile_options(task["flags"]))
            with self._slot() as slot:
                optimizer = slot.optimizer(settings.keep_speed)
                policy = self._policies(_of_choice(settings), by_clang=by_clang)
                if is_fortran(task["flags"]):
                    program = optimizer.loader.mark_for_size(program)
                    result = _with_object(optimizer.run(program, policy), optimizer.loader)
                else:
                    result = optimizer.run(program, policy, bitcode=by_clang)
        except CodeZeroError as error:
            send(connection, {"answer": "failed", "reason": str(error)})
            return False
        if result.object is not None and not by_clang:
            by = "clang" if result.fell_back else "us"
            message, data = _message(by, result, result.cost, result.costs.baseline), result.object
            send(connection, {"answer": "object", **message}, data)
        else:
            message, data, keep = _agree(connection, result)
            send(connection, {"answer": "done", **message})
            if not keep:
                return False
        if cache is not None:
            cache.put(key, message, data)
        return True

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

    def _key(self, task: Message, settings: DriverSettings, bitcode: bytes) -> str:
        """What an object is made of: bitcode, flags, and what we are."""
        what = [self._version, task["flags"], task["compiler"], _of_choice(settings)]
        return hashlib.blake2b(json.dumps(what).encode() + bitcode, digest_size=20).hexdigest()

    @cached_property
    def _version(self) -> str:
        """Of all that decides what is made of a program."""
        folder = agent_for(make_settings(SPACE, OBJECTIVE, PROTOCOL))
        digest = hashlib.blake2b(f"{__version__} {LLVM_VERSION}".encode(), digest_size=16)
        for path in sorted(folder.rglob("*.json")) + sorted(folder.rglob("*.onnx")):
            digest.update(path.read_bytes())
        digest.update(repr(load_space(SPACE)).encode())
        return digest.hexdigest()

    def close(self) -> None:
        """End the processes of those that are free."""
        while not self._free.empty():
            self._free.get().close()


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


def _send_kept(connection: socket.socket, message: Message, data: bytes) -> None:
    message["record"]["cached"] = True
    send(connection, {"answer": "object", **message}, data)


def _send_known(connection: socket.socket, question: Question, found: Found) -> None:
    assert found.results is not None and found.record is not None
    records_file, line = question.settings.records, b""
    if records_file == OFF:
        records_file = ""
    else:
        output, source = (
            os.path.normpath(os.path.join(question.directory, found.results[name]))
            for name in ("output", "source")
        )
        line = records.to_line(output, source, {**found.record, "cached": True})
    data = questions.answer(found.results, found.object, records_file, line)
    send(connection, {"answer": "object"}, data)


def _with_object(result: Optimized, loader: ProgramLoader) -> Optimized:
    """With code that is generated here, which no one else does for flang's bitcode."""
    if result.object is not None:
        return result
    return replace(result, object=loader.emit(result.optimized, ".o"))


def _leave_to_clang(connection: socket.socket, reason: str) -> None:
    """Have clang make the object, without a look at it."""
    send(connection, {"answer": "clang"})
    receive(connection)
    send(connection, {"answer": "done", "by": "clang", "record": {"reason": reason, "passes": []}})


def _agree(connection: socket.socket, result: Optimized) -> tuple[Message, bytes, bool]:
    """Have the driver make the object, or clang's own, or both where what was measured is wrong.

    Returns the record of the one to write, which is the smallest, that object, and whether it may
    be kept.
    """
    if not result.fell_back:
        send(connection, {"answer": "bitcode"}, result.bitcode)
        said, ours = receive(connection)
        size = _size(ours, result.cost)
        if size == result.cost:
            return _message("us", result, size, result.costs.baseline), ours, said["keep"]
        # A flag changes clang's code generation in a way that the measurements did not see.
    send(connection, {"answer": "clang"})
    said, clangs = receive(connection)
    baseline = _size(clangs, result.costs.baseline)
    if not result.fell_back and size < baseline:
        return _message("us", result, size, baseline), ours, said["keep"]
    return _message("clang", result, baseline, baseline), clangs, said["keep"]


def _size(made: bytes, measured: int) -> int:
    """Bytes that are loaded; what was measured, where that cannot be told of an object."""
    try:
        return OBJECTIVE.measure_object(made)
    except CodegenError:
        return measured


def _message(by: str, result: Optimized, size: int, baseline: int) -> Message:
    if by == "us":
        reason = "" if result.passes or result.functions else "other code for what -Oz makes"
    else:
        reason = "-Oz makes it as small"
    record = {
        "size": size,
        "baseline": baseline,
        "passes": list(result.passes) if by == "us" else [],
        "codegen": [f"-{option}" for option in result.codegen] if by == "us" else [],
        "frame_pointers": len(result.frame_pointers) if by == "us" else 0,
        "inlining": len(result.inlining) if by == "us" else 0,
        "seconds": round(result.seconds, 3),
        "reason": reason,
    }
    return {"by": by, "record": record}
