"""Errors that a user can act on: each message says what was wrong and what to do."""

from __future__ import annotations


class CodeZeroError(Exception):
    """Something the user gave cannot be used. The message stands by itself, in a line or two."""


class DiskFull(CodeZeroError):
    """There is no room for what has to be written: going on makes no sense."""


class ProgramError(CodeZeroError):
    """A program that cannot be read, compiled or measured."""


class SpaceError(CodeZeroError):
    """A pass space that cannot be loaded, or that names a pass LLVM does not know."""


class ToolchainError(CodeZeroError):
    """A compiler that is needed and not installed."""
