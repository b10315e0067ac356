"""``codezero link``: whole programs, optimised as one while they are linked."""

from __future__ import annotations

import os
from collections.abc import Sequence

from codezero.driver.settings import DriverSettings
from codezero.link import link

USAGE = """\
usage: codezero link [CLANG'S OPTIONS] FILE...

Link a whole program: what is in bitcode (clang -flto) is optimised as one, by passes that are
chosen for it, and is never larger than by those of lld.

All that follows is for clang, which calls lld: objects, archives, -o, -l, -shared, -Wl,...;
--driver-mode=g++ links C++. Settings are environment variables; see docs/cc.md.
"""
EFFORT, SECONDS = 6.0, 120.0
"""More than for one file of many, where the user has not said how much."""


def run(arguments: Sequence[str], flags: Sequence[str]) -> int:
    """Exits as clang does."""
    words = [*arguments, *(["--", *flags] if flags else [])]
    if not words or words[0] in ("-h", "--help"):
        print(USAGE, end="")
        return 0 if words else 2
    settings = DriverSettings.read()
    if not os.environ.get("CODEZERO_EFFORT"):
        settings = settings._replace(effort=EFFORT)
    if not os.environ.get("CODEZERO_SECONDS"):
        settings = settings._replace(seconds=SECONDS)
    return link(words, settings)
