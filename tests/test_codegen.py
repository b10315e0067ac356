"""How code is generated, where that may be other than clang's: options, and frame pointers."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from conftest import EXAMPLES, NEVER_ENDS_BY_FUNCTION

from codezero._native import (
    CompileOptions,
    LLVMError,
    Module,
    check_codegen_option,
    executable_size,
    function_sizes,
)
from codezero.compiler.objectives import Objective
from codezero.compiler.program import Program
from codezero.compiler.spaces import Codegen, load_space, options_on, parse_space
from codezero.compiler.toolchain import CLANG
from codezero.emit import Writer
from codezero.env.session import Session, make_settings
from codezero.errors import CodeZeroError, SpaceError
from codezero.optimize import Optimizer
from codezero.programs.load import ProgramLoader
from codezero.search.codegen import plan_codegen, with_codegen, work_of
from codezero.search.policy import CodegenChoice, CodegenPlan, Found, parse_policy
from codezero.search.sequences import FixedSequence
from codezero.soundness.fuzz import policy_cases, random_cases

OPTIONS = [
    "disable-machine-licm",
    "disable-block-placement",
    "regalloc=basic",
    "enable-machine-outliner=always",
    "enable-ipra",
]


def optimized(program: Program) -> Module:
    module = Module.parse(program.bitcode)
    module.run_clang_oz(program.options)
    return module


def by_clang(module: Module, program: Program, folder: Path, *options: str) -> bytes:
    """The object that clang makes of a module with LLVM's options."""
    source, output = folder / "program.bc", folder / "program.o"
    source.write_bytes(module.bitcode())
    words = [word for option in options for word in ("-mllvm", f"-{option}")]
    command = [CLANG.require(), "-Oz", "-Xclang", "-disable-llvm-passes", "-x", "ir", source]
    subprocess.run([*command, *words, "-c", "-o", output], check=True)
    return output.read_bytes()


def test_an_option_does_here_what_it_does_in_clang(
    load: Callable[..., Program], tmp_path: Path
) -> None:
    program = load("lzss.c")
    module, sizes = optimized(program), {}
    for options in [[], *([option] for option in OPTIONS), OPTIONS]:
        code = module.object(program.options.with_codegen(options))
        sizes[tuple(options)] = executable_size(code)
        clangs = by_clang(module, program, tmp_path, *options)
        assert sizes[tuple(options)] == executable_size(clangs), options
    assert len(set(sizes.values())) >= 5, f"they matter: {sizes}"


def test_options_are_of_one_object_alone(load: Callable[..., Program]) -> None:
    """LLVM has one of each in a process; code for others is generated at the same time."""
    programs = [load(name) for name in ("lzss.c", "vm.c", "json.c")]
    modules = [optimized(program) for program in programs]
    ways: list[list[str]] = [[], *([option] for option in OPTIONS)]
    tasks = [(k, way) for way in ways for k in range(len(programs))]

    def generate(task: tuple[int, list[str]]) -> bytes:
        k, way = task
        return modules[k].clone().object(programs[k].options.with_codegen(way))

    alone = [generate(task) for task in tasks]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(generate, tasks * 3)) == alone * 3


def test_options_of_a_program_are_its_own() -> None:
    plain = CompileOptions(function_sections=True)
    basic = plain.with_codegen(["regalloc=basic"])
    assert basic.codegen == ("regalloc=basic",) and plain.codegen == ()
    assert basic.function_sections and basic != plain and basic.with_codegen([]) == plain
    bitcode = Module.parse(b"").bitcode()
    keys = {Program("p", bitcode, options).key for options in (plain, basic)}
    assert len(keys) == 2


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("no-such-option", "no option 'no-such-option'.*choose of.*disable-lsr"),
        ("version", "no option 'version'"),
        ("disable-x86-lea-opt", "no option 'disable-x86-lea-opt'"),
        ("regalloc=magic", "'regalloc' takes no 'magic'"),
        ("disable-machine-licm=maybe", "takes no 'maybe'"),
    ],
)
def test_what_is_no_option_is_said(option: str, message: str, sha256: Program) -> None:
    with pytest.raises(LLVMError, match=message):
        check_codegen_option(option)
    module = optimized(sha256)
    before = module.object(sha256.options)
    with pytest.raises(LLVMError, match=message):
        module.object(sha256.options.with_codegen(["disable-lsr", option]))
    assert module.object(sha256.options) == before, "nothing of it is left"


FRAME = """
declare void @use(ptr)
define {signature} {{
  %a = alloca [64 x i8]
  {body}
  call void @use(ptr %a)
  ret void
}}
"""


