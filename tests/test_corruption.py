"""Bitcode with random damage: an error or success, never a crash of the caller."""

from __future__ import annotations

import numpy as np

from codezero.compiler.program import Program
from codezero.env import PhaseOrderingEnv
from codezero.errors import ProgramError

CORRUPTIONS = 1_000


def damage(bitcode: bytes, rng: np.random.Generator) -> bytes:
    """Cut it off, flip some bits, or overwrite a stretch with noise."""
    data = bytearray(bitcode)
    kind = rng.integers(3)
    if kind == 0:
        return bytes(data[: rng.integers(len(data))])
    if kind == 1:
        for position in rng.integers(len(data), size=rng.integers(1, 9)):
            data[position] ^= 1 << int(rng.integers(8))
    else:
        start = int(rng.integers(len(data) - 64))
        data[start : start + 64] = rng.bytes(64)
    return bytes(data)


def test_damaged_bitcode_never_crashes_the_caller(sha256: Program) -> None:
    rng = np.random.default_rng(0)
    env = PhaseOrderingEnv(sha256, space="autophase")
    outcomes = {"error": 0, "success": 0}
    for index in range(CORRUPTIONS):
        program = Program(f"damaged-{index}", damage(sha256.bitcode, rng))
        try:
            env.reset(options={"program": program})
            env.step(env.settings.space.action("sroa"))
            outcomes["success"] += 1
        except ProgramError as error:
            assert f"damaged-{index}" in str(error)
            outcomes["error"] += 1
    env.close()
    assert sum(outcomes.values()) == CORRUPTIONS
    assert outcomes["error"] > CORRUPTIONS // 2
