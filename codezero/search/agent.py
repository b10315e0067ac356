"""A trained agent's choice of passes, in one trial."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np

from codezero.agents.agent import Agent
from codezero.compiler.program import Program
from codezero.env.environment import PhaseOrderingEnv
from codezero.env.episode import EpisodeSettings
from codezero.errors import CodeZeroError
from codezero.search.budget import Budget
from codezero.search.policy import Found
from codezero.search.sequences import best_prefix


class AgentPolicy:
    """Takes the action that the agent thinks best, at every step of one episode.

    Args:
        folder: the agent's.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def name(self) -> str:
        return f"agent:{self._folder.name}"

    @cached_property
    def _agent(self) -> Agent:
        return Agent(self._folder)

    @property
    def observes(self) -> tuple[str, ...]:
        return self._agent.settings.observe

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
        with Budget().spend(env) as meter:
            return best_prefix(env, program, self._actions(env), meter)

    def _actions(self, env: PhaseOrderingEnv) -> Iterator[int]:
        """Actions, each decided on what the environment has shown by then."""
        memory = self._agent.begin()
        shown = env.settings.layout
        seen = np.concatenate([np.r_[shown[part]] for part in self._agent.settings.layout])
        while True:
            policy = self._agent.decide(memory, env.observation[np.newaxis, seen])
            memory.action = policy.argmax(-1)
            yield int(memory.action[0])
