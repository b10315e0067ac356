"""Links of whole programs: real bitcode, through real processes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from building import BIN, CC, CXX, Builder, kill_servers
from conftest import EXAMPLES

from codezero.compiler.toolchain import CLANG
from codezero.driver import records

LTO = ("-Oz", "-flto", "-fuse-ld=lld")


@pytest.fixture
def program(builder: Builder) -> Builder:
    """A program in two parts, in bitcode that clang has made."""
    (builder.folder / "main.c").write_text(
        "#include <stdio.h>\nint add(int *p, int n), twice(int *p, int n);\n"
        "int unused(int x) { return x * 3; }\n"
        'int main(void) { int a[3] = {1, 2, 3}; printf("%d %d\\n", add(a, 3), twice(a, 3)); }\n'
    )
    body = "{ int s = 0; for (int i = 0; i < n; i++) if (p[i] != 7) s += p[i] * %d; return s; }\n"
    (builder.folder / "sums.c").write_text(
        f"int add(int *p, int n) {body % 1}int twice(int *p, int n) {body % 2}"
        f"int thrice(int *p, int n) {body % 3}"
    )
    builder.run(CLANG.require(), "-Oz", "-flto", "-c", "main.c", "sums.c")
    return builder


def clangs_link(builder: Builder, *arguments: str) -> int:
    """The size of a program that clang links with lld."""
    done = builder.run(CLANG.require(), *LTO, *arguments, "-o", "by-clang")
    assert done.returncode == 0
    return builder.size("by-clang")


def test_a_program_is_smaller_and_does_the_same(builder: Builder) -> None:
    builder.cc("-Oz", "-flto", "-c", EXAMPLES / "vm.c", "-o", "a.o")
    assert (builder.folder / "a.o").read_bytes()[:2] == b"BC"
    compiled = builder.last_record()
    assert compiled.passes and compiled.size < compiled.baseline
    builder.cc(*LTO, "a.o", "-o", "program")
    linked = builder.last_record()
    assert linked.linked and linked.object == str(builder.folder / "program")
    assert builder.size("program") == linked.size <= linked.baseline
    # By clang alone, its bitcode and its link are larger.
    builder.run(CLANG.require(), *LTO, EXAMPLES / "vm.c", "-o", "by-clang")
    assert linked.size < builder.size("by-clang")
    expected = (EXAMPLES / "expected" / "vm.c.txt").read_bytes()
    assert builder.run(builder.folder / "program").stdout == expected


def test_sources_to_a_program_in_one_call(builder: Builder) -> None:
    source = EXAMPLES / "lzss.c"
    builder.cc(*LTO, source, "-o", "program", "-Wl,-Map=map")
    compiled, linked = records.read(str(builder.records))
    assert not compiled.linked and compiled.source == str(source) and linked.linked
    expected = (EXAMPLES / "expected" / "lzss.c.txt").read_bytes()
    assert builder.run(builder.folder / "program").stdout == expected
    assert b"main" in (builder.folder / "map").read_bytes()


def test_a_link_is_remembered(program: Builder, tmp_path: Path) -> None:
    cache = str(tmp_path / "cache")
    made = []
    for _ in range(2):
        program.cc(*LTO, "main.o", "sums.o", "-o", "program", CODEZERO_CACHE=cache)
        made.append(((tmp_path / "program").read_bytes(), program.last_record()))
    (first, new), (second, known) = made
    assert first == second and not new.cached and known.cached
    assert (known.size, known.baseline, known.passes) == (new.size, new.baseline, new.passes)


def test_the_command(program: Builder) -> None:
    link = (BIN / "codezero", "link")
    done = program.run(*link, "main.o", "sums.o", "-o", "program")
    record = program.last_record()
    saved = record.baseline - record.size
    said = f"{record.size} bytes, {saved} less than by lld's passes"
    assert done.returncode == 0 and said in done.stderr.decode() and done.stderr.count(b"\n") == 1
    assert record.size == program.size("program") and saved >= 0
    assert record.baseline == clangs_link(program, "main.o", "sums.o")
    assert program.run(program.folder / "program").stdout == b"6 12\n"

    shared = program.run(*link, "-shared", "-O2", "sums.o", "-o", "sums.so")
    assert shared.returncode == 0 and program.last_record().object.endswith("sums.so")
    assert b"thrice" in program.run("nm", "-D", program.folder / "sums.so").stdout

    listed = program.run(BIN / "codezero", "report", "--json").stdout
    assert [each["linked"] for each in json.loads(listed)] == [True, True]
    assert b"lld's passes" in program.run(BIN / "codezero", "report").stdout
    page = program.folder / "report.html"
    assert program.run(BIN / "codezero", "report", "--html", page).returncode == 0
    assert "Linked as a whole" in page.read_text()


def test_what_is_not_linked(program: Builder) -> None:
    link = (BIN / "codezero", "link")
    lost = program.run(*link, "main.o", "-o", "program")
    clangs = program.run(CLANG.require(), *LTO, "main.o", "-o", "program")
    assert (lost.returncode, lost.stderr) == (clangs.returncode, clangs.stderr)
    assert b"undefined symbol: add" in lost.stderr and not (program.folder / "program").exists()
    program.run(CLANG.require(), "-Oz", "-c", "main.c", "sums.c")
    native = program.run(*link, "main.o", "sums.o", "-o", "program")
    assert (
        native.returncode == 0
        and native.stderr == b"codezero link: nothing of it is bitcode (-flto)\n"
    )
    assert program.run(program.folder / "program").stdout == b"6 12\n"
    missing = program.run(*link, "main.o", CODEZERO_LLD="/no/such/lld")
    assert missing.returncode == 2 and b"lld is not installed" in missing.stderr
    assert program.run(*link).returncode == 2 and program.run(*link, "--help").returncode == 0


def test_passes_that_only_a_linker_has(builder: Builder) -> None:
    (builder.folder / "a.cpp").write_text(
        "#include <cstdio>\nstruct A { virtual int f() { return 1; } virtual ~A() {} };\n"
        "struct B : A { int f() override { return 2; } };\n"
        'int main(int n, char **) { A *a = n > 1 ? new A : new B; std::printf("%d\\n", a->f()); }\n'
    )
    flags = ("-fvisibility=hidden", "-fwhole-program-vtables")
    done = builder.run(CXX, *LTO, *flags, "a.cpp", "-o", "program")
    assert done.returncode == 0 and "checks types" in builder.last_record().reason
    assert builder.run(builder.folder / "program").stdout == b"2\n"


def test_a_server_that_is_lost(program: Builder, tmp_path: Path) -> None:
    (tmp_path / "run" / "codezero").mkdir(parents=True)
    (tmp_path / "run" / "codezero").chmod(0o777)
    runtime = {"XDG_RUNTIME_DIR": str(tmp_path / "run")}
    words = program.cc(*LTO, "main.o", "sums.o", "-o", "program", **runtime)
    assert words.count("\n") == 1 and "lld runs its own passes" in words
    assert program.size("program") == clangs_link(program, "main.o", "sums.o")
    strict = program.run(CC, *LTO, "main.o", "sums.o", "-o", "b", **runtime, CODEZERO_STRICT="1")
    assert strict.returncode == 1 and not (program.folder / "b").exists()
    assert kill_servers(program.runtime) >= 0
    program.cc(*LTO, "main.o", "sums.o", "-o", "program")
    assert program.last_record().linked
