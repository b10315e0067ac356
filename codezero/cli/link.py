"""``codezero link``: whole programs, linked by lld with passes that are chosen for each."""

from __future__ import annotations

from collections.abc import Sequence

from codezero.cli import EXIT_BAD_INPUT
from codezero.compiler.toolchain import CLANG, LLD
from codezero.driver.driver import drive
from codezero.driver.known import Asked
from codezero.driver.settings import DriverSettings

USAGE = """\
usage: codezero link [CLANG'S OPTIONS] FILE...

Link a whole program: what is in bitcode (clang -flto, or better codezero-cc -flto) is optimised as
one, by passes that are chosen for it, and is never larger than by those of lld.

All that follows is for clang, which calls lld: objects, archives, sources, -o, -l, -shared,
-Wl,...; --driver-mode=g++ links C++. Settings are environment variables; see docs/cc.md.
"""


def run(arguments: Sequence[str], flags: Sequence[str]) -> int:
    """Exits as clang does."""
    words = [*arguments, *(["--", *flags] if flags else [])]
    if not words or words[0] in ("-h", "--help"):
        print(USAGE, end="")
        return 0 if words else EXIT_BAD_INPUT
    LLD.require()
    # In front, so that what the user says counts.
    arguments = ["-Oz", "-flto", "-fuse-ld=lld", *words]
    settings = DriverSettings.read()._replace(always=True)
    return drive("codezero link", CLANG, arguments, settings, Asked(), tells=True)
