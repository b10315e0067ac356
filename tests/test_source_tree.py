"""Source trees: what is configured, which flags each file gets, and the headers it needs."""

from __future__ import annotations

import json
import os
import shlex
import time
from pathlib import Path

import pytest

from codezero.compiler.frontends import front_end_of
from codezero.corpus.projects import source_tree
from codezero.corpus.projects.compile_flags import read_compile_commands, read_make_output
from codezero.corpus.projects.includes import IncludeScanner
from codezero.corpus.projects.licences import Licences
from codezero.corpus.projects.source_tree import Recipe, SourceTree
from codezero.errors import CodeZeroError, ProgramError
from codezero.isolation import CommandRunner
from codezero.programs.load import ProgramLoader


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def configured(root: Path) -> tuple[SourceTree, str | None]:
    tree = SourceTree(root, CommandRunner(60))
    return tree, tree.configure()


def compiles(tree: SourceTree, name: str) -> bool:
    file = tree.root / name
    front_end = front_end_of(file)
    assert front_end is not None
    with ProgramLoader() as loader:
        try:
            loader.load([file], tree.flags(file, front_end))
        except ProgramError:
            return False
    return True


# Headers


def test_a_file_gets_the_folders_of_the_headers_it_needs(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "src/app/main.c": '#include <lib/api.h>\n#include "local.h"\n#include <string.h>\n',
            "src/app/local.h": '#include "deep.h"\n',
            "include/lib/api.h": '#  include "types.h"\n',
            "include/lib/types.h": "",
            "src/core/deep.h": "",
            "other/deep.h": "",
            "compat/string.h": "#error hides the system's\n",
            "unused/unused.h": "",
            ".pc/lib/api.h": "",
        },
    )
    scanner = IncludeScanner(root, [Path("/usr/include")])
    folders = [str(folder.relative_to(root)) for folder in scanner.folders(root / "src/app/main.c")]
    assert folders == ["include", "src/core"], "of two, the nearest; none that hides the system's"


def test_headers_that_nobody_has_are_named(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {"a.c": '#include "b.h"\n#include <stdio.h>\n', "b.h": '#include "made.h"\n#include <x>'},
    )
    assert IncludeScanner(root, [Path("/usr/include")]).missing(root / "a.c") == {"made.h", "x"}


def test_includes_in_a_strange_encoding_do_no_harm(tmp_path: Path) -> None:
    file = tmp_path / "a.c"
    file.write_bytes(b'#include "\xff\xfe.h"\n#include "' + b"x" * 5_000 + b'"\n#include "\x00"\n')
    scanner = IncludeScanner(tmp_path, [Path("/usr/include")])
    assert scanner.folders(file) == ()


def test_headers_that_include_each_other_upwards_come_to_an_end(tmp_path: Path) -> None:
    names = ("a", "b", "c")
    upwards = {n: "".join(f'#include "../{o}/{o}.h"\n' for o in names if o != n) for n in names}
    files = {f"{name}/{name}.h": text for name, text in upwards.items()}
    write(tmp_path, {**files, "a/main.c": '#include "a.h"\n#include <b/b.h>\n'})
    scanner = IncludeScanner(tmp_path, [Path("/usr/include")])
    assert scanner.folders(tmp_path / "a/main.c") == (tmp_path,)


# Flags


def test_compile_commands_are_read(tmp_path: Path) -> None:
    build = tmp_path / "build"
    build.mkdir()
    entries = [
        {
            "directory": str(build),
            "command": 'cc -O2 -g -Wall -DNAME=\\"x\\ y\\" -I../include -isystem /opt/h -std=gnu99 '
            "-fno-exceptions -fstack-protector -march=native -o a.o -c ../a.c",
            "file": "../a.c",
        },
        {
            "directory": str(build),
            "arguments": ["cc", "-D", "X", "-include", "config.h", "-c", "/abs/b.c"],
            "file": "/abs/b.c",
        },
    ]
    path = build / "compile_commands.json"
    path.write_text(json.dumps(entries))
    assert read_compile_commands(path) == {
        tmp_path / "a.c": (
            '-DNAME="x y"', f"-I{build}/../include", "-isystem/opt/h", "-std=gnu99",
            "-fno-exceptions",
        ),
        Path("/abs/b.c"): ("-DX", "-include", "config.h"),
    }  # fmt: skip


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"a": 1}', '[{"file": "a.c"}]', "null"])
def test_what_is_no_compilation_database_has_no_flags(text: str, tmp_path: Path) -> None:
    path = tmp_path / "compile_commands.json"
    path.write_text(text)
    assert read_compile_commands(path) == {}
    assert read_compile_commands(tmp_path / "none.json") == {}


