"""Autophase against CompilerGym 0.2.5: test vectors, and what the names leave open."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from codezero.compiler import Module, load_space
from codezero.compiler.program import Program
from codezero.compiler.toolchain import CLANG

VECTORS = Path(__file__).parent / "autophase"
EXPECTED: dict[str, list[int]] = json.loads((VECTORS / "expected.json").read_text())

UPGRADED = {16, 19, 20, 21, 22, 53}
"""Features that legitimately change as a newer LLVM upgrades LLVM 10's bitcode: constants are
widened or dropped with typed pointers, intrinsics renamed."""


@pytest.mark.parametrize("name", EXPECTED)
def test_features_agree_with_compiler_gym(name: str) -> None:
    features = Module.parse((VECTORS / name).read_bytes()).autophase()
    expected = np.array(EXPECTED[name])
    compared = [index for index in range(56) if index not in UPGRADED]
    np.testing.assert_array_equal(features[compared], expected[compared])


def test_features_are_56_integers() -> None:
    features = Module.parse(b"define void @f() {\n  ret void\n}\n").autophase()
    assert features.dtype == np.int64
    assert features.shape == (56,)
    assert features.flags.writeable


def autophase(body: str, declarations: str = "") -> list[int]:
    text = f"{declarations}\ndefine i32 @f(i32 %x) {{\n{body}\n}}\n"
    features: list[int] = Module.parse(text.encode()).autophase().tolist()
    return features


def test_predecessor_edges_are_counted_not_blocks() -> None:
    body = (
        "entry:\n  switch i32 %x, label %end [ i32 1, label %one\n i32 2, label %one ]\n"
        "one:\n  br label %end\nend:\n  ret i32 0\n"
    )
    features = autophase(body)
    assert features[6] == 2  # twoPred: %one by two cases, %end by default and branch
    assert features[18] == 4  # NumEdges


def test_declarations_count_as_functions() -> None:
    assert autophase("  ret i32 0", "declare void @g()\ndeclare void @h()")[53] == 3


def test_integer_returns_are_those_of_direct_calls() -> None:
    body = (
        "  %a = call i32 @g()\n  call void @h()\n  %p = load ptr, ptr @v\n"
        "  %b = call i32 %p()\n  ret i32 %a"
    )
    features = autophase(body, "declare i32 @g()\ndeclare void @h()\n@v = external global ptr")
    assert features[16] == 1
    assert features[33] == 3  # NumCallInst


def test_constants_are_operands_of_any_instruction() -> None:
    features = autophase("  %a = add i32 %x, 0\n  %b = add i32 %a, 1\n  ret i32 7")
    assert (features[19], features[21], features[22], features[24]) == (3, 1, 1, 2)


def test_phi_features() -> None:
    body = (
        "entry:\n  %c = icmp eq i32 %x, 0\n  br i1 %c, label %a, label %b\na:\n  br label %b\n"
        "b:\n  %p = phi i32 [ 1, %entry ], [ 2, %a ]\n  %q = phi i32 [ 3, %entry ], [ 4, %a ]\n"
        "  ret i32 %p\n"
    )
    features = autophase(body)
    assert features[1] == 1  # BBNumArgsLo: four phi arguments
    assert features[14] == 1  # BeginPhi counts blocks
    assert features[40] == 2  # NumPHIInst
    assert features[54] == 4  # ArgsPhi


def test_block_sizes() -> None:
    adds = "\n".join(f"  %v{i} = add i32 %x, {i}" for i in range(14))
    assert autophase(f"{adds}\n  ret i32 0")[29:31] == [1, 0]
    assert autophase("  ret i32 0")[29:31] == [0, 1]


def test_total_instructions_is_the_instruction_count(tmp_path: Path) -> None:
    for source in sorted(VECTORS.glob("*.c")):
        output = tmp_path / "out.bc"
        subprocess.run(
            [CLANG.require(), "-O1", "-emit-llvm", "-c", source, "-o", output], check=True
        )
        module = Module.parse(output.read_bytes())
        assert module.autophase()[51] == module.instruction_count()


@pytest.mark.parametrize("space", ["autophase", "sound"])
@pytest.mark.parametrize("name", ["calc.cpp", "vm.c", "life.rs"])
def test_remembered_features_are_those_of_a_fresh_count(
    space: str, name: str, load: Callable[..., Program]
) -> None:
    passes = load_space(space).passes
    rng = np.random.default_rng(0)
    module = Module.parse(load(name).bitcode)
    for action in rng.integers(len(passes), size=45):
        passes[action].run(module)
        np.testing.assert_array_equal(
            module.autophase(), module.clone().autophase(), passes[action].name
        )
