"""The environment: phase ordering as a Gymnasium environment, one program an episode.

Names are imported when they are first used: worker processes import `codezero.env.episode` alone,
without Gymnasium.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from codezero.env.environment import PhaseOrderingEnv
    from codezero.env.episode import EpisodeSettings
    from codezero.env.vector import PhaseOrderingVectorEnv

__all__ = ["EpisodeSettings", "PhaseOrderingEnv", "PhaseOrderingVectorEnv"]

EPISODE = "codezero.env.episode:Episode"
"""What runs in the worker of a session, for `codezero.isolation.Worker`."""

_MODULES = {
    "EpisodeSettings": "episode",
    "PhaseOrderingEnv": "environment",
    "PhaseOrderingVectorEnv": "vector",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(f"codezero.env.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'codezero.env' has no attribute '{name}'")
