"""Debian source packages, from a real archive that the tests make."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from conftest import is_alive

from codezero.compiler import Module
from codezero.corpus.build import Report, build, journal_path
from codezero.corpus.examine import Limits
from codezero.corpus.sources.debian import Request, SourceArchive, debian_sources
from codezero.corpus.suites import builtin_suites
from codezero.errors import CodeZeroError
from codezero.programs.suites import find_suite

CONTROL = """\
Source: {name}
Maintainer: Nobody <nobody@example.org>
Standards-Version: 4.6.2
Build-Depends: debhelper-compat (= 13)

Package: {name}
Architecture: any
Description: a test
"""
CHANGELOG = """\
{name} ({version}) unstable; urgency=low

  * Test.

 -- Nobody <nobody@example.org>  Thu, 01 Jan 2026 00:00:00 +0000
"""
COPYRIGHT = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
Copyright: nobody
License: Expat
"""
RULES = """\
#!/usr/bin/make -f
%:
\tdh $@
override_dh_auto_configure:
\techo '#define FROM_RULES 5' > src/made.h
"""


def loops(name: str, seed: int) -> str:
    body = "".join(
        f"  for (int i = 0; i < n; i++) s = s * {seed + k} + (a[i] ^ {seed * 7 + k});\n"
        for k in range(3)
    )
    return f"int {name}(const int *a, int n) {{\n  int s = {seed};\n{body}  return s;\n}}\n"


