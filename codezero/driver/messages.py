"""What a driver and the server say to each other: a JSON object and some bytes at a time.

A conversation about one compilation, with what bytes come along:

- driver: ``{"question": true}`` (all that the compilation depends on but files);
- server: ``{"answer": "object"}`` (all that there is to write), if files are as they were the last
  time, and that is all; or ``{"answer": "unknown"}``. Of these two messages, what comes along is as
  `codezero.driver.question` has it, and it is `native/driver/` that says and hears them;
- driver: ``{"jobs": true}``: what clang's driver made of the same words the last time;
- server: ``{"answer": "jobs"}`` (what it printed), or nothing along with that;
- driver: ``{"task": ...}`` (bitcode before the first pass). A conversation may also begin here;
- server: ``{"answer": "object"}`` (the object), and that is all; or
  ``{"answer": "bitcode"}`` (optimised bitcode): generate code for it; or
  ``{"answer": "clang"}``: clang's own object is the smallest; or
  ``{"answer": "failed", "reason": ...}``, and that is all;
- driver: ``{"by": "us"}`` or ``{"by": "clang"}`` (the object that was made), and whether to
  ``"keep"`` it;
- server: ``{"answer": "clang"}`` once more if ours has not the size that was measured; or
  ``{"answer": "done", "by": ...}``: whose to write.

With an object, or the word whose to write, comes a ``"record"``; see
`codezero.driver.records`.
"""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

_LENGTHS = struct.Struct("!IQ")
LONGEST = 1 << 30
"""Bytes of either part. More is no message of ours."""

Message = dict[str, Any]


def send(connection: socket.socket, message: Message, data: bytes = b"") -> None:
    """Raises `OSError` where the other side has gone."""
    text = json.dumps(message).encode()
    # In one call: the other side may be gone as soon as it has all.
    connection.sendall(b"".join((_LENGTHS.pack(len(text), len(data)), text, data)))


def receive(connection: socket.socket) -> tuple[Message, bytes]:
    """Raises `OSError` where the other side has gone, or says what cannot be understood."""
    lengths = _LENGTHS.unpack(_receive(connection, _LENGTHS.size))
    if max(lengths) > LONGEST:
        raise ConnectionError("a message that is none of ours")
    text, data = (_receive(connection, length) for length in lengths)
    try:
        message = json.loads(text)
    except ValueError:
        raise ConnectionError("a message that is not JSON") from None
    if not isinstance(message, dict):
        raise ConnectionError("a message that is no object")
    return message, data


def _receive(connection: socket.socket, length: int) -> bytes:
    parts = bytearray()
    while len(parts) < length:
        part = connection.recv(min(length - len(parts), 1 << 20))
        if not part:
            raise ConnectionError("the other side has gone")
        parts += part
    return bytes(parts)
