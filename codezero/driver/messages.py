"""What a driver and the server say to each other.

The driver (`native/driver/`) knows how to run a program and how to write a file; what is to be
done, the server tells it (`codezero.driver.conversation`). A message is a list of byte strings: how
many there are, their lengths, and then these. The first is what it is about. A list in a part is of
strings with a NUL after each.

The driver begins, once for a conversation, and answers:

- ``question``: what a user calls it, which driver it is, its folder, the compiler, what tells that
  from others, and lists: flags that the terminal asks for, the user's words, environment variables
  (see `Question`);
- ``done``: the exit code of what it was told to run, its standard output and standard error, and
  the headers that it has listed.

The server says what to do:

- ``run``: the list of words of a command; the list of what goes with it (`Run`); what it is to have
  as standard input. The driver answers ``done``;
- ``folder``: a folder, in which to make one of its own; the list of files that there will be in it,
  and that go with it. It answers ``done``, with the path in place of standard output;
- ``write``: a path, and contents. Where it cannot be written, clang has the last word;
- ``record``: the file of records, and a line for it;
- ``finish``: messages for standard error. That is all;
- ``clang``: a list of words, for clang to do in the driver's place; messages. That is all;
- ``error``: what is wrong. That is all.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import NamedTuple

LONGEST = 1 << 30
"""Bytes of a part. More is no message of ours."""
MOST_PARTS = 16


class Gone(Exception):
    """The other side has gone."""


class Run(Enum):
    """What goes with a command."""

    OUTPUT = "output"
    """Its standard output is told, and not the driver's."""
    INPUT = "input"
    """It has what comes with the message as standard input, not nothing."""
    SOURCE = "source"
    """It has what the driver has."""
    HEADERS = "headers"
    """It lists headers in `HEADERS`."""


HEADERS = "/proc/self/fd/3"
"""A file that is open in a command, for headers to be listed in."""


class Question(NamedTuple):
    """One call of a driver."""

    name: str
    """What the user calls it."""
    driver: str
    """Which of ours it is."""
    directory: str
    compiler: str
    identity: str
    """Tells a compiler from others at the same path."""
    terminal: tuple[str, ...]
    """Flags by which clang's messages look as they do at a terminal, if there is one."""
    arguments: tuple[str, ...]
    environment: dict[str, str]
    """The variables that matter."""

    @staticmethod
    def parse(parts: Sequence[bytes]) -> Question:
        """Raises `ValueError` for what is no question."""
        verb, *texts, terminal, arguments, variables = parts
        if verb != b"question":
            raise ValueError(f"{verb!r} is no question")
        name, driver, directory, compiler, identity = map(os.fsdecode, texts)
        environment = dict(each.split("=", 1) for each in unpack_list(variables) if "=" in each)
        return Question(
            *(name, driver, directory, compiler, identity),
            tuple(unpack_list(terminal)),
            tuple(unpack_list(arguments)),
            environment,
        )

    def path(self, name: str) -> str:
        """A path of the driver's, absolute."""
        return os.path.join(self.directory, name)  # .. after a link is not what it looks like


class Done(NamedTuple):
    """What came of a command."""

    code: int
    output: bytes
    messages: bytes
    headers: bytes

    @staticmethod
    def parse(parts: Sequence[bytes]) -> Done:
        """Raises `ValueError` for what is no answer."""
        verb, code, output, messages, headers = parts
        if verb != b"done":
            raise ValueError(f"{verb!r} is no answer")
        return Done(int(code), output, messages, headers)


def pack_list(words: Iterable[str]) -> bytes:
    return b"".join(os.fsencode(word) + b"\0" for word in words)


def unpack_list(part: bytes) -> list[str]:
    return [os.fsdecode(word) for word in part.split(b"\0")[:-1]]


def send(connection: socket.socket, *parts: bytes) -> None:
    """Raises `Gone`."""
    lengths = struct.pack(f"!I{len(parts)}Q", len(parts), *map(len, parts))
    # In one call: the other side may be gone as soon as it has all.
    try:
        connection.sendall(b"".join((lengths, *parts)))
    except OSError as error:
        raise Gone(str(error)) from None


def receive(connection: socket.socket) -> list[bytes]:
    """Raises `Gone`, also where the other side says what cannot be understood."""
    (count,) = struct.unpack("!I", _receive(connection, 4))
    if not 0 < count <= MOST_PARTS:
        raise Gone("a message that is none of ours")
    lengths = struct.unpack(f"!{count}Q", _receive(connection, 8 * count))
    if max(lengths) > LONGEST:
        raise Gone("a message that is none of ours")
    return [_receive(connection, length) for length in lengths]


def _receive(connection: socket.socket, length: int) -> bytes:
    parts = bytearray()
    while len(parts) < length:
        try:
            part = connection.recv(min(length - len(parts), 1 << 20))
        except OSError as error:
            raise Gone(str(error)) from None
        if not part:
            raise Gone("the other side has gone")
        parts += part
    return bytes(parts)
