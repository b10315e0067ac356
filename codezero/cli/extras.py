"""What commands need beyond a plain installation: the extras of pyproject.toml."""

from __future__ import annotations

import importlib.util

from codezero.errors import CodeZeroError


def require(command: str, extra: str, *modules: str) -> None:
    """Raises `CodeZeroError`, with what installs it, if a module is missing."""
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise CodeZeroError(
                f"{command}: {module} is not installed: pip install 'codezero[{extra}]'"
            )
