"""What codezero-cc asks the server first, and what the server tells it.

It is `native/driver/` that asks: no JSON, which C++ alone cannot read.
"""

from __future__ import annotations

import os
import struct
from typing import NamedTuple

from codezero.driver.messages import Message
from codezero.driver.settings import DriverSettings

_OURS = ("CODEZERO_", "XDG_")
"""What variables begin with that say where things are kept, or what is wished for."""


class Question(NamedTuple):
    """A compilation, as the words that ask for it."""

    directory: str
    settings: DriverSettings
    depends_on: Message
    """All that it depends on but the contents of files."""


def parse(data: bytes) -> Question:
    """A question, of words that each have a NUL at their end.

    The folder, which compiler it is, how many words the compiler has been given and these, and
    environment variables.

    Raises:
        CodeZeroError: a variable of ours cannot be understood.
    """
    words = [os.fsdecode(word) for word in data.split(b"\0")[:-1]]
    directory, compiler, count = words[:3]
    arguments, variables = words[3 : 3 + int(count)], sorted(words[3 + int(count) :])
    environment = dict(variable.split("=", 1) for variable in variables)
    settings = DriverSettings.read(environment, directory)
    depends_on = {
        "directory": directory,
        "compiler": compiler,
        "arguments": arguments,
        "environment": [v for v in variables if not v.startswith(_OURS)],
        # Where records go makes no difference.
        "settings": settings._replace(records="")._asdict(),
    }
    return Question(directory, settings, depends_on)


def answer(results: Message, data: bytes, records: str, line: bytes) -> bytes:
    """What there is to write: the lengths of the parts, and then these.

    Args:
        results: what comes of a compilation besides the object (`codezero.driver.seen`).
        data: the object.
        records: where records go; empty if nowhere.
        line: the record.
    """
    dependency_file = results["dependency_file"] or ("", "")
    parts = (
        os.fsencode(results["output"]),
        data,
        os.fsencode(dependency_file[0]),
        dependency_file[1].encode("latin-1"),
        results["messages"].encode("latin-1"),
        os.fsencode(records),
        line,
    )
    return struct.pack(f"!{len(parts)}Q", *map(len, parts)) + b"".join(parts)
