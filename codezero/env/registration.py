"""The environment's name in Gymnasium's registry."""

from __future__ import annotations

import gymnasium

ENV_ID = "codezero/PhaseOrdering-v0"


def register() -> None:
    """Make ``gymnasium.make`` know the environment; does nothing the second time."""
    if ENV_ID not in gymnasium.registry:
        gymnasium.register(
            id=ENV_ID,
            entry_point="codezero.env.environment:PhaseOrderingEnv",
            vector_entry_point="codezero.env.vector:PhaseOrderingVectorEnv",
        )
