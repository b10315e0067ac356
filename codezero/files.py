"""Files that are written whole or not at all, and JSON that users may have broken."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from codezero.errors import CodeZeroError

_UMASK = os.umask(0)
os.umask(_UMASK)


@contextmanager
def replacing(path: Path, mode: int = 0o666) -> Iterator[Path]:
    """A path beside ``path`` to write to, moved over it at the end, unless an error comes first.

    Args:
        mode: permissions, of which the process's umask is taken away.

    Raises:
        CodeZeroError: the folder cannot be written to, or the disk is full; ``path`` is as it was.
    """
    try:
        path = path.resolve()  # a link stays a link
        descriptor, name = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix
        )
    except (OSError, RuntimeError) as error:  # the latter for links that lead to themselves
        reason = getattr(error, "strerror", None) or error
        raise CodeZeroError(f"cannot write {path}: {reason}") from None
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(mode & ~_UMASK)
        temporary.replace(path)
    except OSError as error:
        raise CodeZeroError(f"cannot write {path}: {error.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True)


def read_json(path: Path, without: str = "") -> Any:
    """What a JSON file says.

    Args:
        without: what it means, in words for the user, that it cannot be read.

    Raises:
        CodeZeroError: it cannot, or is not JSON.
    """
    try:
        return json.loads(path.read_text())
    except OSError as error:
        raise CodeZeroError(f"{without}{path}: {error.strerror}") from None
    except ValueError as error:
        raise CodeZeroError(f"{path}: not JSON: {error}") from None


def is_special(path: str | Path) -> bool:
    """Whether it is standard output, a device or the like, which is not to be replaced."""
    return str(path) == "-" or (os.path.exists(path) and not os.path.isfile(path))  # noqa: PTH110, PTH113
