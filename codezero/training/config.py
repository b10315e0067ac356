"""What defines a training run: the task, the agent, and how the two meet."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from codezero.agents.trained import SPACE_FILE
from codezero.compiler.objectives import Objective
from codezero.compiler.protocols import Protocol
from codezero.compiler.spaces import DEFAULT_SPACE, load_space
from codezero.dreamer import config as dreamer
from codezero.dreamer.config import DreamerConfig
from codezero.env.episode import EpisodeSettings
from codezero.env.reward import Reward
from codezero.errors import CodeZeroError
from codezero.search.sequences import FixedSequence

START_FILE = "start.pt"
"""The networks that a run began with, in its folder, where they were not new."""


@dataclass(frozen=True)
class TaskSettings:
    """The decision process; see `codezero.env.PhaseOrderingEnv`."""

    space: str = DEFAULT_SPACE
    """A built-in pass space, or a TOML file."""
    objective: Objective = Objective.INSTRUCTIONS
    protocol: Protocol = Protocol.CLANG
    max_steps: int = 45
    observe: tuple[str, ...] = ()
    """What is observed beside the paper's features: sizes, margins, shape."""
    reward: Reward = Reward.SAVED
    restart: bool = False
    """Whether an action goes back to the start, so that an episode tries several sequences."""
    step_seconds: float = 10.0
    """Wall time of a pass."""
    limit_is_end: bool = False
    """Whether the limit on steps counts as an end for good: values then look no further."""

    def __post_init__(self) -> None:
        if self.max_steps < 1:
            raise CodeZeroError(f"max_steps is {self.max_steps}; it is at least 1")
        if not self.step_seconds > 0:
            raise CodeZeroError(f"step_seconds is {self.step_seconds}; it is more than 0")

    def episode_settings(self) -> EpisodeSettings:
        """Raises `CodeZeroError` for a space that there is not."""
        return EpisodeSettings(
            space=load_space(self.space),
            objective=self.objective,
            protocol=self.protocol,
            max_steps=self.max_steps,
            observe=self.observe,
            reward=self.reward,
            restart=self.restart,
        )


@dataclass(frozen=True)
class RolloutSettings:
    """How experience is gathered."""

    envs: int = 0
    """Environments, a process each; 0 is two a core."""
    random_steps: int = 500
    """Steps of uniformly random actions to begin with."""
    random_share: float = 0.05
    """Share of uniformly random actions afterwards."""
    restart_share: float = 0.2
    """Share of restarts in those, where the task has them."""
    first_updates: int = 100
    """Updates after the random steps, before the agent acts."""
    lists: tuple[str, ...] = ()
    """Files of passes, a pass a line, that some episodes begin with a part of."""
    list_share: float = 0.3
    """Share of the episodes that do, where there are lists."""
    steps_per_update: float = 5.0
    """Environment steps for each update after that."""
    in_order: bool = False
    """Wait for every environment at each step, so that a run can be repeated exactly."""

    def read_lists(self, settings: EpisodeSettings) -> list[list[int]]:
        """The lists as actions.

        Raises:
            CodeZeroError: a file that cannot be read, or is no list of the space's passes.
        """
        return [
            FixedSequence.read(Path(path), passes_only=True).actions(settings)
            for path in self.lists
        ]

    def __post_init__(self) -> None:
        if self.envs < 0 or self.random_steps < 0 or self.first_updates < 0:
            raise CodeZeroError("envs, random_steps and first_updates are not negative")
        for name in ("random_share", "restart_share", "list_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise CodeZeroError(f"{name} is between 0 and 1")
        if not self.steps_per_update > 0:
            raise CodeZeroError("steps_per_update is more than 0")


@dataclass(frozen=True)
class TrainConfig:
    """A training run.

    Intervals are counted in environment steps.
    """

    task: TaskSettings = field(default_factory=TaskSettings)
    dreamer: DreamerConfig = field(default_factory=lambda: dreamer.PRESETS["small"])
    rollouts: RolloutSettings = field(default_factory=RolloutSettings)
    steps: int = 1_000_000
    """Environment steps in all."""
    log_every: int = 500
    validate_every: int = 2_000
    checkpoint_every: int = 5_000
    validation_programs: int = 100
    """Of the corpus's validation split, chosen by a hash of their names."""
    seed: int = 0
    start_from: str = ""
    """An agent's folder, or a checkpoint, best.pt or last.pt of a run: networks of the same sizes,
    which are trained on in place of new ones. A replay and an optimiser's state stay behind."""

    def __post_init__(self) -> None:
        for name in ("steps", "log_every", "validate_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise CodeZeroError(f"{name} is {getattr(self, name)}; it is at least 1")
        if self.validation_programs < 0 or self.seed < 0:
            raise CodeZeroError("validation_programs and seed are not negative")
        capacity, rows = self.dreamer.replay.capacity, self.task.max_steps + 1
        if capacity < rows:
            raise CodeZeroError(f"a replay of {capacity} rows is too small for episodes of {rows}")


def in_folder(config: TrainConfig, folder: Path) -> TrainConfig:
    """A run's settings as its folder has them, with the places of the files that are in it."""
    task, rollouts = config.task, config.rollouts
    if task.space == SPACE_FILE:
        task = replace(task, space=str(folder / SPACE_FILE))
    rollouts = replace(rollouts, lists=tuple(str(folder / name) for name in rollouts.lists))
    start_from = str(folder / config.start_from) if config.start_from else ""
    return replace(config, task=task, rollouts=rollouts, start_from=start_from)


PRESETS = {
    "paper": TrainConfig(
        dreamer=dreamer.PRESETS["paper"],
        # On a GPU, at 250 steps a second: validation every 80 s, a checkpoint every 200 s.
        log_every=2_000,
        validate_every=20_000,
        checkpoint_every=50_000,
    ),
    "small": TrainConfig(
        # Imagination does not go on to steps that no episode has.
        task=TaskSettings(limit_is_end=True),
        dreamer=dreamer.PRESETS["small"],
        # Steps are cheap beside updates. The more of them are random, the sooner does the model
        # know the passes that the policy does not take yet.
        rollouts=RolloutSettings(
            random_steps=15_000, random_share=0.2, first_updates=1_000, steps_per_update=8.0
        ),
    ),
    "medium": TrainConfig(
        task=TaskSettings(
            observe=("sizes", "margins", "shape"),
            reward=Reward.BEST,
            restart=True,
            limit_is_end=True,
        ),
        dreamer=dreamer.PRESETS["medium"],
        rollouts=RolloutSettings(
            envs=64, random_steps=30_000, random_share=0.1, first_updates=2_000, steps_per_update=48
        ),
        steps=5_000_000,
        # At 3,000 steps a second: validation every 30 s, a checkpoint every 3 minutes.
        log_every=10_000,
        validate_every=100_000,
        checkpoint_every=500_000,
    ),
    "debug": TrainConfig(dreamer=dreamer.PRESETS["debug"]),
}