def test_the_commands_that_make_would_run_are_read(tmp_path: Path) -> None:
    write(tmp_path, dict.fromkeys(["a.c", "sub/b.c", "sub/c.cc", "sub/d.c", "x/e.c"], "int x;\n"))
    output = f"""
make: Entering directory '{tmp_path}'
echo '  CC a.o'; clang -DHAVE_CONFIG_H -I. -I./inc -O2 -MD -MF a.d -c -o a.o a.c
make[1]: Entering directory '{tmp_path}/sub'
/bin/bash ../libtool --tag=CC --mode=compile clang -DB=1 \\
  -I.. -c -o b.lo b.c
clang '' -DEMPTY= -c -o d.o d.c
clang++ -std=c++17 -DQUOTED='"a b"' -c -o c.o `test -f 'c.cc' || echo './'`c.cc
echo "this quote does not close
make[1]: Leaving directory '{tmp_path}/sub'
cd x && clang -DE -c e.c
clang -o program a.o b.o
clang -c missing.c
install -c -m 644 e.c /somewhere
clang -c {"x" * 300}.c
"""
    assert read_make_output(output, tmp_path) == {
        tmp_path / "a.c": ("-DHAVE_CONFIG_H", f"-I{tmp_path}", f"-I{tmp_path}/inc"),
        tmp_path / "sub/b.c": ("-DB=1", f"-I{tmp_path}/sub/.."),
        tmp_path / "sub/d.c": ("-DEMPTY=",),
        tmp_path / "sub/c.cc": ("-std=c++17", '-DQUOTED="a b"'),
        tmp_path / "x/e.c": ("-DE",),
    }


# Configuring


NEEDS_CONFIG = '#include "config.h"\nint f(int x) { return x * VALUE; }\n'


def test_a_configure_script_is_run(tmp_path: Path) -> None:
    script = "#!/bin/sh\necho '#define VALUE 7' > config.h; echo 'int x;' > conftest.c; yes\n"
    script = script.replace("yes", 'yes | head -c 100000000; [ -n "$CC" ]')
    tree, _ = configured(write(tmp_path, {"configure": script, "src/a.c": NEEDS_CONFIG}))
    assert compiles(tree, "src/a.c")
    assert [file.name for file, _ in tree.files()] == ["a.c"], "no test of the compiler"


def test_cmake_tells_the_flags(tmp_path: Path) -> None:
    lists = (
        "cmake_minimum_required(VERSION 3.10)\nproject(p C)\n"
        'file(WRITE ${CMAKE_BINARY_DIR}/config.h "#define VALUE OTHER\\n")\n'
        "add_library(a a.c)\ntarget_include_directories(a PRIVATE ${CMAKE_BINARY_DIR})\n"
        "target_compile_definitions(a PRIVATE OTHER=3)\n"
    )
    tree, name = configured(write(tmp_path, {"CMakeLists.txt": lists, "a.c": NEEDS_CONFIG}))
    assert name == "cmake"
    assert compiles(tree, "a.c")
    assert [file.name for file, _ in tree.files()] == ["a.c"], "nothing of the build folder"


def test_a_makefile_tells_the_flags_and_makes_headers(tmp_path: Path) -> None:
    makefile = (
        "all: a.o\nconfig.h:\n\techo '#define VALUE FROM_MAKE' > config.h\n"
        "a.o: a.c config.h\n\t$(CC) -DFROM_MAKE=5 -c a.c\n"
    )
    tree, _ = configured(write(tmp_path, {"Makefile": makefile, "a.c": NEEDS_CONFIG}))
    assert compiles(tree, "a.c")


def test_make_is_asked_for_headers_alone(tmp_path: Path) -> None:
    names = ("install", "clean", "CC=x", "../up.h", "-f", " ", "\0.h", "made.h")
    makefile = (
        "all:\n\tcc -c a.c\ninstall clean:\n\ttouch $@ed\n../up.h:\n\ttouch $@\n"
        "made.h:\n\ttouch made.h\n"
    )
    root = tmp_path / "tree"
    includes = "".join(f'#include "{name}"\n' for name in names)
    configured(write(root, {"Makefile": makefile, "a.c": includes}))
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        "Makefile",
        "a.c",
        "made.h",
        "tree",
    ]


