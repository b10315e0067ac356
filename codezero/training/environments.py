"""The environments of a training run."""

from __future__ import annotations

from codezero.env.episode import EpisodeSettings
from codezero.env.programs import Programs
from codezero.env.session import options_of
from codezero.env.vector import PhaseOrderingVectorEnv

ENVS_PER_CORE = 2
"""One computes while another's answer is looked at."""


def make_envs(
    programs: Programs,
    settings: EpisodeSettings,
    step_seconds: float,
    num_envs: int,
) -> PhaseOrderingVectorEnv:
    return PhaseOrderingVectorEnv(
        programs,
        num_envs,
        **options_of(settings),
        step_seconds=step_seconds,
    )
