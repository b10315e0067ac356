"""The decision process itself: one program, actions, observations, rewards, and how it ends.

This is the environment without Gymnasium: what runs, and may die, in a worker process. The
constants of this file and of `codezero.env.subject` are part of the environment's definition;
docs/environment.md explains them.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import NamedTuple

from codezero._native import SHAPE_FEATURES, LLVMError, Module
from codezero.compiler.objectives import Objective
from codezero.compiler.program import Program
from codezero.compiler.protocols import Protocol
from codezero.compiler.spaces import PassSpace
from codezero.env.codegen import CodeGenerator
from codezero.env.features import NUM_AUTOPHASE, Observation
from codezero.env.inlining import Inlining
from codezero.env.reward import Costs, Reward
from codezero.env.subject import GROWTH_FACTOR, Made, Subject
from codezero.env.trials import Trials
from codezero.errors import CodeZeroError

EXTRA_PARTS = {"sizes": 4, "margins": 2, "shape": len(SHAPE_FEATURES)}
"""What may be observed beside the paper's features and histogram, and how many numbers each is."""

RESTART = "restart"
"""The action that goes back to the start, by name."""


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
        observe: parts that are appended to the observation, of `EXTRA_PARTS`. ``"sizes"``: the cost
            over the start's, over the baseline's, the least so far over the baseline's, and the
            logarithm of the start's. ``"margins"``: the logarithms of the cost and of the least so
            far, over the baseline's: what is near the baseline is told apart there. ``"shape"``:
            what the program is made of; see native/shape.h.
        reward: what a step is worth. `Reward.BEST` takes ``"sizes"`` or ``"margins"``: what it
            pays for depends on the best so far, which has to be seen.
        restart: whether there is one action more, the last: back to the program as it was at the
            start. Steps, and the best so far, count on.
    """

    space: PassSpace
    objective: Objective = Objective.INSTRUCTIONS
    protocol: Protocol = Protocol.CLANG
    max_steps: int = 45
    observe: tuple[str, ...] = ()
    reward: Reward = Reward.SAVED
    restart: bool = False

    def __post_init__(self) -> None:
        if self.max_steps < 1:
            raise ValueError(f"max_steps is {self.max_steps}; an episode has at least one step")
        for part in self.observe:
            if part not in EXTRA_PARTS or self.observe.count(part) > 1:
                raise CodeZeroError(
                    f"cannot observe {', '.join(self.observe)}: there is {', '.join(EXTRA_PARTS)}"
                )
        if self.reward is Reward.BEST and not {"sizes", "margins"} & set(self.observe):
            raise CodeZeroError(
                "the reward 'best' depends on sizes: observe sizes or margins as well"
            )

    @property
    def num_actions(self) -> int:
        return len(self.space) + self.restart

    @property
    def restart_action(self) -> int | None:
        return len(self.space) if self.restart else None

    def passes_of(self, action: int) -> int:
        """How many passes an action stands for: a list for several, a restart for one."""
        if action == self.restart_action:
            return 1
        return max(len(self.space.passes[action].parts), 1)

    def action(self, name: str) -> int:
        """The action of a pass, by its name in the space or LLVM's text, or of ``restart``.

        Raises:
            CodeZeroError: there is no such action.
        """
        if self.restart and name == RESTART:
            return len(self.space)
        return self.space.action(name)

    def action_names(self, actions: Iterable[int]) -> list[str]:
        """Names that `action` knows."""
        names = [*(each.name for each in self.space.passes), RESTART]
        return [names[action] for action in actions]

    @property
    def layout(self) -> dict[str, slice]:
        """Where each part of the flat observation lies."""
        numbers = {"autophase": NUM_AUTOPHASE, "histogram": self.num_actions}
        numbers |= {part: EXTRA_PARTS[part] for part in self.observe}
        ends = accumulate(numbers.values())
        return {
            name: slice(end - number, end)
            for (name, number), end in zip(numbers.items(), ends, strict=True)
        }

    @property
    def observation_size(self) -> int:
        return NUM_AUTOPHASE + self.num_actions + sum(EXTRA_PARTS[part] for part in self.observe)


class Step(NamedTuple):
    """What one action did."""

    observation: Observation
    reward: float
    terminated: bool
    truncated: bool
    cost: int
    changed: bool
    """Whether the pass reported a change; if not, the program is as it was."""
    end: End | None


class Replayed(NamedTuple):
    """What changed something of passes that were run once more."""

    actions: tuple[int, ...]
    """On the whole program."""
    functions: dict[str, tuple[int, ...]]
    """On single functions, by name; those are left out for which nothing did."""


class Function(NamedTuple):
    """A function as a program of its own: other functions are only declared."""

    name: str
    cost: int
    """After the passes that it is compared with."""
    bitcode: bytes


@dataclass
class _State:
    """What changes during an episode, and what a snapshot has to keep."""

    module: Module
    observation: Observation
    instructions: int
    cost: int
    best: int
    """The least cost so far."""
    steps: int = 0
    is_start: bool = True
    """Whether no pass has changed the program since the start."""

    def copy(self) -> _State:
        return replace(self, module=self.module.clone(), observation=self.observation.copy())


class Episode:
    """A program under optimisation. Methods may end the process: run it in a worker.

    Args:
        threads: that it may use, where it has several states of the program to look at.
        for_objects, estimate_start: see `codezero.env.subject.Subject`.
    """

    def __init__(
        self,
        settings: EpisodeSettings,
        threads: int = 1,
        for_objects: bool = False,
        estimate_start: bool = False,
    ) -> None:
        self.settings = settings
        pool = ThreadPoolExecutor(threads)
        self.subject = Subject(
            settings.objective,
            settings.protocol,
            pool,
            for_objects=for_objects,
            estimate_start=estimate_start,
        )
        self.trials = Trials(self.subject, settings.space, pool, threads)
        self.codegen = CodeGenerator(self.subject, pool)
        self._layout = settings.layout
        self._current: _State | None = None
        """None where there is a program, but no episode."""
        self._snapshots: dict[int, _State] = {}
        self._next_snapshot = 0

    def hold(
        self,
        program: Program,
        costs: Costs | None = None,
        inlining: Inlining = (),
        may_measure: bool = True,
    ) -> Costs:
        """Have a program at hand, but no episode: for all that takes no steps.

        Args and errors: see `start`. Of the costs, that at the start may be an estimate: see
        `Subject.measured_costs`.

        Args:
            may_measure: whether that may be measured while something else is done.
        """
        self._begin_with(program, inlining)
        self.subject.find_costs(costs)
        self.subject.may_measure_start = may_measure
        return self.subject.costs

    def _begin_with(self, program: Program, inlining: Inlining) -> None:
        self._current = None
        self._snapshots.clear()
        self.trials.begin(is_new=self.subject.begin(program, inlining))

    def start(
        self, program: Program, costs: Costs | None = None, inlining: Inlining = ()
    ) -> tuple[Observation, Costs]:
        """Begin an episode. Snapshots of the last one are dropped.

        Args:
            costs: the program's, where they are known: measuring them takes an -Oz run, and with
                an objective of code two code generations.
            inlining: which functions inliners are to inline, or not to. It is no part of what is
                handed over: what has not been inlined by then is as it was.

        Raises:
            ProgramError: bitcode that cannot be parsed or does not verify.
            CodegenError: an objective of code, if there is none for what the baseline makes of it,
                as for a target without a code generator.
        """
        import numpy as np  # as long to import as all else here, and only steps need it

        self._begin_with(program, inlining)
        module = self.subject.fresh(inlining)
        self.subject.find_costs(costs, module)
        module.warm_up()
        observation = np.zeros(self.settings.observation_size, np.float32)
        instructions = self._look(module, observation)
        initial = self.subject.costs.initial
        self._begin(_State(module, observation, instructions, initial, initial))
        self._start = self._state.copy() if self.settings.restart else None
        self._pass_seconds = 0.0
        return self._observe(), self.subject.costs

    def step(self, action: int) -> Step:
        """Run one pass, or restart. See `PhaseOrderingEnv.step`."""
        before, best = self._state.cost, self._state.best
        is_restart = action == self.settings.restart_action
        if is_restart:
            changed = self._restart()
        else:
            changed = self.settings.space.passes[action].run(self._state.module)
            self._state.is_start &= not changed
        state = self._state
        self._histogram[action] += 1 / self.settings.max_steps
        state.steps += 1
        terminated = False
        if changed and not is_restart:
            state.instructions = self._look(state.module, state.observation)
            terminated = state.instructions > self.subject.max_instructions
            if self.settings.objective is Objective.INSTRUCTIONS:
                state.cost = state.instructions  # counted already
            elif terminated:
                # Generating code for a program that exploded would take for ever.
                state.cost = max(before, GROWTH_FACTOR * self.subject.costs.initial)
            else:
                state.cost = self.subject.measure_or_initial(state.module).cost
        state.best = min(best, state.cost)
        truncated = not terminated and state.steps >= self.settings.max_steps
        end = End.GROWTH if terminated else End.STEPS if truncated else None
        return Step(
            self._observe(),
            self.settings.reward.between(self.subject.costs, before, state.cost, best),
            terminated,
            truncated,
            state.cost,
            changed,
            end,
        )

    def _restart(self) -> bool:
        """Go back to the start; returns whether the program had changed since."""
        state = self._state
        if state.is_start:
            return False
        assert self._start is not None
        fresh = self._start.copy()
        histogram = self._layout["histogram"]
        fresh.observation[histogram] = state.observation[histogram]
        fresh.steps, fresh.best = state.steps, state.best
        self._pass_seconds += state.module.pass_seconds - fresh.module.pass_seconds
        self._begin(fresh)
        return True

    def replay(self, actions: Sequence[int], functions: Mapping[str, Sequence[int]]) -> Replayed:
        """Run passes on the program, and then some on single functions, without measuring it."""
        module, passes = self._state.module, self.settings.space.passes
        changed = tuple(action for action in actions if passes[action].run(module))
        self._state.is_start = False
        module.forget_inlining()
        if functions:  # as `Trials.try_tails`, which passes that remember something else would see
            module = self._state.module = module.clone()
        own = {
            name: tuple(action for action in its if passes[action].run_on(module, name))
            for name, its in functions.items()
        }
        return Replayed(changed, {name: its for name, its in own.items() if its})

    def functions(self) -> dict[str, int]:
        """How many instructions each function has that has a body and a name."""
        return self._state.module.instruction_counts()

    def extract(self, names: Sequence[str], actions: Sequence[int]) -> list[Function]:
        """Functions as programs of their own, those left out on which LLVM fails.

        Args:
            actions: passes, all by function, that each is compared with.
        """
        extracted = []
        for name in names:
            try:
                alone = self._state.module.extract([name])
                bitcode = alone.bitcode()
                for action in actions:
                    self.settings.space.passes[action].run(alone)
                extracted.append(Function(name, self.subject.measure(alone).cost, bitcode))
            except LLVMError:
                continue
        return extracted

    def save(self) -> int:
        """Keep a snapshot of the state; returns its handle."""
        handle = self._next_snapshot
        self._next_snapshot += 1
        self._snapshots[handle] = self._state.copy()
        return handle

    def restore(self, handle: int) -> tuple[Observation, int, int]:
        """Return to a snapshot, which stays. The observation, the cost, and the best on the way."""
        self._begin(self._snapshots[handle].copy())
        return self._observe(), self._state.cost, self._state.best

    def drop(self, handle: int) -> None:
        """Forget a snapshot."""
        del self._snapshots[handle]

    def finish(self) -> Made:
        """Do what has to be done before code generation, verify, and hand over the program.

        Raises `VerificationError` if passes broke the program.
        """
        return self.subject.finish(self._state.module)

    def pass_seconds(self) -> float:
        """Wall time spent inside LLVM's passes in this episode."""
        return self._pass_seconds + self._state.module.pass_seconds

    @property
    def _state(self) -> _State:
        if self._current is None:
            raise RuntimeError("there is no episode: start one first")
        return self._current

    def _begin(self, state: _State) -> None:
        self._current = state
        self._histogram = state.observation[self._layout["histogram"]]

    def _look(self, module: Module, observation: Observation) -> int:
        """Write a program's features where they belong; how many instructions it has."""
        if "shape" in self._layout:
            module.observe_shape(observation[self._layout["shape"]])
        return module.observe(observation[self._layout["autophase"]])

    def _observe(self) -> Observation:
        state = self._state
        initial, baseline = max(self.subject.costs.initial, 1), max(self.subject.costs.baseline, 1)
        if "sizes" in self._layout:
            state.observation[self._layout["sizes"]] = (
                state.cost / initial,
                state.cost / baseline,
                state.best / baseline,
                math.log(initial),
            )
        if "margins" in self._layout:
            state.observation[self._layout["margins"]] = (
                math.log(max(state.cost, 1) / baseline),
                math.log(max(state.best, 1) / baseline),
            )
        return state.observation.copy()
