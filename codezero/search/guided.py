"""Guided search: from an agent's trajectory on, where its world model sees most to gain.

First the space's lists are tried, those that the trial left, unless other lists have been tried
before. Then the states along the best trajectory so far are kept. Again and again one of them is
gone on from: more often one from which the critic foresees a smaller program, less often one that
has been gone on from already. What is done there is mostly a few passes drawn uniformly, which are
quick, and else what is drawn from the policy, given up where the critic foresees nothing better
than what there is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from codezero.agents.agent import Agent, Decision, Memory
from codezero.agents.view import View
from codezero.compiler.program import Program
from codezero.env.session import Session
from codezero.isolation import WorkerFailure
from codezero.search.budget import Budget, Meter
from codezero.search.policy import Found
from codezero.search.sequences import FAILURES

TEMPERATURE = 0.02
"""A state that foresees a program so much smaller, as a logarithm, is taken e times as often."""
MARGIN = 0.02
"""A trajectory is given up where what it foresees is so much larger, as a logarithm, than the best
program so far: what the critic sees is not exact."""
UNIFORM_SHARE = 0.9
"""Of trajectories drawn uniformly. In a second they find more than the policy's own: with none of
them, half and all, 1.152, 1.147 and 1.158 over -Oz for instructions, and 1.025, 1.027 and 1.035 for
machine code (50 programs for validation; six passes, from a state that is drawn uniformly, too)."""
UNIFORM_STEPS = 8
"""Passes of those."""


@dataclass
class _State:
    """A state along the best trajectory, to go on from."""

    handle: int
    """Of its snapshot in the environment."""
    memory: Memory
    """The agent's, with the observation taken in."""
    decision: Decision
    foreseen: float
    """ln of the cost that the critic foresees."""
    tried: int = 0
    """Trajectories that went on from here."""


