"""The command line as a user has it: a real process, its output, its exit code."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import EXAMPLES, children_of

from codezero._native import CompileOptions
from codezero.compiler import Module, executable_size
from codezero.compiler.program import Program
from codezero.compiler.toolchain import CLANG, OPT
from codezero.corpus.corpus import Corpus

SOURCE = EXAMPLES / "sha256.c"
QUICK = ("--search", "greedy", "--budget", "60")


def codezero(*arguments: object, **kwargs: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "codezero", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        **kwargs,  # type: ignore[call-overload]
    )


def fails(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """Exit code 2, a short message that has these words, no traceback, nothing on stdout."""
    assert done.returncode == 2, done
    assert not done.stdout
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


def test_help_names_the_commands() -> None:
    done = codezero("--help")
    assert done.returncode == 0
    for command in ("optimize", "evaluate", "fuzz", "doctor"):
        assert command in done.stdout
        assert codezero(command, "--help").returncode == 0


def test_optimize_prints_a_table() -> None:
    done = codezero("optimize", SOURCE, *QUICK)
    assert done.returncode == 0
    header, row = done.stdout.strip().splitlines()
    assert header.split() == ["program", "-O0", "-Oz", "ours", "ratio", "seconds"]
    assert row.split()[0] == str(SOURCE)
    assert float(row.split()[4]) >= 1


def test_optimized_object_is_as_small_as_said_and_smaller_than_clangs(tmp_path: Path) -> None:
    ours, clangs = tmp_path / "ours.o", tmp_path / "clang.o"
    done = codezero(
        "optimize", SOURCE, "-o", ours, "--json", "--search", "greedy", "--budget", "300"
    )
    (result,) = json.loads(done.stdout)
    subprocess.run([CLANG.require(), "-Oz", "-c", SOURCE, "-o", clangs], check=True)
    assert executable_size(ours.read_bytes()) == result["optimized"]
    assert executable_size(clangs.read_bytes()) == result["baseline"]
    assert result["optimized"] < result["baseline"]


def test_json_has_an_object_a_file() -> None:
    done = codezero("optimize", SOURCE, EXAMPLES / "json.c", "--json", *QUICK)
    results = json.loads(done.stdout)
    assert [r["input"] for r in results] == [str(SOURCE), str(EXAMPLES / "json.c")]
    assert set(results[0]) >= {
        "input", "output", "objective", "protocol", "policy", "o0", "baseline", "optimized",
        "ratio", "seconds", "passes",
    }  # fmt: skip
    for r in results:
        assert r["ratio"] == pytest.approx(r["baseline"] / r["optimized"])


@pytest.mark.parametrize("suffix", [".o", ".s", ".bc", ".ll"])
def test_output_is_by_suffix(suffix: str, tmp_path: Path) -> None:
    output = tmp_path / f"out{suffix}"
    done = codezero("optimize", SOURCE, "-o", output, *QUICK)
    assert done.returncode == 0, done.stderr
    if suffix in (".bc", ".ll"):
        Module.parse(output.read_bytes()).verify()
    executable = tmp_path / "program"
    subprocess.run([CLANG.require(), output, "-o", executable], check=True)
    expected = (EXAMPLES / "expected" / "sha256.c.txt").read_text()
    assert subprocess.run([executable], capture_output=True, text=True).stdout == expected
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_pass_list_is_ready_for_opt(tmp_path: Path) -> None:
    bitcode, optimized = tmp_path / "in.bc", tmp_path / "out.bc"
    subprocess.run(
        [CLANG.require(), "-Oz", "-Xclang", "-disable-llvm-passes", "-Xclang",
         "-emit-llvm-uselists", "-emit-llvm", "-c", SOURCE, "-o", bitcode],
        check=True,
    )  # fmt: skip
    options = ("--objective", "instructions", "--search", "greedy", "--budget", "300")
    passes = codezero("optimize", SOURCE, "--passes", *options).stdout.strip()
    (result,) = json.loads(codezero("optimize", SOURCE, "--json", *options).stdout)
    subprocess.run([OPT.require(), f"-passes={passes}", bitcode, "-o", optimized], check=True)
    assert Module.parse(optimized.read_bytes()).instruction_count() == result["optimized"]


def repeated(bitcode: Path, result: dict[str, Any]) -> Module:
    """A program after the passes that --json names, and with the frame pointers."""
    module = Module.parse(bitcode.read_bytes())
    if result["pipeline"]:
        module.run(result["pipeline"])
    for name, pipeline in result["functions"].items():
        for each in pipeline.split(",function("):
            module.run_on("function(" + each.removeprefix("function("), name)
    if result["ending"]:
        module.run(result["ending"])
    for name in result["frame_pointers"]:
        assert module.keep_frame_pointer(name)
    return module


def test_a_pass_list_has_nothing_for_single_functions(tmp_path: Path) -> None:
    source, text = EXAMPLES / "json.c", tmp_path / "list.txt"
    bitcode, optimized = tmp_path / "in.bc", tmp_path / "out.bc"
    subprocess.run(
        [CLANG.require(), "-Oz", "-Xclang", "-disable-llvm-passes", "-Xclang",
         "-emit-llvm-uselists", "-emit-llvm", "-c", source, "-o", bitcode],
        check=True,
    )  # fmt: skip
    trials = "16"
    task = ("--objective", "instructions", "--budget", trials, "--json")
    (whole,) = json.loads(codezero("optimize", source, "-o", text, *task).stdout)
    assert whole["policy"] == f"agent-whole:instructions:{trials}" and whole["functions"] == {}
    assert codezero("optimize", source, "--passes", *task[:-1]).stdout == text.read_text()
    passes = text.read_text().strip()
    subprocess.run([OPT.require(), f"-passes={passes}", bitcode, "-o", optimized], check=True)
    assert Module.parse(optimized.read_bytes()).instruction_count() == whole["optimized"]
    (result,) = json.loads(codezero("optimize", source, *task).stdout)
    assert result["policy"] == f"agent:instructions:{trials}"
    assert result["optimized"] < whole["optimized"]
    assert repeated(bitcode, result).instruction_count() == result["optimized"]
    (loaded,) = json.loads(codezero("optimize", source, "--json", "--objective", "loaded").stdout)
    options = CompileOptions(codegen=[option.removeprefix("-") for option in loaded["codegen"]])
    assert repeated(bitcode, loaded).loaded_size(options) == loaded["optimized"]


def test_bitcode_and_text_are_inputs_too(tmp_path: Path) -> None:
    text, output = tmp_path / "in.ll", tmp_path / "out.o"
    text.write_text("define i32 @f(i32 %x) {\n  %a = add i32 %x, 0\n  ret i32 %a\n}\n")
    done = codezero("optimize", text, "-o", output, *QUICK)
    assert done.returncode == 0, done.stderr
    assert executable_size(output.read_bytes()) > 0


def test_compiler_flags_go_after_the_dashes(tmp_path: Path) -> None:
    source, output = tmp_path / "f.c", tmp_path / "f.o"
    source.write_text("int f(void) { return VALUE; }\n")
    done = codezero("optimize", source, "-o", output, *QUICK, "--", "-DVALUE=7",
                    "-ffunction-sections", "-O3")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert b".text.f" in output.read_bytes()


def test_several_files_go_to_a_folder(tmp_path: Path) -> None:
    done = codezero("optimize", SOURCE, EXAMPLES / "json.c", "-o", tmp_path, *QUICK)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["json.o", "sha256.o"]


def test_what_gains_nothing_is_clangs_own_object(tmp_path: Path) -> None:
    space, ours, clangs = tmp_path / "space.toml", tmp_path / "ours.o", tmp_path / "clangs.o"
    space.write_text('[[pass]]\nname = "strip-dead-prototypes"\n')
    flags = ("-g", "-fno-slp-vectorize")
    done = codezero("optimize", SOURCE, "-o", ours, "--space", space, *QUICK, "--", *flags)
    assert done.returncode == 0, done.stderr
    subprocess.run([CLANG.require(), "-Oz", *flags, "-c", SOURCE, "-o", clangs], check=True)
    assert ours.read_bytes() == clangs.read_bytes()


def test_a_flag_that_only_clangs_code_generator_knows_is_measured_on_the_objects(
    tmp_path: Path,
) -> None:
    ours, clangs = tmp_path / "ours.o", tmp_path / "clangs.o"
    flag = "-fbasic-block-sections=all"
    done = codezero("optimize", SOURCE, "-o", ours, "--json", *QUICK, "--", flag)
    (result,) = json.loads(done.stdout)
    subprocess.run([CLANG.require(), "-Oz", flag, "-c", SOURCE, "-o", clangs], check=True)
    assert result["baseline"] == executable_size(clangs.read_bytes())
    assert result["optimized"] == executable_size(ours.read_bytes())
    assert result["ratio"] >= 1


@pytest.mark.parametrize("flag", ["-fsanitize=undefined", "-fstack-protector-all"])
def test_flags_that_the_front_end_obeys_are_taken(flag: str, tmp_path: Path) -> None:
    output = tmp_path / "out.o"
    assert codezero("optimize", SOURCE, "-o", output, *QUICK, "--", flag).returncode == 0
    assert executable_size(output.read_bytes()) > 0


def test_names_that_are_not_unicode(tmp_path: Path) -> None:
    source = Path(os.fsdecode(os.fsencode(tmp_path) + b"/f\xff.c"))
    source.write_text("int f(int x) { return x + x; }\n")
    for options in ((), ("--json",)):
        done = codezero("optimize", source, *options, *QUICK)
        assert done.returncode == 0, done.stderr
    source.write_text("int f(int x) { return y; }\n")
    fails(codezero("optimize", source), "undeclared identifier 'y'")


def test_an_unsound_space_is_warned_of(tmp_path: Path) -> None:
    done = codezero("optimize", SOURCE, "--passes", "--space", "autophase", *QUICK)
    assert done.returncode == 0
    assert "may change what a program does" in done.stderr


def test_evaluate_prints_programs_and_suites(tmp_path: Path) -> None:
    suite = tmp_path / "suite"
    (suite / "linked" / "src").mkdir(parents=True)
    (suite / "linked" / "src" / "a.c").write_text("int b(void);\nint main(void) { return b(); }\n")
    (suite / "linked" / "src" / "b.c").write_text("int b(void) { return 3; }\n")
    shutil.copy(SOURCE, suite)
    arguments = ("evaluate", suite, "--policy", "random", "greedy:60", "--objective")
    report = json.loads(codezero(*arguments, "instructions", "--json").stdout)
    assert [(p["program"], p["policy"]) for p in report["programs"]] == [
        ("linked", "random"), ("linked", "greedy:60"),
        ("sha256.c", "random"), ("sha256.c", "greedy:60"),
    ]  # fmt: skip
    assert [(s["suite"], s["policy"], s["programs"]) for s in report["suites"]] == [
        ("suite", "random", 2), ("suite", "greedy:60", 2),
    ]  # fmt: skip
    for s in report["suites"]:
        assert 1 <= s["min"] <= s["geomean"] <= s["max"]
        assert s["seconds"] > 0
    rows = list(csv.DictReader(io.StringIO(codezero(*arguments, "text", "--csv").stdout)))
    assert len(rows) == 4
    table = codezero(*arguments, "text").stdout
    assert "geomean" in table


def test_evaluate_takes_a_corpus(training_corpus: Path, tmp_path: Path) -> None:
    split = f"{training_corpus}:train"
    arguments = ("--policy", "none", "--objective", "instructions", "--json")
    report = json.loads(codezero("evaluate", split, SOURCE, "--sample", 2, *arguments).stdout)
    assert [(s["suite"], s["programs"]) for s in report["suites"]] == [
        (f"{training_corpus.stem}:train", 2), (SOURCE.name, 1),
    ]  # fmt: skip
    corpus = Corpus(training_corpus, "train")
    programs = [corpus[k].name for k in corpus.sample(2)]
    assert [p["program"] for p in report["programs"]] == [*programs, SOURCE.name]
    everything = json.loads(codezero("evaluate", split, *arguments).stdout)
    assert everything["suites"][0]["programs"] == len(corpus)
    assert everything["suites"][0]["as_small"] == 0, "not even one is as small without any pass"
    fails(codezero("evaluate", f"{training_corpus}:nosuch", *arguments), "no split 'nosuch'")
    fails(codezero("evaluate", tmp_path / "no.parquet", *arguments), "not a corpus")


def test_evaluate_reports_what_fails(tmp_path: Path) -> None:
    (tmp_path / "good.c").write_text("int f(int x) { return x + x; }\n")
    (tmp_path / "bad.c").write_text("int f(int x) { return y; }\n")
    done = codezero("evaluate", tmp_path, "--policy", "none", "--json")
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert [p["program"] for p in report["programs"]] == ["good.c"]
    assert report["failures"][0]["program"] == "bad.c"
    assert "undeclared identifier 'y'" in done.stderr


def test_suites_of_one_name_stay_apart_and_those_that_fail_are_seen(tmp_path: Path) -> None:
    for parent, source in (("a", "int f(int x) { return x; }\n"), ("b", "int f( {\n")):
        (tmp_path / parent / "suite").mkdir(parents=True)
        (tmp_path / parent / "suite" / "f.c").write_text(source)
    suites = [tmp_path / parent / "suite" for parent in "ab"]
    done = codezero("evaluate", *suites, "--policy", "none", "--json")
    report = json.loads(done.stdout)
    assert [(s["suite"], s["programs"], s["failed"]) for s in report["suites"]] == [
        (str(suites[0]), 1, 0), (str(suites[1]), 0, 1),
    ]  # fmt: skip
    assert report["suites"][1]["geomean"] is None
    table = codezero("evaluate", *suites, "--policy", "none").stdout
    assert "0 (1 failed)" in table


def test_doctor_finds_the_compilers() -> None:
    done = codezero("doctor")
    assert done.returncode == 0
    assert "clang" in done.stdout
    report = json.loads(codezero("doctor", "--json").stdout)
    assert {tool["tool"] for tool in report["tools"]} >= {"clang", "flang", "rustc"}


# Bad input


def test_no_such_file() -> None:
    fails(codezero("optimize", "no-such.c"), "no-such.c: no such file")


def test_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "empty.c"
    path.touch()
    fails(codezero("optimize", path), "empty.c: the file is empty")


def test_unknown_kind_of_file(tmp_path: Path) -> None:
    path = tmp_path / "notes.xyz"
    path.write_text("hello")
    fails(codezero("optimize", path), "unknown kind of file")


def test_one_bad_file_of_several_stops_all_before_anything_is_written(tmp_path: Path) -> None:
    bad, out = tmp_path / "bad.c", tmp_path / "out"
    bad.write_text("int f(int x) { return y; }\n")
    out.mkdir()
    done = codezero("optimize", SOURCE, bad, EXAMPLES / "no-such.ll", "-o", out, *QUICK)
    fails(done, "no-such.ll: no such file")
    cut = tmp_path / "cut.bc"
    cut.write_bytes(b"BC\xc0\xde")
    done = codezero("optimize", SOURCE, bad, cut, "-o", out, *QUICK)
    fails(done, "undeclared identifier 'y'", "cut.bc: not valid LLVM IR")
    assert list(out.iterdir()) == []


def test_flags_for_ir_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "f.ll"
    path.write_text("define void @f() {\n  ret void\n}\n")
    fails(codezero("optimize", path, "--", "-DX"), "no meaning for LLVM IR")


def test_syntax_error_shows_clangs_message(tmp_path: Path) -> None:
    path, output = tmp_path / "bad.c", tmp_path / "bad.o"
    path.write_text("int main(void) { return 0 }\n")
    fails(codezero("optimize", path, "-o", output), "expected ';'", "bad.c:1:")
    assert not output.exists()


@pytest.mark.parametrize("size", [4, 100, 5_000])
def test_truncated_bitcode(size: int, tmp_path: Path) -> None:
    whole, path = tmp_path / "whole.bc", tmp_path / "cut.bc"
    codezero("optimize", SOURCE, "-o", whole, "--search", "greedy", "--budget", "1")
    path.write_bytes(whole.read_bytes()[:size])
    fails(codezero("optimize", path, "-o", tmp_path / "out.o"), "cut.bc")
    assert not (tmp_path / "out.o").exists()


def test_text_error_has_its_place(tmp_path: Path) -> None:
    path = tmp_path / "bad.ll"
    path.write_text("define i32 @f() {\n  ret i33 0\n}\n")
    fails(codezero("optimize", path), "bad.ll:2:7")


def test_ir_that_does_not_verify(tmp_path: Path) -> None:
    path = tmp_path / "bad.ll"
    path.write_text(
        "define i32 @f() {\n  %a = add i32 %b, 1\n  %b = add i32 1, 1\n  ret i32 %a\n}\n"
    )
    fails(codezero("optimize", path), "bad.ll", "does not verify", "dominate")


def test_unknown_pass_in_a_space(tmp_path: Path) -> None:
    path = tmp_path / "space.toml"
    path.write_text('[[pass]]\nname = "instcombin"\n')
    fails(codezero("optimize", SOURCE, "--space", path), "instcombin", "did you mean")


def test_no_clang(tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": str(tmp_path)}
    done = codezero("optimize", SOURCE, env=environment)
    fails(done, "clang is not installed", "apt-get install clang-22")
    done = codezero("doctor", env=environment)
    assert done.returncode == 1
    assert "missing" in done.stdout


def test_another_version_of_clang_is_not_taken(tmp_path: Path) -> None:
    clang = tmp_path / "clang"
    clang.write_text("#!/bin/sh\necho clang version 19.1.7\n")
    clang.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:/usr/bin-not-here"}
    done = codezero("optimize", SOURCE, env=environment)
    fails(done, "clang 22 is not installed", "19.1.7", "apt-get install clang-22")


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_output_folder_that_may_not_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    fails(codezero("optimize", SOURCE, "-o", tmp_path / "out.o", *QUICK), "cannot write")


def test_output_that_cannot_be_written(tmp_path: Path) -> None:
    missing = tmp_path / "no-such-folder" / "out.o"
    fails(codezero("optimize", SOURCE, "-o", missing, *QUICK), "cannot write", str(missing))


def test_full_disk_leaves_the_old_output_whole(tmp_path: Path, sha256: Program) -> None:
    folder, source = tmp_path / "out", tmp_path / "sha256.bc"
    folder.mkdir()
    source.write_bytes(sha256.bitcode)
    output = folder / "out.ll"
    output.write_text("old")
    # A limit on the size of files stands in for a full disk: the write fails half way.
    command = (
        f"ulimit -f 1; exec {sys.executable} -m codezero optimize {source} -o {output} "
        "--search greedy --budget 1"
    )
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    fails(done, "cannot write")
    assert output.read_text() == "old"
    assert [path.name for path in folder.iterdir()] == ["out.ll"]


def test_unknown_output_suffix(tmp_path: Path) -> None:
    fails(codezero("optimize", SOURCE, "-o", tmp_path / "out.exe"), "out.exe")


@pytest.mark.parametrize(
    "flags",
    [
        ("-fsanitize=address",),
        ("-fsanitize=undefined,alloc-token",),
        ("-fprofile-instr-generate",),
        ("-fmemory-profile",),
        ("-fexperimental-sanitize-metadata=all",),
        ("-fpseudo-probe-for-profiling",),
        ("-mllvm", "-inline-threshold=3"),
        ("-MD",),
        ("-g", "-gsplit-dwarf"),
        ("-save-temps",),
    ],
)
def test_flags_that_work_during_optimisation_are_refused(flags: tuple[str, ...]) -> None:
    fails(codezero("optimize", SOURCE, "--", *flags), "clang alone")


@pytest.mark.parametrize("flag", ["-fsyntax-only", "-E", "--version"])
def test_flags_that_leave_nothing_to_optimise_are_refused(flag: str) -> None:
    fails(codezero("optimize", SOURCE, "--", flag), "writes no bitcode", flag)


@pytest.mark.parametrize(
    "arguments",
    [
        ("optimize", SOURCE, "--budget", "0s"),
        ("optimize", SOURCE, "--budget", "9" * 5_000),
        ("optimize", SOURCE, "--jobs", -1),
        ("optimize", SOURCE, "--effort", "0"),
        ("optimize", SOURCE, "--effort", "much"),
        ("optimize", SOURCE, "--effort", "nan"),
        ("optimize", SOURCE, "--effort", "1e9"),
        ("optimize", SOURCE, "--effort", "2", "--search", "greedy"),
        ("evaluate", SOURCE, "--policy"),
        ("evaluate", SOURCE, "--policy", "fixed:no-such-file"),
        ("evaluate", SOURCE, "--max-steps", 0),
        ("evaluate", EXAMPLES / "no-such.c"),
        ("fuzz", SOURCE, "--jobs", -1),
        ("fuzz", SOURCE, "--seconds", 0),
        ("fuzz",),
    ],
)
def test_options_that_make_no_sense(arguments: tuple[object, ...]) -> None:
    fails(codezero(*arguments))


def test_a_pass_list_of_another_space_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("newgvn\n")
    fails(codezero("evaluate", SOURCE, "--policy", f"fixed:{path}"), "has no pass 'newgvn'")


def test_what_nothing_can_be_made_of_is_said_once(tmp_path: Path) -> None:
    bad = tmp_path / "bad.c"
    bad.write_text("int f(int x) { return y; }\n")
    done = codezero("evaluate", bad)
    fails(done, "undeclared identifier 'y'")
    assert done.stderr.count("undeclared") == 1


def test_an_output_link_that_leads_to_itself(tmp_path: Path) -> None:
    link = tmp_path / "loop.o"
    link.symlink_to(link)
    fails(codezero("optimize", SOURCE, "-o", link, *QUICK), "cannot write")


def test_a_space_nested_without_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "space.toml"
    path.write_text(f"[[pass]]\nname = 'deep'\npipeline = '{'function(' * 200_000}'\n")
    fails(codezero("optimize", SOURCE, "--space", path), "levels deep")


def test_what_clang_says_of_flags_is_asked_where_it_does_not_say_it(tmp_path: Path) -> None:
    """Some variables change what -v prints, or add flags."""
    output = tmp_path / "x.o"
    for variables in ({"CC_PRINT_OPTIONS": "1"}, {}):
        environment = {**os.environ, **variables, "CCC_OVERRIDE_OPTIONS": "+-fsanitize=address"}
        fails(codezero("optimize", SOURCE, "-o", output, env=environment), "clang alone")
        assert not output.exists()
    quiet = {**os.environ, "CC_PRINT_OPTIONS": "1"}
    done = codezero("optimize", SOURCE, "-o", output, "--json", *QUICK, env=quiet)
    assert done.returncode == 0
    assert executable_size(output.read_bytes()) == json.loads(done.stdout)[0]["optimized"]


def test_a_compilers_message_is_all_that_it_says(tmp_path: Path) -> None:
    path = tmp_path / "bad.c"
    path.write_text("int f(int x) { return y; }\n")
    done = codezero("optimize", path)
    fails(done, "undeclared identifier 'y'")
    assert "InstalledDir" not in done.stderr and "-cc1" not in done.stderr


def test_options_may_be_written_as_for_the_other_commands() -> None:
    done = codezero("optimize", "--keep_speed", SOURCE, "--budget=3", "--json", "--search=greedy")
    assert done.returncode == 0 and json.loads(done.stdout)[0]["policy"] == "greedy:3"
    fails(codezero("optimize", SOURCE, "--objectiv", "text"), "--objectiv", "optimize --help")
    fails(codezero("optimize", SOURCE, "--objective", "txt"), "instructions", "optimize --help")


def test_unknown_command_and_option() -> None:
    fails(codezero("optimise"), "no command 'optimise'")
    done = codezero("optimize", SOURCE, "--no-such-option")
    assert done.returncode == 2


def interrupt(process: subprocess.Popen[str]) -> None:
    """Send Ctrl-C's signal to this process alone once it has children, and see all of them go."""
    deadline = time.monotonic() + 20
    while not children_of(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1)
    children = children_of(process.pid)
    assert children
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=10)
    assert process.returncode == 130
    assert errors == "codezero: interrupted\n"
    assert not any(Path(f"/proc/{child}").exists() for child in children)