@pytest.mark.parametrize(
    ("signature", "body", "changes"),
    [
        ("void @f() nounwind", "", True),
        ('void @f() "frame-pointer"="none"', "", True),
        ('void @f() "frame-pointer"="non-leaf"', "", True),
        ("fastcc void @f()", "", True),
        ('void @f() "frame-pointer"="all"', "", False),
        ('void @f() "frame-pointer"="reserved"', "", False),
        ("preserve_mostcc void @f()", "", False),
        ("void @f()", 'call void asm sideeffect "", "~{rbp}"()', False),
    ],
)
def test_who_may_have_a_frame_pointer(signature: str, body: str, changes: bool) -> None:
    module = Module.parse(FRAME.format(signature=signature, body=body).encode())
    assert module.keep_frame_pointer("f") is changes
    assert module.keep_frame_pointer("f") is False, "it has one"
    assert ('"frame-pointer"="all"' in module.ir()) is (changes or '"all"' in signature)
    with pytest.raises(LLVMError, match="with a body"):
        module.keep_frame_pointer("use")


@pytest.mark.parametrize("flags", [(), ("-ffunction-sections",), ("--target=aarch64-linux-gnu",)])
def test_what_functions_take_of_the_tables_to_unwind_by(
    flags: tuple[str, ...], load: Callable[..., Program], tmp_path: Path
) -> None:
    program = load("lzss.c") if not flags else load(freestanding(tmp_path), *flags)
    code = optimized(program).object(program.options)
    plain, with_tables = function_sizes(code), function_sizes(code, True)
    tables = {name: with_tables[name] - plain[name] for name in plain}
    assert plain.keys() == with_tables.keys() and all(size > 0 for size in tables.values())
    object_file = tmp_path / "program.o"
    object_file.write_bytes(code)
    listing = subprocess.run(
        ["llvm-readelf-22", "-S", "-W", object_file], capture_output=True, text=True, check=True
    )
    (line,) = (line for line in listing.stdout.splitlines() if " .eh_frame" in line)
    size = int(line.split("]")[1].split()[4], 16)
    # What is not of a function is one common entry.
    assert 16 <= size - sum(tables.values()) <= 32


def freestanding(folder: Path) -> Path:
    source = folder / "frames.c"
    source.write_text(
        "void use(int *);\n"
        "int first(int n) { int a[9]; use(a); return a[n % 9]; }\n"
        "void second(int n) { int b[3]; use(b); use(b + n); use(b); }\n"
    )
    return source


@pytest.mark.parametrize("objective", ["text", "loaded"])
def test_the_smallest_code_is_found_and_does_the_same(
    objective: str, load: Callable[..., Program]
) -> None:
    program = load("lzss.c")
    with Session(make_settings("sound", objective, "clang"), threads=2) as env:
        env.begin(program)
        env.replay([env.settings.action("default-oz")])
        plain = env.finish()
        smallest = env.generate(program, plain, env.settings.space.codegen)
    assert smallest.plain_cost == plain.cost and smallest.cost < plain.cost
    ways = options_on(env.settings.space.codegen, Module.parse(plain.bitcode))
    assert smallest.codegen in ways
    module = Module.parse(smallest.bitcode)
    code = module.object(program.options.with_codegen(smallest.codegen))
    assert Objective(objective).measure_object(code) == smallest.cost
    assert module.ir().count('"frame-pointer"="all"') > 0, "some are smaller with one"


def test_frame_pointers_alone_make_tables_smaller(load: Callable[..., Program]) -> None:
    program = load("json.c")
    settings = make_settings("sound", "loaded", "clang", keep_speed=True)
    assert settings.space.codegen == (), "all options make programs slower"
    with Session(settings) as env:
        env.begin(program)
        plain = env.finish()
        framed = env.generate(program, plain, env.settings.space.codegen)
    assert framed.cost < plain.cost and framed.codegen == ()


def test_no_code_is_made_smaller_of_what_clang_has_to_generate(sha256: Program) -> None:
    settings = make_settings("sound", "text", "clang")
    with Session(settings, for_objects=True) as env:
        env.begin(sha256)
        made = env.finish()
        assert env.generate(sha256, made, env.settings.space.codegen).cost < made.cost
        clangs = made._replace(object=None)
        assert env.generate(sha256, clangs, env.settings.space.codegen) == clangs


