"""Licences of a Debian source package's files, from its ``debian/copyright``.

The format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path


class Licences:
    """The licence of each file.

    Args:
        copyright_file: the package's; without one, or with one in free text, no licence is known.
    """

    def __init__(self, copyright_file: Path) -> None:
        try:
            text = copyright_file.read_text(errors="replace")
        except OSError:
            text = ""
        self._paragraphs = [
            (_pattern(paragraph["files"]), paragraph["license"].strip().partition("\n")[0])
            for paragraph in _paragraphs(text)
            if "files" in paragraph and "license" in paragraph
        ]

    def of(self, path: str) -> str:
        """The short name of a file's licence; empty if none is stated.

        Args:
            path: in the package. The last paragraph that matches it counts.
        """
        matching = (name for pattern, name in reversed(self._paragraphs) if pattern.fullmatch(path))
        return next(matching, "")


def _paragraphs(text: str) -> Iterator[dict[str, str]]:
    for paragraph in re.split(r"\n[ \t]*\n", text):
        fields: dict[str, str] = {}
        name = ""
        for line in paragraph.splitlines():
            if line[:1] in (" ", "\t"):
                if name:
                    fields[name] += "\n" + line.strip()
            elif ":" in line and not line.startswith("#"):
                name, _, value = line.partition(":")
                name = name.lower()
                fields[name] = value.strip()
        yield fields


def _pattern(files: str) -> re.Pattern[str]:
    """``*`` and ``?`` match slashes, too."""
    alternatives = (
        re.escape(glob).replace(r"\*", ".*").replace(r"\?", ".") for glob in files.split()
    )
    return re.compile("|".join(alternatives), re.DOTALL)
