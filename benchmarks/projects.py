"""The tables of docs/projects.md: whole projects, built by their own build systems.

    python benchmarks/projects.py [NAME...] -o docs/projects.md

Each is a Debian source package, which is fetched and built three times: by ``clang -Oz``, by
codezero-cc with an empty cache, and by codezero-cc once more; where a program is counted, by both
with ``-flto``. Its own tests are run on what they have made. What has been measured is kept in
build/projects, and is not measured again.
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
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from codezero._native import executable_size
from codezero.compiler.toolchain import CLANG, CLANGXX, LLVM_MAJOR
from codezero.corpus.sources.debian import SourceArchive
from codezero.driver.report import Report
from codezero.errors import CodeZeroError
from codezero.evaluation.evaluate import geometric_mean
from codezero.files import replacing
from codezero.isolation import CommandRunner
from codezero.parallel import available_cores

FOLDER = Path("build/projects")
FLAGS, LTO = "-Oz", "-flto"
TOOLS = {tool.upper(): f"llvm-{tool}-{LLVM_MAJOR}" for tool in ("ar", "ranlib", "nm")}
"""That can read bitcode."""
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
    program: str = ""
    """An executable, which is also linked with ``-flto``."""
    configure: str = CONFIGURE
    build: str = MAKE
    test: str = "make -j{jobs} check"
    clean: str = "make clean"


def cmake(package: str, made: str, flags: str = "", program: str = "") -> Project:
    """A project that is built by CMake."""
    return Project(
        package,
        (made,),
        program,
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
    Project("zlib", ("libz.a",), "minigzip", "./configure --static"),
    Project(
        "bzip2",
        ("bzip2",),
        "bzip2",
        "true",
        'make -j{jobs} CC=$CC AR=$AR RANLIB=$RANLIB CFLAGS="$CFLAGS -D_FILE_OFFSET_BITS=64" '
        'LDFLAGS="$LDFLAGS" bzip2',
        "make CC=$CC test",
    ),
    cmake("jansson", "out/lib/libjansson.a", "-DJANSSON_BUILD_DOCS=OFF"),
    Project("libpng1.6", (".libs/libpng16.a",), "pngtest"),
    cmake("libyaml", "out/libyaml.a", "-DBUILD_TESTING=ON", "out/run-parser"),
    Project(
        "xz-utils",
        ("src/liblzma/.libs/liblzma.a", "src/xz/xz"),
        "src/xz/xz",
        f"{CONFIGURE} --disable-doc --disable-nls",
    ),
    Project("pcre2", (".libs/libpcre2-8.a",), "pcre2grep"),
    Project(
        "gzip",
        ("gzip",),
        "gzip",
        f"{TOUCH} && ./configure",
        "make -j{jobs} MAKEINFO=true",
        "make -j{jobs} MAKEINFO=true check",
    ),
    Project("mawk", ("mawk",), "mawk", "./configure", test="make check"),
    Project(
        "tinyxml2",
        ("xmltest",),
        "xmltest",
        "true",
        'make -j{jobs} CXX=$CXX AR=$AR CXXFLAGS="$CXXFLAGS -fPIC" LDFLAGS="$LDFLAGS" xmltest',
        "./xmltest",
    ),
    cmake("cjson", "out/libcjson.a"),
    cmake("json-c", "out/libjson-c.a", "-DDISABLE_WERROR=ON"),
    Project(
        "expat",
        ("expat/lib/.libs/libexpat.a",),
        "expat/xmlwf/xmlwf",
        f"cd expat && ./buildconf.sh && {CONFIGURE} --without-docbook",
        "make -C expat -j{jobs}",
        "make -C expat -j{jobs} check",
        "make -C expat clean",
    ),
    Project(
        "fribidi",
        ("out/lib/libfribidi.a",),
        "out/bin/fribidi",
        "meson setup --buildtype=plain -Ddefault_library=static -Ddocs=false out",
        "ninja -C out -j{jobs}",
        "ninja -C out test",
        "ninja -C out clean",
    ),
    Project(
        "libconfig",
        ("lib/.libs/libconfig.a", "lib/.libs/libconfig++.a"),
        "",
        f"{TOUCH} && {CONFIGURE}",
        "make -j{jobs} MAKEINFO=true",
        "make -j{jobs} MAKEINFO=true check",
    ),
    Project(
        "pugixml",
        ("out/libpugixml.a",),
        "",
        f"{CMAKE} -DBUILD_TESTING=ON -DPUGIXML_BUILD_TESTS=ON",
        "make -C out -j{jobs} pugixml-static",
        "make -C out -j{jobs} && make -C out test",
        "make -C out clean",
    ),
    Project(
        "libzstd",
        ("programs/zstd",),
        "programs/zstd",
        "true",
        "make -j{jobs} -C programs zstd",
        "make -j{jobs} -C tests fuzzer && tests/fuzzer -i1000",
    ),
    Project(
        "sqlite3",
        ("sqlite3",),
        "sqlite3",
        f"{CONFIGURE} --disable-tcl",
        "make -j{jobs} sqlite3",
        "make fuzztest",
    ),
    Project(
        "busybox",
        ("busybox",),
        "",
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
    size: int
    """Bytes of machine code of what is counted."""
    tests: str
    """``passed``, or what they say."""
    program_size: int = 0
    """Of the program that is also linked with ``-flto``."""


@dataclass(frozen=True)
class Result:
    """A project, built in all ways."""

    package: str
    version: str
    objects: int
    built: dict[str, Built]
    """By way: clang, ours, and where a program is counted clang-lto and ours-lto."""
    again: float
    """Seconds of a build by ours with a warm cache."""
    fell_back: list[str]
    """Why objects are clang's for a fault of ours."""


