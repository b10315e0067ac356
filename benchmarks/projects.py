"""The tables of docs/projects.md: whole projects, built by their own build systems.

    python benchmarks/projects.py [NAME...] -o docs/projects.md

Each is a Debian source package, which is fetched and built three times: by ``clang -Oz``, by
codezero-cc with an empty cache, and by codezero-cc once more. Its own tests are run on what the
first two have made. What has been measured is kept in build/projects, and is not measured again.
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

from codezero._native import executable_size
from codezero.compiler.toolchain import CLANG, CLANGXX
from codezero.corpus.sources.debian import SourceArchive
from codezero.driver.report import Report
from codezero.errors import CodeZeroError
from codezero.evaluation.evaluate import geometric_mean
from codezero.files import replacing
from codezero.isolation import CommandRunner
from codezero.parallel import available_cores

FOLDER = Path("build/projects")
FLAGS = "-Oz"
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
    configure = f"{CMAKE} {flags}"
    return Project(package, (made,), configure, CMAKE_MAKE, "make -C out test", "make -C out clean")


PROJECTS = (
    Project("zlib", ("libz.a",), "./configure --static"),
    Project(
        "bzip2",
        ("bzip2",),
        "true",
        'make -j{jobs} CC=$CC CFLAGS="$CFLAGS -D_FILE_OFFSET_BITS=64" bzip2',
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
    Project("pcre2", (".libs/libpcre2-8.a",)),
    Project(
        "gzip",
        ("gzip",),
        # What Debian's patches have touched would be made again, by tools of another version.
        "touch aclocal.m4 configure lib/config.hin Makefile.in */Makefile.in && ./configure",
        "make -j{jobs} MAKEINFO=true",
        "make -j{jobs} MAKEINFO=true check",
    ),
    Project("mawk", ("mawk",), "./configure", test="make check"),
    Project(
        "tinyxml2",
        ("xmltest",),
        "true",
        'make -j{jobs} CXX=$CXX CXXFLAGS="$CXXFLAGS -fPIC" xmltest',
        "./xmltest",
    ),
    cmake("cjson", "out/libcjson.a"),
    cmake("json-c", "out/libjson-c.a", "-DDISABLE_WERROR=ON"),
)


@dataclass(frozen=True)
class Built:
    """What one way of building has come to."""

    seconds: float
    """Of the build, without configuring."""
    size: int
    """Bytes of machine code of what is counted."""
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

    Args:
        environment: of the compiler.
        log: takes what they print.
    """

    def __init__(self, folder: Path, environment: dict[str, str], jobs: int, log: Path) -> None:
        self.folder = folder
        self._environment = {**os.environ, **environment, "CFLAGS": FLAGS, "CXXFLAGS": FLAGS}
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


def code_size(path: Path) -> int:
    """Bytes of machine code in an executable, or in all objects of an archive."""
    if path.suffix != ".a":
        return executable_size(path.read_bytes())
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["ar", "x", str(path.resolve())], cwd=folder, check=True)
        return sum(executable_size(each.read_bytes()) for each in Path(folder).iterdir())


def build(project: Project, shell: Shell) -> Built:
    """Configure, build, count and test."""
    shell.run(project.configure)
    seconds = shell.run(project.build)
    size = sum(code_size(shell.folder / name) for name in project.made)
    try:
        shell.run(project.test)
        tests = "passed"
    except subprocess.CalledProcessError as error:
        tests = f"failed ({error.returncode})"
    return Built(seconds, size, tests)


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
    """The tables, as Markdown."""
    smaller = [r.clang.size / r.ours.size for r in results]
    cold = [r.ours.seconds / r.clang.seconds for r in results]
    warm = [r.again / r.clang.seconds for r in results]
    rows = [
        f"| {r.package} {r.version} | {r.objects:,} | {r.clang.size:,} | {r.ours.size:,} "
        f"| {r.clang.size / r.ours.size:.3f} | {r.clang.tests} | {r.ours.tests} "
        f"| {r.clang.seconds:.1f} | {r.ours.seconds / r.clang.seconds:.1f} "
        f"| {r.again / r.clang.seconds:.2f} |"
        for r in results
    ]
    means = [geometric_mean(each) for each in (smaller, cold, warm)]
    last = "| geometric mean | | | | **{:.3f}** | | | | **{:.1f}** | **{:.2f}** |".format(*means)
    fell_back = sum(len(r.fell_back) for r in results)
    return "\n".join(
        (
            "| package | objects | -Oz | ours | -Oz over ours | tests, -Oz | tests, ours "
            "| seconds, -Oz | cold | warm |",
            "| --- | ---: | ---: | ---: | ---: | --- | --- | ---: | ---: | ---: |",
            *rows,
            last,
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
