"""The decision process itself: one program, actions, observations, rewards, and how it ends.

This is the environment without Gymnasium: what runs, and may die, in a worker process. The
constants of this file are part of the environment's definition; docs/environment.md explains them.
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from codezero._native import Module
from codezero.compiler.objectives import Objective
from codezero.compiler.program import Program
from codezero.compiler.protocols import Protocol
from codezero.compiler.spaces import PassSpace
from codezero.programs.load import FINISH, parse_module

NUM_AUTOPHASE = 56
TOTAL_INSTRUCTIONS = 51
"""Autophase feature with the number of instructions."""

GROWTH_FACTOR, GROWTH_ALLOWANCE = 4, 3_000
"""An episode ends when instructions exceed factor x start + allowance: nested unrolling and
inlining can otherwise grow a program without bound."""

BASELINES_KEPT = 4_096
"""Programs whose start and baseline cost a process remembers."""

Observation = npt.NDArray[np.float32]


class End(str, enum.Enum):
    """Why an episode ended; ``info["end"]`` of its last step."""

    STEPS = "steps"
    """Truncated: the limit on steps."""
    GROWTH = "growth"
    """Terminated: the program grew past the limit."""
    CRASH = "crash"
    """Truncated: LLVM ended its process."""
    TIMEOUT = "timeout"
    """Truncated: a step overran its wall time."""
    ERROR = "error"
    """Truncated: LLVM reported an error."""


@dataclass(frozen=True)
class EpisodeSettings:
    """What defines the decision process, apart from the program.

    Attributes:
        space: the actions.
        objective: the cost C(s) that rewards measure.
        protocol: where optimisation starts and which baseline it is compared with.
        max_steps: steps after which an episode is truncated.
        observe_sizes: append two numbers to the observation: the cost relative to the start's and
            to the baseline's.
    """

    space: PassSpace
    objective: Objective = Objective.INSTRUCTIONS
    protocol: Protocol = Protocol.CLANG
    max_steps: int = 45
    observe_sizes: bool = False

    @property
    def layout(self) -> dict[str, slice]:
        """Where each part of the flat observation lies."""
        histogram = NUM_AUTOPHASE + len(self.space)
        layout = {
            "autophase": slice(0, NUM_AUTOPHASE),
            "histogram": slice(NUM_AUTOPHASE, histogram),
        }
        if self.observe_sizes:
            layout["sizes"] = slice(histogram, histogram + 2)
        return layout

    @property
    def observation_size(self) -> int:
        return NUM_AUTOPHASE + len(self.space) + 2 * self.observe_sizes


@dataclass(frozen=True)
class Costs:
    """C(s_0) and C(s_b): what equation (2) normalises by."""

    initial: int
    baseline: int

    def reward(self, before: int, after: int) -> float:
        """Equation (2): (C(s_t) - C(s_t+1)) / (C(s_0) - C(s_b)).

        Where the baseline gains nothing, or loses, the denominator is 1: the reward is then the
        cost saved in the objective's own unit.
        """
        return (before - after) / max(self.initial - self.baseline, 1)


@dataclass(frozen=True)
class Step:
    """What one action did."""

    observation: Observation
    reward: float
    terminated: bool
    truncated: bool
    cost: int
    changed: bool
    """Whether the pass reported a change; if not, the program is as it was."""
    end: End | None


@dataclass
class _State:
    """What changes during an episode, and what a snapshot has to keep."""

    module: Module
    cost: int
    autophase: npt.NDArray[np.int64]
    histogram: npt.NDArray[np.float32]
    """How often each action was taken, over the steps of an episode."""
    steps: int = 0

    def copy(self) -> _State:
        return _State(
            self.module.clone(), self.cost, self.autophase, self.histogram.copy(), self.steps
        )


class Episode:
    """A program under optimisation. Methods may end the process: run it in a worker."""

    def __init__(self, settings: EpisodeSettings) -> None:
        self.settings = settings
        self._layout = settings.layout
        self._program: Program | None = None
        self._costs_of: OrderedDict[str, Costs] = OrderedDict()
        self._snapshots: dict[int, _State] = {}
        self._next_snapshot = 0

    def start(self, program: Program) -> tuple[Observation, Costs]:
        """Begin an episode. Snapshots of the last one are dropped.

        Raises:
            ProgramError: bitcode that cannot be parsed or does not verify.
            CodegenError: objective ``text``, for a target without a code generator.
        """
        module = parse_module(program)
        self.settings.protocol.prepare(module)
        self._program = program
        self._costs = self._measure_costs(program, module)
        self._max_instructions = GROWTH_FACTOR * module.instruction_count() + GROWTH_ALLOWANCE
        self._state = _State(
            module,
            self._costs.initial,
            module.autophase(),
            np.zeros(len(self.settings.space), np.float32),
        )
        self._snapshots.clear()
        return self._observe(), self._costs

    def step(self, action: int) -> Step:
        """Run one pass. See `PhaseOrderingEnv.step`."""
        state = self._state
        before = state.cost
        changed = self.settings.space.passes[action].run(state.module)
        state.histogram[action] += 1 / self.settings.max_steps
        state.steps += 1
        terminated = False
        if changed:
            state.autophase = state.module.autophase()
            instructions = int(state.autophase[TOTAL_INSTRUCTIONS])
            terminated = instructions > self._max_instructions
            if self.settings.objective is Objective.INSTRUCTIONS:
                state.cost = instructions  # counted already: a second look at all IR costs
            elif terminated:
                # Generating code for a program that exploded would take for ever.
                state.cost = max(before, GROWTH_FACTOR * self._costs.initial)
            else:
                state.cost = self._measure(state.module)
        truncated = not terminated and state.steps >= self.settings.max_steps
        end = End.GROWTH if terminated else End.STEPS if truncated else None
        return Step(
            self._observe(),
            self._costs.reward(before, state.cost),
            terminated,
            truncated,
            state.cost,
            changed,
            end,
        )

    def save(self) -> int:
        """Keep a snapshot of the state; returns its handle."""
        handle = self._next_snapshot
        self._next_snapshot += 1
        self._snapshots[handle] = self._state.copy()
        return handle

    def restore(self, handle: int) -> tuple[Observation, int]:
        """Return to a snapshot, which stays. Returns the observation and the cost there."""
        self._state = self._snapshots[handle].copy()
        return self._observe(), self._state.cost

    def drop(self, handle: int) -> None:
        """Forget a snapshot."""
        del self._snapshots[handle]

    def finish(self) -> tuple[bool, int, bytes]:
        """Do what has to be done before code generation, verify, and hand over the program.

        Returns whether `FINISH` changed the program, its cost afterwards and its bitcode. Raises
        `VerificationError` if passes broke the program.
        """
        module = self._state.module.clone()
        changed = module.run(FINISH)
        module.verify()
        return changed, self._measure(module), module.bitcode()

    def baseline_bitcode(self) -> bytes:
        """The program as the baseline makes it."""
        return self._run_baseline().bitcode()

    def pass_seconds(self) -> float:
        """Wall time spent inside LLVM's passes in this episode."""
        return self._state.module.pass_seconds

    def _measure(self, module: Module) -> int:
        assert self._program is not None
        return self.settings.objective.measure(module, self._program.codegen)

    def _measure_costs(self, program: Program, module: Module) -> Costs:
        costs = self._costs_of.get(program.key)
        if costs is None:
            costs = Costs(self._measure(module), self._measure(self._run_baseline()))
            self._costs_of[program.key] = costs
            if len(self._costs_of) > BASELINES_KEPT:
                self._costs_of.popitem(last=False)
        return costs

    def _run_baseline(self) -> Module:
        assert self._program is not None
        module = parse_module(self._program)
        self.settings.protocol.prepare(module)
        self.settings.protocol.run_baseline(module)
        return module

    def _observe(self) -> Observation:
        state = self._state
        observation = np.empty(self.settings.observation_size, np.float32)
        instructions = max(int(state.autophase[TOTAL_INSTRUCTIONS]), 1)
        np.divide(state.autophase, instructions, out=observation[:NUM_AUTOPHASE], casting="unsafe")
        observation[self._layout["histogram"]] = state.histogram
        if self.settings.observe_sizes:
            observation[self._layout["sizes"]] = (
                state.cost / max(self._costs.initial, 1),
                state.cost / max(self._costs.baseline, 1),
            )
        return observation