def test_a_build_system_that_fails_leaves_what_can_be_guessed(tmp_path: Path) -> None:
    tree, name = configured(
        write(
            tmp_path,
            {
                "configure": "#!/bin/sh\nexit 1\n",
                "CMakeLists.txt": "message(FATAL_ERROR no)\n",
                "src/a.c": "#include <lib/b.h>\nint f(void) { return B; }\n",
                "include/lib/b.h": "#define B 1\n",
                "old.c": "f(x) { return undeclared(x); }\n",
            },
        )
    )
    assert name is None
    assert compiles(tree, "src/a.c")
    assert compiles(tree, "old.c"), "what was C when it was written"


def test_a_configure_step_that_hangs_is_killed_with_all_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_tree, "CONFIGURE_SECONDS", 0.5)
    script = f"#!/bin/sh\nsleep 1000 & echo $! > {shlex.quote(str(tmp_path))}/pid\nwait\n"
    start = time.monotonic()
    _, name = configured(write(tmp_path, {"configure": script, "a.c": "int f(void);\n"}))
    assert name is None and time.monotonic() - start < 10
    for _ in range(100):
        if not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists():
            break
        time.sleep(0.05)
    else:
        pytest.fail("what the configure script started still runs")


def test_a_configure_script_that_is_not_there_yet_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    made = "printf 'all:\\n\\tcc -DX=9 -c a.c\\n' > Makefile; echo '#define VALUE X' > config.h"
    (tools / "autoreconf").write_text(f'#!/bin/sh\ncat > configure <<"EOF"\n{made}\nEOF\n')
    (tools / "autoreconf").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    root = tmp_path / "tree"
    root.mkdir()
    tree, name = configured(write(root, {"configure.ac": "", "a.c": NEEDS_CONFIG}))
    assert name == "autoconf" and compiles(tree, "a.c")


def test_a_recipe_stands_in_for_a_build_that_does_not_tell(tmp_path: Path) -> None:
    makefile = "all:\n\t$(CC) $(MORE) -c a.c\nconfig.h:\n"
    write(tmp_path, {"a.c": NEEDS_CONFIG, "Makefile": makefile, "configure": "exit 1\n"})
    recipe = Recipe(("mkdir made", "echo '#define VALUE X' > made/config.h"), ("MORE=-DX=9",))
    tree = SourceTree(tmp_path, CommandRunner(60), recipe)
    tree.configure()
    assert compiles(tree, "a.c")
    tree = SourceTree(tmp_path, CommandRunner(60), Recipe(flags=("-IROOT/made", "-DX=9")))
    tree.configure()
    assert compiles(tree, "a.c")
    for flags in ((), ("-DX=9",)):
        tree = SourceTree(tmp_path, CommandRunner(60), Recipe(flags=flags))
        tree.configure()
        assert not compiles(tree, "a.c"), "with a recipe's flags nothing is guessed"
    with pytest.raises(CodeZeroError, match="the recipe's command fails: exit 3"):
        SourceTree(tmp_path, CommandRunner(60), Recipe(("exit 3",))).configure()


def test_links_and_hidden_folders_are_no_files_of_the_tree(tmp_path: Path) -> None:
    write(tmp_path, {"a.c": "int x;\n", ".git/b.c": "int x;\n", "c.rs": "", "d.txt": ""})
    (tmp_path / "link.c").symlink_to(tmp_path / "a.c")
    (tmp_path / "broken.c").symlink_to(tmp_path / "nothing")
    tree = SourceTree(tmp_path, CommandRunner(60))
    assert [file.name for file, _ in tree.files()] == ["a.c"]


# Licences


def test_the_last_paragraph_that_matches_has_the_licence(tmp_path: Path) -> None:
    path = tmp_path / "copyright"
    path.write_text(
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\n"
        "Files: *\nCopyright: 1999 somebody\nLicense: GPL-2+\n all of its text\n .\n and more\n\n"
        "Files: lib/*.c\n  tests/t?.c\nCopyright: other\nLicense:\n Expat\n\n"
        "License: GPL-2+\n text\n"
    )
    licences = Licences(path)
    assert licences.of("src/a.c") == "GPL-2+"
    assert licences.of("lib/deep/a.c") == "Expat"
    assert licences.of("tests/t1.c") == "Expat"
    assert licences.of("tests/t10.c") == "GPL-2+"
    path.write_bytes(b"This package was debianised by \xe9 in 1998. License: GPL\n")
    assert Licences(path).of("a.c") == Licences(tmp_path / "none").of("a.c") == ""
