"""Checkpoints: a run on disk, such that it can go on after whatever ended it.

A run's folder has

- ``config.json``: what defines the run;
- ``last.pt``: all that it goes on from, but the replay; ``best.pt``: the networks that were best on
  validation;
- ``replay/BEGIN-END.npz``: rows of the replay by number. A checkpoint adds a file with the rows
  since the one before, and names those that it needs;
- ``log.jsonl`` and TensorBoard's files.

Every file is written whole or not at all, and ``last.pt`` after all that it names.
"""

from __future__ import annotations

import json
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from codezero.dreamer.replay import Replay, Rows
from codezero.errors import CodeZeroError
from codezero.files import read_json, replacing

NO_RANGE = (-1, -1)
FORMAT = 2
"""Of ``last.pt`` and ``best.pt``."""


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint. Raises `CodeZeroError` if the disk is full."""
    with replacing(path) as temporary:
        try:
            torch.save({"format": FORMAT, **state}, temporary)
        except RuntimeError as error:  # what torch makes of a full disk
            raise CodeZeroError(f"cannot write {path}: {error}") from None


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint, onto the CPU.

    Raises:
        CodeZeroError: there is none, it is broken, or it is of another format.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CodeZeroError(f"{path}: no such file") from None
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, zipfile.BadZipFile) as error:
        first_line = str(error).splitlines()[0]
        raise CodeZeroError(f"{path}: not a checkpoint: {first_line}") from None
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise CodeZeroError(f"{path}: not a checkpoint of this version of codezero")
    return state


def load_into(module: torch.nn.Module, state: dict[str, Any], path: Path) -> None:
    """Load weights. Raises `CodeZeroError` if they are of other sizes."""
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        detail = str(error).splitlines()[1:2]
        raise CodeZeroError(f"{path} has other sizes: {''.join(detail).strip()}") from None


class ReplayFiles:
    """The replay's files in a run's folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._saved = 0
        """Rows up to this number are in files."""

    def save(self, replay: Replay) -> list[str]:
        """Write the rows that no file has yet. Returns the names of all files that are needed."""
        begin = max(self._saved, replay.begin)
        if replay.end > begin:
            self._folder.mkdir(exist_ok=True)
            rows = replay.rows(begin, replay.end)
            with replacing(self._folder / f"{begin}-{replay.end}.npz") as temporary:
                np.savez(temporary, **rows._asdict())
            self._saved = replay.end
        return [file.name for file in self.files() if _range(file)[1] > replay.begin]

    def load(self, replay: Replay, names: list[str]) -> None:
        """Read files into an empty replay.

        Raises:
            CodeZeroError: one is missing or broken.
        """
        self.prune(names)  # of others, which are of a checkpoint that was not written to its end
        for name in names:
            path = self._folder / name
            begin, end = _range(path)
            if not len(replay):
                replay.begin = replay.end = begin
            replay.extend(_read_rows(path))
            self._saved = end

    def prune(self, names: list[str]) -> None:
        """Delete all files but some."""
        for file in self.files():
            if file.name not in names:
                file.unlink(missing_ok=True)

    def files(self) -> list[Path]:
        """From the oldest rows to the newest."""
        files = [file for file in self._folder.glob("*-*.npz") if _range(file) != NO_RANGE]
        return sorted(files, key=_range)


def newest_rows(folder: Path, count: int) -> Rows | None:
    """At least so many of the last rows of a replay's files, or all; None if there are no files.

    Raises:
        CodeZeroError: one is broken.
    """
    parts: list[Rows] = []
    for file in reversed(ReplayFiles(folder).files()):
        parts.insert(0, _read_rows(file))
        if sum(len(part.action) for part in parts) >= count:
            break
    return Rows(*map(np.concatenate, zip(*parts, strict=True))) if parts else None


def _read_rows(path: Path) -> Rows:
    try:
        with np.load(path) as file:
            return Rows(**file)
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise CodeZeroError(f"{path}: cannot be read: {error}") from None


def _range(path: Path) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)-(\d+)\.npz", path.name)
    return (int(found[1]), int(found[2])) if found else NO_RANGE


def write_config(folder: Path, config: dict[str, Any]) -> None:
    with replacing(folder / "config.json") as temporary:
        temporary.write_text(json.dumps(config, indent=2) + "\n")


def read_config(folder: Path) -> dict[str, Any]:
    """Raises `CodeZeroError` for a folder without one."""
    path = folder / "config.json"
    config: dict[str, Any] = read_json(path, f"{folder} is no training run: ")
    return config
