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
"""Of what is left of a budget after a trial, for functions."""


class AgentPolicy:
    """Takes the action that the agent thinks best, at every step of one episode.

    Then the same for every function by itself; see `codezero.search.functions`. With a larger
    budget it goes on from there; see `codezero.search.guided`.

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
        agent, meter, began = self._agent, Meter(self._budget), time.monotonic()
        search = GuidedSearch(env, program, agent, View(agent.settings, env.settings), rng)
        whole = search.begin()
        meter.trials += 1
        share = self._share_of_functions(meter.left(), time.monotonic() - began)
        if not meter.spent():
            whole = search.go_on(meter.left().part(1 - share))
            meter.trials = whole.trials
        if share == 0:
            return whole
        return FunctionSearch(env, program, agent, rng).run(whole, meter.left())

    def _share_of_functions(self, left: Budget, trial_seconds: float) -> float:
        """Of what is left after a trial for the whole program; 0 if they are not looked at.

        Their trials take about as long as that one did.
        """
        if not self._by_function or (left.seconds is not None and left.seconds < trial_seconds):
            return 0.0
        return max(FUNCTIONS_SHARE, trial_seconds / left.seconds if left.seconds else 0.0)
