"""The tables of docs/projects.md: whole projects, built by their own build systems.

    python benchmarks/projects.py [NAME...] -o docs/projects.md

Each is a Debian source package, which is fetched and built three times: by ``clang -Oz``, by
codezero-cc with an empty cache, and by codezero-cc once more. Its own tests are run on what the
first two have made. What has been measured is kept in build/projects, and is not measured again.
Besides the packages that the project itself needs: meson ninja-build autoconf automake libtool tcl
unicode-data.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

from codezero._native import executable_size, loaded_size
from codezero.compiler.toolchain import CLANG, CLANGXX, LLVM_MAJOR
from codezero.corpus.sources.debian import SourceArchive
from codezero.driver.report import Report
from codezero.errors import CodeZeroError
from codezero.evaluation.evaluate import geometric_mean
from codezero.files import replacing
from codezero.isolation import CommandRunner
from codezero.parallel import available_cores

FOLDER = Path("build/projects")
FLAGS = "-Oz"
TOOLS = {tool.upper(): f"llvm-{tool}-{LLVM_MAJOR}" for tool in ("ar", "ranlib", "nm")}
STEP_SECONDS = 3_600.0
CONFIGURE = "./configure --disable-shared"
CMAKE = "cmake -B out -DCMAKE_BUILD_TYPE=None -DBUILD_SHARED_LIBS=OFF"
MAKE, CMAKE_MAKE = "make -j{jobs}", "make -C out -j{jobs}"


@dataclass(frozen=True)
class Project:
    """How a package is built and tested: commands for a shell, in its folder."""

    package: str
    made: tuple[str, ...]
    """What to count: archives and executables."""
    configure: str = CONFIGURE
    build: str = MAKE
    test: str = "make -j{jobs} check"
    clean: str = "make clean"


def cmake(package: str, made: str, flags: str = "") -> Project:
    """A project that is built by CMake."""
    return Project(
        package,
        (made,),
        f"{CMAKE} {flags}",
        CMAKE_MAKE,
        "make -C out test",
        "make -C out clean",
    )


BUSYBOX_TESTS = (
    "bc bunzip2 cut diff expr factor grep gunzip md5sum od paste patch printf seq sort sum tail "
    "tar test tr uniq unexpand wc xargs xxd"
)
"""The applets of which all tests pass with clang -Oz, too, in an ordinary folder."""
TOUCH = (
    "touch aclocal.m4 configure $(find . -name '*config.h.in' -o -name config.hin) "
    "$(find . -name Makefile.in)"
)
"""What Debian's patches have touched would be made again, by tools of another version."""

