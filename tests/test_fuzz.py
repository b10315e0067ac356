"""The fuzzer: it finds what is there, makes it small, and finds nothing where nothing is."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from conftest import EXAMPLES, NEVER_ENDS

from codezero.reduction import reduce_list


@pytest.mark.parametrize("needed", [(3,), (3, 17), (0, 9, 19), tuple(range(20))])
def test_lists_are_reduced_to_what_is_needed(needed: tuple[int, ...]) -> None:
    def fails(items: Sequence[int]) -> bool:
        return set(needed) <= set(items)

    assert tuple(reduce_list(range(20), fails)) == needed


def codezero_fuzz(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "codezero", "fuzz", *map(str, arguments)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def fuzz(space: Path, out: Path, *options: object) -> subprocess.CompletedProcess[str]:
    return codezero_fuzz(EXAMPLES / "sha256.c", "--space", space, "--out", out, *options)


def test_a_crash_is_found_reduced_and_saved(
    space_file: Callable[..., Path], tmp_path: Path
) -> None:
    space = space_file("sroa", "dce", "trigger-crash-module")
    done = fuzz(space, tmp_path / "out", "-n", 2, "--max-length", 30, "--jobs", 1)
    assert done.returncode == 1
    assert json.loads(done.stdout)["verdicts"]["crash"] >= 1
    saved = sorted((tmp_path / "out").iterdir())
    assert (saved[0] / "passes.txt").read_text() == "trigger-crash-module\n"
    assert (saved[0] / "program.bc").stat().st_size > 0
    assert "SIGABRT" in (saved[0] / "report.txt").read_text()


def test_a_hang_is_found(space_file: Callable[..., Path], tmp_path: Path) -> None:
    space = space_file(NEVER_ENDS)
    done = fuzz(space, tmp_path / "out", "-n", 1, "--max-length", 1, "--seconds", 1)
    assert json.loads(done.stdout)["verdicts"] == {"hang": 1}


def test_what_depends_on_addresses_is_found(
    space_file: Callable[..., Path], tmp_path: Path
) -> None:
    space = space_file("function(gvn-sink)", "function(simplifycfg)", "function(sroa)")
    options = ("--space", space, "--out", tmp_path / "out", "-n", 20, "--max-length", 8)
    done = codezero_fuzz(EXAMPLES / "vm.c", *options)
    assert json.loads(done.stdout)["verdicts"].keys() == {"passed", "nondeterministic"}


def test_a_miscompilation_is_found(space_file: Callable[..., Path], tmp_path: Path) -> None:
    # internalize leaves no main to link: the program no longer does what it did.
    space = space_file("internalize,globaldce")
    done = fuzz(space, tmp_path / "out", "-n", 1, "--max-length", 1, "--execute")
    assert done.returncode == 1
    assert json.loads(done.stdout)["verdicts"] == {"miscompiled": 1}


def test_sound_passes_sequences(tmp_path: Path) -> None:
    done = fuzz(Path("sound"), tmp_path / "out", "-n", 60, "--execute")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["sequences"] == 60


def test_what_a_policy_chooses_is_run_and_judged(tmp_path: Path) -> None:
    out = tmp_path / "failures"
    arguments = (EXAMPLES / "sha256.c", EXAMPLES / "lzss.c", "--execute", "--out", out)
    done = codezero_fuzz(*arguments, "--policy", "agent", "--objective", "instructions")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["sequences"] == 2 and report["verdicts"] == {"passed": 2}
    assert report["passes_run"] > 2
    space = tmp_path / "space.toml"
    space.write_text("[[pass]]\nname = 'no-op-function'\n")
    done = codezero_fuzz(*arguments, "--policy", "agent", "--space", space)
    assert done.returncode == 2 and "no agent comes with codezero" in done.stderr


def test_a_miscompilation_by_a_policys_choice_is_reduced(tmp_path: Path) -> None:
    """A pass that hides main stands for one that is wrong."""
    source, space = tmp_path / "prints.c", tmp_path / "space.toml"
    source.write_text(
        "#include <stdio.h>\nstatic int used = 3;\n"
        'int main(void) { printf("%d\\n", used); return 0; }\n'
    )
    passes = ("sroa", "internalize", "globaldce", "instcombine")
    space.write_text("".join(f"[[pass]]\nname = '{name}'\n" for name in passes))
    (tmp_path / "list.txt").write_text("".join(f"{name}\n" for name in passes))
    done = codezero_fuzz(
        source, "--execute", "--out", tmp_path / "failures", "--space", space,
        "--objective", "instructions", "--policy", f"fixed:{tmp_path / 'list.txt'}",
    )  # fmt: skip
    assert done.returncode == 1, done.stdout
    assert json.loads(done.stdout)["verdicts"] == {"miscompiled": 1}
    (failure,) = (tmp_path / "failures").iterdir()
    reduced = (failure / "passes.txt").read_text().strip()
    assert reduced == "internalize", "main is of this file alone, and nothing calls it"
