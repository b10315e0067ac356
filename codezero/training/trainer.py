"""The training loop: act, remember, learn, validate, save."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from codezero.dreamer.completion import complete
from codezero.dreamer.learner import Learner
from codezero.dreamer.replay import Replay
from codezero.errors import CodeZeroError
from codezero.training import checkpoints
from codezero.training.config import TrainConfig
from codezero.training.log import RunLog
from codezero.training.networks import Networks, read_networks
from codezero.training.rollouts import Experience, Rollouts
from codezero.training.validation import Validation

Values = dict[str, Any]


class Trainer:
    """A training run.

    Args:
        learner: what learns.
        rollouts: where experience comes from.
        validation: plays the validation programs; None for none.
        folder: the run's; see `codezero.training.checkpoints`.
        resume: go on from the folder's last checkpoint; without, what is there is of no account.
        on_log: called with what is logged, beside the log.

    Raises:
        CodeZeroError: the checkpoint is missing, broken, or of other sizes.
    """

    def __init__(
        self,
        config: TrainConfig,
        learner: Learner,
        rollouts: Rollouts,
        folder: Path,
        *,
        validation: Validation | None = None,
        resume: bool = False,
        on_log: Callable[[int, Values], None] = lambda step, values: None,
    ) -> None:
        self.config = config
        self.folder = folder
        self.steps = 0
        """Environment steps so far."""
        self._validation = validation
        self._on_log = on_log
        self._learner = learner
        self._rollouts = rollouts
        self._replay = Replay(learner.world.observation, config.dreamer.replay)
        self._replay_files = checkpoints.ReplayFiles(folder / "replay")
        self._rng = np.random.default_rng(config.seed)
        self._seen = 0
        """Steps at which it was last looked whether something is to be logged or validated."""
        self._saved = 0
        """Steps of the last checkpoint."""
        self._owed = 0.0
        """Updates that are due."""
        self._best: float | None = None
        self._seconds = 0.0
        """Wall time of the run before this process."""
        self._began = time.monotonic()
        self._stopping = False
        self._interval = _Interval()
        if resume:
            self._load()
        else:
            self._replay_files.prune([])
            if config.start_from:
                self._start_from(Path(config.start_from))
        self._log = RunLog(folder, self.steps if resume else None)

    def run(self) -> None:
        """Train to the end, or until `stop`, and save."""
        config = self.config
        try:
            if not self.steps:
                self._validate_random()
            self._rollouts.begin()
            while self.steps < config.steps and not self._stopping:
                self._gather(going_on=True)
                self._learn()
                is_checkpoint = _passes(config.checkpoint_every, self._saved, self.steps)
                if is_checkpoint:
                    self._settle()
                before, self._seen = self._seen, self.steps
                if _passes(config.log_every, before, self.steps):
                    self._write_log()
                if self.updates and _passes(config.validate_every, before, self.steps):
                    self._run_validation()
                if is_checkpoint:
                    self._save()
                    self._rollouts.begin()
            if not self._stopping:
                self._settle()
                self._run_validation()
            self._save()
        finally:
            self._log.close()

    def stop(self) -> None:
        """End soon; episodes under way are not waited for. May be called by a signal's handler."""
        self._stopping = True

    @property
    def updates(self) -> int:
        return self._learner.updates

    def _gather(self, going_on: bool) -> None:
        rollouts = self.config.rollouts
        is_random = self.steps < rollouts.random_steps or not self._replay.can_draw
        if not is_random and not self.updates:
            self._complete()
            self._owed += rollouts.first_updates
            self._learn()
        experience = self._rollouts.advance(
            random_share=1.0 if is_random else rollouts.random_share, going_on=going_on
        )
        if not is_random:
            self._owed += experience.steps / rollouts.steps_per_update
        self.steps += experience.steps
        for episode in experience.episodes:
            if not self._replay.add(episode):
                self._interval.not_kept += 1
        self._interval.add(experience)

    def _learn(self) -> None:
        """The updates that are due, once there is something to learn from."""
        while self._owed >= 1 and self._replay.can_draw and not self._stopping:
            self._learner.update(self._replay.draw(self._rng))
            self._interval.updates += 1
            self._owed -= 1

    def _elapsed(self) -> float:
        """Wall time of the run, in seconds, pauses left out."""
        return round(self._seconds + time.monotonic() - self._began, 1)

    def _settle(self) -> None:
        """Play the episodes under way to their ends, so that a checkpoint leaves nothing out."""
        while not self._rollouts.is_idle and not self._stopping:
            self._gather(going_on=False)
            self._learn()

    def _write_log(self) -> None:
        values = {
            "updates": self.updates,
            "seconds": self._elapsed(),
            "replay": len(self._replay),
            **self._interval.values(),
            **self._learner.metrics(),
        }
        diverged = [name for name, value in values.items() if not np.isfinite(value)]
        if diverged:
            raise CodeZeroError(
                f"after {self.updates:,} updates {diverged[0]} is not a number any more; the last "
                f"checkpoint is of step {self._saved:,}"
            )
        self._interval = _Interval()
        self._write(values)

    def _run_validation(self) -> None:
        if self._validation is None:
            return
        score = self._validation.of_greedy(self._learner, lambda: self._stopping)
        if score is None:
            return
        values = {f"validation/{name}": value for name, value in asdict(score).items()}
        self._write({"seconds": self._elapsed(), **values})
        if self._best is None or score.geomean > self._best:
            self._best = score.geomean
            checkpoints.save(
                self.folder / "best.pt",
                {**self._networks(), "steps": self.steps, "score": asdict(score)},
            )

    def _validate_random(self) -> None:
        """What passes drawn uniformly reach, to compare with."""
        if self._validation is None:
            return
        score = self._validation.of_random(lambda: self._stopping)
        if score is not None:
            values = {f"validation/random_{name}": value for name, value in asdict(score).items()}
            self._write(values)

    def _write(self, values: Values) -> None:
        self._log.write(self.steps, values)
        self._on_log(self.steps, values)

    def _networks(self) -> Values:
        return {
            "world": self._learner.world.state_dict(),
            "behaviour": self._learner.behaviour.state_dict(),
        }

    def _save(self) -> None:
        """Write a checkpoint, and the log, so that what follows is the same with and without it.

        Raises:
            CodeZeroError: the disk is full; the last checkpoint stays.
        """
        self._write_log()
        files = self._replay_files.save(self._replay)
        checkpoints.save(
            self.folder / "last.pt",
            {
                "learner": self._learner.state_dict(),
                "steps": self.steps,
                "seen": self._seen,
                "owed": self._owed,
                "best": self._best,
                "seconds": self._elapsed(),
                "replay": files,
                "rng": self._rng.bit_generator.state,
                "rollouts": self._rollouts.state_dict(),
            },
        )
        self._replay_files.prune(files)
        self._saved = self.steps

    def _start_from(self, path: Path) -> None:
        """Take the networks of a checkpoint; all else begins anew."""
        self._take(read_networks(path, self.config))

    def _take(self, networks: Networks) -> None:
        modules = {"world": networks.world, "behaviour": networks.behaviour}
        weights = {name: module.state_dict() for name, module in modules.items()}
        self._learner.load_state_dict({**self._learner.state_dict(), **weights})

    def _complete(self) -> None:
        """Before the first update: what the networks started from lack learns by itself."""
        config = self.config
        if not config.start_from:
            return
        networks = read_networks(Path(config.start_from), config)
        if not networks.untrained:
            return
        losses = complete(
            networks.world.to(self._learner.device),
            networks.untrained,
            (
                self._replay.draw(self._rng)
                for _ in range(config.rollouts.first_updates)
                if not self._stopping
            ),
            config.dreamer.optimizer,
        )
        networks.world.cpu()
        self._take(networks)
        self._write({name.replace("world", "completion"): loss for name, loss in losses.items()})

    def _load(self) -> None:
        path = self.folder / "last.pt"
        try:
            self._restore(checkpoints.load(path), path)
        except KeyError as error:
            raise CodeZeroError(f"{path}: not a checkpoint of this version: no {error}") from None

    def _restore(self, state: Values, path: Path) -> None:
        for module, name in (
            (self._learner.world, "world"),
            (self._learner.behaviour, "behaviour"),
        ):
            checkpoints.load_into(module, state["learner"][name], path)
        self._learner.load_state_dict(state["learner"])
        self.steps = self._saved = state["steps"]
        self._seen = state["seen"]
        self._owed = state["owed"]
        self._best = state["best"]
        best = self.folder / "best.pt"
        if best.exists():  # it may be of later than this checkpoint
            self._best = max(checkpoints.load(best)["score"]["geomean"], self._best or 0.0)
        self._seconds = state["seconds"]
        self._replay_files.load(self._replay, state["replay"])
        self._rng.bit_generator.state = state["rng"]
        self._rollouts.load_state_dict(state["rollouts"])