def test_an_agent_chooses_code_as_well(load: Callable[..., Program]) -> None:
    program, settings = load("vm.c"), make_settings("sound", "text", "clang")
    found: list[Found] = []
    with Session(settings) as env:
        for codegen in (CodegenChoice.NONE, CodegenChoice.ALL):
            policy = parse_policy("agent", settings, codegen=codegen)
            found.append(policy.run(env, program, 0))
    plain, smallest = found
    assert plain.made is not None and plain.made.codegen == ()
    assert smallest.made is not None and smallest.made.plain_cost is not None
    assert smallest.cost == smallest.made.cost < smallest.made.plain_cost


def test_other_code_for_what_the_baseline_makes(load: Callable[..., Program]) -> None:
    program, settings = load("lzss.c"), make_settings("sound", "loaded", "clang")
    optimizer = Optimizer(settings, for_objects=True)
    try:
        result = optimizer.run(program, NothingBetter("nothing", (), (), settings.space.codegen))
    finally:
        optimizer.close()
    assert not result.fell_back and result.passes == () and result.pipeline == "default<Oz>"
    assert result.cost < result.costs.baseline < result.found, "it is what the passes come to"
    assert result.object is not None
    assert Objective.LOADED.measure_object(result.object) == result.cost
    code = Module.parse(result.bitcode).object(result.optimized.options)
    assert code == result.object


@dataclass(frozen=True)
class NothingBetter(FixedSequence):
    """A policy that finds no list better than the baseline."""

    ways: tuple[Codegen, ...] = ()

    def run(self, env: Session, program: Program, seed: int) -> Found:
        found = super().run(env, program, seed)
        return with_codegen(env, program, found, CodegenPlan(self.ways))


def test_what_is_written_is_as_small_as_it_says(tmp_path: Path) -> None:
    def optimize(*arguments: str | Path) -> dict[str, Any]:
        command = [sys.executable, "-m", "codezero", "optimize", EXAMPLES / "lzss.c", "--json"]
        done = subprocess.run([*command, *arguments], capture_output=True, check=True)
        (said,) = json.loads(done.stdout)
        return dict(said)

    said = optimize("-o", tmp_path / "program.o")
    assert executable_size((tmp_path / "program.o").read_bytes()) == said["optimized"]
    assert said["codegen"] and all(option.startswith("-") for option in said["codegen"])
    said = optimize("-o", tmp_path / "program.bc", "--objective", "loaded")
    module = Module.parse((tmp_path / "program.bc").read_bytes())
    assert module.loaded_size() == said["optimized"]
    assert said["codegen"] == [], "IR does not say how code is generated for it"
    assert said["frame_pointers"], "but that it says"
    said = optimize("-o", tmp_path / "passes.txt")
    assert said["codegen"] == said["frame_pointers"] == [], "nor do passes"


@pytest.mark.parametrize(
    ("flags", "needs_clang"),
    [((), False), (("-ffunction-sections", "-DN=1"), False), (("-g",), True)],
)
@pytest.mark.parametrize("policy", ["agent", "nothing"])
def test_the_object_that_is_handed_over_is_what_clang_would_write(
    policy: str, flags: tuple[str, ...], needs_clang: bool, tmp_path: Path
) -> None:
    settings = make_settings("sound", "text", "clang")
    nothing = FixedSequence("nothing", (), ())
    chosen = nothing if policy == "nothing" else parse_policy("agent", settings)
    writer, output = Writer(settings, flags), tmp_path / "program.o"
    with ProgramLoader() as loader, closing(Optimizer(settings, for_objects=True)) as optimizer:
        program, source = loader.load([EXAMPLES / "vm.c"], flags)
        assert source.needs_clang is needs_clang
        result = optimizer.run(program, chosen)
        assert result.fell_back is (policy == "nothing") and result.object is not None
        assert writer.write(output, result, source, loader) == result
        written = output.read_bytes()
        assert (written == result.object) is not needs_clang
        writer.write(output, replace(result, object=None), source, loader)
    assert written == output.read_bytes()
    assert executable_size(written) == result.cost


def test_nothing_is_handed_over_where_flags_are_not_known(tmp_path: Path) -> None:
    source = tmp_path / "program.c"
    source.write_text("int main(void) { return 0; }\n")
    with ProgramLoader() as loader:
        for flags in ((), ("-fno-jump-tables",), ()):
            assert loader.load([source], flags)[1].needs_clang is bool(flags)


def test_a_shorter_list_gets_its_own_code(load: Callable[..., Program]) -> None:
    program, settings = load("vm.c"), make_settings("sound", "text", "clang")
    optimizer = Optimizer(settings)
    try:
        policy = parse_policy("agent", settings)
        whole = optimizer.run(program, policy)
        short = optimizer.run(program, policy, streamlined=True)
    finally:
        optimizer.close()
    assert short.cost <= whole.cost and len(short.passes) < len(whole.passes)
    code = Module.parse(short.bitcode).object(short.optimized.options)
    assert executable_size(code) == short.cost


