"""What an agent sees of an environment that shows more, and does in one that allows less."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from codezero.agents.agent import Float
from codezero.agents.trained import agents_actions
from codezero.env.episode import EpisodeSettings

NOTHING = -1


class View:
    """Translates an environment's observations to an agent's, and the agent's actions back.

    The environment may show more parts than the agent was trained to see, and have only some of
    its passes, in any order.

    Args:
        trained: what the agent was trained for.
        shown: the environment's.
        only: the environment's passes that the agent may take; None is all.

    Raises:
        CodeZeroError: the environment has passes that the agent does not know.
    """

    def __init__(
        self,
        trained: EpisodeSettings,
        shown: EpisodeSettings,
        only: Collection[int] | None = None,
    ) -> None:
        self._agents = agents_actions(trained, shown)
        self._environments = np.full(trained.num_actions, NOTHING)
        self._environments[self._agents] = np.arange(len(self._agents))
        self.forbidden: npt.NDArray[np.bool_] = self._environments == NOTHING
        """Actions of the agent that the environment has not, or that it may not take, shape
        (actions,)."""
        if only is not None:
            others = set(range(len(shown.space))) - set(only)
            self.forbidden |= np.isin(self._environments, list(others))
        self._seen = np.concatenate(
            [
                self._histogram(shown) if part == "histogram" else np.r_[shown.layout[part]]
                for part in trained.layout
            ]
        )

    def _histogram(self, shown: EpisodeSettings) -> npt.NDArray[np.int64]:
        begin = shown.layout["histogram"].start
        return np.where(self.forbidden, NOTHING, begin + self._environments)

    def observation(self, observation: Float) -> Float:
        """The agent's observation, shape (1, D), of the environment's, shape (E,)."""
        return np.append(observation, np.float32(0.0))[np.newaxis, self._seen]

    def action(self, action: int) -> int:
        """The environment's action for one of the agent's that is not forbidden."""
        return int(self._environments[action])

    def agents_action(self, action: int) -> int:
        """The agent's action for one of the environment's."""
        return self._agents[action]
