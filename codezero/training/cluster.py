"""Rollouts on a Ray cluster: `RolloutWorker` as actors, each with environments of its own.

A worker plays a little, with the newest weights, for each call; the learner takes what has come and
calls again. So the pace is set by the learner, as it is in one process, and a worker that dies
costs the episodes that it was playing.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import ray
import torch

import codezero
from codezero.compiler import LLVM_VERSION
from codezero.corpus.corpus import Corpus
from codezero.dreamer.behaviour import Behaviour
from codezero.dreamer.learner import Learner
from codezero.dreamer.policy import Actor, acting
from codezero.dreamer.world_model import WorldModel
from codezero.env.episode import EpisodeSettings
from codezero.env.vector import PhaseOrderingVectorEnv
from codezero.errors import CodeZeroError
from codezero.training.config import TrainConfig
from codezero.training.environments import ENVS_PER_CORE, make_envs
from codezero.training.rollouts import Experience, RolloutWorker

CONNECT_SECONDS = 10.0
"""Within which a cluster's machine must answer."""
ANSWER_SECONDS = 1.0
"""After which a caller that waits for experience is answered that there is none yet."""
START_SECONDS = 120.0
"""Within which every worker must have started."""
ROUNDS_A_CALL = 4
"""Steps of each environment in a call: many enough that calls cost little, few enough that weights
are new."""
UPDATES_A_VERSION = 10
"""Updates after which weights are sent anew."""
MOST_ENVS = 8
"""Environments of a worker where none are asked for: so few that a worker fits on many machines."""

WEIGHTS_BYTES = 1 << 29
"""More than all weights that are under way at a time."""

Weights = dict[str, torch.Tensor]


class RemoteWorker:
    """What runs in the cluster.

    Args:
        settings: the decision process.
        config: the run's.
        lists: those of the run's that episodes begin with, as actions.
        envs: environments, a process each.
        seed: which programs are drawn.
    """

    def __init__(
        self,
        settings: EpisodeSettings,
        config: TrainConfig,
        lists: Sequence[Sequence[int]],
        envs: int,
        seed: Sequence[int],
    ) -> None:
        self._settings, self._config, self._num_envs = settings, config, envs
        self._lists = lists
        # One that is started again after a crash draws other programs than before.
        self._seed = [*seed, os.getpid()]
        self._version = -1
        self._envs: PhaseOrderingVectorEnv | None = None

    def prepare(self, corpus: npt.NDArray[np.uint8]) -> tuple[str, str]:
        """Make networks and environments.

        Args:
            corpus: the bytes of the Parquet file, shape (N,).

        Returns:
            Versions of codezero and of the LLVM in it.
        """
        settings, config, envs = self._settings, self._config, self._num_envs
        if self._envs is not None:
            self._envs.close()  # it was only out of reach for a while
        rng = np.random.default_rng(self._seed)
        torch.set_num_threads(1)
        torch.manual_seed(int(rng.integers(2**63)))
        world = WorldModel(settings.layout, settings.num_actions, config.dreamer)
        behaviour = Behaviour(settings.num_actions, config.dreamer)
        self._networks = acting(world, behaviour)
        programs = Corpus(pa.py_buffer(corpus), "train")
        self._envs = make_envs(programs, settings, config.task.step_seconds, envs)
        self._envs.np_random = rng
        self._worker = RolloutWorker(
            self._envs,
            Actor(world, behaviour, envs),
            limit_is_end=config.task.limit_is_end,
            in_order=False,
            lists=self._lists,
            list_share=config.rollouts.list_share,
            restart=settings.restart_action,
            restart_share=config.rollouts.restart_share,
        )
        self._version = -1
        return codezero.__version__, LLVM_VERSION

    def play(
        self, version: int, weights: Weights, random_share: float, going_on: bool
    ) -> tuple[Experience, bool] | None:
        """Some steps, or to the ends of all episodes; and whether none is under way.

        None if the worker is not prepared: it died, and Ray has started it again.
        """
        if self._envs is None:
            return None
        if version != self._version:
            self._networks.load_state_dict(weights)
            self._version = version
        total, steps = Experience(), ROUNDS_A_CALL * self._num_envs
        if going_on:
            self._worker.begin()
        while not self._worker.is_idle and (total.steps < steps or not going_on):
            total += self._worker.advance(random_share=random_share, going_on=going_on)
        return total, self._worker.is_idle


