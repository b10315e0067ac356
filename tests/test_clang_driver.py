"""What is read from clang's driver, and that code generated here is clang's to the byte."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from conftest import EXAMPLES

from codezero.compiler import Module
from codezero.compiler.clang_driver import (
    back_end_command,
    compilation_of,
    front_end_command,
    is_compilation,
    not_followed,
    objection,
    parse_jobs,
    value_of,
)
from codezero.compiler.frontends import compile_options
from codezero.compiler.toolchain import CLANG, CLANGXX


def job_of(source: Path, *flags: str) -> tuple[str, ...]:
    """The job of compiling a source with -Oz."""
    compiler = CLANGXX if source.suffix == ".cpp" else CLANG
    command = [compiler.require(), "-###", "-Oz", *flags, "-c", str(source), "-o", "a.o"]
    done = subprocess.run(command, capture_output=True, check=True, cwd=EXAMPLES)
    (job,) = parse_jobs(done.stderr).commands
    assert is_compilation(job)
    return job


def test_words_are_read_as_they_were_written(tmp_path: Path) -> None:
    source = tmp_path / 'a "b" $c\\d.c'
    job = job_of(EXAMPLES / "vm.c", '-DS="q\\"$HOME"', "-Dtwo words", "-I", str(source))
    definitions = [job[k + 1] for k, word in enumerate(job) if word == "-D"]
    assert definitions == ['S="q\\"$HOME"', "two words"]
    assert value_of(job, "-I") == str(source)
    warned = [CLANG.require(), "-###", "-Oz", "-c", str(EXAMPLES / "vm.c"), "-lm"]
    jobs = parse_jobs(subprocess.run(warned, capture_output=True, check=True).stderr)
    assert len(jobs.commands) == 1 and jobs.messages.count(b"\n") == 1
    assert b"-lm: 'linker' input unused" in jobs.messages


@pytest.mark.parametrize("name", ["vm.c", 'a "b" $c\\d\'e`.c', "calc.cpp"])
def test_what_clang_says_while_it_compiles_is_what_it_would_be_asked(
    name: str, tmp_path: Path
) -> None:
    source = tmp_path / name
    source.write_bytes((EXAMPLES / ("calc.cpp" if name.endswith("cpp") else "vm.c")).read_bytes())
    compiler = CLANGXX if source.suffix == ".cpp" else CLANG
    words = ("-Xclang", "-disable-llvm-passes", "-emit-llvm", "-o", str(tmp_path / "x.bc"))
    command = [compiler.require(), "-v", "-Oz", "-c", str(source), *words]
    said = compilation_of(subprocess.run(command, capture_output=True, check=True).stderr)
    assert said[-1] == str(source)
    assert compile_options(said) == compile_options(job_of(source))
    assert compilation_of(b"clang version 22\n") == ()


def test_a_configuration_file_is_one_that_is_read(tmp_path: Path) -> None:
    (tmp_path / "some.cfg").write_text("-DN=1\n")
    command = [CLANG.require(), "-###", f"--config={tmp_path}/some.cfg", "-c", "a.c"]
    jobs = parse_jobs(subprocess.run(command, capture_output=True).stderr)
    assert jobs.configuration == (str(tmp_path / "some.cfg"),)


@pytest.mark.parametrize("source", ["vm.c", "calc.cpp"])
@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["-fPIC", "-ffunction-sections", "-fdata-sections", "-fvisibility=hidden"],
        ["-fno-pic", "-fno-plt", "-march=haswell", "-fno-omit-frame-pointer", "-pthread"],
        ["-fstack-protector-strong", "-fstack-clash-protection", "-fcf-protection", "-Wall"],
        ["-fno-asynchronous-unwind-tables", "-fwrapv", "-fno-strict-aliasing", "-mno-red-zone"],
        ["-fno-addrsig", "-mno-red-zone", "-fsigned-char", "-fno-builtin"],
    ],
    ids=" ".join,
)
def test_code_is_clangs_to_the_byte(source: str, flags: list[str]) -> None:
    check_code(job_of(EXAMPLES / source, *flags))


def test_code_depends_on_no_other_module() -> None:
    job = job_of(EXAMPLES / "calc.cpp", "-fstack-protector-strong")
    bitcode = subprocess.run(front_end_command(job), capture_output=True, check=True).stdout
    made = set()
    for _ in range(6):
        for pipeline in ("sroa", "default<Oz>"):
            module = Module.parse(bitcode)
            module.run(pipeline)
            made.add(module.object(compile_options(job)))
    assert len(made) == 2


@pytest.mark.parametrize(
    "target",
    [
        ["--target=thumbv7m-none-eabi", "-mcpu=cortex-m3", "-ffunction-sections"],
        ["--target=armv7a-linux-gnueabihf"],
        ["--target=riscv32-unknown-elf", "-march=rv32imac", "-mabi=ilp32"],
        ["--target=wasm32-unknown-unknown"],
    ],
    ids=" ".join,
)
def test_so_it_is_for_other_targets(tmp_path: Path, target: list[str]) -> None:
    source = tmp_path / "a.c"
    source.write_text(
        "int a[100];\nstatic int g(int n) { int s = 0; for (int i = 0; i < n; i++) s += a[i] * i;"
        " return s; }\nint f(int x, double d) { switch (x) { case 1: return 5; case 2: return g(9);"
        " case 3: return 1; case 4: return 77; } return (int)(d * 2.5) + g(x) + a[x]; }\n"
    )
    check_code(job_of(source, *target, "-ffreestanding"))


def check_code(job: tuple[str, ...]) -> None:
    """Code of the program after some passes, and as the baseline makes it."""
    back_end = back_end_command(job)
    assert not_followed(back_end) is None
    options = compile_options(job)
    bitcode = subprocess.run(front_end_command(job), capture_output=True, check=True).stdout
    module = Module.parse(bitcode)
    for pipeline in ("sroa", "inline", "instcombine<no-verify-fixpoint>", "default<O0>"):
        module.run(pipeline)
    clangs = subprocess.run(back_end, input=module.bitcode(), capture_output=True, check=True)
    assert module.object(options) == clangs.stdout
    module = Module.parse(bitcode)
    module.run_clang_oz(options)
    alone = [*job]
    alone[alone.index("-o") + 1] = "-"
    assert module.object(options) == subprocess.run(alone, capture_output=True, check=True).stdout


@pytest.mark.parametrize(
    "flags",
    [
        ["-g"],
        ["-fno-zero-initialized-in-bss"],
        ["-ffast-math"],
        ["-mllvm", "-inline-threshold=5"],
        ["-fstack-usage"],
        ["-mcmodel=large"],
        ["--target=aarch64-linux-gnu"],
    ],
    ids=" ".join,
)
def test_other_flags_are_for_clang_to_follow(flags: list[str]) -> None:
    assert not_followed(back_end_command(job_of(EXAMPLES / "vm.c", *flags))) is not None


@pytest.mark.parametrize(
    ("flag", "refused"),
    [
        ("-fsanitize=address", True),
        ("-fsanitize=undefined", False),
        ("-fprofile-instrument=clang", True),
        ("-flto=full", True),
        ("-dependency-file", False),
        ("-split-dwarf-file", True),
        ("-O2", False),
    ],
)
def test_what_cannot_be_repeated(flag: str, refused: bool) -> None:
    assert (objection(flag, only_object=False) is not None) == refused
    assert objection("-dependency-file", only_object=True) is not None
