"""What the finer features count."""

from __future__ import annotations

import numpy as np
import pytest

from codezero._native import SHAPE_FEATURES
from codezero.compiler import Module
from codezero.compiler.program import Program
from codezero.env import PhaseOrderingEnv
from codezero.errors import CodeZeroError
from codezero.programs.load import parse_module

PROGRAM = """
@constant = private constant i32 1
@variable = global i32 2
declare void @other()
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)

define internal i32 @once(i32 %x) minsize {
  %a = add i32 %x, 1000
  %b = mul i32 %a, 2
  ret i32 %b
}

define i32 @twice(i32 %y) {
  %c = add i32 %y, 1000
  %d = mul i32 %c, 2
  ret i32 %d
}

define void @f(ptr %p, i64 %n) noinline {
entry:
  %v = load i32, ptr @variable
  %r = call i32 @once(i32 %v)
  call void @other()
  call void %p()
  call void @llvm.memcpy.p0.p0.i64(ptr %p, ptr %p, i64 %n, i1 false)
  call void asm sideeffect "", ""()
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %j, %loop ]
  %j = add i64 %i, 1
  %done = icmp eq i64 %j, %n
  br i1 %done, label %out, label %loop
out:
  ret void
}
"""


def shape(module: Module) -> dict[str, float]:
    out = np.zeros(len(SHAPE_FEATURES), np.float32)
    module.observe_shape(out)
    return dict(zip(SHAPE_FEATURES, out.tolist(), strict=True))


def counts(text: str, instructions: int) -> dict[str, float]:
    """Those that are not 0."""
    module = Module.parse(text.encode())
    assert module.instruction_count() == instructions
    return {name: round(x * instructions, 3) for name, x in shape(module).items() if x}


def test_counts_are_those_of_the_program_over_its_instructions() -> None:
    assert counts(PROGRAM, 18) == {
        "add": 3,
        "mul": 2,
        "ret": 3,
        "load": 1,
        "call": 5,
        "br": 2,
        "phi": 1,
        "icmp": 1,
        "no-result": 9,
        "int1": 1,
        "int32": 6,
        "int64": 2,
        "small-constant": 5,
        "large-constant": 2,
        "global-operand": 4,
        "call-of-local": 1,
        "call-of-other": 1,
        "call-indirect": 1,
        "call-of-assembly": 1,
        "call-of-memory-intrinsic": 1,
        "functions": 3,
        "local-functions": 1,
        "local-functions-used-once": 1,
        "small-functions": 2,
        "no-inline-functions": 1,
        "size-functions": 1,
        "arguments": 4,
        "back-edges": 1,
        "local-variables": 1,
        "other-variables": 1,
        "constant-variables": 1,
        "argument-operand": 7,
        "instruction-operand": 9,
        "other-constant": 1,
        "in-same-functions": 3,
        "after-run-of-two": 2,
    }


def test_what_is_there_twice_is_counted() -> None:
    """In `PROGRAM` the pairs of add and mul, and mul and ret, and a function but for its name."""
    once = PROGRAM.replace("mul i32 %c, 2", "mul i32 %c, %y")
    found = counts(once, 18)
    assert "in-same-functions" not in found
    assert found["after-run-of-two"] == 2, "operands are not looked at, their types are"
    found = counts(once.replace("add i32 %y, 1000", "sub i32 %y, 1000"), 18)
    assert found["after-run-of-two"] == 1


def test_a_run_counts_as_often_as_it_comes_again() -> None:
    lines = "\n".join(f"  %v{k} = xor i32 %v{k - 1}, %x" for k in range(1, 13))
    text = f"define i32 @f(i32 %x) {{\n  %v0 = add i32 %x, 1\n{lines}\n  ret i32 %v12\n}}"
    found = counts(text, 14)
    assert found["after-run-of-two"] == 10  # eleven pairs of xor, the first one new
    assert found["after-run-of-four"] == 8
    assert found["after-run-of-eight"] == 4


def test_the_same_program_has_the_same_shape_every_time(sha256: Program) -> None:
    assert shape(parse_module(sha256)) == shape(parse_module(sha256).clone())


def test_it_is_observed_on_request(sha256: Program) -> None:
    env = PhaseOrderingEnv(sha256, observe=["shape", "sizes"])
    observation, _ = env.reset(seed=0)
    layout = env.settings.layout
    assert layout["shape"].stop == layout["sizes"].start
    assert layout["sizes"].stop == len(observation) == env.settings.observation_size
    before = observation[layout["shape"]]
    expected = np.zeros(len(SHAPE_FEATURES), np.float32)
    parse_module(sha256).observe_shape(expected)
    assert (before == expected).all()
    after = env.step(env.settings.space.action("sroa"))[0][layout["shape"]]
    alloca = SHAPE_FEATURES.index("alloca")
    assert before[alloca] > after[alloca]
    env.close()


def test_a_part_that_there_is_not_is_refused(sha256: Program) -> None:
    with pytest.raises(
        CodeZeroError, match="cannot observe colours: there is sizes, margins, shape"
    ):
        PhaseOrderingEnv(sha256, observe=["colours"])