def test_a_fixed_list_may_say_how_code_is_generated(
    tmp_path: Path, load: Callable[..., Program]
) -> None:
    settings, file = make_settings("sound", "text", "clang"), tmp_path / "list.txt"
    file.write_text("default-oz\n")
    plain = FixedSequence.read(file)
    file.write_text("default-oz\ncodegen: no-machine-licm outliner\n")
    policy = FixedSequence.read(file)
    assert policy.passes == plain.passes and policy.options == ("no-machine-licm", "outliner")
    policy.check(settings)
    program = load("lzss.c")
    with Session(settings) as env:
        without, found = (each.run(env, program, 0) for each in (plain, policy))
    assert found.cost < without.cost and found.made is not None
    assert found.made.codegen == ("disable-machine-licm", "enable-machine-outliner=always")
    file.write_text("default-oz\ncodegen: outlinr\n")
    with pytest.raises(CodeZeroError, match=r"'outlinr'.*did you mean 'outliner'"):
        FixedSequence.read(file).check(settings)
    with pytest.raises(CodeZeroError, match="no code is generated"):
        policy.check(make_settings("sound", "instructions", "paper"))
    with pytest.raises(CodeZeroError, match="speed is to be kept"):
        policy.check(make_settings("sound", "text", "clang", keep_speed=True))
    with pytest.raises(CodeZeroError, match="only passes count"):
        FixedSequence.read(file, passes_only=True)
    file.write_text("default-oz\ncodegen:\n")
    with pytest.raises(CodeZeroError, match="names no option"):
        FixedSequence.read(file)


def test_what_there_is_time_for() -> None:
    settings = make_settings("sound", "loaded", "clang")
    plans = [plan_codegen(settings, work) for work in (1.0, 2.0, 4.0, 8.0, math.inf)]
    assert [len(plan.ways) for plan in plans if plan is not None] == [0, 1, 1, 3, 3]
    assert all(plan is not None and plan.frame_pointers for plan in plans)
    assert work_of(plans[1]) == pytest.approx(1.45) and work_of(None) == 0
    only_ir = plan_codegen(settings, 8.0, ways=False)
    assert only_ir is not None and only_ir.ways == () and only_ir.frame_pointers
    assert plan_codegen(make_settings("sound", "instructions", "paper"), 8.0) is None


FRAME_OF_56 = """
int g(int), h(char *);
int f(int x) {
  char a[56];
  h(a);
  return g(x) + g(x + 1) + g(x * 3) + a[x];
}
"""