class _Interval:
    """What happened since the log was last written."""

    def __init__(self) -> None:
        self.updates = 0
        self.not_kept = 0
        self._began = time.monotonic()
        self._steps = 0
        self._returns: list[float] = []
        self._ratios: list[float] = []
        self._ends: Counter[str] = Counter()
        self._workers_lost = 0

    def add(self, experience: Experience) -> None:
        self._steps += experience.steps
        self._returns += experience.returns
        self._ratios += experience.ratios
        self._ends += experience.ends
        self._workers_lost += experience.workers_lost

    def values(self) -> Values:
        seconds = max(time.monotonic() - self._began, 1e-9)
        values: Values = {
            "rate/steps": self._steps / seconds,
            "rate/updates": self.updates / seconds,
            "episodes/count": len(self._returns),
            "episodes/not_kept": self.not_kept,
        }
        if self._returns:
            # Where -Oz gains nothing, a return may be of any size.
            values["episodes/return"] = float(np.median(self._returns))
            values["episodes/ratio"] = float(np.exp(np.mean(np.log(self._ratios))))
        if self._workers_lost:
            values["episodes/workers_lost"] = self._workers_lost
        for end, count in self._ends.items():
            values[f"episodes/end_{end}"] = count
        return values


def _passes(interval: int, before: int, after: int) -> bool:
    """Whether a multiple of an interval lies between two counts."""
    return before // interval < after // interval
