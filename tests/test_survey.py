"""A look at a corpus: what is measured of its programs, and the figures drawn of it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from codezero.corpus.build import build
from codezero.corpus.examine import Limits
from codezero.corpus.package_list import ListedPackage, read_package_list
from codezero.corpus.sources.files import FilesSource
from codezero.corpus.suites import builtin_suites
from codezero.corpus.survey import Surveyed, read_surveys, write_survey
from codezero.errors import CodeZeroError

ROOT = Path(__file__).parents[1]


def codezero(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "codezero", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two of the examples."""
    folder = tmp_path_factory.mktemp("corpus")
    for source in ("lzss.c", "vm.c"):
        shutil.copy(ROOT / "examples" / source, folder)
    output = folder / "examples.parquet"
    assert build([FilesSource(folder)], output, limits=Limits()).programs == 2
    return output


def test_a_survey_measures_headroom_and_reactions(corpus: Path, tmp_path: Path) -> None:
    outputs = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    for output in outputs:
        done = codezero("corpus", "survey", corpus, "-o", output, "--trials", 2, "--programs", 2)
        assert done.returncode == 0, done.stderr
    table = read_surveys(outputs[:1])
    assert table.equals(read_surveys(outputs[1:])), "the same seed measures the same"
    assert table.equals(read_surveys(outputs)), "a program counts once"
    for row in table.to_pylist():
        assert row["corpus"] == "examples"
        assert 0 < row["best"] <= row["instructions"] and row["baseline"] < row["instructions"]
        features = np.array(row["features"]).reshape(20, 9, 56)
        assert np.isfinite(features).all() and (features >= 0).all()
        assert not (features == features[0]).all(), "sequences differ"


def test_figures_are_drawn(corpus: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [
        Surveyed(
            corpus="made" if k % 3 else "examples", package=f"p{k % 7}", path=f"{k}.c",
            language=("C", "C++")[k % 2], instructions=1_000, baseline=500, best=400 + k,
            features=tuple(rng.random(20 * 9 * 56).tolist()),
        )
        for k in range(60)
    ]  # fmt: skip
    survey = tmp_path / "survey.parquet"
    write_survey(survey, rows)
    domains = tmp_path / "list"
    domains.write_text("[one]\np0\np1 1.0\n[two]\np2=2\n")
    arguments = ["--survey", survey, "--domains", domains, "--contrast", "made", "-o", tmp_path]
    done = codezero("corpus", "plot", corpus, *arguments)
    assert done.returncode == 0, done.stderr
    for name in ("lengths", "headroom", "map"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_no_survey_is_said(corpus: Path, tmp_path: Path) -> None:
    done = codezero("corpus", "plot", corpus, "--survey", corpus, "-o", tmp_path)
    assert done.returncode == 2 and "not a survey: it has other columns" in done.stderr
    write_survey(tmp_path / "few.parquet", [])
    done = codezero("corpus", "plot", corpus, "--survey", tmp_path / "few.parquet", "-o", tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr


def test_the_reference_list_is_what_it_says() -> None:
    packages = read_package_list(ROOT / "corpora" / "reference.txt")
    names = [package.name for package in packages]
    assert len(names) >= 150 and len(set(names)) == len(names)
    assert all(package.version and package.domain for package in packages)
    assert len({package.domain for package in packages}) >= 15
    of_suites = {request.name for s in builtin_suites().values() for request in s.requests}
    assert of_suites & set(names) == {"openssl"}, "whose Blowfish alone is held out"
    (openssl,) = (package for package in packages if package.name == "openssl")
    assert "crypto/bf/*" in openssl.without
    held_out = {
        *("bzip2", "libjpeg-turbo", "libjpeg", "tiff", "lame", "libmad", "libgsm", "ghostscript"),
        *("ispell", "sphinxbase", "pgp", "lapack", "blas", "openblas", "linux", "opencv"),
        *("faiss", "getfem", "eigen3"),
    }
    assert not held_out & set(names)


def test_lists_name_packages_versions_and_domains(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_text(
        "first\n# a comment\n[tools]\nzlib 1:1.2.13.dfsg-1  # of all\n\n"
        "lua5.4=5.4.4-3 -a-b/* -*/c.c\nlast -x\n"
    )
    assert read_package_list(path) == [
        ListedPackage("first", "", ""),
        ListedPackage("zlib", "1:1.2.13.dfsg-1", "tools"),
        ListedPackage("lua5.4", "5.4.4-3", "tools", ("a-b/*", "*/c.c")),
        ListedPackage("last", "", "tools", ("x",)),
    ]
    path.write_text("zlib 1.0 2.0\n")
    with pytest.raises(CodeZeroError, match=r"list:1: expected a package and a version"):
        read_package_list(path)
    path.write_text("zlib 1.0\nzlib 2.0\n")
    with pytest.raises(CodeZeroError, match=r"list:2: zlib is there already"):
        read_package_list(path)