class Shell:
    """Runs a project's commands.

    Args:
        environment: what the build system is told.
        log: takes what they print.
    """

    def __init__(self, folder: Path, environment: dict[str, str], jobs: int, log: Path) -> None:
        self.folder = folder
        self._environment = {**os.environ, **environment}
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


def build(project: Project, shell: Shell, counted: Sequence[str]) -> Built:
    """Configure, build, count and test."""
    shell.run(project.configure)
    seconds = shell.run(project.build)
    size = sum(code_size(shell.folder / name) for name in counted)
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
    drivers = Path(sys.executable).parent
    compilers = {
        "clang": {"CC": CLANG.require(), "CXX": CLANGXX.require()},
        "ours": {"CC": str(drivers / "codezero-cc"), "CXX": str(drivers / "codezero-c++")},
    }
    flags = {"": (FLAGS, ""), "-lto": (f"{FLAGS} {LTO}", f"{FLAGS} {LTO} -fuse-ld=lld")}
    built = {}
    for lto, (compile_flags, link_flags) in flags.items():
        if lto and not project.program:
            continue
        for compiler, variables in compilers.items():
            way = compiler + lto
            shutil.copytree(source, here / way, symlinks=True)
            environment = {
                **variables,
                **TOOLS,
                "CFLAGS": compile_flags,
                "CXXFLAGS": compile_flags,
                "LDFLAGS": link_flags,
                "CODEZERO_CACHE": str(here / "cache"),
                "CODEZERO_RECORDS": str(here / "records.jsonl"),
            }
            shell = Shell(here / way, environment, jobs, here / f"{way}.log")
            counted = [project.program] if lto else project.made
            built[way] = build(project, shell, counted)
            if lto:
                plain = built[compiler]
                size = code_size(here / compiler / project.program)
                built[compiler] = replace(plain, program_size=size)
            elif compiler == "ours":
                report = Report.read(environment["CODEZERO_RECORDS"], here / way)
                shell.run(project.clean)
                again = shell.run(project.build)
    fell_back = [reason for reason in report.left_alone.elements() if not reason.startswith("-")]
    return Result(project.package, version, len(report.measured), built, again, fell_back)


def table(results: Sequence[Result], jobs: int) -> str:
    """The tables, as Markdown."""
    rows, whole_rows = [], []
    smaller, cold, warm, whole = [], [], [], []
    for r in results:
        clang, ours = r.built["clang"], r.built["ours"]
        smaller.append(clang.size / ours.size)
        cold.append(ours.seconds / clang.seconds)
        warm.append(r.again / clang.seconds)
        rows.append(
            f"| {r.package} {r.version} | {r.objects:,} | {clang.size:,} | {ours.size:,} "
            f"| {smaller[-1]:.3f} | {clang.tests} | {ours.tests} "
            f"| {clang.seconds:.1f} | {cold[-1]:.1f} | {warm[-1]:.2f} |"
        )
        if "ours-lto" in r.built:
            sizes = [
                *(clang.program_size, ours.program_size),
                *(r.built["clang-lto"].size, r.built["ours-lto"].size),
            ]
            whole.append([sizes[0] / size for size in sizes])
            name = Path(next(p.program for p in PROJECTS if p.package == r.package)).name
            cells = "".join(
                f" {size:,} ({ratio:.3f}) |" for size, ratio in zip(sizes, whole[-1], strict=True)
            )
            tests = f"{r.built['clang-lto'].tests} | {r.built['ours-lto'].tests}"
            whole_rows.append(f"| {r.package}: {name} |{cells} {tests} |")
    means = [geometric_mean(each) for each in (smaller, cold, warm)]
    last = "| geometric mean | | | | **{:.3f}** | | | | **{:.1f}** | **{:.2f}** |".format(*means)
    fell_back = sum(len(r.fell_back) for r in results)
    whole_means = "".join(f" {geometric_mean(each):.3f} |" for each in zip(*whole, strict=True))
    return "\n".join(
        (
            "| package | objects | -Oz | ours | -Oz over ours | tests, -Oz | tests, ours "
            "| seconds, -Oz | cold | warm |",
            "| --- | ---: | ---: | ---: | ---: | --- | --- | ---: | ---: | ---: |",
            *rows,
            last,
            "",
            f"`make -j{jobs}`. {fell_back} objects are clang's for a fault of ours.",
            "",
            "Programs of these, as they are and with `-flto` by lld; in brackets -Oz over each:",
            "",
            "| program | -Oz | ours | -Oz -flto | ours -flto | tests, -Oz -flto "
            "| tests, ours -flto |",
            "| --- | ---: | ---: | ---: | ---: | --- | --- |",
            *whole_rows,
            f"| geometric mean |{whole_means} | |",
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
                built = {way: Built(**each) for way, each in fields.pop("built").items()}
                results.append(Result(**fields, built=built))
    page = options.out.read_text()
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    with replacing(options.out) as temporary:
        temporary.write_text(f"{before}{BEGIN}\n{table(results, options.jobs)}\n{END}{after}")


BEGIN, END = "<!-- benchmarks/projects.py -->", "<!-- end -->"

if __name__ == "__main__":
    main()