class GuidedSearch:
    """The search on one program.

    Args:
        env: shows what the agent has to see.
        view: the agent's, of the environment.
        before: what lists have come to already. Those of the space are then not tried, and what was
            chosen about inlining stays.
    """

    def __init__(
        self,
        env: Session,
        program: Program,
        agent: Agent,
        view: View,
        rng: np.random.Generator,
        before: Found | None = None,
    ) -> None:
        self._before = before
        self._inlining = before.inlining if before is not None else ()
        self._env = env
        self._program = program
        self._agent = agent
        self._view = view
        self._rng = rng
        self._states: list[_State] = []
        self._lists: list[int] = []
        """The space's lists that have not been tried yet."""
        self._trajectory: list[int] = []
        """Actions of the best trajectory, as far as its best program."""
        self._passes: tuple[int, ...] = ()
        """Those that make its best program."""
        self._cost = 0
        self._trials = 0

    def run(self, budget: Budget) -> Found:
        """What `begin` does, played to its end, and then more until the budget is spent."""
        meter = Meter(budget)
        meter.trials = self.begin().trials
        return self.go_on(meter.left())

    @property
    def found(self) -> Found:
        """The best so far."""
        return Found(self._passes, self._cost, self._trials, inlining=self._inlining)

    def begin(self, meter: Meter | None = None) -> Found:
        """One greedy trial, without a meter as long as it takes, and then lists of the space.

        Each list is tried from the start, those first that come first in the space, as many as
        together have no more passes than a trial has steps.
        """
        self._env.begin(self._program, self._inlining)
        self._cost = self._env.cost
        if self._before is None:
            self._lists = self._allowed_lists()
        elif self._before.cost < self._cost:
            self._cost, self._passes = self._before.cost, self._before.actions
            self._trajectory = list(self._before.actions)
        memory = self._agent.begin()
        self._play(memory, self._decide(memory), meter, greedy=True)
        self._trials = 1 if self._before is None else self._before.trials + 1
        settings = self._env.settings
        most = settings.max_steps
        for action in list(self._lists):
            if settings.passes_of(action) <= most and not (meter and meter.out_of_time()):
                most -= settings.passes_of(action)
                self._try_list(action)
                self._trials += 1
        return self.found

    def go_on(self, budget: Budget) -> Found:
        """More trials until the budget is spent."""
        with budget.spend(self._env) as meter:
            self._search(meter)
        self._trials += meter.trials
        self._states = []  # the environment may be for others from here
        return self.found

    def _search(self, meter: Meter) -> None:
        while not meter.spent():
            try:
                if self._lists:
                    self._try_list(self._lists[0])
                    meter.trials += 1
                    continue
                if not self._states:
                    self._keep_states(meter)
                state = self._choose()
                state.tried += 1
                best = self._cost
                self._env.restore(state.handle)
                if self._rng.random() < UNIFORM_SHARE:
                    self._play_uniformly(meter)
                else:
                    self._play(state.memory.copy(), state.decision, meter, greedy=False)
                if self._cost < best:
                    self._drop_states()  # there is a better trajectory to go on from
            except WorkerFailure:
                self._states = []  # they went with the worker
            meter.trials += 1

    def _play(
        self, memory: Memory, decision: Decision, meter: Meter | None, *, greedy: bool
    ) -> None:
        """Go on from where the environment stands, without a meter as long as it takes."""
        while meter is None or not meter.out_of_time():
            action = self._draw(decision, greedy)
            if not self._take(self._view.action(action)):
                break
            memory.action = np.array([action])
            decision = self._decide(memory)
            if not greedy and self._foreseen(decision) > math.log(max(self._cost, 1)) + MARGIN:
                break

    def _allowed_lists(self) -> list[int]:
        """The space's lists that the agent may take, as the environment's actions."""
        passes, view = self._env.settings.space.passes, self._view
        actions = sorted(view.action(each) for each in np.flatnonzero(~view.forbidden).tolist())
        return [action for action in actions if action < len(passes) and passes[action].parts]

    def _try_list(self, action: int) -> None:
        self._lists.remove(action)
        self._env.begin(self._program, self._inlining)
        self._take(action)

    def _play_uniformly(self, meter: Meter) -> None:
        """Take a few passes, each as likely as the others, and see what comes of them."""
        actions = self._rng.choice(np.flatnonzero(~self._view.forbidden), UNIFORM_STEPS)
        for action in actions.tolist():
            if meter.out_of_time() or not self._take(self._view.action(action)):
                break

    def _take(self, action: int) -> bool:
        """One step, which may be the best so far; whether the episode goes on."""
        env = self._env
        _, _, terminated, truncated, info = env.step(action)
        if info.get("end") in FAILURES:
            self._states = []  # they went with the worker
            return False
        if env.cost < self._cost:
            self._cost = env.cost
            self._trajectory, self._passes = list(env.actions), tuple(env.passes)
        return not (terminated or truncated)

    def _draw(self, decision: Decision, greedy: bool) -> int:
        policy = np.where(self._view.forbidden, -np.inf, decision.policy[0])
        if not greedy:
            policy = policy + self._rng.gumbel(size=policy.shape)  # draws in proportion
        return int(policy.argmax())

    def _decide(self, memory: Memory) -> Decision:
        return self._agent.decide(memory, self._view.observation(self._env.observation))

    def _foreseen(self, decision: Decision) -> float:
        env = self._env
        return self._agent.settings.reward.foresee(
            env.costs, env.cost, env.best, float(decision.value[0])
        )

    def _choose(self) -> _State:
        foreseen = np.array([state.foreseen for state in self._states])
        weights = np.exp((foreseen.min() - foreseen) / TEMPERATURE)
        weights /= [1 + state.tried for state in self._states]
        return self._states[int(self._rng.choice(len(weights), p=weights / weights.sum()))]

    def _keep_states(self, meter: Meter) -> None:
        """Walk along the best trajectory once more, and keep what is different on the way."""
        env = self._env
        env.begin(self._program, self._inlining)
        memory = self._agent.begin()
        for step in range(len(self._trajectory) + 1):
            changed = True
            if step:
                action = self._trajectory[step - 1]
                _, _, terminated, truncated, info = env.step(action)
                if info.get("end") in FAILURES:
                    raise WorkerFailure("a pass failed that did not before")
                memory.action = np.array([self._view.agents_action(action)])
                changed = info["changed"]
                if terminated or truncated:
                    break
            decision = self._decide(memory)
            if changed:
                self._states.append(
                    _State(
                        env.save(),
                        memory.copy(),
                        decision,
                        self._foreseen(decision),
                    )
                )
            if meter.out_of_time():
                break

    def _drop_states(self) -> None:
        for state in self._states:
            self._env.drop(state.handle)
        self._states = []
