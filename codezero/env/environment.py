"""Phase ordering as a Gymnasium environment: observe a program, choose its next pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import gymnasium
import numpy as np

from codezero.compiler.objectives import Objective
from codezero.compiler.protocols import Protocol
from codezero.compiler.spaces import DEFAULT_SPACE, PassSpace
from codezero.env.episode import EpisodeSettings
from codezero.env.features import Observation
from codezero.env.programs import Programs, ProgramSource
from codezero.env.reward import Costs, Reward
from codezero.env.session import STEP_SECONDS, Info, Session, make_settings, options_of


def observation_space(settings: EpisodeSettings) -> gymnasium.Space[Observation]:
    """Ratios and counts, never negative, and the margins; nothing has a bound for any program."""
    low = np.zeros(settings.observation_size, np.float32)
    if "margins" in settings.observe:
        low[settings.layout["margins"]] = -np.inf
    box = gymnasium.spaces.Box(low, np.inf, dtype=np.float32)
    return cast("gymnasium.Space[Observation]", box)


class PhaseOrderingEnv(Session, gymnasium.Env[Observation, np.int64]):
    """Choose LLVM passes for a program, one a step.

    **Action**: an index into the pass space, ``Discrete(len(space))``. With ``restart`` there is
    one more, the last: back to the program as it was at the start.

    **Observation**: float32, shape ``(56 + actions,)``. The 56 Autophase features over the
    program's current instruction count, then how often each action was taken over ``max_steps``
    (Appendix B.2 of the paper). Then what ``observe`` names, of
    `codezero.env.episode.EXTRA_PARTS`. `settings.layout` names the slices.

    **Reward**: equation (2), ``(C(s_t) - C(s_t+1)) / max(C(s_0) - C(s_b), 1)``. The return of an
    episode above 1 is a program smaller than the baseline makes it. Or, as a `Reward` says.

    **End**: truncated after ``max_steps``; terminated when the program has grown to more than 4
    times its instructions at the start + 3,000; truncated when LLVM crashes, reports an error or
    overruns ``step_seconds`` (reward 0, the observation is the last one before).

    **Info**: ``cost`` and ``changed`` (whether the pass did anything) on every step; ``program``,
    ``initial`` and ``baseline`` (costs) on reset;
    on the last step ``end`` (an `End`'s value), and after a crash, an error or a timeout also
    ``error`` (the reason) and ``actions`` (those so far, the last one at fault).

    Args:
        programs: a `Program`, a path, or an iterable of these; see `ProgramSource`.
        space: name of a built-in pass space, a TOML file, or a `PassSpace`.
        objective: ``"instructions"``, ``"text"`` or ``"loaded"``.
        protocol: ``"clang"`` or ``"paper"``.
        max_steps: length of an episode (the paper's 45).
        observe: parts to append to the observation: ``"sizes"``, ``"margins"``, ``"shape"``.
        reward: a `Reward`, or its name: ``"saved"`` or ``"best"``.
        restart: whether there is an action that goes back to the start, so that one episode may try
            several short sequences.
        step_seconds: wall time of a pass; a step that runs a list of them has as many times that.
        isolated: run LLVM in a worker process. Without it a step is quicker by the round trip
            (0.1 to 0.3 ms), no wall time is enforced, and a crash of LLVM is one of this process.
        threads: of the worker; see `Session`.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 (Gymnasium's own declaration)

    def __init__(
        self,
        programs: Programs,
        *,
        space: PassSpace | str | Path = DEFAULT_SPACE,
        objective: Objective | str = Objective.INSTRUCTIONS,
        protocol: Protocol | str = Protocol.CLANG,
        max_steps: int = 45,
        observe: Sequence[str] = (),
        reward: Reward | str = Reward.SAVED,
        restart: bool = False,
        step_seconds: float = STEP_SECONDS,
        isolated: bool = True,
        threads: int = 1,
    ) -> None:
        settings = make_settings(space, objective, protocol, max_steps, observe, reward, restart)
        super().__init__(settings, step_seconds=step_seconds, isolated=isolated, threads=threads)
        self.action_space = gymnasium.spaces.Discrete(settings.num_actions)
        self.observation_space = observation_space(settings)
        self.programs = ProgramSource(programs)

    @classmethod
    def of(
        cls,
        settings: EpisodeSettings,
        known_costs: Mapping[str, Costs] | None = None,
        step_seconds: float = STEP_SECONDS,
    ) -> PhaseOrderingEnv:
        """An environment whose resets name their programs.

        Args:
            known_costs: of programs by their keys, which need not be measured again.
        """
        env = cls(iter(()), **options_of(settings), step_seconds=step_seconds)
        env._known_costs.update(known_costs or {})
        return env

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, Info]:
        """Begin an episode on the next program, or on ``options["program"]``.

        Raises:
            ProgramError: the program cannot be read, or LLVM fails before the first action.
        """
        gymnasium.Env.reset(self, seed=seed)
        self._running = False
        if options and "program" in options:
            program = self.programs.load(options["program"])
        else:
            program = self.programs.next(self.np_random)
        observation = self.begin(program)
        return observation, {
            "program": program.name,
            "initial": self.costs.initial,
            "baseline": self.costs.baseline,
            "cost": self.cost,
        }

    def _needs_reset(self) -> Exception:
        return gymnasium.error.ResetNeeded("the episode is over: call reset first")
