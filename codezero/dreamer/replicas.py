"""Learning on several GPUs: a process each, which shares every batch with the others.

PyTorch's DistributedDataParallel averages the gradients. This process draws the batches, acts and
saves; the others wait for their share of a batch and do nothing else, so that all that surrounds
learning is the same for one GPU and for many.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from codezero.dreamer.config import DreamerConfig
from codezero.dreamer.learner import Learner
from codezero.dreamer.replay import Rows
from codezero.errors import CodeZeroError

START_SECONDS = 120
"""Within which all processes must have found each other."""
DRIFT = 1e-4
"""By which norms of weights may differ: that of gradients is summed up in another order here and
there."""
GRACE_SECONDS = 20.0
"""After the end of one process, for the others to notice by themselves. Those on GPUs do not."""


class ReplicatedLearner(Learner):
    """A `Learner` of several processes, one a device; use as a context manager.

    Args:
        devices: a process each, the first for this one: CPUs (for tests), or different GPUs.
        seed: of initial weights and, with the number of the process, of all sampling.

    Raises:
        CodeZeroError: a batch cannot be shared evenly, or the processes do not find each other.
    """

    def __init__(
        self,
        layout: Mapping[str, slice],
        actions: int,
        config: DreamerConfig,
        devices: Sequence[str],
        seed: int = 0,
    ) -> None:
        count = len(devices)
        if config.replay.batch % count:
            raise CodeZeroError(
                f"a batch of {config.replay.batch} sequences cannot be shared among {count} "
                "processes evenly"
            )
        self._folder = tempfile.TemporaryDirectory(prefix="codezero-")
        store = str(Path(self._folder.name, "store"))
        threads = torch.get_num_threads()
        context = multiprocessing.get_context("spawn")
        self._processes, self._connections = [], []
        for rank in range(1, count):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_replica,
                args=(theirs, store, rank, layout, actions, config, devices, seed, threads),
                daemon=True,
            )
            process.start()
            theirs.close()
            self._processes.append(process)
            self._connections.append(ours)
        self._closing = threading.Event()
        try:
            for rank, connection in enumerate(self._connections, 1):
                self._hear(rank, connection)  # it has come so far that it can join
            group = _join(store, 0, devices)
            super().__init__(layout, actions, config, devices[0], seed, group=group)
        except BaseException:
            self.close()
            raise
        threading.Thread(target=self._watch, daemon=True).start()

    def update(self, rows: Rows) -> None:
        shares = share(rows, 1 + len(self._connections))
        self._tell("update", shares[1:])
        try:
            super().update(shares[0])
        except RuntimeError as error:
            for rank, process in enumerate(self._processes, 1):
                process.join(1)
                if not process.is_alive():
                    raise _ended(rank) from error
            raise

    def state_dict(self) -> dict[str, Any]:
        """Of this process, with the random numbers of the others.

        Raises:
            CodeZeroError: the others have other weights.
        """
        self._tell("state", [None] * len(self._connections))
        ours, others = self.norms(), []
        for rank, connection in enumerate(self._connections, 1):
            random, theirs = self._hear(rank, connection)
            if not np.allclose(theirs, ours, rtol=DRIFT):
                raise CodeZeroError(f"the learning process {rank} has come to other weights")
            others.append(random)
        return {**super().state_dict(), "replicas": others}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        others = state.get("replicas", [])
        if len(others) != len(self._connections):
            others = [None] * len(self._connections)  # of a run on another number of devices
        common = {key: value for key, value in state.items() if key != "replicas"}
        self._tell("load", [(common, random) for random in others])
        super().load_state_dict(common)

    def close(self) -> None:
        """End the other processes."""
        self._closing.set()
        for connection in self._connections:
            connection.close()
        for process in self._processes:
            process.join(GRACE_SECONDS)
            process.kill()
        self._captured = None  # it holds communication, which is waited for
        if dist.is_initialized():
            dist.destroy_process_group()
        self._folder.cleanup()

    def __enter__(self) -> ReplicatedLearner:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _tell(self, what: str, arguments: Sequence[Any]) -> None:
        for index, argument in enumerate(arguments):
            try:
                _send(self._connections[index], (what, argument))
            except OSError:
                raise _ended(index + 1) from None

    def _hear(self, rank: int, connection: Connection[Any, Any]) -> Any:
        try:
            return _receive(connection)
        except (EOFError, OSError):
            raise _ended(rank) from None

    def _watch(self) -> None:
        """End this process if another one has ended: GPUs would wait for it for ever."""
        wait([process.sentinel for process in self._processes])
        if self._closing.wait(GRACE_SECONDS):
            return
        print("codezero: a learning process has ended; so does this one", file=sys.stderr)
        os._exit(1)


def share(rows: Rows, count: int) -> list[Rows]:
    """A batch as so many smaller ones."""
    parts = [[*map(np.ascontiguousarray, np.split(column, count, axis=1))] for column in rows]
    return [Rows(*columns) for columns in zip(*parts, strict=True)]


def _send(connection: Connection[Any, Any], message: Any) -> None:
    # Connection.send would have both processes share the memory of tensors: a copy is meant.
    connection.send_bytes(pickle.dumps(message, pickle.HIGHEST_PROTOCOL))


def _receive(connection: Connection[Any, Any]) -> Any:
    return pickle.loads(connection.recv_bytes())


def _ended(rank: int) -> CodeZeroError:
    return CodeZeroError(f"the learning process {rank} has ended")


def _join(store: str, rank: int, devices: Sequence[str]) -> dist.ProcessGroup:
    """The group of all processes, once they are there."""
    device = torch.device(devices[rank])
    if device.type == "cuda":
        torch.cuda.set_device(device)
        # As PyTorch's notes on CUDA graphs ask for where communication is captured.
        os.environ.setdefault("TORCH_NCCL_ASYNC_ERROR_HANDLING", "0")
    else:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    try:
        dist.init_process_group(
            "nccl" if device.type == "cuda" else "gloo",
            init_method=f"file://{store}",
            rank=rank,
            world_size=len(devices),
            timeout=timedelta(seconds=START_SECONDS),
        )
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise CodeZeroError(f"the learning processes do not find each other: {reason}") from None
    assert dist.group.WORLD is not None
    return dist.group.WORLD


def _replica(
    connection: Connection[Any, Any],
    store: str,
    rank: int,
    layout: Mapping[str, slice],
    actions: int,
    config: DreamerConfig,
    devices: Sequence[str],
    seed: int,
    threads: int,
) -> None:
    """What the other processes do: as they are told, until the first one is gone."""
    for number in (signal.SIGINT, signal.SIGTERM):  # sent to all; the first process decides
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    _send(connection, "here")
    learner = Learner(
        layout, actions, config, devices[rank], seed, group=_join(store, rank, devices)
    )
    try:
        while True:
            what, argument = _receive(connection)
            if what == "update":
                learner.update(argument)
            elif what == "state":
                _send(connection, (learner.random_state(), learner.norms()))
            else:
                common, random = argument
                learner.load_state_dict({**common, "random": random or common["random"]})
                if random is None:
                    torch.manual_seed(seed + rank + learner.updates)
    except EOFError:
        os._exit(0)


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
