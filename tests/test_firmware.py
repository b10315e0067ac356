"""The example of firmware: whole images for small targets, built by make and run by QEMU."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from building import BIN, CC, Builder
from conftest import EXAMPLES

from codezero.compiler.toolchain import CLANG

FIRMWARE = EXAMPLES / "firmware"
EXPECTED = (FIRMWARE / "expected.txt").read_bytes()


def make(
    builder: Builder, name: str, compiler: str | Path, *words: str
) -> subprocess.CompletedProcess[bytes]:
    """What make has to say, which builds in a folder of that name."""
    variables = (f"OUT={builder.folder / name}", f"CC={compiler}")
    done = builder.run(
        "make", "-sj2", "-C", FIRMWARE, *variables, *words, CODEZERO_EFFORT="2", CODEZERO_STRICT="1"
    )
    assert done.returncode == 0, done.stderr.decode()
    return done


def test_the_host_writes_what_is_expected(builder: Builder) -> None:
    built = make(builder, "host", CC, "BOARD=host")
    assert not built.stderr, built.stderr.decode()
    done = builder.run(builder.folder / "host" / "node")
    assert done.returncode == 0 and done.stdout == EXPECTED


@pytest.mark.parametrize("lto", [(), ("LTO=1",)], ids=["objects", "whole"])
@pytest.mark.parametrize(
    ("board", "qemu"), [("lm3s", "qemu-system-arm"), ("virt", "qemu-system-riscv32")]
)
def test_an_image_is_smaller_and_does_the_same(
    builder: Builder, board: str, qemu: str, lto: tuple[str, ...]
) -> None:
    words = (f"BOARD={board}", *lto)
    make(builder, "clang", CLANG.require(), *words)
    if lto:
        words = (*words, f"LINKER={BIN / 'codezero'} link")
        compiler: str | Path = CLANG.require()
    else:
        compiler = CC
    built = make(builder, "ours", compiler, *words)
    assert bool(lto) == (b"less than by lld's passes" in built.stderr) == bool(built.stderr)
    assert builder.size("ours/node") < builder.size("clang/node")
    assert builder.last_record().linked == bool(lto)
    if shutil.which(qemu) is None:
        pytest.skip(f"{qemu} is not installed")
    assert make(builder, "ours", compiler, *words, "run").stdout == EXPECTED
