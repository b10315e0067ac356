"""A trained agent's choice of passes: one trial, or as many as a budget allows."""

from __future__ import annotations

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
from codezero.search.budget import Budget
from codezero.search.guided import GuidedSearch
from codezero.search.policy import Found

ONE_TRIAL = Budget(trials=1)


class AgentPolicy:
    """Takes the action that the agent thinks best, at every step of one episode.

    With a larger budget it goes on from there; see `codezero.search.guided`.

    Args:
        folder: the agent's.
    """

    def __init__(self, folder: Path, budget: Budget = ONE_TRIAL) -> None:
        self._folder = folder
        self._budget = budget

    @property
    def name(self) -> str:
        name = f"agent:{self._folder.name}"
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
        view = View(self._agent.settings, env.settings)
        return GuidedSearch(env, program, self._agent, view, rng).run(self._budget)
