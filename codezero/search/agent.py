"""A trained agent's choice of passes: one trial, or as many as a budget allows."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np

from codezero.agents.agent import Agent
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
        """Raises `CodeZeroError` if the agent sees, or may do, something else under them."""
        trained = self._agent.settings
        for what, theirs, ours in (
            ("passes", settings.space.passes, trained.space.passes),
            ("steps", settings.max_steps, trained.max_steps),
        ):
            if theirs != ours:
                raise CodeZeroError(
                    f"{self.name} was trained for other {what}: it takes --space "
                    f"{self._agent.space_source} and --max-steps {trained.max_steps}"
                )

    def run(self, env: PhaseOrderingEnv, program: Program, rng: np.random.Generator) -> Found:
        shown = env.settings.layout
        seen = np.concatenate([np.r_[shown[part]] for part in self._agent.settings.layout])
        return GuidedSearch(env, program, self._agent, seen, rng).run(self._budget)