PROJECTS = (
    Project("zlib", ("libz.a",), "./configure --static"),
    Project(
        "bzip2",
        ("bzip2",),
        "true",
        'make -j{jobs} CC=$CC AR=$AR RANLIB=$RANLIB CFLAGS="$CFLAGS -D_FILE_OFFSET_BITS=64" '
        'LDFLAGS="$LDFLAGS" bzip2',
        'make CC=$CC CFLAGS="$CFLAGS -D_FILE_OFFSET_BITS=64" test',
    ),
    cmake("jansson", "out/lib/libjansson.a", "-DJANSSON_BUILD_DOCS=OFF"),
    Project("libpng1.6", (".libs/libpng16.a",)),
    cmake("libyaml", "out/libyaml.a", "-DBUILD_TESTING=ON"),
    Project(
        "xz-utils",
        ("src/liblzma/.libs/liblzma.a", "src/xz/xz"),
        f"{CONFIGURE} --disable-doc --disable-nls",
    ),
    Project(
        "pcre2",
        (".libs/libpcre2-8.a",),
        # pcre2grep and a program that it starts write as one of them comes first: one test fails
        # now and then, with clang's as well.
        test="for run in 1 2 3; do make -j{jobs} check && exit; done; exit 1",
    ),
    Project(
        "gzip",
        ("gzip",),
        f"{TOUCH} && ./configure",
        "make -j{jobs} MAKEINFO=true",
        "make -j{jobs} MAKEINFO=true check",
    ),
    Project("mawk", ("mawk",), "./configure", test="make check"),
    Project(
        "tinyxml2",
        ("xmltest",),
        "true",
        'make -j{jobs} CXX=$CXX AR=$AR CXXFLAGS="$CXXFLAGS -fPIC" LDFLAGS="$LDFLAGS" xmltest',
        "./xmltest",
    ),
    cmake("cjson", "out/libcjson.a"),
    Project(
        "re2",
        ("obj/libre2.a",),
        # Debian's source has none of these.
        "make REBUILD_TABLES=1 re2/perl_groups.cc re2/unicode_groups.cc re2/unicode_casefold.cc",
        'make -j{jobs} CXX=$CXX AR=$AR CXXFLAGS="$CXXFLAGS" obj/libre2.a',
        'make -j{jobs} CXX=$CXX AR=$AR CXXFLAGS="$CXXFLAGS" static-test',
    ),
    cmake("json-c", "out/libjson-c.a", "-DDISABLE_WERROR=ON"),
    Project(
        "expat",
        ("expat/lib/.libs/libexpat.a",),
        f"cd expat && ./buildconf.sh && {CONFIGURE} --without-docbook",
        "make -C expat -j{jobs}",
        "make -C expat -j{jobs} check",
        "make -C expat clean",
    ),
    Project(
        "fribidi",
        ("out/lib/libfribidi.a",),
        "meson setup --buildtype=plain -Ddefault_library=static -Ddocs=false out",
        "ninja -C out -j{jobs}",
        "ninja -C out test",
        "ninja -C out clean",
    ),
    Project(
        "libconfig",
        ("lib/.libs/libconfig.a", "lib/.libs/libconfig++.a"),
        f"{TOUCH} && {CONFIGURE}",
        "make -j{jobs} MAKEINFO=true",
        "make -j{jobs} MAKEINFO=true check",
    ),
    Project(
        "pugixml",
        ("out/libpugixml.a",),
        f"{CMAKE} -DBUILD_TESTING=ON -DPUGIXML_BUILD_TESTS=ON",
        "make -C out -j{jobs} pugixml-static",
        "make -C out -j{jobs} && make -C out test",
        "make -C out clean",
    ),
    Project(
        "libzstd",
        ("programs/zstd",),
        "true",
        "make -j{jobs} -C programs zstd",
        "make -j{jobs} -C tests fuzzer && tests/fuzzer -s1 -i100",
    ),
    Project(
        "sqlite3",
        ("sqlite3",),
        f"{CONFIGURE} --disable-tcl",
        "make -j{jobs} sqlite3",
        "make fuzztest",
    ),
    Project(
        "busybox",
        ("busybox",),
        # Without what needs headers that are gone, or names sections as clang does not.
        "make defconfig && sed -i -E 's/^CONFIG_(TC|SHA1_HWACCEL|SHA256_HWACCEL)=y/# CONFIG_\\1 is "
        'not set/; s/^CONFIG_EXTRA_CFLAGS=.*/CONFIG_EXTRA_CFLAGS="-Oz"/\' .config && '
        "make silentoldconfig",
        "make -j{jobs} CC=$CC busybox",
        f"cd testsuite && export bindir=$PWD/.. tsdir=$PWD && ./runtest {BUSYBOX_TESTS}",
    ),
)


@dataclass(frozen=True)
class Built:
    """What one way of building has come to."""

    seconds: float
    """Of the build, without configuring."""
    text: int
    """Bytes of machine code of what is counted."""
    loaded: int
    """Of all that is loaded of it."""
    tests: str
    """``passed``, or what they say."""


@dataclass(frozen=True)
class Result:
    """A project, built by ``clang -Oz`` and by codezero-cc."""

    package: str
    version: str
    objects: int
    clang: Built
    ours: Built
    again: float
    """Seconds of a build with a warm cache."""
    fell_back: list[str]
    """Why objects are clang's for a fault of ours."""


class Shell:
    """Runs a project's commands.

    Drivers may keep the bytecode of their modules, as a user's do: to compile them takes each start
    of one longer than all else.

    Args:
        environment: of the compiler.
        log: takes what they print.
    """

    def __init__(self, folder: Path, environment: dict[str, str], jobs: int, log: Path) -> None:
        self.folder = folder
        self._environment = {
            **{k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"},
            **environment,
            **TOOLS,
            "CFLAGS": FLAGS,
            "CXXFLAGS": FLAGS,
        }
        self._jobs = jobs
        self._log = log

    def run(self, command: str) -> float:
        """Seconds that a command takes. Raises `subprocess.CalledProcessError`."""
        began = time.monotonic()
        with self._log.open("a") as log:
            print(f"+ {command}", file=log, flush=True)
            subprocess.run(
                command.format(jobs=self._jobs),
                shell=True,
                cwd=self.folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                check=True,
                timeout=STEP_SECONDS,
            )
        return time.monotonic() - began


def sizes(path: Path) -> tuple[int, int]:
    """Bytes of machine code and of all that is loaded, of an executable or objects in archives."""
    if path.suffix != ".a":
        contents = path.read_bytes()
        return executable_size(contents), loaded_size(contents)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["ar", "x", str(path.resolve())], cwd=folder, check=True)
        parts = [sizes(each.rename(each.with_suffix(".o"))) for each in Path(folder).iterdir()]
    return sum(text for text, _ in parts), sum(loaded for _, loaded in parts)