class RayRollouts:
    """Workers in a cluster, as one source of experience; see `codezero.training.rollouts.Rollouts`.

    Each worker has at most one call under way, and waits between calls.

    Args:
        workers: handles of `RemoteWorker` actors, which are prepared.
        corpus: reference to what they were prepared with.
        learner: whose networks they act with.
    """

    def __init__(self, workers: Sequence[Any], corpus: Any, learner: Learner) -> None:
        self._workers = workers
        self._corpus = corpus
        self._learner = learner
        self._networks = acting(learner.world, learner.behaviour)
        self._calls: dict[Any, int] = {}
        """Worker by call under way."""
        self._starting: set[int] = set()
        """Workers whose call under way prepares them anew."""
        self._playing: set[int] = set()
        """Workers with episodes that have not ended."""
        self._version = -1
        self._weights: Any = None

    @property
    def is_idle(self) -> bool:
        return not self._playing - self._starting

    def begin(self) -> None:
        self._playing = set(range(len(self._workers)))

    def advance(self, *, random_share: float, going_on: bool = True) -> Experience:
        """What one of the workers has played."""
        called = set(self._calls.values())
        for index in sorted(self._playing - called):
            self._call(index, random_share, going_on)
        if not self._calls:
            return Experience()
        answered, _ = ray.wait(list(self._calls), num_returns=1, timeout=ANSWER_SECONDS)
        if not answered:
            return Experience()  # the caller may have been told to stop
        call = answered[0]
        index = self._calls.pop(call)
        try:
            answer = ray.get(call)
        except ray.exceptions.RayActorError as error:
            if index in self._starting:
                message = f"a rollout worker cannot be started again: {_line(error)}"
                raise CodeZeroError(message) from None
            answer = None
        except ray.exceptions.RayError as error:
            raise CodeZeroError(f"a rollout worker failed: {_line(error)}") from None
        if index in self._starting:
            self._starting.discard(index)
            return Experience()
        if answer is None:
            # Ray starts it again, on another machine if need be; this call waits for that.
            self._starting.add(index)
            if not going_on:
                self._playing.discard(index)  # its episodes are gone
            waiting = self._workers[index].prepare.options(max_task_retries=-1).remote(self._corpus)
            self._calls[waiting] = index
            return Experience(workers_lost=1)
        experience: Experience
        experience, is_idle = answer
        if is_idle:
            self._playing.discard(index)
        return experience

    def _call(self, index: int, random_share: float, going_on: bool) -> None:
        version = self._learner.updates // UPDATES_A_VERSION
        if version != self._version:
            weights = self._networks.state_dict()
            self._weights = ray.put({name: weight.cpu() for name, weight in weights.items()})
            self._version = version
        call = self._workers[index].play.remote(version, self._weights, random_share, going_on)
        self._calls[call] = index

    def state_dict(self) -> dict[str, Any]:
        """Nothing: workers draw programs anew when a run is resumed."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


@contextmanager
def ray_rollouts(
    address: str,
    corpus: Path,
    settings: EpisodeSettings,
    config: TrainConfig,
    learner: Learner,
    *,
    workers: int = 0,
) -> Iterator[RayRollouts]:
    """Workers on a cluster, for as long as the context lasts.

    Args:
        address: of the cluster, as `ray.init` takes it; ``"local"`` starts one on this machine.
        corpus: sent to the cluster, which need not see the same files.
        workers: how many; 0 is as many as the cluster has cores for.

    Raises:
        CodeZeroError: there is no such cluster, it has too few cores, does not start the workers,
            or has another version of codezero.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    _reach(address)
    options: dict[str, Any] = {}
    if address == "local":  # Ray would take a third of the memory
        options["object_store_memory"] = 2 * corpus.stat().st_size + WEIGHTS_BYTES
    try:
        ray.init(address, logging_level=logging.ERROR, log_to_driver=False, **options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise CodeZeroError(f"no Ray cluster at '{address}': {_line(error)}") from None
    try:
        envs, cores, fitting = _plan(config.rollouts.envs)
        if workers > fitting:
            raise CodeZeroError(
                f"the cluster has cores for {fitting} workers of {cores}, not for {workers}"
            )
        stored = ray.put(np.fromfile(corpus, np.uint8))
        lists = config.rollouts.read_lists(settings)
        remote = ray.remote(num_cpus=cores, max_restarts=-1)(RemoteWorker)
        handles = [
            remote.remote(settings, config, lists, envs, [config.seed, index])
            for index in range(workers or fitting)
        ]
        _prepare(handles, stored)
        yield RayRollouts(handles, stored, learner)
    finally:
        ray.shutdown()


def _reach(address: str) -> None:
    """Raises `CodeZeroError` if nothing listens there: Ray itself tries for many minutes."""
    place = address.removeprefix("ray://")
    host, colon, port = place.rpartition(":")
    if not colon:
        return  # "auto" and the like
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        raise CodeZeroError(f"no Ray cluster at '{address}': {error}") from None


def _plan(envs: int) -> tuple[int, int, int]:
    """Environments and cores of a worker, and how many workers the cluster has cores for."""
    found: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    nodes = [int(node["Resources"].get("CPU", 0)) for node in found if node["Alive"]]
    largest = max(nodes, default=0)
    envs = envs or min(MOST_ENVS, ENVS_PER_CORE * max(largest, 1))
    cores = -(-envs // ENVS_PER_CORE)
    fitting = sum(count // cores for count in nodes)
    if not fitting:
        raise CodeZeroError(
            f"a worker of {envs} environments takes {cores} cores, and no machine of the cluster "
            f"has more than {largest}: lower --rollouts.envs"
        )
    return envs, cores, fitting


def _prepare(workers: Sequence[Any], corpus: Any) -> None:
    """Raises `CodeZeroError` unless all start, with our version."""
    ours = (codezero.__version__, LLVM_VERSION)
    try:
        found = ray.get(
            [worker.prepare.remote(corpus) for worker in workers], timeout=START_SECONDS
        )
    except ray.exceptions.GetTimeoutError:
        raise CodeZeroError(
            f"the cluster has not started {len(workers)} workers within {START_SECONDS:.0f} s"
        ) from None
    except ray.exceptions.RayError as error:
        raise CodeZeroError(f"a rollout worker does not start: {_line(error)}") from None
    if others := {version for version in found if version != ours}:
        raise CodeZeroError(
            f"the cluster has codezero {others.pop()}, this machine {ours}: install the same"
        )


def _line(error: BaseException) -> str:
    """The last line of an error that says something: the innermost reason of Ray's many lines."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
