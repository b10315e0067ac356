"""The examples do what they did after every kind of optimisation that we offer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import EXAMPLES, example_sources

from codezero.compiler import Module
from codezero.compiler.frontends import front_end_of
from codezero.compiler.program import Program
from codezero.env import PhaseOrderingEnv
from codezero.optimize import optimize
from codezero.programs.load import ProgramLoader
from codezero.search.policy import parse_policy
from codezero.soundness.execution import Behaviour, behaviour_of, command_runner, compile_flags


def test_every_language_has_examples() -> None:
    languages = {front_end_of(path).language for path in example_sources()}  # type: ignore[union-attr]
    assert languages == {"C", "C++", "Objective-C", "Fortran", "Rust"}
    assert len(example_sources()) >= 15


SOURCES = [
    # Half a minute: a library is in it, whole.
    pytest.param(path, marks=pytest.mark.long if path.name == "huffman.rs" else ())
    for path in example_sources()
]


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_optimised_example_does_what_it_did(source: Path, load: Callable[..., Program]) -> None:
    expected = Behaviour(0, (EXAMPLES / "expected" / f"{source.name}.txt").read_bytes())
    program = load(source, *compile_flags(source))
    runner = command_runner()
    with ProgramLoader() as loader:
        assert behaviour_of(source, loader.emit(program, ".o"), runner) == expected
    # Instructions, not bytes: generating code at every step would take minutes on btree.cpp; and
    # greedy search takes as long where a library adds to the program, as those of C++ and Rust do.
    env = PhaseOrderingEnv(program, objective="instructions")
    for policy in ("random-search:2", "greedy:8")[: 2 if source.suffix in (".c", ".m") else 1]:
        result = optimize(program, parse_policy(policy), env, 0)
        code = Module.parse(result.bitcode).object(program.options)
        assert behaviour_of(source, code, runner) == expected, result.pipeline
        assert result.ratio >= 1
    env.close()
