"""Guided search: from an agent's trajectory on, where its world model sees most to gain.

The states along the best trajectory so far are kept. Again and again one of them is gone on from,
with actions drawn from the policy: more often one from which the critic foresees a smaller program,
less often one that has been gone on from already. A trajectory is given up where the critic
foresees nothing better than what there is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from codezero.agents.agent import Agent, Decision, Memory
from codezero.agents.view import View
from codezero.compiler.program import Program
from codezero.env.environment import PhaseOrderingEnv
from codezero.isolation import WorkerFailure
from codezero.search.budget import Budget, Meter
from codezero.search.policy import Found
from codezero.search.sequences import FAILURES

TEMPERATURE = 0.01
"""A state that foresees a program so much smaller, as a logarithm, is taken e times as often."""
MARGIN = 0.02
"""A trajectory is given up where what it foresees is so much larger, as a logarithm, than the best
program so far: what the critic sees is not exact."""


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
    """

    def __init__(
        self,
        env: PhaseOrderingEnv,
        program: Program,
        agent: Agent,
        view: View,
        rng: np.random.Generator,
    ) -> None:
        self._env = env
        self._program = program
        self._agent = agent
        self._view = view
        self._rng = rng
        self._states: list[_State] = []
        self._trajectory: list[int] = []
        """Actions of the best trajectory, as far as its best program."""
        self._passes: tuple[int, ...] = ()
        """Those that make its best program."""
        self._cost = 0

    def run(self, budget: Budget) -> Found:
        """One greedy trial, played to its end, and then others until the budget is spent."""
        meter = Meter(budget)
        self._env.reset(options={"program": self._program})
        self._cost = self._env.cost
        memory = self._agent.begin()
        self._play(memory, self._decide(memory), None, greedy=True)
        meter.trials += 1
        with budget.spend(self._env, meter):
            self._search(meter)
        return Found(self._passes, self._cost, meter.trials)

    def _search(self, meter: Meter) -> None:
        env = self._env
        while not meter.spent():
            try:
                if not self._states:
                    self._keep_states(meter)
                state = self._choose()
                state.tried += 1
                env.restore(state.handle)
                self._play(state.memory.copy(), state.decision, meter, greedy=False)
            except WorkerFailure:
                self._states = []  # they went with the worker
            meter.trials += 1

    def _play(
        self,
        memory: Memory,
        decision: Decision,
        meter: Meter | None,
        *,
        greedy: bool,
    ) -> None:
        """Go on from where the environment stands, without a meter as long as it takes."""
        env = self._env
        improved = False
        while len(env.actions) < env.settings.max_steps:
            if meter is not None and meter.out_of_time():
                break
            action = self._draw(decision, greedy)
            _, _, terminated, _, info = env.step(self._view.action(action))
            if info.get("end") in FAILURES:
                self._states = []
                return
            if env.cost < self._cost:
                self._cost = env.cost
                self._trajectory, self._passes = list(env.actions), tuple(env.passes)
                improved = True
            if terminated:
                break
            memory.action = np.array([action])
            decision = self._decide(memory)
            if not greedy and self._foreseen(decision) > math.log(max(self._cost, 1)) + MARGIN:
                break
        if improved:
            self._drop_states()

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
        env.reset(options={"program": self._program})
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
