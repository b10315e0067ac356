"""The main job: the smallest program that a policy finds, and never a larger one than -Oz's."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

from codezero._native import LLVMError
from codezero.compiler.program import Program
from codezero.env.episode import EpisodeSettings, Replayed
from codezero.env.inlining import Inlining
from codezero.env.reward import Costs
from codezero.env.session import Session
from codezero.env.subject import Made
from codezero.errors import ProgramError
from codezero.isolation import WorkerFailure
from codezero.programs.load import FINISH, ProgramLoader
from codezero.reduction import reduce_list
from codezero.search.policy import Found, Policy


@dataclass(frozen=True)
class Optimized:
    """A program made small, and what that took."""

    program: Program
    policy: str
    costs: Costs
    """Of the program at the start, and as the baseline makes it."""
    found: int
    """Cost of what the policy found, before the fallback to the baseline or other code for it."""
    cost: int
    """Cost of the result."""
    passes: tuple[str, ...]
    """Names of the passes that make the result from the start; of no use if ``fell_back``."""
    pipeline: str
    """The same as text for ``opt -passes=``."""
    functions: Mapping[str, tuple[str, ...]]
    """Names of passes that single functions have got after that, by the functions' names."""
    function_pipelines: Mapping[str, str]
    """The same as text."""
    inlining: Inlining
    """Which functions inliners have to inline, or not to, while the passes for the whole program
    run, whatever that costs."""
    ending: str
    """Passes for the whole program after those, as text; empty where they change nothing."""
    codegen: tuple[str, ...]
    """Options for the code generator that the cost takes; see `CompileOptions.codegen`."""
    frame_pointers: tuple[str, ...]
    """Names of functions that have been given a frame pointer."""
    fell_back: bool
    """The baseline was smaller, or nothing better was found: the result is the baseline. It is not
    if other code is generated for that; then there are just no ``passes``."""
    remark: str
    """What the user should know, if anything."""
    seconds: float
    """Wall time from unoptimised to optimised IR, measuring included."""
    bitcode: bytes = field(repr=False)
    object: bytes | None = field(default=None, repr=False)
    """Code for it, by a session for objects."""

    @property
    def optimized(self) -> Program:
        """The program made small."""
        options = self.program.options.with_codegen(self.codegen)
        return replace(self.program, bitcode=self.bitcode, options=options)

    @property
    def ratio(self) -> float:
        """Baseline over optimised: above 1 is smaller than the baseline."""
        return max(self.costs.baseline, 1) / max(self.cost, 1)


def optimize(
    program: Program,
    policy: Policy,
    env: Session,
    seed: int,
    *,
    streamlined: bool = False,
    bitcode: bool = True,
) -> Optimized:
    """Make a program small.

    What is returned is what the list of passes makes from the start, and verified: where the policy
    has not kept that, they are run once more. Where it is not smaller than the baseline, the
    result is the baseline.

    Args:
        seed: of what the policy chooses at random.
        streamlined: leave out passes without which the program is as small, as Table 1 of the paper
            does. For lists that people read: it takes some seconds, which are not counted.
        bitcode: if not, a result that is the baseline has none, if it has an object: that would
            have to be made for it.

    Raises:
        ProgramError: LLVM cannot even read or measure the program.
    """
    start, space = time.monotonic(), env.settings.space
    found = policy.run(env, program, seed)
    changes = bool(found.actions or found.functions)
    expanded = Replayed(space.expand(found.actions), dict(found.functions))
    result = None
    if found.made is not None:
        result = _Result(expanded, found.made)
    elif changes:
        result = _replay(env, program, expanded, found.inlining)
    costs = _costs(env, program)
    found_cost = found.cost if found.of_passes is None else found.of_passes
    # What is not taken from the start is compared with an estimate of what that costs.
    found_cost = min(found_cost, max(costs.initial, costs.baseline))
    seconds = time.monotonic() - start
    said = ESTIMATED if costs.estimated else ""
    if result is not None and result.made.cost < costs.baseline:
        if streamlined:
            result = _streamline(env, program, result, found)
        actions, functions = result.replayed
        passes, pipeline = tuple(space.names(actions)), space.pipeline(actions)
        ending = ""
        if result.made.finish_changed:
            ending = ",".join(filter(None, (FINISH, env.settings.objective.ending)))
        if not functions:
            pipeline, ending = ",".join(filter(None, (pipeline, ending))), ""
        if found.of_passes is not None:
            pipeline = BASELINE_PIPELINE
        fell_back, remark = False, said
    else:
        remark = FAILED_REPLAY if result is None and changes else said
        passes, pipeline, functions, fell_back = (), BASELINE_PIPELINE, {}, True
        ending = ""
        made = _baseline_object(env, program)
        contents = _baseline(env, program) if bitcode or made is None else b""
        result = _Result(Replayed((), {}), Made(False, costs.baseline, contents, made))
        seconds = time.monotonic() - start
    return Optimized(
        program=program,
        policy=policy.name,
        costs=costs,
        found=found_cost,
        cost=result.made.cost,
        passes=passes,
        pipeline=pipeline,
        inlining=() if fell_back or found.of_passes is not None else found.inlining,
        functions={name: tuple(space.names(own)) for name, own in functions.items()},
        function_pipelines={name: space.pipeline(own) for name, own in functions.items()},
        ending=ending,
        codegen=result.made.codegen,
        frame_pointers=result.made.frame_pointers,
        fell_back=fell_back,
        remark=remark,
        seconds=seconds,
        bitcode=result.made.bitcode,
        object=result.made.object,
    )