def test_nothing_stays_that_llvm_warns_of(tmp_path: Path) -> None:
    source, output = tmp_path / "frame.c", tmp_path / "frame.o"
    source.write_text(FRAME_OF_56)

    def sizes(limit: int) -> tuple[int, int]:
        flags = [f"-Wframe-larger-than={limit}", "-Werror=frame-larger-than"]
        subprocess.run([CLANG.require(), "-Oz", *flags, "-c", source, "-o", output], check=True)
        command = [sys.executable, "-m", "codezero", "optimize", source, "-o", output, "--json"]
        done = subprocess.run(
            [*command, "--objective", "loaded", "--", *flags], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        (said,) = json.loads(done.stdout)
        return said["baseline"], said["optimized"]

    for limit in (88, 1_000):
        baseline, ours = sizes(limit)
        assert ours <= baseline


def test_code_is_generated_after_a_list_that_was_given_up(
    sha256: Program, space_file: Callable[..., Path]
) -> None:
    space = space_file("sroa", NEVER_ENDS_BY_FUNCTION)
    settings = make_settings(space, "text", "clang")
    ways = load_space("sound").codegen
    with Session(settings) as env:
        env.begin(sha256)
        plain = env.baseline(sha256)
        env.begin(sha256)
        (tried,) = env.try_lists([[1]], most_work=0.1)
        assert tried.is_running
        began = time.monotonic()
        assert env.generate(sha256, plain, ways).cost <= plain.cost
        assert time.monotonic() - began < 30, "it does not wait for what never ends"


def test_a_search_keeps_what_it_has_where_code_takes_too_long(sha256: Program) -> None:
    settings = make_settings("sound", "text", "clang")
    found = Found((settings.action("default-oz"),), 1, 1)
    with Session(settings) as env:
        env.begin(sha256)
        env.deadline = time.monotonic()
        assert with_codegen(env, sha256, found, CodegenPlan(settings.space.codegen)) == found


def test_results_that_are_clangs_name_no_options(tmp_path: Path, sha256: Program) -> None:
    """Where a flag makes clang's object another one than was measured, the smaller one stays."""
    settings = make_settings("sound", "text", "clang")
    source = EXAMPLES / "sha256.c"
    with closing(Optimizer(settings)) as optimizer, ProgramLoader() as loader:
        program, front_end = loader.load([source])
        result = optimizer.run(program, parse_policy("agent", settings))
        wrong = replace(result, cost=1, bitcode=program.bitcode, codegen=("disable-lsr",))
        written = Writer(settings, ()).write(tmp_path / "x.o", wrong, front_end, loader)
    assert written.fell_back and written.codegen == () and written.frame_pointers == ()
    assert executable_size((tmp_path / "x.o").read_bytes()) == written.cost


GOOD = '[[pass]]\nname = "sroa"\n[[option]]\nname = "a"\noption = "disable-lsr"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[[option]]\nname = "b"\n', "a name and LLVM's option"),
        ('[[option]]\nname = "b"\noption = "disable-lrs"\n', "option 'b': no option 'disable-lrs'"),
        ('[[option]]\nname = "a"\noption = "disable-cgp"\n', "two options are named 'a'"),
        ('[[option]]\nname = "b"\noption = "disable-lsr"\nwhy = 1\n', "unknown keys"),
        ('[[option]]\nname = "b"\noption = "disable-lsr"\nrequires = ["luck"]\n', "'luck'"),
        ('[[option]]\nname = "b"\noption = "disable-lsr"\nslow = 1\n', "slow is neither"),
        ("[[codegen]]\noptions = []\n", "has options, and nothing else"),
        ('[[codegen]]\noptions = ["a"]\nslow = true\n', "has options, and nothing else"),
        ('[[codegen]]\noptions = ["a", "a"]\n', "'a' twice"),
        ('[[codegen]]\noptions = ["aa"]\n', r"no \[\[option\]\] 'aa' \(did you mean 'a'"),
        ("codegen = 3\n", "codegen is no list"),
    ],
)
def test_bad_ways_to_generate_code_are_named(text: str, message: str) -> None:
    text = text + GOOD if text.startswith("codegen") else GOOD + text
    with pytest.raises(SpaceError, match=message):
        parse_space(text, "test.toml")


def test_what_is_not_sound_on_a_module_is_left_out() -> None:
    space = load_space("sound")
    plain = Module.parse(b'target triple = "x86_64-linux-gnu"\ndefine void @f() {\n  ret void\n}\n')
    ways = options_on(space.codegen, plain)
    assert len(ways) == len(space.codegen)
    outliner = "enable-machine-outliner=always"
    assert any(outliner in way for way in ways)
    for text in (
        'target triple = "aarch64-linux-gnu"\ndefine void @f() {\n  ret void\n}\n',
        'target triple = "x86_64-linux-gnu"\ndefine void @f() section "s" {\n  ret void\n}\n',
        'target triple = "x86_64-linux-gnu"\n'
        'define void @f() "target-features"="+sse2,+retpoline-indirect-calls" {\n  ret void\n}\n',
        'target triple = "x86_64-linux-gnu"\ndefine void @f() fn_ret_thunk_extern {\n'
        "  ret void\n}\n",
        'target triple = "x86_64-linux-gnu"\n!llvm.module.flags = !{!0}\n'
        '!0 = !{i32 8, !"cf-protection-branch", i32 1}\ndefine void @f() {\n  ret void\n}\n',
    ):
        others = options_on(space.codegen, Module.parse(text.encode()))
        assert others and not any(outliner in way for way in others), text
    tiles = 'define void @f() "target-features"="+amx-tile" {\n  ret void\n}\n'
    assert not any(
        "regalloc=basic" in way for way in options_on(space.codegen, Module.parse(tiles.encode()))
    )
    assert options_on([(), space.codegen[0], space.codegen[0]], plain) == ways[:1]
    assert "basic-allocator" in space.codegen_options and space.unsound == []


def test_fuzzing_generates_code_in_every_way(sha256: Program) -> None:
    settings = make_settings("sound", "text", "clang")
    cases = random_cases([sha256], settings.space, 60, 3, seed=0)
    assert {case.generation.codegen for case in cases} == {(), *settings.space.codegen}
    assert {case.generation.frame_pointers for case in cases} == {False, True}
    (case,) = policy_cases([sha256], parse_policy("agent", settings), settings, jobs=1)
    assert case.generation.codegen in settings.space.codegen
    assert case.generation.frame_pointers and "frame-pointers" in str(case.generation)
