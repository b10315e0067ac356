"""What a run writes down: a line of JSON each time, and the same for TensorBoard."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from codezero.files import replacing


class RunLog:
    """Appends to a run's ``log.jsonl`` and to TensorBoard's files in its folder.

    Args:
        step: lines of later steps are dropped: they are of a run that was ended and is repeated
            from here. None begins anew.
    """

    def __init__(self, folder: Path, step: int | None = None) -> None:
        from torch.utils.tensorboard import SummaryWriter

        path = folder / "log.jsonl"
        if path.exists():
            kept = -1 if step is None else step
            lines = [line for line in path.read_text().splitlines() if _step_of(line) <= kept]
            with replacing(path) as temporary:
                temporary.write_text("".join(f"{line}\n" for line in lines))
        self._file = path.open("a", buffering=1)
        self._board = SummaryWriter(str(folder), purge_step=(step or 0) + 1)

    def write(self, step: int, values: dict[str, Any]) -> None:
        """Numbers by name, such as ``world/reward``, at a number of environment steps."""
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        for name, value in values.items():
            if isinstance(value, (int, float)):
                self._board.add_scalar(name, value, step)

    def close(self) -> None:
        self._file.close()
        self._board.close()


def _step_of(line: str) -> int:
    """The step of a line; a line that a kill cut off is of no step."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return 1 << 62
