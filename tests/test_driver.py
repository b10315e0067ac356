"""The drivers: real builds, through real processes, some of them killed."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from building import BIN, CC, CXX, FC, Builder, kill_servers
from conftest import EXAMPLES, example_sources

from codezero.compiler import loaded_size
from codezero.compiler.toolchain import CLANG, FLANG
from codezero.driver import records
from codezero.driver.cache import FOLDER, ObjectCache
from codezero.driver.compilations import Compilations
from codezero.driver.records import Record
from codezero.driver.settings import DriverSettings
from codezero.errors import CodeZeroError


@pytest.mark.parametrize(
    ("driver", "source", "flags"),
    [
        (CC, "vm.c", ["-Oz"]),
        (CC, "vm.c", ["-Os", "-fPIC", "-ffunction-sections", "-fstack-protector-strong"]),
        (CC, "lzss.c", ["-g", "-Oz", "-gz"]),
        (CXX, "calc.cpp", ["-Oz", "-std=c++20"]),
    ],
)
def test_an_object_is_smaller_and_its_program_does_the_same(
    builder: Builder, driver: Path, source: str, flags: list[str]
) -> None:
    done = builder.run(driver, *flags, "-c", EXAMPLES / source, "-o", "ours.o")
    assert done.returncode == 0 and not done.stderr, done.stderr.decode()
    record = builder.last_record()
    assert record.object == str(builder.folder / "ours.o") and not record.reason
    assert builder.size("ours.o") == record.size < record.baseline
    assert record.baseline == builder.clang_size(EXAMPLES / source, *flags[1:])
    assert record.passes and not record.cached and record.seconds > 0
    assert builder.run(driver, "ours.o", "-o", "program").returncode == 0
    expected = (EXAMPLES / "expected" / f"{source}.txt").read_bytes()
    assert builder.run(builder.folder / "program").stdout == expected


@pytest.mark.long
@pytest.mark.parametrize("effort", [1, 2, 3, 4, 6])
@pytest.mark.parametrize(
    "source", [path for path in example_sources() if path.suffix in (".c", ".cpp", ".f90")]
)
def test_an_example_does_the_same_at_any_effort(
    builder: Builder, source: Path, effort: int
) -> None:
    driver = {".c": CC, ".cpp": CXX, ".f90": FC}[source.suffix]
    words = ("-Oz", source, "-o", "program", *(["-lm"] if driver == CC else []))
    done = builder.run(driver, *words, CODEZERO_EFFORT=str(effort), CODEZERO_STRICT="1")
    assert done.returncode == 0 and not done.stderr, done.stderr.decode()
    expected = (EXAMPLES / "expected" / f"{source.name}.txt").read_bytes()
    assert builder.run(builder.folder / "program").stdout == expected


@pytest.mark.parametrize(
    "arguments",
    [
        ["--version"],
        ["-O2", "-c", "a.c"],
        ["-c", "a.c"],
        ["-Oz", "-O1", "-c", "a.c"],
        ["-Oz", "-S", "a.c", "-o", "-"],
        ["-Oz", "-E", "a.c"],
        ["-Oz", "-MM", "a.c"],
        ["-Oz", "-fsyntax-only", "-Wall", "a.c"],
        ["-Oz", "-emit-llvm", "-c", "a.c"],
        ["-Oz", "-flto", "-c", "a.c"],
        ["-Oz"],
        ["-Oz", "-c", "a.s"],
        ["-Oz", "-save-temps", "-c", "a.c"],
        ["-Oz", "-fsanitize=address", "-c", "a.c"],
        ["-Oz", "-c", "missing.c"],
        ["-Oz", "-c", "wrong.c"],
        ["-Oz", "-c", "no_header.c"],
        ["-Oz", "-c", "a.c", "-fno-such-flag"],
        ["-Oz", "-c", "a.c", "-o", "no/such/folder/a.o"],
        ["-Oz", "-c", "a.c", "-o", "/dev/null"],
        ["-Oz", "-c", "refused.c"],
        ["-Oz", "a.c", "-o", "program"],
        ["-Oz", "-c", "a.c", "-MD", "-MF", "-"],
        ["-Oz", "-c", "a.c", "-o", "-"],
        ["-Oz", "-c", "a.c", "-Xclang", "-ast-print"],
        ["-Oz", "-c", "a.c", "-MD", "-MF", "/dev/null"],
        ["-Oz", "-c", "a.c", "b.c", "-MD", "-MT", "a.o"],
        ["-Oz", "-c", "a.c", "-Xclang", "-fdump-record-layouts-simple"],
        ["-Oz", "-fPIC", "-shared", "a.c", "b.c", "-o", "p", "-Wl,--print-output-format"],
        ["-Os", "-c", "loop.c", "-mllvm", "-inline-threshold=225"],
        ["-Oz", "-c", "warned.c"],
        ["-Oz", "-Werror", "-c", "warned.c"],
        ["-Oz", "-Wframe-larger-than=8", "-c", "loop.c"],
        [
            *("--target=thumbv7em-none-eabi", "-mcpu=cortex-m4", "-mfloat-abi=hard"),
            "-Oz",
            "-c",
            "b.c",
        ],
        ["-Oz", "-c", "included.c"],
        [],
    ],
    ids=" ".join,
)
def test_what_is_clangs_stays_clangs(builder: Builder, arguments: list[str]) -> None:
    sources = {
        "a.c": "int f(int x) { int unused; return x + 1; }\n",
        "b.c": "int g = 3;\n",
        "loop.c": "void h(int *); int l(int n) { int a[9]; for (int i = 0; i < n; i++) h(a); "
        "return a[n]; }\n",
        "warned.c": '__attribute__((warning("look"))) void w(void);\nvoid f(void) { w(); }\n',
        "included.c": '__asm__(".include \\"a.inc\\"\\n");\n',
        "a.inc": ".globl k\nk: ret\n",
        "a.s": ".globl g\ng: ret\n",
        "wrong.c": "int f(void) { return x; }\nint g( {}\n",
        "no_header.c": '#include "nowhere.h"\n',
        "refused.c": '__attribute__((error("never"))) void e(void);\nvoid f(void) { e(); }\n',
    }
    left = []
    for folder, compiler in (("ours", CC), ("clangs", CLANG.require())):
        (builder.folder / folder).mkdir()
        there = Builder(builder.folder / folder, builder.runtime)
        there.records = builder.records
        for name, text in sources.items():
            (there.folder / name).write_text(text)
        (there.folder / "wrong.o").write_text("of an earlier time")
        done = there.run(compiler, *arguments)
        files = {
            path.name: path.read_bytes()
            for path in there.folder.rglob("*")
            if path.is_file() and path.suffix != ".jsonl"
        }
        words = (done.stdout, done.stderr)
        left.append((done.returncode, words, files))
    assert left[0] == left[1]


def test_messages_and_dependencies_are_clangs(builder: Builder) -> None:
    (builder.folder / "b.h").write_text("#define B 1\n")
    (builder.folder / "a b$.c").write_text(
        '#include "b.h"\n#include <stdio.h>\nint f(int x) { int unused; return x + B; }\n'
    )
    flags = ["-Oz", "-Wall", "-MD", "-MP", "-MF", "a.d", "-lm", "-c", "a b$.c", "-o", "a.o"]
    clangs = builder.run(CLANG.require(), *flags)
    dependencies = (builder.folder / "a.d").read_text()
    (builder.folder / "a.d").unlink()
    assert builder.cc(*flags) == clangs.stderr.decode()
    assert "unused variable" in clangs.stderr.decode() and "-lm" in clangs.stderr.decode()
    assert (builder.folder / "a.d").read_text() == dependencies
    assert builder.last_record().looked_at, "it was ours to compile"


def test_a_compilation_database_is_written(builder: Builder) -> None:
    (builder.folder / "a.c").write_text("int a;\n")
    builder.cc("-Oz", "-c", "a.c", "-MJ", "a.json")
    assert '"file": "a.c"' in (builder.folder / "a.json").read_text()


def test_a_device_is_never_replaced(builder: Builder) -> None:
    (builder.folder / "a.c").write_text("int a;\n")
    os.mkfifo(builder.folder / "fifo")
    (builder.folder / "folder").mkdir()
    cache = {"CODEZERO_CACHE": str(builder.folder / "cache")}
    for flags in (["-MD", "-MF", "/dev/stderr"], ["-MD", "-MF", "/dev/null"], ["-o", "/dev/null"]):
        for _ in range(2):
            assert builder.run(CC, "-Oz", "-c", "a.c", *flags, **cache).returncode == 0
    assert Path("/dev/null").is_char_device()
    assert builder.run(CC, "-Oz", "-c", "a.c", "-o", "folder").returncode == 1


def test_where_nothing_is_as_usual(builder: Builder) -> None:
    source = EXAMPLES / "vm.c"
    gone = builder.folder / "gone"
    gone.mkdir()
    command = f"cd {gone}; rmdir {gone}; {CC} -Oz -c {source} -o {builder.folder}/a.o 2>&- >&-"
    assert builder.run("sh", "-c", command).returncode == 0
    assert builder.size("a.o") <= builder.clang_size(source)


def test_several_sources_and_a_link_in_one_call(builder: Builder) -> None:
    (builder.folder / "main.c").write_text("int f(int);\nint main(void) { return f(41); }\n")
    (builder.folder / "f.c").write_text("int f(int x) { return x + 1; }\n")
    (builder.folder / "words.rsp").write_text("-Oz main.c\n-x c 'f.c'\n")
    builder.cc("@words.rsp", "-o", "program")
    assert builder.run(builder.folder / "program").returncode == 42
    made = list(records.read(str(builder.records)))
    assert len(made) == 2 and all(record.looked_at for record in made)
    assert not list(builder.folder.glob("*.o"))
    builder.cc("-Oz", "-c", "main.c", "f.c")
    builder.cc("main.o", "f.o", "-o", "again")
    assert builder.run(builder.folder / "again").returncode == 42


def test_a_source_from_standard_input(builder: Builder) -> None:
    source = (EXAMPLES / "lzss.c").read_bytes()
    done = builder.run(CC, "-Oz", "-x", "c", "-c", "-", "-o", "a.o", stdin=source)
    assert done.returncode == 0 and builder.size("a.o") == builder.last_record().size
    wrong = builder.run(CC, "-Oz", "-x", "c", "-c", "-", "-o", "a.o", stdin=b"int f( {")
    assert wrong.returncode == 1 and b"<stdin>:1" in wrong.stderr


def test_another_target(builder: Builder) -> None:
    flags = ["--target=thumbv7m-none-eabi", "-ffreestanding", "-Oz"]
    (builder.folder / "a.c").write_text(
        "int g(int *p, int n) { int s = 0; for (int i = 0; i < n; i++) s += p[i]; return s; }\n"
    )
    builder.cc(*flags, "-c", "a.c", "-o", "a.o")
    record = builder.last_record()
    assert builder.size("a.o") == record.size
    assert builder.clang_size("a.c", *flags) == record.baseline
    nowhere = builder.cc("--target=sparc-linux-gnu", "-Oz", "-c", "a.c", "-o", "a.o")
    assert nowhere.count("\n") == 1 and "the object is what clang -Oz makes" in nowhere


def test_always_and_size_levels(builder: Builder) -> None:
    source = EXAMPLES / "lzss.c"
    builder.cc("-O2", "-c", source, "-o", "a.o", CODEZERO_ALWAYS="1")
    assert builder.size("a.o") <= builder.clang_size(source)
    assert builder.last_record().baseline == builder.clang_size(source)


def test_a_backtrace_names_lines(builder: Builder) -> None:
    (builder.folder / "a.c").write_text(
        "#include <stdlib.h>\n\n__attribute__((noinline)) int inner(int x) {\n"
        "  if (x > 2)\n    abort();\n  return x;\n}\n\nint main(int n, char **a) {\n"
        "  return inner(n + 2);\n}\n"
    )
    builder.cc("-Oz", "-g", "a.c", "-o", "program")
    symbols = builder.run("nm", builder.folder / "program").stdout.decode()
    address = next(line.split()[0] for line in symbols.splitlines() if line.endswith(" T inner"))
    place = builder.run("addr2line", "-f", "-e", builder.folder / "program", address)
    assert place.stdout.decode().split() == ["inner", f"{builder.folder}/a.c:4"]


def test_a_rebuild_comes_from_the_cache(builder: Builder, tmp_path: Path) -> None:
    header, source = tmp_path / "n.h", tmp_path / "a.c"
    header.write_text("#define N 1\n")
    source.write_text('#include "n.h"\n#warning "look"\nint f(void) { return N; }\n')
    for path in (header, source):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    time.sleep(0.2)  # what has just changed is not trusted to be all there is to come
    cache = {"CODEZERO_CACHE": str(tmp_path / "cache")}
    flags = ["-Oz", "-MD", "-c", "a.c"]
    messages = builder.cc(*flags, **cache)
    assert "look" in messages and not builder.last_record().cached
    first, dependencies = (tmp_path / "a.o").read_bytes(), (tmp_path / "a.d").read_bytes()
    for name in ("a.o", "a.d"):
        (tmp_path / name).unlink()
    assert builder.cc(*flags, **cache) == messages
    assert builder.last_record().cached
    assert (tmp_path / "a.o").read_bytes() == first
    assert (tmp_path / "a.d").read_bytes() == dependencies
    header.write_text("#define N 2\n")
    builder.cc(*flags, **cache)
    assert not builder.last_record().cached and (tmp_path / "a.o").read_bytes() != first
    # The same program from another text: what was made is known by what it was made of.
    header.write_text("#define N 1 // again\n")
    builder.cc(*flags, **cache)
    assert builder.last_record().cached and (tmp_path / "a.o").read_bytes() == first


@pytest.mark.parametrize("flags", [[], ["-fno-zero-initialized-in-bss"]], ids=["ours", "clangs"])
def test_what_clang_generates_is_kept_as_well(
    builder: Builder, tmp_path: Path, flags: list[str]
) -> None:
    (tmp_path / "nothing.c").write_text("int f(int x) { return x; }\n")
    for source in (EXAMPLES / "vm.c", tmp_path / "nothing.c"):
        command = ["-Oz", *flags, "-c", source, "-o", "a.o"]
        for _ in range(2):
            builder.cc(*command, CODEZERO_CACHE=str(tmp_path / "cache"))
        assert builder.last_record().cached


def test_the_time_and_files_that_are_not_listed(builder: Builder, tmp_path: Path) -> None:
    cache = {"CODEZERO_CACHE": str(tmp_path / "cache")}
    (tmp_path / "data").write_text("one")
    (tmp_path / "a.c").write_text(f'__asm__(".data\\n.INCBIN \\"{tmp_path}/data\\"\\n");\n')
    (tmp_path / "b.c").write_text("const char *t = __TI\\\nME__;\n")
    for path in tmp_path.glob("*.c"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    time.sleep(0.2)
    builder.cc("-Oz", "-c", "a.c", **cache)
    (tmp_path / "data").write_text("two")
    builder.cc("-Oz", "-c", "a.c", **cache)
    assert b"two" in (tmp_path / "a.o").read_bytes()
    builder.cc("-Oz", "-c", "b.c", **cache)
    first = (tmp_path / "b.o").read_bytes()
    time.sleep(1.0)
    builder.cc("-Oz", "-c", "b.c", **cache)
    assert (tmp_path / "b.o").read_bytes() != first


def test_a_cache_that_is_broken(builder: Builder, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    flags = ["-Oz", "-c", EXAMPLES / "vm.c", "-o", "a.o"]
    builder.cc(*flags, CODEZERO_CACHE=str(cache))
    first = (tmp_path / "a.o").read_bytes()
    kill_servers(builder.runtime)  # which has the files open
    (cache / FOLDER / "cache.db").write_bytes(b"no database at all" * 1_000)
    for _ in range(2):
        assert not builder.cc(*flags, CODEZERO_CACHE=str(cache))
        assert (tmp_path / "a.o").read_bytes() == first
    assert builder.last_record().cached
    for nowhere in ("/dev/null/cache", "/proc/cache"):
        assert not builder.cc(*flags, CODEZERO_CACHE=nowhere)
        assert (tmp_path / "a.o").read_bytes() == first
    kept = ObjectCache(tmp_path / "one", 1 << 20)
    kept.put("key", {"text": 1}, b"x" * 100_000)
    assert kept.get("key") == ({"text": 1}, b"x" * 100_000)
    (value,) = (tmp_path / "one").rglob("*.val")
    value.write_bytes(value.read_bytes()[:50_000])
    assert kept.get("key") is None, "cut short"
    value.unlink()
    assert kept.get("key") is None
    shutil.rmtree(tmp_path / "one")
    kept.put("key", {}, b"new")
    assert kept.get("key") == ({}, b"new"), "deleted under a server that runs"


def test_a_cache_has_a_limit(tmp_path: Path) -> None:
    cache = ObjectCache(tmp_path, 1 << 20)
    for number in range(60):
        cache.put(str(number), {}, os.urandom(50_000))
    assert sum(f.stat().st_size for f in tmp_path.rglob("*.val")) < 3 << 19
    assert cache.get("59") is not None and cache.get("0") is None


def test_no_server_is_no_failure(builder: Builder, tmp_path: Path) -> None:
    source = EXAMPLES / "lzss.c"
    runtime = tmp_path / "run"
    (runtime / "codezero").mkdir(parents=True)
    (runtime / "codezero").chmod(0o777)
    words = builder.cc("-Oz", "-c", source, "-o", "a.o", XDG_RUNTIME_DIR=str(runtime))
    assert words.count("\n") == 1 and "is not this user's alone" in words
    assert "clang does it by itself" in words
    assert builder.size("a.o") == builder.clang_size(source)
    strict = builder.run(
        *(CC, "-Oz", "-c", source, "-o", "b.o"),
        XDG_RUNTIME_DIR=str(runtime),
        CODEZERO_STRICT="1",
    )
    assert strict.returncode == 1 and strict.stderr.count(b"\n") == 1
    assert not (tmp_path / "b.o").exists()


def test_a_server_that_is_killed_is_replaced(builder: Builder, tmp_path: Path) -> None:
    source = tmp_path / "large.c"
    source.write_text(
        "".join(
            f"int f{k}(int *p, int n) {{ for (int i = 0; i < n; i++) if (p[i] % {k + 2} == 0) "
            f"p[i] += {k}; return p[n / 2] / {k + 1}; }}\n"
            for k in range(150)
        )
    )
    with ThreadPoolExecutor() as pool:
        words = pool.submit(builder.cc, "-Oz", "-c", source, "-o", "a.o")
        time.sleep(0.8)
        assert kill_servers(builder.runtime) >= 1 and not words.done()
        assert words.result() == ""
    assert builder.size("a.o") <= builder.clang_size(source)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_compilation_that_is_killed_leaves_nothing(
    builder: Builder, tmp_path: Path, how: signal.Signals
) -> None:
    command = [str(CC), "-Oz", "-c", str(EXAMPLES / "solver.cpp"), "-o", "a.o"]
    builder.environment["CODEZERO_EFFORT"] = "1"
    for delay in (0.02, 0.1, 0.4, 0.8):
        process = subprocess.Popen(
            command, cwd=tmp_path, env=builder.environment, stderr=subprocess.PIPE
        )
        time.sleep(delay)
        process.send_signal(how)
        _, said = process.communicate(timeout=30)
        code = process.returncode
        assert code in (-how, 0) and not said
        left = [path.name for path in tmp_path.iterdir() if path != builder.records]
        assert left == ([] if code else ["a.o"])
        (tmp_path / "a.o").unlink(missing_ok=True)
    builder.cc(*command[1:])
    assert builder.size("a.o") == builder.last_record().size


@pytest.mark.skipif(os.getuid() != 0 or not shutil.which("mount"), reason="mounting takes root")
def test_a_full_disk(builder: Builder, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8k", "none", str(small)]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting is not allowed here")
    try:
        flags = ["-Oz", "-c", EXAMPLES / "vm.c", "-o", small / "a.o"]
        done = builder.run(CC, *flags, CODEZERO_EFFORT="1")
        clangs = builder.run(CLANG.require(), *flags)
        assert done.returncode == 1 and done.stderr == clangs.stderr
        assert b"No space left" in done.stderr
        clangs_own = re.compile(r"a-\w+\.o\.tmp")
        assert all(clangs_own.fullmatch(path.name) for path in small.iterdir())
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_twenty_at_once(builder: Builder, tmp_path: Path) -> None:
    kill_servers(builder.runtime)
    for number in range(20):
        text = (EXAMPLES / "vm.c").read_text()
        (tmp_path / f"{number}.c").write_text(f"{text}\nint number(void) {{ return {number}; }}\n")
    names = " ".join(f"{number}.o" for number in range(20))
    (tmp_path / "Makefile").write_text(f"all: {names}\n%.o: %.c\n\t$(CC) -Oz -c $< -o $@\n")
    settings = {"CODEZERO_CACHE": str(tmp_path / "cache"), "CODEZERO_EFFORT": "2"}
    done = builder.run("make", "-j20", f"CC={CC}", **settings)
    assert done.returncode == 0 and not done.stderr, done.stderr.decode()
    made = list(records.read(str(builder.records)))
    assert len(made) == 20 and {record.reason for record in made} == {""}
    for number in range(20):
        assert builder.size(f"{number}.o") < made[0].baseline
    assert kill_servers(builder.runtime) == 1, "one server was started"


def test_variables_that_cannot_be_understood(builder: Builder) -> None:
    for name, value in [
        ("EFFORT", "much"),
        ("EFFORT", "inf"),
        ("EFFORT", "nan"),
        ("STRICT", "yes"),
        ("CACHE_SIZE", "1X"),
        ("SECONDS", "-1"),
        ("BUDGET", "soon"),
    ]:
        done = builder.run(CC, "-Oz", "-c", "a.c", **{f"CODEZERO_{name}": value})
        assert done.returncode == 1, name
        assert done.stderr.count(b"\n") == 1 and name.lower().encode() in done.stderr.lower()
    assert DriverSettings.read({"CODEZERO_ALWAYS": "1", "HOME": "/h"}).always
    with pytest.raises(CodeZeroError, match="is no size"):
        DriverSettings.read({"CODEZERO_CACHE_SIZE": "huge"})


def test_no_server_is_asked_where_there_is_nothing_to_compile(
    builder: Builder, tmp_path: Path
) -> None:
    (tmp_path / "a.c").write_text("int main(void) { return 0; }\n")
    (tmp_path / "bin").mkdir()
    alone = tmp_path / "bin" / CC.name  # beside no server
    shutil.copy(CC, alone)
    none = {"XDG_RUNTIME_DIR": str(tmp_path / "bin")}
    for arguments in (
        ["--version"],
        ["-O2", "-c", "a.c"],
        ["-Oz", "a.o", "-o", "a"],
        ["-Oz", "-E", "a.c"],
        ["-Oz", "-ObjC", "-O1", "-c", "a.c"],
    ):
        done = builder.run(alone, *arguments, **none)
        assert done.returncode == 0 and not done.stderr, (arguments, done.stderr.decode())
    flags = ["-Oz", "-c", "a.c", "-o", "a.o"]
    broken = builder.run(alone, *flags, **none)
    assert broken.returncode == 0 and broken.stderr.count(b"\n") == 1
    assert b"codezero-server: No such file" in broken.stderr
    assert builder.size("a.o") == builder.clang_size("a.c")
    strict = builder.run(alone, *flags, CODEZERO_STRICT="1", **none)
    assert strict.returncode == 1 and b"error: " in strict.stderr


def test_a_driver_has_other_names(builder: Builder, tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text("int f(void) { return 0; }\n")
    flags = ["-Oz", "-c", "a.c", "-o", "a.o"]
    link = tmp_path / "gcc"
    link.symlink_to(CC)
    again = builder.run("gcc", *flags, PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert again.returncode == 0 and builder.last_record().source == str(tmp_path / "a.c")
    # What leads to ours is not the compiler that is looked for.
    (tmp_path / "clang-22").symlink_to(CC)
    path = f"{tmp_path}:{os.environ['PATH']}"
    assert b"22." in builder.run(CC, "--version", PATH=path).stdout
    # A copy of the driver for C++ is that, whatever it is called.
    (tmp_path / "a.cpp").write_text(
        "#include <string>\nint main() { return std::string().size(); }"
    )
    shutil.copy(CXX, tmp_path / "g++")
    assert builder.run(tmp_path / "g++", "-O1", "a.cpp", "-o", "a").returncode == 0


@pytest.mark.parametrize(
    "flags", [[], ["-g"], ["-fno-zero-initialized-in-bss"], ["-Wframe-larger-than=1"]], ids=" ".join
)
def test_a_source_that_can_be_read_only_once(
    builder: Builder, tmp_path: Path, flags: list[str]
) -> None:
    cache = {"CODEZERO_CACHE": str(tmp_path / "cache")}
    compile_ = f"-Oz {' '.join(flags)} -x c -c"
    for name in "fg":
        (tmp_path / f"{name}.c").write_text(f"int {name}(int x) {{ return x; }}\n")
        for source in (f"<(cat {name}.c)", f"/dev/stdin < {name}.c", f"/dev/fd/3 3< {name}.c"):
            for compiler, output in ((CC, "a.o"), (CLANG.require(), "b.o")):
                command = f"{compiler} {compile_} -o {output} {source}"
                done = builder.run("bash", "-c", command, **cache)
                assert done.returncode == 0, done.stderr.decode()
            assert f" T {name}\n" in builder.run("nm", "a.o").stdout.decode()
            assert (tmp_path / "a.o").read_bytes() == (tmp_path / "b.o").read_bytes()


def test_standard_input_that_cannot_be_read(builder: Builder, tmp_path: Path) -> None:
    for compiler in (CC, CLANG.require()):
        command = f"{compiler} -Oz -x c -c - -o a.o < {tmp_path}"
        assert builder.run("bash", "-c", command).returncode == 1
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.write(write, b"int f(void) { return 1; }\n")
    command_line = [str(CC), "-Oz", "-x", "c", "-c", "-", "-o", "a.o"]
    done = subprocess.run(
        command_line, stdin=read, cwd=tmp_path, env=builder.environment, capture_output=True
    )
    assert done.returncode == 1 and b"standard input" in done.stderr
    assert not (tmp_path / "a.o").exists()


def test_paths_by_way_of_links(builder: Builder, tmp_path: Path) -> None:
    """``link/..`` is not the folder that it looks like."""
    (tmp_path / "real" / "sub").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real/sub")
    for folder in (tmp_path, tmp_path / "real"):
        (folder / "inc").mkdir()
        (folder / "inc" / "n.h").write_text(f"#define N {len(folder.name)}\n")
    (tmp_path / "a.c").write_text("#include <n.h>\nint f(void) { return N; }\n")
    (tmp_path / "x.d").write_text("another one's\n")
    flags = ["-Oz", "-c", "a.c", "-Ilink/../inc", "-MD", "-MF", "link/../x.d", "-o", "link/../a.o"]
    cache = {"CODEZERO_CACHE": str(tmp_path / "cache"), "CODEZERO_STRICT": "1"}
    objects = []
    for number in (1, 1, 2):
        header = tmp_path / "real" / "inc" / "n.h"
        header.write_text(f"#define N {number}\n")
        for path in (header, tmp_path / "a.c"):
            os.utime(path, (1_000_000_000, 1_000_000_000 + number))
        time.sleep(0.2)
        assert builder.cc(*flags, **cache) == ""
        assert "n.h" in (tmp_path / "real" / "x.d").read_text()
        (tmp_path / "real" / "x.d").unlink()
        objects.append((tmp_path / "real" / "a.o").read_bytes())
    assert objects[0] == objects[1] != objects[2]
    assert (tmp_path / "x.d").read_text() == "another one's\n"


def test_levels_in_a_file_of_flags(builder: Builder, tmp_path: Path) -> None:
    shutil.copy(EXAMPLES / "vm.c", tmp_path / "a.c")
    (tmp_path / "flags").write_text("-O2")
    for level, words in (("-O2", ["-Os", "@flags"]), ("-O2", ["@flags", "-O2"])):
        builder.cc(*words, "-c", "a.c", "-o", "a.o")
        builder.run(CLANG.require(), level, "-c", "a.c", "-o", "b.o")
        assert (tmp_path / "a.o").read_bytes() == (tmp_path / "b.o").read_bytes()
    (tmp_path / "flags").write_text("-Oz")
    builder.cc("@flags", "-c", "a.c", "-o", "a.o")
    assert builder.size("a.o") < builder.clang_size("a.c")


def test_dependencies_to_a_pipe(builder: Builder, tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text("int f(void) { return 1; }\n")
    said = []
    for compiler in (CC, CLANG.require()):
        flags = ["-Oz", "-c", "a.c", "-o", "a.o", "-MD", "-MF", "/dev/stdout"]
        done = builder.run(compiler, *flags, CODEZERO_STRICT="1")
        assert done.returncode == 0 and not done.stderr
        said.append(done.stdout)
    assert said[0] == said[1] != b""


def test_flags_that_can_be_read_only_once(builder: Builder, tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text("#ifndef X\n#define X 1\n#endif\nint f(void) { return X; }\n")
    flags = "@<(echo -DX=77)"
    for words in (f"-Os -c a.c {flags}", f"-O2 -c a.c {flags}", "-Oz -c a.c @/dev/stdin < flags"):
        (tmp_path / "flags").write_text("-DX=77")
        objects = []
        for compiler in (CC, CLANG.require()):
            done = builder.run("bash", "-c", f"{compiler} {words.replace('a.c', 'a.c -o a.o', 1)}")
            assert done.returncode == 0, done.stderr.decode()
            objects.append((tmp_path / "a.o").read_bytes())
        assert objects[0] == objects[1]


def test_flags_that_are_clangs_alone(builder: Builder, tmp_path: Path) -> None:
    shutil.copy(EXAMPLES / "vm.c", tmp_path / "a.c")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "x.c").write_text("int f(void) { return 1; }\n")
    for words in (["-Os", "--optimize=3", "-c", "a.c"], ["-Oz", "--optimize=2", "-c", "a.c"]):
        builder.cc(*words, "-o", "a.o")
        builder.run(CLANG.require(), *words, "-o", "b.o")
        assert (tmp_path / "a.o").read_bytes() == (tmp_path / "b.o").read_bytes()
    elsewhere = ["-working-directory", str(tmp_path / "sub"), "-Oz", "-MD", "-c", "x.c"]
    builder.cc(*elsewhere, "-o", "x.o")
    assert {path.name for path in (tmp_path / "sub").iterdir()} == {"x.c", "x.o", "x.d"}
    said = tmp_path / "said"
    builder.cc("-Oz", "-c", "a.c", CC_PRINT_OPTIONS="1", CC_PRINT_OPTIONS_FILE=str(said))
    assert "-cc1" in said.read_text()


def test_temporary_files_are_where_clangs_are(builder: Builder, tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.c").write_text(f"int {name}(void) {{ return 1; }}\n")
    (tmp_path / "m.c").write_text('#warning "look"\nint main(void) { return 0; }\n')
    builder.environment.pop("TMPDIR", None)
    folders = {name: tmp_path / name.lower() for name in ("TMP", "TEMP", "TEMPDIR")}
    for folder in folders.values():
        folder.mkdir()
    for some in (("TMP", "TEMP"), ("TEMPDIR",)):
        chosen = {name: str(folders[name]) for name in some}
        for reader in ("cat", "true"):  # of which the latter ends before there is a message
            command = f"{CC} -Oz a.c b.c m.c -o p 2>&1 | {reader}"
            builder.run("bash", "-c", command, **chosen)
        assert not [path for folder in folders.values() for path in folder.iterdir()]


def test_what_is_in_shared_memory_is_a_file(builder: Builder) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        source = Path(folder) / "vm.c"
        shutil.copy(EXAMPLES / "vm.c", source)
        builder.cc("-Oz", f"-I{folder}", "-c", source, "-o", f"{folder}/a.o")
        assert builder.last_record().source == str(source)


def test_a_dependency_file_that_is_a_link(builder: Builder, tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text("int f(void) { return 1; }\n")
    os.utime(tmp_path / "a.c", (1_000_000_000, 1_000_000_000))
    (tmp_path / "link.d").symlink_to("real.d")
    time.sleep(0.2)
    cache = {"CODEZERO_CACHE": str(tmp_path / "cache")}
    for _ in range(2):
        (tmp_path / "real.d").unlink(missing_ok=True)
        builder.cc("-Oz", "-MD", "-MF", "link.d", "-c", "a.c", **cache)
        assert (tmp_path / "link.d").is_symlink() and "a.c" in (tmp_path / "real.d").read_text()
    assert builder.last_record().cached


def test_no_record_of_what_clang_has_made(builder: Builder, tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text("int f(int x) { return x * 3 + x; }\n")
    (tmp_path / "bad.c").write_text("int f( {\n")
    assert builder.run(CC, "-Oz", "-c", "a.c", "bad.c").returncode == 1
    assert not builder.records.exists()


def test_a_runtime_folder_that_is_relative(builder: Builder, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    builder.run(CC, "-Oz", "-c", EXAMPLES / "vm.c", XDG_RUNTIME_DIR="run", CODEZERO_STRICT="1")
    assert not list((tmp_path / "run").iterdir()) and builder.last_record().size > 0


def test_a_socket_that_is_gone_keeps_no_one_waiting(builder: Builder, tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text("int f(int x) { return x; }\n")
    builder.cc("-Oz", "-c", "a.c")
    (path,) = (each for each in (builder.runtime / "codezero").iterdir() if each.is_socket())
    with socket.socket(socket.AF_UNIX) as idle:
        idle.connect(str(path))
        path.unlink()
        began = time.monotonic()
        builder.cc("-Oz", "-c", "a.c", CODEZERO_STRICT="1")
        assert time.monotonic() - began < 20


def test_fortran_at_a_terminal(builder: Builder, tmp_path: Path) -> None:
    shutil.copy(EXAMPLES / "heat.f90", tmp_path / "a.f90")
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    command = [str(FC), "-Oz", "-c", "a.f90"]
    process = subprocess.Popen(command, cwd=tmp_path, env=builder.environment, stderr=theirs)
    assert process.wait(60) == 0
    os.close(theirs)
    os.close(ours)
    record = builder.last_record()
    assert record.looked_at and record.size < record.baseline


def test_limits_and_signals_of_the_build(builder: Builder, tmp_path: Path) -> None:
    """A parent that ignores SIGCHLD, and files that may not be large."""
    (tmp_path / "a.c").write_text("int f(int x) { return x * 3; }\n")
    flags = ["-Oz", "-c", "a.c", "-o", "a.o"]
    ignoring = (
        "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); "
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    done = builder.run(sys.executable, "-c", ignoring, CC, *flags, CODEZERO_STRICT="1")
    assert done.returncode == 0 and builder.last_record().source == str(tmp_path / "a.c")
    builder.records.write_bytes(builder.records.read_bytes() + b"\n" * 3_000_000)
    command = f"ulimit -f 2000; {CC} {' '.join(flags)}"
    done = builder.run("bash", "-c", command)
    assert done.returncode == 0 and not done.stderr


def test_a_name_that_is_too_long(builder: Builder, tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text("int f(int x) { return x; }\n")
    flags = ["-Oz", "-c", "a.c", "-o", "n" * 300 + ".o"]
    ours, clangs = (builder.run(compiler, *flags) for compiler in (CC, CLANG.require()))
    assert ours.returncode == clangs.returncode == 1
    assert re.sub(rb"-[0-9a-f]+\.o\.tmp", b"", ours.stderr) == re.sub(
        rb"-[0-9a-f]+\.o\.tmp", b"", clangs.stderr
    )


def test_temporary_files_are_a_drivers_own(builder: Builder, tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.c").write_text(f"int {name}(void) {{ return 1; }}\n")
    (tmp_path / "m.c").write_text("int main(void) { return 0; }\n")
    (tmp_path / "0.o").write_text("precious")
    for base in ("there", "nowhere"):
        temporary = tmp_path / base
        if base == "there":
            temporary.mkdir()
        done = builder.run(CC, "-Oz", "a.c", "b.c", "m.c", "-o", "p", TMPDIR=str(temporary))
        clangs = builder.run(
            CLANG.require(), "-Oz", "a.c", "b.c", "m.c", "-o", "q", TMPDIR=str(temporary)
        )
        assert done.returncode == clangs.returncode, done.stderr.decode()
        assert (tmp_path / "0.o").read_text() == "precious"
        assert not temporary.exists() or not list(temporary.iterdir())


def test_one_server_of_many_that_could_be_started(builder: Builder, tmp_path: Path) -> None:
    kill_servers(builder.runtime)
    for number in range(12):
        (tmp_path / f"{number}.c").write_text(f"int f{number}(void) {{ return {number}; }}\n")
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda n: builder.cc("-Oz", "-c", f"{n}.c", "-o", f"{n}.o"), range(12)))
    (lock,) = (builder.runtime / "codezero").glob("*.lock")
    holders = [
        held
        for held in Path("/proc").glob("[0-9]*/fd/*")
        if held.is_symlink() and _target(held) == str(lock)
    ]
    assert len(holders) == 1 and kill_servers(builder.runtime) == 1


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""


def test_a_driver_that_is_stopped_ends_clang(builder: Builder, tmp_path: Path) -> None:
    source = tmp_path / "large.cpp"
    source.write_text("#include <regex>\n#include <iostream>\nint main() {}\n")
    for how in (signal.SIGTERM, signal.SIGKILL):
        process = subprocess.Popen(
            [str(CXX), "-Oz", "-MD", "-c", str(source), "-o", "a.o"],
            cwd=tmp_path,
            env=builder.environment,
        )
        time.sleep(0.4)
        process.send_signal(how)
        assert process.wait() == -how
        time.sleep(1.5)
        assert not (tmp_path / "a.o").exists() and not (tmp_path / "a.d").exists()


def test_records_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = str(tmp_path / "there" / "records.jsonl")
    assert list(records.read(path)) == []
    said = {"size": 1, "baseline": 2, "passes": ["sroa"], "seconds": 0.5, "cached": True}
    line = records.to_line("/a.o", "/a.c", said)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: records.append(path, line), range(200)))
    with Path(path).open("a") as file:
        file.write('{"object": "/cut')
    read = list(records.read(path))
    assert read == [Record("/a.o", "/a.c", 1, 2, ("sroa",), 0.5, True, time=read[0].time)] * 200
    records.append("/dev/null/records", line)


def test_a_report_of_a_build(builder: Builder, tmp_path: Path) -> None:
    build = tmp_path / "build"
    build.mkdir()
    source = EXAMPLES / "vm.c"
    builder.cc("-Oz", "-c", source, "-o", "build/vm.o")
    builder.cc("-Oz", "-c", source, "-o", "build/vm.o", "-DAGAIN")
    builder.cc("-Oz", "-fsanitize=address", "-c", source, "-o", "build/a<b.o")
    builder.cc("-Oz", "-c", source, "-o", "elsewhere.o")
    codezero = BIN / "codezero"
    shown = builder.run(codezero, "report", "build")
    record = next(r for r in records.read(str(builder.records)) if r.object.endswith("vm.o"))
    words = shown.stdout.decode()
    assert shown.returncode == 0 and words.count("vm.o") == 1 and "elsewhere" not in words
    assert f"{record.baseline:,}" in words and f"{record.size:,}" in words
    assert f"{record.baseline - record.size} bytes saved" in words
    assert "1 left to clang: -fsanitize=address works during optimisation" in words
    listed = json.loads(builder.run(codezero, "report", "build", "--json").stdout)
    assert {each["object"] for each in listed} == {f"{build}/vm.o", f"{build}/a<b.o"}
    assert builder.run(codezero, "report", "build", "--html", "report.html").returncode == 0
    page = (tmp_path / "report.html").read_text()
    assert "vm.o" in page and "http" not in page, "it needs nothing from elsewhere"
    for name in record.passes:
        assert name in page
    (build / "vm.o").unlink()
    assert "vm.o" in builder.run(codezero, "report", "build").stdout.decode()
    for wrong in (["nowhere"], ["build", "--html", "no/such/folder/a.html"]):
        done = builder.run(codezero, "report", *wrong)
        assert done.returncode == 2 and done.stderr.count(b"\n") == 1
    nothing = builder.run(codezero, "report", "build", CODEZERO_RECORDS=str(tmp_path / "none"))
    assert nothing.returncode == 2 and b"CC=codezero-cc" in nothing.stderr


def test_fortran(builder: Builder) -> None:
    source = EXAMPLES / "heat.f90"
    done = builder.run(FC, "-Oz", "-g", "-c", source, "-o", "ours.o")
    assert done.returncode == 0 and not done.stderr
    record = builder.last_record()
    assert builder.size("ours.o") == record.size < record.baseline and record.passes
    assert builder.run(FC, "ours.o", "-o", "program").returncode == 0
    expected = (EXAMPLES / "expected" / "heat.f90.txt").read_bytes()
    assert builder.run(builder.folder / "program").stdout == expected
    lines = builder.run("objdump", "--dwarf=decodedline", "ours.o").stdout
    assert lines.count(b"heat.f90") > 100, "a debugger finds its lines"
    builder.run(FLANG.require(), "-O2", "-c", source, "-o", "flangs.o")
    assert record.size < builder.size("flangs.o")


@pytest.mark.parametrize(
    ("flags", "environment"),
    [
        (["-Oz", "-J", "modules"], {}),
        (["-Os"], {}),
        (["-O3"], {"CODEZERO_ALWAYS": "1"}),
    ],
)
def test_fortran_is_the_same_every_time(
    builder: Builder, flags: list[str], environment: dict[str, str]
) -> None:
    (builder.folder / "modules").mkdir()
    for name in ("a", "b"):
        (builder.folder / f"{name}.f90").write_text(
            f"module {name}\ncontains\nsubroutine s(x, n)  ! .incbin\n integer :: n, x(n)\n"
            f" x = 2 * x + {ord(name)}\nend subroutine\nend module\n"
        )
    made = []
    for name in ("a", "b", "a"):
        words = (*flags, "-c", f"{name}.f90")
        done = builder.run(FC, *words, CODEZERO_STRICT="1", **environment)
        assert done.returncode == 0 and not done.stderr
        made.append(contents(builder, f"{name}.o"))
    sizes = [record.size for record in records.read(str(builder.records))]
    assert made[0] == made[2] and sizes == [sizes[0], sizes[1], sizes[0]]
    assert loaded_size(made[0]) == sizes[0] and sizes[0] > 0


def contents(builder: Builder, name: str) -> bytes:
    path = builder.folder / name
    return path.read_bytes() if path.exists() else b""


def test_fortran_that_is_not_ours(builder: Builder) -> None:
    flang = FLANG.require()
    source = builder.folder / "a.f90"
    source.write_text("subroutine s(a)\n real :: a(3)\n a = 2 * a\nend subroutine\n")
    (builder.folder / "wrong.f90").write_text("program p\n x = y +\nend\n")
    for ours, flangs in (
        (["-O2", "-c", "a.f90"], ["-O2", "-c", "a.f90"]),
        (["-Oz", "-mcmodel=large", "-c", "a.f90"], ["-O2", "-mcmodel=large", "-c", "a.f90"]),
        (["-Os", "-S", "a.f90", "-o", "-"], ["-O2", "-S", "a.f90", "-o", "-"]),
        (["-Oz", "-c", "wrong.f90"], ["-O2", "-c", "wrong.f90"]),
    ):
        done = []
        for command in ((FC, *ours), (flang, *flangs)):
            made = builder.run(*command)
            done.append((made.returncode, made.stdout, made.stderr, contents(builder, "a.o")))
        assert done[0] == done[1]
    assert "-mcmodel=large" in builder.last_record().reason


def test_objects_are_kept_by_the_code_that_chose_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "codezero" / "search" / "portfolio.py"
    module.parent.mkdir(parents=True)
    module.write_text("MOST = 1\n")
    monkeypatch.setattr("codezero.__file__", str(tmp_path / "codezero" / "__init__.py"))
    versions = [Compilations().version]
    module.write_text("MOST = 2\n")
    versions += [Compilations().version, Compilations().version]
    assert versions[0] != versions[1] == versions[2]