def build(project: Project, shell: Shell) -> Built:
    """Configure, build, count and test."""
    shell.run(project.configure)
    seconds = shell.run(project.build)
    counted = [sizes(shell.folder / name) for name in project.made]
    try:
        shell.run(project.test)
        tests = "passed"
    except subprocess.CalledProcessError as error:
        tests = f"failed ({error.returncode})"
    text, loaded = map(sum, zip(*counted, strict=True))
    return Built(seconds, text, loaded, tests)


def measure(project: Project, archive: SourceArchive, jobs: int) -> Result:
    """Build a project in all ways."""
    here = (FOLDER / project.package).resolve()
    shutil.rmtree(here, ignore_errors=True)
    here.mkdir(parents=True)
    version = archive.newest_to_be_had(
        project.package, archive.versions([project.package])[project.package]
    )
    source = archive.unpack(project.package, version, here, CommandRunner(STEP_SECONDS))
    trees = {name: here / name for name in ("clang", "ours")}
    for tree in trees.values():
        shutil.copytree(source, tree, symlinks=True)
    by_clang = {"CC": CLANG.require(), "CXX": CLANGXX.require()}
    drivers = Path(sys.executable).parent
    by_us = {
        "CC": str(drivers / "codezero-cc"),
        "CXX": str(drivers / "codezero-c++"),
        "CODEZERO_CACHE": str(here / "cache"),
        "CODEZERO_RECORDS": str(here / "records.jsonl"),
    }
    clang = build(project, Shell(trees["clang"], by_clang, jobs, here / "clang.log"))
    shell = Shell(trees["ours"], by_us, jobs, here / "ours.log")
    ours = build(project, shell)
    report = Report.read(by_us["CODEZERO_RECORDS"], trees["ours"])
    shell.run(project.clean)
    again = shell.run(project.build)
    fell_back = [reason for reason in report.left_alone.elements() if not reason.startswith("-")]
    return Result(project.package, version, len(report.measured), clang, ours, again, fell_back)


def table(results: Sequence[Result], jobs: int) -> str:
    """The table, as Markdown."""
    rows = []
    ratios = []
    for r in results:
        text, loaded = r.clang.text / r.ours.text, r.clang.loaded / r.ours.loaded
        cold, warm = r.ours.seconds / r.clang.seconds, r.again / r.clang.seconds
        ratios.append((text, loaded, cold, warm))
        rows.append(
            f"| {r.package} {r.version} | {r.objects:,} "
            f"| {r.clang.text:,} | {r.ours.text:,} | {text:.3f} "
            f"| {r.clang.loaded:,} | {r.ours.loaded:,} | {loaded:.3f} "
            f"| {r.clang.tests} | {r.ours.tests} "
            f"| {r.clang.seconds:.1f} | {cold:.1f} | {warm:.2f} |"
        )
    text, loaded, cold, warm = (geometric_mean(each) for each in zip(*ratios, strict=True))
    fell_back = sum(len(r.fell_back) for r in results)
    return "\n".join(
        (
            "| package | objects | code, -Oz | ours | -Oz over ours | loaded, -Oz | ours "
            "| -Oz over ours | tests, -Oz | tests, ours | seconds, -Oz | cold | warm |",
            f"| --- {7 * '| ---: '}| --- | --- {3 * '| ---: '}|",
            *rows,
            f"| geometric mean | | | | **{text:.3f}** | | | **{loaded:.3f}** | | | "
            f"| **{cold:.1f}** | **{warm:.2f}** |",
            "",
            f"`make -j{jobs}`. {fell_back} objects are clang's for a fault of ours.",
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="packages; all without one")
    parser.add_argument("-o", "--out", type=Path, required=True, help="a file with a table in it")
    parser.add_argument("-j", "--jobs", type=int, default=available_cores())
    options = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    results = []
    with closing(SourceArchive()) as archive:
        for project in PROJECTS:
            kept = FOLDER / f"{project.package}.json"
            if project.package in (options.names or [project.package]) and not kept.exists():
                try:
                    result = measure(project, archive, options.jobs)
                except (CodeZeroError, subprocess.SubprocessError, OSError) as error:
                    print(f"{project.package}: {error}", file=sys.stderr)
                    continue
                kept.write_text(json.dumps(asdict(result), indent=1))
                print(f"{project.package}: {result}", flush=True)
            if kept.exists():
                fields = json.loads(kept.read_text())
                built = {way: Built(**fields.pop(way)) for way in ("clang", "ours")}
                results.append(Result(**fields, **built))
    page = options.out.read_text()
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    with replacing(options.out) as temporary:
        temporary.write_text(f"{before}{BEGIN}\n{table(results, options.jobs)}\n{END}{after}")


BEGIN, END = "<!-- benchmarks/projects.py -->", "<!-- end -->"

if __name__ == "__main__":
    main()