@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c_leaves_no_process_and_no_file(jobs: int, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "codezero", "optimize", SOURCE, EXAMPLES / "vm.c", "-o", tmp_path,
         "--budget", "60s", "--jobs", str(jobs)],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    interrupt(process)
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_ends_a_compiler(tmp_path: Path) -> None:
    clang = tmp_path / "clang"
    clang.write_text("#!/bin/sh\n[ $1 = --version ] && echo version 22.1 && exit\nexec sleep 60\n")
    clang.chmod(0o755)
    process = subprocess.Popen(
        [sys.executable, "-m", "codezero", "optimize", SOURCE],
        stderr=subprocess.PIPE, text=True, env={**os.environ, "CODEZERO_CLANG": str(clang)},
    )  # fmt: skip
    start = time.monotonic()
    interrupt(process)
    assert time.monotonic() - start < 10


def test_search_fixed_writes_a_list_for_evaluate(training_corpus: Path, tmp_path: Path) -> None:
    found = tmp_path / "list.txt"
    task = ("--objective", "instructions", "--protocol", "paper", "--max-steps", "10")
    done = codezero(
        *("search", "fixed", training_corpus, SOURCE, "-o", found, *task),
        *("--max-instructions", "100000", "--budget", "40", "--jobs", "1"),
    )
    assert done.returncode == 0, done.stderr
    assert "4 programs, 1.0000 to begin with" in done.stdout
    ratio = float(re.search(r"passes, ([\d.]+) after 40 lists", done.stdout)[1])  # type: ignore[index]
    names = found.read_text().split()
    assert ratio > 1 and 0 < len(names) <= 10
    policy = ("--policy", f"fixed:{found}")
    report = json.loads(codezero("evaluate", SOURCE, *policy, *task, "--json").stdout)
    assert report["programs"][0]["ratio"] >= 1
    for arguments, message in (
        ((tmp_path / "nothing.c", "-o", found), "no such file"),
        ((SOURCE, "-o", tmp_path / "no" / "list.txt"), "no such folder"),
        ((SOURCE, "-o", found, "--start", tmp_path / "nothing.txt"), "cannot read the pass list"),
        ((training_corpus, "-o", found, "--max-instructions", "1"), "no program of up to 1"),
        ((SOURCE, "-o", found, "--budget", "soon"), "budget 'soon'"),
        (("-o", found), "at least one corpus"),
    ):
        done = codezero("search", "fixed", *arguments)
        assert done.returncode == 2 and message in done.stderr, done.stderr
        assert len(done.stderr.splitlines()) == 1
