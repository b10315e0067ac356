"""Links of whole programs: real bitcode, through real processes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from building import BIN, Builder
from conftest import EXAMPLES

from codezero.compiler.toolchain import CLANG, CLANGXX
from codezero.driver import records

LINK = (BIN / "codezero", "link")
LTO = ("-Oz", "-flto", "-fuse-ld=lld")
SIDE_FILES = ("-Wl,-Map=map", "-Wl,--dependency-file=deps")
UNOPTIMISED = ("-Xclang", "-disable-llvm-passes")


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
    clang(builder, "-Oz", "-flto", "-c", "main.c", "sums.c")
    return builder


def clang(builder: Builder, *arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    """Run clang, or clang++ for C++."""
    is_cxx = any(str(word).endswith(".cpp") for word in arguments)
    return builder.run((CLANGXX if is_cxx else CLANG).require(), *arguments)


@pytest.mark.parametrize(
    ("source", "flags"),
    [
        ("vm.c", UNOPTIMISED),
        ("vm.c", ("-g", "-fPIC")),
        ("solver.cpp", (*UNOPTIMISED, "-ffunction-sections")),
    ],
)
def test_a_program_is_smaller_and_does_the_same(
    builder: Builder, source: str, flags: tuple[str, ...]
) -> None:
    clang(builder, *LTO, EXAMPLES / source, "-o", "by-clang")
    clang(builder, "-Oz", "-flto", *flags, "-c", EXAMPLES / source, "-o", "a.o")
    mode = ["--driver-mode=g++"] if source.endswith(".cpp") else []
    done = builder.run(*LINK, *mode, "a.o", "-o", "program", *SIDE_FILES)
    assert done.returncode == 0 and b"less than by lld's passes" in done.stderr
    record = builder.last_record()
    assert record.linked and record.object == str(builder.folder / "program")
    assert builder.size("program") == record.size <= record.baseline
    if flags[:2] == UNOPTIMISED:
        assert record.passes and record.size < builder.size("by-clang")
        assert b"program.o" in (builder.folder / "map").read_bytes(), "of what is there"
        listed = (builder.folder / "deps").read_bytes()
        assert b"a.o" in listed and b"program.o" not in listed, "which is there no more"
    expected = (EXAMPLES / "expected" / f"{source}.txt").read_bytes()
    assert builder.run(builder.folder / "program").stdout == expected


def test_what_is_said_and_recorded(program: Builder) -> None:
    done = program.run(*LINK, "main.o", "sums.o", "-o", "program")
    record = program.last_record()
    saved = record.baseline - record.size
    said = f"codezero link: program: {record.size:,} bytes, {saved:,} less than by lld's passes\n"
    assert done.returncode == 0 and done.stderr.decode() == said and not done.stdout
    assert record.size == program.size("program")
    clang(program, *LTO, "main.o", "sums.o", "-o", "by-clang")
    assert record.baseline == program.size("by-clang")
    assert program.run(program.folder / "program").stdout == b"6 12\n"

    listed = program.run(BIN / "codezero", "report", "--json").stdout
    assert [each["linked"] for each in json.loads(listed)] == [True]
    assert b"lld's passes" in program.run(BIN / "codezero", "report").stdout
    page = program.folder / "report.html"
    assert program.run(BIN / "codezero", "report", "--html", page).returncode == 0
    assert "Linked as a whole" in page.read_text()


def test_kinds_of_links(program: Builder) -> None:
    """With symbols that are seen from outside, archives, and objects that are not bitcode."""
    shared = program.run(*LINK, "-shared", "sums.o", "-o", "sums.so", "-Wl,--trace")
    assert shared.returncode == 0 and shared.stdout.count(b"sums.o") == 1, "lld speaks once"
    assert b"thrice" in program.run("nm", "-D", program.folder / "sums.so").stdout
    program.run("llvm-ar-22", "rcs", "libsums.a", "sums.o")
    assert program.run(*LINK, "main.o", "-L.", "-lsums", "-o", "a").returncode == 0
    clang(program, "-Oz", "-c", "main.c")
    assert program.run(*LINK, "main.o", "libsums.a", "-static", "-o", "b").returncode == 0
    for name in ("a", "b"):
        assert program.run(program.folder / name).stdout == b"6 12\n"
    assert len(list(records.read(str(program.records)))) == 3


def test_what_is_lld_alone_to_link(program: Builder) -> None:
    lost = program.run(*LINK, "main.o", "-o", "program", CODEZERO_STRICT="1")
    clangs = clang(program, *LTO, "main.o", "-o", "program")
    assert (lost.returncode, lost.stderr) == (clangs.returncode, clangs.stderr)
    assert b"undefined symbol: add" in lost.stderr and not (program.folder / "program").exists()
    clang(program, "-Oz", "-flto=thin", "-c", "sums.c", "-o", "thin.o")
    clang(program, "-Oz", "-c", "main.c", "-o", "native.o")
    clang(program, "-Oz", "-c", "sums.c", "-o", "native2.o")
    for words, reason in (
        (("native.o", "native2.o"), "nothing of it is bitcode"),
        (("main.o", "thin.o"), "thin.o is for ThinLTO"),
        (("main.c", "sums.c"), "sources are to be compiled first"),
        (("main.o", "sums.o", "-Wl,--lto-O0"), "--lto-O0 stays lld's"),
        (("main.o", "sums.o", "-Wl,--icf=all", "-Wl,-mllvm,-x86-asm-syntax=att"), "stays lld's"),
    ):
        done = program.run(*LINK, *words, "-o", "program", CODEZERO_STRICT="1")
        assert done.returncode == 0 and reason in done.stderr.decode()
        assert done.stderr.count(b"\n") == 1
        assert program.run(program.folder / "program").stdout == b"6 12\n"
    written = program.run(*LINK, "main.o", "sums.o", "-o", "-")
    assert written.stdout.count(b"\x7fELF") == 1
    assert not list(records.read(str(program.records)))


def test_what_an_object_in_its_place_would_change(program: Builder) -> None:
    """Bitcode that comes in otherwise than by its name, and what is there for dead code alone."""
    folder = program.folder
    (folder / "plug.c").write_text(
        "#include <stdio.h>\nstatic int n;\n"
        '__attribute__((constructor)) static void start(void) { printf("plug %d\\n", ++n); }\n'
        "int plug(void) { return n; }\n"
    )
    (folder / "dead.c").write_text(
        'int plug(void);\n__attribute__((visibility("hidden"))) int f(void) { return plug(); }\n'
    )
    clang(program, "-Oz", "-flto", "-c", "plug.c", "dead.c")
    clang(program, "-Oz", "-c", "plug.c", "-o", "native.o")
    program.run("llvm-ar-22", "rcs", "libplug.a", "plug.o")
    program.run("llvm-ar-22", "rcs", "libnative.a", "native.o")
    (folder / "words").write_text("plug.o\n")
    clang(program, *UNOPTIMISED, "-Oz", "-flto", "-c", "main.c", "sums.c")
    whole = ("-Wl,--whole-archive", "libplug.a", "-Wl,--no-whole-archive")
    for words, reason in (
        (whole, "not named in the link by itself"),
        (("-L.", "-l:plug.o"), "not named in the link by itself"),
        (("-Wl,@words",), "not named in the link by itself"),
        (("-Wl,--start-lib", "plug.o", "-Wl,--end-lib", "-Wl,-u,plug"), "--start-lib stays lld's"),
        (("dead.o", "libnative.a"), "libnative.a(native.o) would not be in it any more"),
    ):
        done = program.run(*LINK, "main.o", "sums.o", *words, "-o", "program", CODEZERO_STRICT="1")
        assert done.returncode == 0 and reason in done.stderr.decode()
        assert program.run(folder / "program").stdout == b"plug 1\n6 12\n"
    done = program.run(*LINK, "main.o", "sums.o", "dead.o", "libplug.a", "-o", "program")
    assert done.returncode == 0 and b"less than by lld's passes" in done.stderr
    assert program.run(folder / "program").stdout == b"plug 1\n6 12\n"
    hidden = program.run(*LINK, "-shared", "sums.o", "-Wl,--exclude-libs,ALL", "-o", "a.so")
    assert hidden.returncode == 0 and b"--exclude-libs stays lld's" in hidden.stderr
    clang(program, *UNOPTIMISED, "-Oz", "-flto", "-fno-pic", "-c", "main.c", "sums.c")
    done = program.run(*LINK, "-pie", "main.o", "sums.o", "-o", "program", CODEZERO_STRICT="1")
    assert done.returncode == 0 and program.run(folder / "program").stdout == b"6 12\n"


def test_a_disk_that_is_full_at_the_last_link(builder: Builder) -> None:
    clang(builder, *UNOPTIMISED, "-Oz", "-flto", "-c", EXAMPLES / "vm.c", "-o", "a.o")
    linker = builder.folder / "ld.lld"
    linker.write_text(
        '#!/bin/sh\ncase "$*" in *"/.program."*) echo "error: no room" >&2; exit 1;; esac\n'
        'exec ld.lld-22 "$@"\n'
    )
    linker.chmod(0o755)
    done = builder.run(*LINK, f"--ld-path={linker}", "a.o", "-o", "program")
    assert done.returncode == 0 and b"no room" in done.stderr
    expected = (EXAMPLES / "expected" / "vm.c.txt").read_bytes()
    assert builder.run(builder.folder / "program").stdout == expected
    assert not list(builder.folder.glob(".program*"))


def test_passes_that_only_lld_runs(builder: Builder) -> None:
    (builder.folder / "a.cpp").write_text(
        "#include <cstdio>\nstruct A { virtual int f() { return 1; } virtual ~A() {} };\n"
        "struct B : A { int f() override { return 2; } };\n"
        'int main(int n, char **) { A *a = n > 1 ? new A : new B; std::printf("%d\\n", a->f()); }\n'
    )
    flags = ("-fvisibility=hidden", "-fwhole-program-vtables", "-flto", "-Oz")
    clang(builder, *flags, "-c", "a.cpp")
    done = builder.run(*LINK, "--driver-mode=g++", *flags, "a.o", "-o", "program")
    assert done.returncode == 0 and b"checks types" in done.stderr
    assert builder.run(builder.folder / "program").stdout == b"2\n"


def test_bad_input(program: Builder) -> None:
    missing = program.run(*LINK, "main.o", CODEZERO_LLD="/no/such/lld")
    assert missing.returncode == 2 and b"lld is not installed" in missing.stderr
    assert program.run(*LINK).returncode == 2 and program.run(*LINK, "--help").returncode == 0
    assert program.run(*LINK, "nowhere.o").returncode == 1
    version = program.run(*LINK, "--version")
    assert version.returncode == 0 and b"clang version" in version.stdout
    done = program.run(*LINK, "main.o", "sums.o", CODEZERO_BUDGET="soon")
    assert done.returncode == 2 and b"CODEZERO_BUDGET" in done.stderr


@pytest.mark.parametrize("of", ["--lto-emit-llvm", "/program.o"], ids=["merging", "linking"])
def test_a_fault_leaves_what_lld_has_made(program: Builder, of: str) -> None:
    linker = program.folder / "ld.lld"
    linker.write_text(
        f'#!/bin/sh\ncase "$*" in *{of}*) echo "no room" >&2; exit 1;; esac\nexec ld.lld-22 "$@"\n'
    )
    linker.chmod(0o755)
    words = (*LINK, f"--ld-path={linker}", "main.o", "sums.o", "-o", "program")
    for strict, code in (("0", 0), ("1", 2)):
        done = program.run(*words, CODEZERO_STRICT=strict)
        assert done.returncode == code and b"(no room)" in done.stderr
        assert done.stderr.count(b"\n") == 1
        assert program.run(program.folder / "program").stdout == b"6 12\n"
