"""Pass spaces: the two that ship, and users' own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from codezero.compiler import Module, load_space
from codezero.compiler.program import Program
from codezero.compiler.spaces import parse_space
from codezero.env.episode import EpisodeSettings
from codezero.errors import SpaceError

# Table B2 of the paper, by column.
TABLE_B2 = [
    "adce",
    "break-crit-edges",
    "constmerge",
    "correlated-propagation",
    "deadargelim",
    "dse",
    "early-cse",
    "functionattrs",
    "functionattrs",
    "globaldce",
    "globalopt",
    "gvn",
    "indvars",
    "inline",
    "instcombine",
    "ipsccp",
    "jump-threading",
    "lcssa",
    "licm",
    "loop-deletion",
    "loop-idiom",
    "loop-reduce",
    "loop-rotate",
    "loop-simplify",
    "loop-unroll",
    "loop-unswitch",
    "lower-expect",
    "loweratomic",
    "lowerinvoke",
    "lowerswitch",
    "mem2reg",
    "memcpyopt",
    "partial-inliner",
    "prune-eh",
    "reassociate",
    "sccp",
    "simplifycfg",
    "sink",
    "sroa",
    "strip",
    "strip-nondebug",
    "tailcallelim",
]


def test_autophase_is_table_b2() -> None:
    names = [p.name for p in load_space("autophase").passes]
    assert len(names) == 42
    assert len(set(names)) == 42
    # The doubled functionattrs is two actions, told apart by name.
    assert [name.removesuffix("-2") for name in names] == TABLE_B2


def test_autophase_says_what_is_unsound() -> None:
    unsound = {p.name for p in load_space("autophase").passes if not p.sound}
    assert {"loweratomic", "lowerinvoke"} <= unsound


def test_sound_is_large_and_only_sound() -> None:
    space = load_space("sound")
    assert len(space) >= 80
    assert all(p.sound for p in space.passes)
    pipelines = {p.pipeline for p in space.passes}
    assert {"default<Oz>", "default<Os>", "default<O2>"} <= pipelines
    assert not any("lower-atomic" in p or "lower-invoke" in p for p in pipelines)


@pytest.mark.parametrize("name", ["sound", "autophase"])
def test_every_pass_has_a_reason(name: str) -> None:
    for p in load_space(name).passes:
        assert len(p.reason) > 20, p.name


@pytest.mark.parametrize("name", ["sound", "autophase"])
def test_every_pass_runs(name: str, load: Callable[..., Program]) -> None:
    program = load("calc.cpp")
    for p in load_space(name).passes:
        module = Module.parse(program.bitcode)
        module.run(p.pipeline)
        module.verify()


@pytest.mark.parametrize("name", ["sound", "autophase"])
def test_pipelines_join_by_commas(name: str, sha256: Program) -> None:
    space = load_space(name)
    module = Module.parse(sha256.bitcode)
    assert module.explicit_nesting(space.pipeline(range(len(space)))).startswith(
        space.passes[0].pipeline
    )


def test_user_space_is_read_and_nested(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('[[pass]]\nname = "licm"\n\n[[pass]]\nname = "z"\npipeline = "default<Oz>"\n')
    space = load_space(path)
    assert space.name == "mine"
    assert space.pipeline([0, 1]) == "function(loop-mssa(licm)),default<Oz>"
    assert space.action("z") == 1
    with pytest.raises(SpaceError, match="did you mean 'licm'"):
        space.action("lcim")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[[pass]]\nname = "instcombin"\n', "unknown pass name 'instcombin'.*'instcombine'"),
        ("[[pass]\n", "space.toml"),
        ('name = "empty"\n', r"no \[\[pass\]\]"),
        ("[[pass]]\nsound = true\n", "needs a name"),
        ('[[pass]]\nname = "sroa"\n[[pass]]\nname = "sroa"\n', "two passes are named 'sroa'"),
        ('[[pass]]\nname = "sroa"\nwhy = "?"\n', "unknown keys"),
        ('[[pass]]\nname = "l"\npasses = []\n', "list 'l' has no passes"),
        (
            '[[pass]]\nname = "sroa"\n[[pass]]\nname = "l"\npasses = ["srao"]\n',
            "'srao' is no pass before it.*'sroa'",
        ),
        ('[[pass]]\nname = "l"\npasses = ["l"]\n', "'l' is no pass before it"),
        ('[[pass]]\nname = "l"\npasses = ["l"]\nsound = true\n', "unknown keys: .'sound'"),
        ('[[pass]]\nname = "sroa"\nrequires = ["luck"]\n', "unknown property 'luck'"),
        ('[[pass]]\nname = "sroa"\nmerges = "loops"\n', "merges is none of regions, functions"),
    ],
)
def test_bad_spaces_are_named(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "space.toml"
    path.write_text(text)
    with pytest.raises(SpaceError, match=message):
        load_space(path)


def test_missing_space_says_what_there_is() -> None:
    with pytest.raises(SpaceError, match="sound or autophase"):
        load_space("no-such-space")


LISTS = """
[[pass]]
name = "sroa"
[[pass]]
name = "globalopt"
requires = ["no-sections"]
[[pass]]
name = "dce"
slow = true
[[pass]]
name = "both"
passes = ["sroa", "globalopt"]
[[pass]]
name = "by-function"
passes = ["sroa", "dce"]
"""


def test_a_list_is_its_passes_as_one_action() -> None:
    space = parse_space(LISTS, "test.toml")
    both, by_function = space.passes[3:]
    assert [part.name for part in both.parts] == ["sroa", "globalopt"]
    assert both.pipeline == "function(sroa),globalopt" and both.is_whole
    assert by_function.is_by_function and not both.is_by_function
    assert by_function.slow and not both.slow
    assert space.expand([3, 2, 4]) == (0, 1, 2, 0, 2)
    assert [p.name for p in space.keeping_speed().passes] == ["sroa", "globalopt", "both"]
    assert EpisodeSettings(space).passes_of(4) == 2


def test_a_list_runs_what_is_sound_of_it() -> None:
    space = parse_space(LISTS, "test.toml")
    text = (
        'define void @f() section ".ram" {\n  %a = alloca i32\n  store i32 1, ptr %a\n'
        "  ret void\n}\n"
        "define internal void @unused() {\n  ret void\n}\n"
    )
    module = Module.parse(text.encode())
    assert space.passes[3].run(module)
    assert "alloca" not in module.ir() and "@unused" in module.ir()
    assert not space.passes[3].run(module), "as a list that changes nothing"
    module = Module.parse(text.encode())
    assert space.passes[4].run_on(module, "f") and "alloca" not in module.ir()


FUNCTION = "define i32 @{name}(i32 %x) {attributes} {{\n{body}\n}}\n"


@pytest.mark.parametrize(
    ("requirement", "text"),
    [
        (
            "uniform-target",
            FUNCTION.format(name="f", attributes="", body="  ret i32 1")
            + FUNCTION.format(name="g", attributes='"target-features"="+bmi2"', body="  ret i32 1"),
        ),
        (
            "no-frame-intrinsics",
            "declare ptr @llvm.returnaddress(i32)\ndefine ptr @f() {\n"
            "  %a = call ptr @llvm.returnaddress(i32 0)\n  ret ptr %a\n}\n",
        ),
        ("no-coroutines", "define void @f() presplitcoroutine {\n  ret void\n}\n"),
        ("no-sections", 'define void @f() section ".ram" {\n  ret void\n}\n'),
    ],
)
def test_passes_are_skipped_where_they_would_be_unsound(requirement: str, text: str) -> None:
    module = Module.parse(text.encode())
    assert not module.satisfies(requirement)
    assert Module.parse(b"define void @f() {\n  ret void\n}\n").satisfies(requirement)
    text = f'[[pass]]\nname = "globalopt"\nrequires = ["{requirement}"]\n'
    (guarded,) = parse_space(text, "test.toml").passes
    before = module.ir()
    assert guarded.run(module) is False
    assert module.ir() == before


def test_a_space_without_what_is_slow(tmp_path: Path) -> None:
    path = tmp_path / "space.toml"
    path.write_text("[[pass]]\nname = 'gvn'\n[[pass]]\nname = 'iroutliner'\nslow = true\n")
    space = load_space(path)
    assert [p.name for p in space.keeping_speed().passes] == ["gvn"]
    path.write_text("[[pass]]\nname = 'iroutliner'\nslow = true\n")
    with pytest.raises(SpaceError, match="keeps speed"):
        load_space(path).keeping_speed()
    path.write_text("[[pass]]\nname = 'gvn'\nslow = 3\n")
    with pytest.raises(SpaceError, match="slow is neither"):
        load_space(path)