BASELINE_PIPELINE = "default<Oz>"
STREAMLINE_SECONDS = 30.0
"""After which a list of passes stays as long as it is then."""
ESTIMATED = "LLVM generates no code for it as it is at -O0: its size there is an estimate"
FAILED_REPLAY = "LLVM failed on the passes found when they ran once more; this is what -Oz makes"


class _Result(NamedTuple):
    replayed: Replayed
    """What it takes to make it."""
    made: Made


def _replay(env: Session, program: Program, wanted: Replayed, inlining: Inlining) -> _Result | None:
    """The program after some passes; None if LLVM fails on them, or they break the program."""
    env.begin(program, inlining)
    try:
        return _Result(env.replay(*wanted), env.finish())
    except (LLVMError, WorkerFailure):
        return None


def _streamline(env: Session, program: Program, result: _Result, found: Found) -> _Result:
    """The same without those passes for the whole program that it is as small without."""
    deadline = time.monotonic() + STREAMLINE_SECONDS
    shortest = result
    before = result.made.cost if result.made.plain_cost is None else result.made.plain_cost

    def is_as_small(actions: Sequence[int]) -> bool:
        nonlocal shortest
        if time.monotonic() > deadline:
            return False
        wanted = Replayed(tuple(actions), result.replayed.functions)
        shorter = _replay(env, program, wanted, found.inlining)
        if shorter is None or shorter.made.cost > before:
            return False
        shortest = shorter
        return True

    reduce_list(result.replayed.actions, is_as_small)
    plan = found.plan
    if shortest is result or plan is None:
        return shortest
    try:
        made = env.generate(program, shortest.made, plan.ways, plan.frame_pointers)
    except (ProgramError, WorkerFailure):
        return result
    return shortest._replace(made=made) if made.cost <= result.made.cost else result


def _costs(env: Session, program: Program) -> Costs:
    try:
        return env.measured_costs_of(program)
    except (ProgramError, WorkerFailure):  # on what no one needs: the start
        return env.costs_of(program)


def _baseline_object(env: Session, program: Program) -> bytes | None:
    try:
        return env.baseline_object(program)
    except (LLVMError, WorkerFailure):
        return None


def _baseline(env: Session, program: Program) -> bytes:
    env.hold(program)
    try:
        return env.baseline_bitcode()
    except (LLVMError, WorkerFailure) as error:
        raise ProgramError(f"{program.name}: LLVM fails on it ({error})") from None


class Optimizer:
    """Makes one program after another small: an environment, and a loader for its files.

    Args:
        settings: space, objective and protocol.
        seed: of policies that choose at random, the same for each program.
        threads: that one program may use.
        for_objects, estimate_start: see `codezero.env.subject.Subject`.
    """

    def __init__(
        self,
        settings: EpisodeSettings,
        seed: int = 0,
        threads: int = 1,
        *,
        for_objects: bool = False,
        estimate_start: bool = False,
    ) -> None:
        self._session = partial(
            Session, threads=threads, for_objects=for_objects, estimate_start=estimate_start
        )
        self._seed = seed
        self.loader = ProgramLoader()
        self._settings = settings
        self._envs: dict[tuple[tuple[str, ...], bool], Session] = {}
        """By what they show, and whether they restart."""
        self._interrupted = False
        self._lock = threading.Lock()

    def warm_up(self, policy: Policy) -> None:
        """Start the process that a policy will act in, and go on without waiting for it."""
        self._env(policy).warm_up()

    def run(
        self,
        program: Program,
        policy: Policy,
        *,
        streamlined: bool = False,
        bitcode: bool = True,
    ) -> Optimized:
        """See `optimize`.

        Raises:
            ProgramError: as there; or it was interrupted.
        """
        env = self._env(policy)
        try:
            result = optimize(
                program, policy, env, self._seed, streamlined=streamlined, bitcode=bitcode
            )
        finally:
            env.settle()
        if self._interrupted:  # which looks like any other end of a worker to a search
            raise ProgramError(f"{program.name}: interrupted")
        return result

    def _env(self, policy: Policy) -> Session:
        settings = policy.adapt(self._settings)
        key = settings.observe, settings.restart
        with self._lock:
            if key not in self._envs:
                self._envs[key] = self._session(settings)
                if self._interrupted:
                    self._envs[key].interrupt()
            return self._envs[key]

    def interrupt(self) -> None:
        """End the run under way, and all later ones. May be called from any thread."""
        with self._lock:
            self._interrupted = True
            for env in self._envs.values():
                env.interrupt()
        self.loader.interrupt()

    def close(self) -> None:
        for env in self._envs.values():
            env.close()
        self.loader.close()
