"""A program: bitcode, and what is known about where it came from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property

from codezero._native import CompileOptions


@dataclass(frozen=True)
class Program:
    """Unoptimised IR of one translation unit, or of several linked into one.

    The bitcode is protocol ``clang``'s: size attributes included. Nothing has parsed it yet, so
    it may be broken; what runs it does so in another process.
    """

    name: str
    bitcode: bytes = field(repr=False)
    options: CompileOptions = field(default_factory=CompileOptions, repr=False)

    @cached_property
    def key(self) -> str:
        """Identifies the program by what its costs depend on."""
        options = repr(self.options.__getstate__()).encode()
        return hashlib.blake2b(options + self.bitcode, digest_size=16).hexdigest()
