"""What a user sets for the drivers: environment variables, since a build passes those on."""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from codezero.errors import CodeZeroError


class DriverSettings(NamedTuple):
    """One field a variable, which has its name in capitals after ``CODEZERO_``."""

    always: bool = False
    """Take every compilation for one at -Oz, whatever the build asks for."""
    strict: bool = False
    """Fail where the object would be clang's own for a fault of ours."""
    keep_speed: bool = False
    """Do without passes that make a program smaller by making it slower."""
    effort: float = 2.0
    """How many times as long as -Oz's optimiser and code generator ours may take."""
    seconds: float = 20.0
    """Wall time after which the best so far is taken: for the largest sources."""
    budget: str = ""
    """Time (500ms, 1s) or trials a source, to go on for after the agent's trial."""
    cache: str = ""
    """The cache's folder; ``off`` is none."""
    cache_size: str = "1G"
    """The most that it may hold: bytes, or with K, M or G."""
    records: str = ""
    """The file for records of what was compiled; ``off`` is none."""

    @staticmethod
    def read(
        environment: Mapping[str, str] = os.environ, directory: str | None = None
    ) -> DriverSettings:
        """The settings that an environment makes.

        Args:
            directory: where relative paths begin; this process's own if None.

        Raises:
            CodeZeroError: a variable cannot be understood.
        """
        defaults = DriverSettings()
        given: dict[str, Any] = {
            field: _parse(field, environment[variable], default)
            for field, default in defaults._asdict().items()
            if environment.get(variable := f"CODEZERO_{field.upper()}")
        }
        settings = defaults._replace(**given)
        cache = settings.cache or _home("XDG_CACHE_HOME", ".cache", environment)
        records = settings.records or os.path.join(
            _home("XDG_STATE_HOME", ".local/state", environment), "objects.jsonl"
        )
        return settings._replace(
            cache=cache if cache == OFF else _absolute(cache, directory),
            records=records if records == OFF else _absolute(records, directory),
        )

    @property
    def cache_bytes(self) -> int:
        return parse_size(self.cache_size)


OFF = "off"
_UNITS = {"K": 10, "M": 20, "G": 30}


def parse_size(text: str) -> int:
    """Bytes of ``500M``, ``1G``, ``4096``. Raises `CodeZeroError` for other text."""
    digits, unit = (text[:-1], text[-1].upper()) if text[-1:].isalpha() else (text, "")
    if not digits.isdecimal() or (unit and unit not in _UNITS):
        raise CodeZeroError(f"CODEZERO_CACHE_SIZE: '{text}' is no size; write 500M or 1G")
    return int(digits) << _UNITS.get(unit, 0)


def _parse(field: str, text: str, default: bool | float | str) -> bool | float | str:
    variable = f"CODEZERO_{field.upper()}"
    if isinstance(default, bool):
        if text not in ("0", "1"):
            raise CodeZeroError(f"{variable} is 0 or 1, not '{text}'")
        return text == "1"
    if isinstance(default, float):
        try:
            number = float(text)
        except ValueError:
            number = 0.0
        if not 0 < number < float("inf"):
            raise CodeZeroError(f"{variable} is a number above 0, not '{text}'")
        return number
    if field == "budget" and not re.fullmatch(r"\d{1,9}(\.\d{1,9})?(ms|s|m|h)?", text):
        raise CodeZeroError(f"{variable} is a time (500ms, 1s) or a number of trials, not '{text}'")
    if field == "cache_size":
        parse_size(text)
    return text


def _absolute(path: str, directory: str | None) -> str:
    return os.path.abspath(path if directory is None else os.path.join(directory, path))


def _home(variable: str, default: str, environment: Mapping[str, str]) -> str:
    """A folder of ours, where the XDG base directory specification wants it."""
    base = environment.get(variable)
    if not base:
        try:
            home = environment.get("HOME") or pwd.getpwuid(os.getuid()).pw_dir
        except KeyError:  # as in a container with another's number
            home = "/"
        base = os.path.join(home, default)
    return os.path.join(base, "codezero")
