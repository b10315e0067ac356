"""Programs: what is to be made small, and the suites they come in."""

from codezero.compiler.program import Program
from codezero.programs.load import ProgramLoader
from codezero.programs.suites import Suite, find_suite, find_suites

__all__ = ["Program", "ProgramLoader", "Suite", "find_suite", "find_suites"]
