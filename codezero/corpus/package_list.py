"""Lists of Debian source packages, as text that people edit.

A line is a package; then, after a space or ``=``, its version; then, each after ``-``, patterns of
files to leave out, such as ``-third_party/*``. A line ``[DOMAIN]`` names the domain of the packages
after it. ``#`` begins a comment.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from codezero.errors import CodeZeroError


@dataclass(frozen=True)
class ListedPackage:
    name: str
    version: str
    """Empty for the newest."""
    domain: str
    without: tuple[str, ...] = ()
    """Patterns of `fnmatch` for the paths of files to leave out."""


def read_package_list(path: Path) -> list[ListedPackage]:
    """The packages of a list, in its order.

    Raises:
        CodeZeroError: the file cannot be read, or a line is not as above.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CodeZeroError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    packages: list[ListedPackage] = []
    names: set[str] = set()
    domain = ""
    for number, line in enumerate(lines, 1):
        line = line.partition("#")[0].strip()
        if line.startswith("[") and line.endswith("]"):
            domain = line[1:-1].strip()
            continue
        name, *patterns = re.split(r"\s+-", line)
        words = name.replace("=", " ", 1).split()
        if len(words) > 2:
            raise CodeZeroError(f"{path}:{number}: expected a package and a version")
        if words and words[0] in names:
            raise CodeZeroError(f"{path}:{number}: {words[0]} is there already")
        if words:
            names.add(words[0])
            packages.append(ListedPackage(words[0], "".join(words[1:]), domain, tuple(patterns)))
    return packages
