"""``codezero train``: train an agent on a corpus."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from codezero.cli.extras import require
from codezero.cli.options import parse
from codezero.errors import CodeZeroError
from codezero.parallel import available_cores
from codezero.training.config import PRESETS, TrainConfig

if TYPE_CHECKING:
    from codezero.training.run import Cluster
    from codezero.training.trainer import Trainer, Values

OF_RESUMED_RUNS = ("resume", "steps", "device", "threads", "ray", "ray-workers")
"""Options that may be given for a run that has begun."""
SAME_SIGNAL_SECONDS = 1.0
"""Within which signals are one: timeout(1) sends its own to the process and to its group."""


@dataclass(frozen=True)
class Options(TrainConfig):
    """Train an agent on the training split of a corpus; validate it on another split.

    All that a run needs to go on is in its folder. Ctrl-C saves and stops. After that, or after
    whatever else ended it, --resume FOLDER goes on from the last checkpoint.
    """

    corpus: Annotated[Path | None, tyro.conf.arg(metavar="FILE.parquet")] = None
    """What "codezero corpus build" made."""
    logdir: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """The run's folder, for checkpoints, log.jsonl and TensorBoard."""
    resume: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """A run to go on with, under its own settings, but for --steps if that is given."""
    preset: str = "small"
    """Sizes and settings of the agent to begin from: paper, medium, small or debug."""
    device: Annotated[tuple[str, ...], tyro.conf.arg(metavar="DEVICE...")] = ("auto",)
    """cpu, cuda, or cuda:N; auto is cuda where there is one, all is every GPU. Of several, each has
    a process that learns from a share of every batch."""
    threads: int = 0
    """CPU threads of the networks. 0 is half the cores where they compute on a CPU, since
    environments take the rest, and else what torch takes."""
    ray: Annotated[str | None, tyro.conf.arg(metavar="ADDRESS")] = None
    """Play the episodes on this Ray cluster: HOST:PORT, ray://HOST:PORT, auto for the one that this
    machine is of, or local to start one here. Its machines need this version of codezero."""
    ray_workers: int = 0
    """Rollout workers there, of --rollouts.envs environments each; 0 is as many as fit."""

    def run_config(self) -> TrainConfig:
        return TrainConfig(**{f.name: getattr(self, f.name) for f in fields(TrainConfig)})


def run(arguments: Sequence[str], flags: Sequence[str]) -> int:
    """Exits 130 if it was interrupted, everything saved."""
    if flags:
        raise CodeZeroError("train: a corpus is compiled; there is nothing for flags to do")
    require("train", "train", "torch", "tensorboard")
    return _train(_parse(arguments), _named(arguments))


def _named(arguments: Sequence[str]) -> list[str]:
    """Names of the options that are given, as ``task.max-steps``."""
    words = (word.partition("=")[0] for word in arguments if word.startswith("--"))
    return [word.removeprefix("--").replace("_", "-") for word in words]


def _parse(arguments: Sequence[str]) -> Options:
    """The options, with those of the preset that they name as defaults."""
    preset = Options.preset
    for index, argument in enumerate(arguments):
        if argument == "--preset" and index + 1 < len(arguments):
            preset = arguments[index + 1]
        elif argument.startswith("--preset="):
            preset = argument.partition("=")[2]
    if preset not in PRESETS:
        raise CodeZeroError(f"train: no preset '{preset}'; choose from: {', '.join(PRESETS)}")
    settings = PRESETS[preset]
    default = Options(**{f.name: getattr(settings, f.name) for f in fields(TrainConfig)})
    return parse(Options, "train", arguments, default)