def source_package(archive: Path, name: str, version: str, files: dict[str, str | bytes]) -> None:
    """Write a source package's files to the archive, as `dpkg-source` makes them."""
    tree = archive / "trees" / f"{name}-{version}"
    meta = {
        "debian/control": CONTROL.format(name=name),
        "debian/changelog": CHANGELOG.format(name=name, version=version),
        "debian/copyright": COPYRIGHT,
        "debian/source/format": "3.0 (native)\n",
    }
    for path, contents in {**meta, **files}.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        data = contents.encode() if isinstance(contents, str) else contents
        (tree / path).write_bytes(data)
    (archive / "pool").mkdir(exist_ok=True)
    subprocess.run(
        ["dpkg-source", "-b", tree], cwd=archive / "pool", check=True, capture_output=True
    )


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An archive of two packages, one of which has two versions, known to apt as deb alone."""
    folder = tmp_path / "archive"
    folder.mkdir()
    source_package(
        folder,
        "mixed",
        "1.0",
        {
            "debian/rules": RULES,
            "src/main.c": '#include "made.h"\n#include <api.h>\n' + loops("f", 11),
            "src/api.h": "#ifndef FROM_RULES\n#error not configured\n#endif\n",
            "src/classes.cpp": "namespace n {" + loops("g", 23) + "}",
            "src/object.m": loops("h", 37),
            "src/matrix.f90": "subroutine m(a, n)\n  integer :: n, i\n  real :: a(n)\n"
            "  do i = 2, n\n    a(i) = a(i) * a(i - 1) + i\n    if (a(i) > 2) a(i) = a(n) / a(1)\n"
            "  end do\nend subroutine\n",
            "src/latin.c": b'/* \xe9\xe8 */ const char *s = "\xff";\n' + loops("l", 51).encode(),
            "src/broken.c": "int f( {\n",
            "src/windows.c": "#include <windows.h>\n",
            "README": "",
        },
    )
    for version in ("1.0", "2.0"):
        files = {f"{k}.c": loops(f"p{k}", 100 * k + int(version[0])) for k in range(8)}
        source_package(folder, "many", version, dict(files))
    index = subprocess.run(
        ["dpkg-scansources", "pool"], cwd=folder, check=True, capture_output=True
    ).stdout
    (folder / "Sources").write_bytes(index)
    (folder / "Packages").write_bytes(b"")
    settings = tmp_path / "apt"
    (settings / "parts").mkdir(parents=True)
    (settings / "parts" / "test.sources").write_text(
        f"Types: deb\nURIs: file:{folder}\nSuites: ./\nTrusted: yes\n"
    )
    (settings / "list").write_text("# nothing here\n")
    (settings / "conf").write_text(
        f'Dir::Etc::sourcelist "{settings}/list";\nDir::Etc::sourceparts "{settings}/parts";\n'
    )
    monkeypatch.setenv("APT_CONFIG", str(settings / "conf"))
    return folder


def run(output: Path, *requests: str, sample: int | None = None) -> Report:
    with closing(SourceArchive()) as archive:
        return build(
            debian_sources(archive, [Request.parse(r) for r in requests], sample),
            output,
            limits=Limits(),
        )


def codezero(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "codezero", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_each_file_of_a_package_is_a_unit(archive: Path, tmp_path: Path) -> None:
    report = run(tmp_path / "c.parquet", "mixed")
    assert report == Report(5, 7, {"a header is missing": 1, "does not compile": 1}, {})
    assert report.missing_headers == {"windows.h": 1}
    assert report.by_package == {"mixed": {"units": 7, "programs": 5}}
    assert report.setups == {"debian:mixed=1.0": "as it came, flags of 0 files told"}
    rows = {row["path"]: row for row in pq.read_table(tmp_path / "c.parquet").to_pylist()}
    assert {path: row["language"] for path, row in rows.items()} == {
        "src/main.c": "C",
        "src/latin.c": "C",
        "src/classes.cpp": "C++",
        "src/object.m": "Objective-C",
        "src/matrix.f90": "Fortran",
    }
    for row in rows.values():
        assert (row["package"], row["version"], row["licence"]) == ("mixed", "1.0", "Expat")
        assert b"/tmp" not in row["bitcode"], "nothing of where it was compiled"


def test_the_newest_version_is_taken_or_the_one_asked_for(archive: Path, tmp_path: Path) -> None:
    for request, version in (("many", "2.0"), ("many=1.0", "1.0")):
        run(tmp_path / f"{version}.parquet", request)
        rows = pq.read_table(tmp_path / f"{version}.parquet").to_pylist()
        assert {row["version"] for row in rows} == {version} and len(rows) == 8


def test_an_older_version_is_taken_where_the_newest_is_gone(archive: Path, tmp_path: Path) -> None:
    (archive / "pool" / "many_2.0.dsc").unlink()
    report = run(tmp_path / "c.parquet", "many")
    assert report.programs == 8 and not report.failed_sources
    assert set(pq.read_table(tmp_path / "c.parquet").column("version").to_pylist()) == {"1.0"}
    report = run(tmp_path / "d.parquet", "many=2.0", "mixed")
    (error,) = report.failed_sources.values()
    assert error.startswith("many=2.0: ") and error.endswith("there is many=1.0")


def test_packages_that_cannot_be_had_do_not_stop_the_rest(archive: Path, tmp_path: Path) -> None:
    for file in (archive / "pool").glob("mixed*.tar.*"):
        file.unlink()
    output = tmp_path / "c.parquet"
    packages = ["--debian", "nosuchpackage", "many=3.0", "mixed", "many"]
    done = codezero("corpus", "build", "-o", output, *packages)
    note, *errors = done.stderr.splitlines()
    assert "the system's own apt settings stay as they are" in note
    assert done.returncode == 1 and len(errors) == 3, done.stderr
    version, package, nothing = sorted(errors)
    assert "many=3.0" in version and version.endswith("there is many=2.0")
    assert "mixed=1.0" in package and "File not found" in package
    assert nothing == "codezero: nosuchpackage: the archive has no such source package"
    assert pq.read_table(output).num_rows == 8


def test_a_corpus_stays_when_none_of_its_sources_can_be_had(archive: Path, tmp_path: Path) -> None:
    output = tmp_path / "c.parquet"
    run(output, "many")
    done = codezero("corpus", "build", "--debian", "nosuchpackage", "-o", output)
    assert done.returncode == 2 and "is not written" in done.stderr
    assert pq.read_table(output).num_rows == 8


def test_a_package_that_is_named_twice_is_examined_once(archive: Path, tmp_path: Path) -> None:
    assert run(tmp_path / "c.parquet", "many", "many=2.0").programs == 8


def test_an_archive_file_that_is_cut_off_is_said(archive: Path, tmp_path: Path) -> None:
    (file,) = (archive / "pool").glob("mixed*.tar.*")
    os.truncate(file, file.stat().st_size // 2)
    report = run(tmp_path / "c.parquet", "mixed", "many")
    assert report.programs == 8
    (error,) = report.failed_sources.values()
    assert error.startswith("mixed=1.0: ")


def test_a_sample_grows_without_repeating_itself(archive: Path, tmp_path: Path) -> None:
    output = tmp_path / "c.parquet"

    def paths() -> set[str]:
        return set(pq.read_table(output).column("path").to_pylist())

    def times() -> dict[str, int]:
        with closing(sqlite3.connect(journal_path(output))) as journal:
            return dict(journal.execute("SELECT path, rowid FROM unit"))

    assert run(output, "many", sample=3).programs == 3
    few, before = paths(), times()
    assert run(output, "many", sample=6).programs == 6
    assert few < paths()
    assert before.items() <= times().items(), "what was done is not done again"
    assert run(output, "many", sample=3).programs == 3
    assert paths() == few
    assert run(output, "many").programs == 8


def test_a_list_names_packages_and_versions(archive: Path, tmp_path: Path) -> None:
    listed = tmp_path / "packages.txt"
    listed.write_text("# two\nmany 1.0  # not the newest\n\nmixed\n")
    output = tmp_path / "c.parquet"
    done = codezero("corpus", "build", "--debian", f"@{listed}", "-o", output)
    assert done.returncode == 0
    rows = pq.read_table(output).to_pylist()
    assert {(row["package"], row["version"]) for row in rows} == {("many", "1.0"), ("mixed", "1.0")}
    done = codezero("corpus", "build", "--debian", "@nothing", "-o", output)
    assert done.returncode == 2 and "nothing: No such file" in done.stderr


def test_without_an_archive_the_command_says_so(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CodeZeroError, match="apt-get is not installed"):
        SourceArchive()


@pytest.mark.parametrize(
    ("packages", "end_with"),
    [(("slow", "many"), signal.SIGINT), (("slow=1.0", "many=2.0"), signal.SIGTERM)],
)
def test_what_is_under_way_ends_with_the_command(
    packages: tuple[str, ...],
    end_with: signal.Signals,
    archive: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unpacked = tmp_path / "temporary"
    unpacked.mkdir()
    monkeypatch.setenv("TMPDIR", str(unpacked))
    pid_file = tmp_path / "pid"
    script = f"#!/bin/sh\necho $$ > {pid_file}\nsleep 1000\n"
    source_package(archive, "slow", "1.0", {"configure": script, "a.c": loops("f", 3)})
    index = ["dpkg-scansources", "pool"]
    (archive / "Sources").write_bytes(subprocess.check_output(index, cwd=archive))
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "codezero", "corpus", "build", "--debian", *packages),
            *("-o", tmp_path / "c.parquet"),
        ],
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 60
    while not (pid_file.exists() and pid_file.read_text().strip()):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(end_with)
    assert process.wait(20) == 130
    assert not list(unpacked.glob("codezero-*")), "nothing is left of what was unpacked"
    while is_alive(int(pid_file.read_text())):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_suite_is_a_folder_of_programs(archive: Path, tmp_path: Path) -> None:
    folder = tmp_path / "suites" / "mine"
    command = ["suite", "build", "--debian", "many", "mixed", "--only", "[0-3].c", "src/m*.c"]
    done = codezero(*command, "-o", folder)
    assert done.returncode == 0, done.stderr
    names = [f"many-{k}.c.bc" for k in range(4)] + ["mixed-src-main.c.bc"]
    assert sorted(path.name for path in folder.glob("*.bc")) == names, done.stdout
    assert [program.name for program in find_suite(folder).programs] == names
    module = Module.parse((folder / names[-1]).read_bytes())
    assert module.instruction_count() > 50
    done = codezero("suite", "build", "--debian", "many", "--only", "1.c", "-o", folder)
    assert done.returncode == 0
    assert [path.name for path in folder.glob("*.bc")] == ["many-1.c.bc"], "none of another suite"
    (folder / "mine.bc").write_bytes(b"")
    (archive / "Sources").unlink()
    done = codezero("suite", "build", "--debian", "many", "-o", folder)
    assert done.returncode == 2 and "Failed to fetch" in done.stderr
    done = codezero("suite", "build", "--debian", "many=1.0", "-o", folder)
    assert done.returncode == 2 and "Failed to fetch" in done.stderr
    assert sorted(path.name for path in folder.glob("*.bc")) == ["many-1.c.bc", "mine.bc"]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["build"], "give the NAME of a suite"),
        (["build", "nosuch"], "choose from: blas, openblas, linux"),
        (["build", "blas", "--debian", "zlib"], "blas has no package zlib"),
        (["build", "blas", "--only", "x"], "--only goes with --debian"),
        (["build", "blas", "--sample", "0"], "--sample at least 1"),
    ],
)
def test_bad_suites_are_refused(arguments: list[str], error: str, tmp_path: Path) -> None:
    done = codezero("suite", *arguments, "-o", tmp_path / "s")
    assert done.returncode == 2 and error in done.stderr and not (tmp_path / "s").exists()


def test_the_built_in_suites_are_listed() -> None:
    done = codezero("suite", "list")
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()[1:]] == list(builtin_suites())


def test_the_systems_own_settings_stay_as_they_are(archive: Path, tmp_path: Path) -> None:
    settings = tmp_path / "apt" / "parts" / "test.sources"
    before = settings.read_bytes()
    run(tmp_path / "c.parquet", "many", sample=1)
    assert settings.read_bytes() == before
    assert [path.name for path in settings.parent.iterdir()] == ["test.sources"]
