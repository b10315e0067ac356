"""A trained agent's choice of passes: one trial, or as many as a budget allows."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np

from codezero.agents.agent import Agent
from codezero.agents.view import View
from codezero.compiler.program import Program
from codezero.env.environment import PhaseOrderingEnv
from codezero.env.episode import EpisodeSettings
from codezero.errors import CodeZeroError
from codezero.search.budget import Budget, Meter
from codezero.search.functions import FunctionSearch
from codezero.search.guided import GuidedSearch
from codezero.search.policy import AGENT, AGENT_WHOLE, Found

ONE_TRIAL = Budget(trials=1)
FUNCTIONS_SHARE = 0.3
"""Of what is left of a budget after the trial, for functions."""
MOST_FOR_FUNCTIONS = 0.8
"""Where they took more, all is for the whole program."""


class AgentPolicy:
    """Takes the action that the agent thinks best, at every step of one episode.

    Beside that some of the space's lists are tried, which take about as long; then the same for
    every function by itself, from the best of them: see `codezero.search.functions`. That is the
    trial, which a budget does not cut short. With what is left of one it goes on from there; see
    `codezero.search.guided`.

    Args:
        folder: the agent's.
        by_function: whether functions may have passes of their own. If not, what it finds is one
            list for the whole program.
    """

    def __init__(
        self, folder: Path, budget: Budget = ONE_TRIAL, *, by_function: bool = True
    ) -> None:
        self._folder = folder
        self._budget = budget
        self._by_function = by_function

    @property
    def name(self) -> str:
        name = f"{AGENT if self._by_function else AGENT_WHOLE}:{self._folder.name}"
        return name if self._budget == ONE_TRIAL else f"{name}:{self._budget}"

    @cached_property
    def _agent(self) -> Agent:
        return Agent(self._folder)

    def adapt(self, settings: EpisodeSettings) -> EpisodeSettings:
        trained = self._agent.settings
        return replace(settings, observe=trained.observe, restart=trained.restart)

    def check(self, settings: EpisodeSettings) -> None:
        """Raises `CodeZeroError` if the agent does not know a pass, or takes other steps."""
        trained = self._agent.settings
        wanted = f"it takes --space {self._agent.space_source} and --max-steps {trained.max_steps}"
        try:
            View(trained, self.adapt(settings))
        except CodeZeroError as error:
            raise CodeZeroError(f"{self.name}: {error}; {wanted}") from None
        if settings.max_steps != trained.max_steps:
            raise CodeZeroError(f"{self.name} was trained for other steps: {wanted}")

    def run(self, env: PhaseOrderingEnv, program: Program, rng: np.random.Generator) -> Found:
        """The trial, which is played to its end, and what the rest of the budget goes for."""
        agent, meter = self._agent, Meter(self._budget)
        search = GuidedSearch(env, program, agent, View(agent.settings, env.settings), rng)
        whole = search.begin()
        if not self._by_function:
            meter.trials = whole.trials
            return whole if meter.spent() else search.go_on(meter.left())
        began = time.monotonic()
        functions = FunctionSearch(env, program, whole, agent, rng)
        found = functions.begin()
        meter.trials = found.trials
        if meter.spent():
            return found
        share = _share_of_functions(meter.left(), time.monotonic() - began)
        better = search.go_on(meter.left().part(1 - share))
        meter.trials += better.trials - whole.trials
        candidates = [found, better]
        if share and better.cost < whole.cost:
            functions = FunctionSearch(env, program, better, agent, rng)
            candidates.append(functions.begin(meter.left()))
            meter.trials += candidates[-1].trials - better.trials
        elif share:
            candidates.append(functions.go_on(meter.left()))
            meter.trials += candidates[-1].trials - found.trials
        best = min(candidates, key=lambda each: each.cost)
        return replace(best, trials=meter.trials)


def _share_of_functions(left: Budget, seconds: float) -> float:
    """Of what is left after the trial; 0 if they are not looked at again.

    Args:
        seconds: that their trials took. They take as long for another list for the whole program.
    """
    if left.seconds is None:
        return FUNCTIONS_SHARE
    share = max(FUNCTIONS_SHARE, seconds / max(left.seconds, 1e-9))
    return 0.0 if share > MOST_FOR_FUNCTIONS else share