def _train(options: Options, named: Sequence[str]) -> int:
    """
    Args:
        named: which options are given; others have the defaults of the preset.
    """
    import torch

    from codezero.training.folder import extend_run, new_run, withdraw_run
    from codezero.training.run import open_trainer

    given = options.corpus is not None, options.logdir is not None
    if given != ((True, True) if options.resume is None else (False, False)):
        raise CodeZeroError("train: give --corpus and --logdir, or --resume")
    if options.resume is not None:
        for name in named:
            if name not in OF_RESUMED_RUNS:
                raise CodeZeroError(
                    f"train: --resume goes on under the run's own settings: not with --{name}"
                )
    if options.threads < 0:
        raise CodeZeroError("train: --threads is not negative")
    cluster = _cluster(options)
    devices = _devices(options.device)
    if options.threads or devices[0] == "cpu":
        torch.set_num_threads(options.threads or max(available_cores() // 2, 1))
    if options.corpus is not None and options.logdir is not None:
        folder = options.logdir
        new_run(folder, options.run_config(), options.corpus)
    else:
        assert options.resume is not None
        folder = options.resume
        if "steps" in named:
            extend_run(folder, options.steps)
    view = View(folder)
    is_new, begun = options.resume is None, False
    try:
        with open_trainer(
            folder, resume=not is_new, devices=devices, cluster=cluster, on_log=view.show
        ) as trainer:
            begun = True
            view.begin(trainer)
            with view, _stopping_on_signals(trainer) as stopped:
                trainer.run()
            print(f"{folder}: {trainer.steps:,} steps, {trainer.updates:,} updates")
            return 130 if stopped else 0
    except BaseException:
        if is_new and not begun:
            withdraw_run(folder)
        raise


def _cluster(options: Options) -> Cluster | None:
    from codezero.training.run import Cluster

    if options.ray_workers < 0:
        raise CodeZeroError("train: --ray-workers is not negative")
    if options.ray is None:
        if options.ray_workers:
            raise CodeZeroError("train: --ray-workers are of a cluster: give --ray as well")
        return None
    require("train --ray", "ray", "ray")
    if options.rollouts.in_order:
        raise CodeZeroError("train: --rollouts.in-order waits for one process, --ray has several")
    return Cluster(options.ray, options.ray_workers)


def _devices(names: Sequence[str]) -> list[str]:
    import torch

    gpus = torch.cuda.device_count()
    if not names:
        raise CodeZeroError("train: --device names none")
    if tuple(names) == ("all",):
        if not gpus:
            raise CodeZeroError("train: --device all: there is no GPU")
        names = [f"cuda:{index}" for index in range(gpus)]
    elif tuple(names) == ("auto",):
        names = ["cuda" if gpus else "cpu"]
    for name in names:
        try:
            torch.zeros(1, device=torch.device(name))
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            reason = str(error).splitlines()[0]
            raise CodeZeroError(f"train: --device {name} cannot be used: {reason}") from None
    devices = [torch.device(name) for name in names]
    if len({device.type for device in devices}) > 1:
        raise CodeZeroError(f"train: --device {' '.join(names)}: all of a kind learn together")
    indices = [device.index or 0 for device in devices if device.type == "cuda"]
    if len(set(indices)) < len(indices):
        raise CodeZeroError(f"train: --device {' '.join(names)}: each GPU once")
    return list(map(str, devices))


@contextmanager
def _stopping_on_signals(trainer: Trainer) -> Iterator[list[int]]:
    """Ctrl-C and SIGTERM have the trainer save and stop; one that comes later ends it at once."""
    received: list[int] = []
    first = 0.0

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal first
        if not received:
            first = time.monotonic()
        elif time.monotonic() - first > SAME_SIGNAL_SECONDS:
            raise KeyboardInterrupt
        received.append(number)
        trainer.stop()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class View:
    """What a run shows while it runs: a table that stays in place, or lines where none can."""

    SHOWN = (
        ("episodes/return", "return"),
        ("episodes/ratio", "-Oz over best, training"),
        ("validation/geomean", "-Oz over best, validation"),
        ("validation/with_fallback", "the same, never worse than -Oz"),
        ("validation/random_geomean", "of random passes"),
        ("world/loss", "world model's loss"),
        ("behaviour/entropy", "policy's entropy"),
        ("rate/steps", "environment steps a second"),
        ("rate/updates", "updates a second"),
    )

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._values: Values = {}
        self._live: Any = None

    def begin(self, trainer: Trainer) -> None:
        self._config: TrainConfig = trainer.config
        self._first_step, self._began = trainer.steps, time.monotonic()
        self._step = trainer.steps

    def __enter__(self) -> View:
        if sys.stdout.isatty():
            from rich.live import Live

            self._live = Live(self._table(), refresh_per_second=2)
            self._live.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, step: int, values: Values) -> None:
        self._step = step
        self._values |= values
        if self._live is not None:
            self._live.update(self._table())
        else:
            shown = [f"{name} {values[key]:.4g}" for key, name in self.SHOWN if key in values]
            print(f"{step:>9,} steps: {', '.join(shown)}", flush=True)

    def _table(self) -> Any:
        from rich import box
        from rich.table import Table

        table = Table(box=box.SIMPLE_HEAD, title=str(self._folder), show_header=False)
        table.add_column()
        table.add_column(justify="right")
        table.add_row("steps", f"{self._step:,} of {self._config.steps:,}")
        table.add_row("updates", f"{self._values.get('updates', 0):,}")
        for key, name in self.SHOWN:
            if key in self._values:
                table.add_row(name, f"{self._values[key]:.4g}")
        table.add_row("time left", self._time_left())
        return table

    def _time_left(self) -> str:
        done = self._step - self._first_step
        if not done:
            return "-"
        seconds = (time.monotonic() - self._began) / done * (self._config.steps - self._step)
        hours, minutes = divmod(int(seconds) // 60, 60)
        return f"{hours} h {minutes:02} min"
