"""Which functions are inlined, where that is chosen in place of estimated."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from codezero._native import CompileOptions, LLVMError, Module
from codezero.agents.shipped import shipped_agents
from codezero.compiler.objectives import Objective
from codezero.compiler.program import Program
from codezero.compiler.toolchain import CLANG
from codezero.env.inlining import (
    MOST_INLINED,
    Calls,
    Inlinable,
    Inlining,
    InliningChoice,
    Prospects,
    batches,
    in_words,
    saved,
)
from codezero.env.session import Session, make_settings
from codezero.env.trials import Inlined
from codezero.isolation import WorkerFailure
from codezero.optimize import optimize
from codezero.search.agent import AgentPolicy
from codezero.search.budget import TrialLimit
from codezero.search.policy import Found, parse_policy
from codezero.soundness.fuzz import policy_cases, random_cases
from codezero.soundness.sequence import InliningStep, SequenceRunner, Verdict

ALWAYS, NEVER = True, False
EXAMPLES = Path(__file__).parents[1] / "examples"

TWICE = """
#include <stdio.h>
struct state { int a, b, c; };
static void init(struct state *s, int x) { s->a = x; s->b = x * 3; s->c = 0; }
static int step(struct state *s) { s->c += s->a * s->b; s->a ^= s->c; return s->c & 255; }
int first(int x) { struct state s; init(&s, x); int r = 0; while (x--) r += step(&s); return r; }
int second(int x) { struct state s; init(&s, -x); return step(&s) + step(&s); }
int main(void) { printf("%d %d\\n", first(7), second(9)); }
"""


def module_of(text: str) -> Module:
    return Module.parse(text.encode())


def is_inlined(module: Module, caller: str, callee: str) -> bool:
    return all((a, b) != (caller, callee) for a, b, _ in module.call_edges())


LARGE = "define internal i32 @f(i32 %x0) {{\n{}  ret i32 %x40\n}}\n".format(
    "".join(f"  %x{i + 1} = xor i32 %x{i}, {i + 7}\n  call void @g()\n" for i in range(40))
)
SMALL = "define i32 @f(i32 %x) {\n  ret i32 %x\n}\n"
CALLERS = (
    "declare void @g()\n"
    "define i32 @a(i32 %x) minsize optsize {\n  %y = call i32 @f(i32 %x)\n  ret i32 %y\n}\n"
    "define i32 @b(i32 %x) minsize optsize {\n  %y = call i32 @f(i32 %x)\n"
    "  %z = call i32 @f(i32 %y)\n  ret i32 %z\n}\n"
)


def test_inliners_do_as_they_are_told_whatever_it_costs() -> None:
    for inliner in ("cgscc(inline)", "module-inline", "inliner-wrapper", "default<Oz>"):
        for body, usual in ((LARGE, False), (SMALL, True)):
            for choice in (None, ALWAYS, NEVER):
                module = module_of(CALLERS + body)
                assert module.call_edges() == [("a", "f", 1), ("b", "f", 2)]
                if choice is not None:
                    assert module.choose_inlining([("f", choice)]) == [True]
                module.run(inliner)
                wanted = usual if choice is None else choice
                if not (inliner == "default<Oz>" and body == SMALL):  # which folds the calls
                    assert is_inlined(module, "a", "f") == wanted, (inliner, choice)
                assert is_inlined(module, "b", "f") or not wanted


def test_nothing_says_later_what_was_chosen() -> None:
    module = module_of(CALLERS + LARGE)
    before = module.ir()
    assert module.choose_inlining([("f", NEVER), ("a", ALWAYS)]) == [True, True]
    assert module.ir() != before
    module.forget_inlining()
    assert module.ir() == before
    theirs = CALLERS + SMALL.replace(" {", " noinline {")
    module = module_of(theirs)
    module.forget_inlining()
    assert module.ir() == module_of(theirs).ir(), "what others have said stays"


@pytest.mark.parametrize(
    ("body", "never"),
    [
        (SMALL.replace(" {", " noinline {"), False),
        (SMALL.replace(" {", " alwaysinline {"), False),
        (SMALL.replace("define", "define weak"), True),  # another may take its place
        (SMALL.replace(" {", " noinline optnone {"), False),
        (SMALL.replace(" {", " presplitcoroutine {"), True),
        (SMALL.replace(" {", ' "target-features"="+avx" {'), True),
        (SMALL.replace(" {", " sanitize_address {"), True),
        (SMALL.replace(" {", " strictfp {"), True),
        (SMALL.replace(" {", " null_pointer_is_valid {"), True),
        ("define i32 @f(i32 %x) {\n  %y = call i32 @f(i32 %x)\n  ret i32 %y\n}\n", True),
        (
            "declare void @use(ptr)\ndefine i32 @f(i32 %x) {\n  %p = alloca [2000 x i8]\n"
            "  call void @use(ptr %p)\n  ret i32 %x\n}\n",
            True,
        ),
        (
            "declare void @use(ptr)\ndefine i32 @f(i32 %x) {\n  %p = alloca i8, i32 %x\n"
            "  call void @use(ptr %p)\n  ret i32 %x\n}\n",
            True,
        ),
        (
            "declare ptr @llvm.returnaddress(i32)\ndefine i32 @f(i32 %x) {\n"
            "  %p = call ptr @llvm.returnaddress(i32 0)\n  %y = ptrtoint ptr %p to i32\n"
            "  ret i32 %y\n}\n",
            True,
        ),
        (
            "declare i32 @setjmp(ptr) returns_twice\ndefine i32 @f(i32 %x) {\n"
            "  %p = alloca [8 x i64]\n  %y = call i32 @setjmp(ptr %p) returns_twice\n"
            "  ret i32 %y\n}\n",
            True,
        ),
        (
            "declare void @h() noduplicate\ndefine i32 @f(i32 %x) {\n  call void @h()\n"
            "  ret i32 %x\n}\n",
            True,
        ),
        ('define i32 @f(i32 %x) {\n  call void asm "label:", ""()\n  ret i32 %x\n}\n', True),
        (SMALL.replace(" {", ' "loader-replaceable" {'), True),
        (SMALL.replace(" {", ' "aarch64_pstate_sm_body" {'), True),
        (
            "declare ptr @llvm.returnaddress(i32)\ndefine internal ptr @where() alwaysinline {\n"
            "  %p = call ptr @llvm.returnaddress(i32 0)\n  ret ptr %p\n}\n"
            "define i32 @f(i32 %x) {\n  %p = call ptr @where()\n  %y = ptrtoint ptr %p to i32\n"
            "  ret i32 %y\n}\n",
            True,
        ),
        (
            SMALL.replace("define", "define linkonce_odr")
            + '!llvm.module.flags = !{!0}\n!0 = !{i32 7, !"openmp", i32 51}\n',
            True,
        ),
    ],
)
def test_what_may_not_be_chosen_is_not(body: str, never: bool) -> None:
    assert module_of(CALLERS + body).choose_inlining([("f", ALWAYS)]) == [False]
    assert module_of(CALLERS + body).choose_inlining([("f", NEVER)]) == [never]


def test_what_has_no_code_here_is_not_left_to_be_called() -> None:
    body = SMALL.replace("define", "define available_externally")
    assert module_of(CALLERS + body).choose_inlining([("f", NEVER)]) == [False]
    assert module_of(CALLERS + body).choose_inlining([("f", ALWAYS)]) == [True]


def test_calls_of_merged_functions_lose_the_mark() -> None:
    twins = "".join(
        f"define i32 @t{k}(i32 %x) {{\n  %y = mul i32 %x, %x\n  %z = xor i32 %y, 77\n"
        "  %w = udiv i32 %z, 13\n  call void @g()\n  ret i32 %w\n}\n"
        for k in range(2)
    )
    for always in (ALWAYS, NEVER):
        module = module_of("declare void @g()\n" + twins)
        assert module.choose_inlining([("t0", always), ("t1", always)]) == [True, True]
        assert module.run_merging("mergefunc", "functions")
        assert ("t1", "t0", 1) in module.call_edges()
        module.forget_inlining()
        text = module.ir()
        assert "codezero" not in text and "noinline" not in text and "alwaysinline" not in text


@pytest.mark.parametrize("attributor", ["attributor-light", "cgscc(attributor-light-cgscc)"])
def test_the_attributor_believes_nothing_of_what_a_linker_may_replace(attributor: str) -> None:
    """It takes a function that is always inlined for gone, and another may be linked."""
    texts = {}
    for linkage in ("linkonce_odr", "internal"):
        body = SMALL.replace("define", f"define {linkage}")
        for marked in (False, True):
            module = module_of(CALLERS + body)
            if marked:
                assert module.choose_inlining([("f", ALWAYS)]) == [True]
            module.run(attributor)
            module.forget_inlining()
            texts[linkage, marked] = module.ir()
    assert texts["linkonce_odr", True] == texts["linkonce_odr", False]
    module = module_of(CALLERS + SMALL.replace("define", "define linkonce_odr"))
    module.choose_inlining([("f", ALWAYS)])
    module.run(attributor)
    module.run("cgscc(inline)")
    assert is_inlined(module, "a", "f"), "it has its mark again"


@pytest.mark.parametrize(
    ("body", "disappears"),
    [
        (SMALL, False),  # another file may call it
        (SMALL.replace("define", "define internal"), True),
        (SMALL.replace("define", "define linkonce_odr"), True),
        (SMALL.replace("define", "define weak_odr"), False),
        (SMALL.replace("define", "define available_externally"), False),
        (SMALL.replace("define", "define internal") + "@table = global ptr @f\n", False),
    ],
)
def test_what_is_left_of_a_function_that_is_inlined(body: str, disappears: bool) -> None:
    may_never = "available" not in body  # there is no code for it
    assert module_of(CALLERS + body).inlinable_functions() == {
        "a": (True, True, False, False),
        "b": (True, True, False, False),
        "f": (True, may_never, disappears, "linkonce" in body),
    }
    module = module_of(CALLERS + body)
    assert module.choose_inlining([("f", ALWAYS)]) == [True]
    assert "f" not in module.inlinable_functions(), "it is chosen"
    module.run("default<Oz>")
    assert ("f" not in module.instruction_counts()) == (disappears or "available" in body)


@pytest.mark.parametrize("names", ["abc", "cba", "bac", "cab"])
def test_stacks_of_what_is_inlined_into_each_other_add_up(names: str) -> None:
    """In whatever order they are chosen, at once or one after another."""
    text = "declare void @use(ptr)\n" + "".join(
        f"""
        define linkonce_odr void @{name}() {{
            %1 = alloca [400 x i8]
            call void @use(ptr %1)
            {f"call void @{callee}()" if callee else ""}
            ret void
        }}
        """
        for name, callee in (("a", "b"), ("b", "c"), ("c", ""))
    )
    choices = [InliningChoice(name, ALWAYS) for name in names]
    module = module_of(text)
    chosen = module.choose_inlining(choices)
    assert sorted(chosen) == [False, True, True], "1,200 bytes are too many"
    assert chosen[2] is False
    module = module_of(text)
    assert [module.choose_inlining([choice])[0] for choice in choices] == chosen


def test_a_function_is_chosen_once() -> None:
    module = module_of(CALLERS + SMALL)
    assert module.choose_inlining([("f", NEVER), ("f", ALWAYS), ("f", NEVER)]) == [
        True,
        False,
        False,
    ]
    for name in ("g", "no such function"):
        with pytest.raises(LLVMError, match=name):
            module.choose_inlining([(name, NEVER)])


EDGES = [("main", "a", 1), ("main", "b", 1), ("a", "leaf", 1), ("b", "leaf", 2), ("c", "far", 3)]


def test_what_there_is_to_choose() -> None:
    stays, local = Inlinable(True, True, False, False), Inlinable(True, True, True, False)
    inlinable = {"a": stays, "b": Inlinable(False, True, True, False), "r": local, "c": local}
    inlinable |= {"leaf": Inlinable(True, False, True, True), "far": local}
    calls = Calls([*EDGES, ("r", "r", 1)], {"a": 9, "b": 20, "leaf": 3, "far": 5}, inlinable)
    assert calls and not Calls([("r", "r", 1)], {}, inlinable) and not Calls([], {}, {})
    assert calls.number_of_likely() == 2, "leaf and far: nobody else calls r, and nobody c"
    left = [("main", "a", 1), ("main", "leaf", 3), ("c", "far", 2)]
    sizes = {"main": 90, "a": 30, "leaf": 10, "far": 10, "c": 10}
    choices = calls.choices(left, sizes)
    assert choices == [
        InliningChoice("far", ALWAYS),
        InliningChoice("leaf", ALWAYS),
        InliningChoice("a", ALWAYS),  # which stays
        InliningChoice("b", NEVER),  # all three were inlined once
        InliningChoice("far", NEVER),
    ]
    assert [choice for choice in choices if calls.is_likely(choice)] == choices[:2]
    kept = calls.choices([("main", "b", 1)], sizes)
    assert InliningChoice("b", ALWAYS) not in kept, "it may not be"
    assert InliningChoice("leaf", NEVER) not in kept
    calls = Calls(EDGES, {}, inlinable, never_is_likely=True)
    assert calls.number_of_likely() == 2 + 1
    assert calls.is_likely(InliningChoice("far", NEVER))
    assert not calls.is_likely(InliningChoice("a", NEVER)), "it is called once"


LOCAL, SHARED = Inlinable(True, True, True, False), Inlinable(True, True, True, True)


def test_what_is_small_and_shared() -> None:
    inlinable = {"leaf": SHARED, "far": LOCAL, "a": SHARED._replace(disappears=False)}
    inlinable["b"] = SHARED._replace(may_always=False)
    calls = Calls(EDGES, {}, inlinable)
    third = dict.fromkeys(("main", "a", "b", "c", "far", "leaf"), MOST_INLINED // 3)
    assert calls.small_and_shared(EDGES, third) == (InliningChoice("leaf", ALWAYS),)
    assert calls.small_and_shared(EDGES, third | {"leaf": MOST_INLINED // 3 + 1}) == ()
    once = calls.small_and_shared([("a", "leaf", 1)], third | {"leaf": MOST_INLINED})
    assert once == (InliningChoice("leaf", ALWAYS),), "one call is left"
    assert calls.small_and_shared([("main", "a", 1)], third) == (), "none is left"
    assert calls.small_and_shared([("main", "new", 1)], {"new": 1}) == (), "passes have made it"


def test_what_is_inlined_into_it_counts() -> None:
    edges = [("main", "f3", 1), ("f3", "f2", 2), ("f2", "f1", 2), ("f1", "f0", 2)]
    calls = Calls(edges, {}, {f"f{k}": SHARED for k in range(4)})
    of_each = dict.fromkeys(("main", "f0", "f1", "f2", "f3"), 7)
    chosen = [each.function for each in calls.small_and_shared(edges, of_each)]
    # f1 has 19 with f0, which is too much for two calls; f3 has 19 with f2.
    assert chosen == ["f0", "f2", "f3"]
    chain = [(f"f{k + 1}", f"f{k}", 1) for k in range(5_000)]
    calls = Calls(chain, {}, {f"f{k}": SHARED for k in range(5_001)})
    instructions = {f"f{k}": 8 for k in range(5_001)}
    chosen = [each.function for each in calls.small_and_shared(chain, instructions)]
    sizes, size = set(chosen), 0
    for k in range(5_000):
        size = (size - 1 if f"f{k - 1}" in sizes else 0) + 8
        assert (f"f{k}" in sizes) == (size <= MOST_INLINED), k


def test_nothing_is_inlined_into_itself_by_way_of_others() -> None:
    edges = [("main", "even", 1), ("even", "odd", 1), ("odd", "even", 1)]
    calls = Calls(edges, {}, {"even": SHARED, "odd": SHARED})
    chosen = calls.small_and_shared(edges, dict.fromkeys(("main", "even", "odd"), 3))
    assert len(chosen) < 2


def test_what_calls_itself_is_not_small_and_shared() -> None:
    """As the baseline leaves a function into which it has inlined one that calls it."""
    edges = [("main", "a", 1), ("a", "a", 1)]
    assert Calls(edges, {}, {"a": SHARED}).small_and_shared(edges, {"main": 9, "a": 3}) == ()


def test_likely_choices_are_not_those_that_are_made() -> None:
    calls = Calls(EDGES, {}, {"leaf": SHARED, "far": LOCAL})
    assert calls.number_of_likely() == 2
    assert calls.number_of_likely((InliningChoice("leaf", ALWAYS),)) == 1


def test_what_choices_touch() -> None:
    calls = Calls(EDGES, {}, {})
    everywhere = dict.fromkeys(("main", "a", "b", "c", "leaf", "far"), 10)
    assert calls.touched("leaf", everywhere) == {"leaf", "a", "b"}
    without_a = {name: size for name, size in everywhere.items() if name != "a"}
    assert calls.touched("leaf", without_a) == {"leaf", "a", "b", "main"}
    choices = [InliningChoice(name, ALWAYS) for name in ("leaf", "far", "a", "b")]
    one, two = batches(choices, calls, everywhere, 2)
    assert [each.function for each in one] == ["leaf", "far"]
    assert [each.function for each in two] == ["a"], "b has the caller of a"
    assert batches([], calls, everywhere, 2) == []
    after = everywhere | {"a": 4, "b": 13, "c": 0}
    del after["leaf"]
    assert saved(choices[0], calls, everywhere, after) == 10 + 6 - 3
    assert saved(choices[1], calls, everywhere, after) == 10


@pytest.fixture
def twice(tmp_path: Path, load: Callable[..., Program]) -> Program:
    (tmp_path / "twice.c").write_text(TWICE)
    return load(tmp_path / "twice.c")


LIST = ("sroa", "inline", "instcombine", "simplifycfg-late", "globaldce")


@pytest.mark.parametrize("objective", ["text", "loaded", "instructions"])
def test_choices_are_kept_that_make_a_program_smaller(objective: str, twice: Program) -> None:
    settings = make_settings("sound", objective, "clang")
    actions = [settings.action(name) for name in LIST]
    with Session(settings, threads=2, for_objects=objective != "instructions") as session:
        session.begin(twice)
        likely = 4 if objective == "instructions" else 2  # of init and step
        assert session.inlining_prospects() == Prospects((), likely)
        (tried,) = session.try_lists([actions])
        listed = session.finish_list(0)
        session.keep_list(0)
        rounds = []
        while not rounds or rounds[-1].trials:
            rounds.append(session.try_inlining(2))
        assert len(rounds) > 1, "there is an end"
        best = min((r.made.cost for r in rounds if r.made), default=listed.cost)
        last = [r for r in rounds if r.made][-1]
        assert last.made is not None and last.made.cost == best < listed.cost
        assert {each.function for each in last.choices} <= {"init", "step", "first", "second"}
        tailed = session.try_tails([[settings.action("instcombine"), settings.action("gvn")]])
        session.begin(twice, last.choices)
        session.replay(tried.passes)
        assert session.finish() == last.made, "that is what makes it"
        assert b"codezero-inlining" not in last.made.bitcode
        if tailed.made is not None:
            session.begin(twice, last.choices)
            session.replay(tried.passes, tailed.functions)
            assert session.finish() == tailed.made
        session.begin(twice)
        session.replay(tried.passes)
        assert session.finish() == listed, "nothing is left of it"


def offered(program: Program, *, keep_speed: bool) -> int:
    """How many choices there are to try."""
    settings = make_settings("sound", "instructions", "clang", keep_speed=keep_speed)
    with Session(settings) as session:
        session.begin(program)
        session.try_lists([[settings.action("default-oz")]])
        session.keep_list(0)
        number = 0
        while trials := session.try_inlining(1).trials:
            number += trials
        return number


def test_speed_is_not_given_away(twice: Program) -> None:
    """By calls in the place of what was inlined."""
    assert offered(twice, keep_speed=True) < offered(twice, keep_speed=False)


def test_without_calls_there_is_nothing_to_choose() -> None:
    program = Program("alone", module_of(SMALL).bitcode(), CompileOptions())
    settings = make_settings("sound", "instructions", "clang")
    with Session(settings) as session:
        session.begin(program)
        assert session.inlining_prospects() is None
        session.try_lists([[0]])
        session.keep_list(0)
        assert session.try_inlining(3) == ((), None, 0, False)


class Replayed:
    """A policy that has found something already, and does not have it at hand."""

    name = "replayed"

    def __init__(self, found: Found) -> None:
        self._found = replace(found, made=None)

    def run(self, env: Session, program: Program, seed: int) -> Found:
        env.begin(program)
        return self._found


def test_a_trial_chooses_what_is_inlined(load: Callable[..., Program]) -> None:
    sha256 = load(EXAMPLES / "sha256.c")
    settings = make_settings("sound", "instructions", "clang")
    policy = parse_policy("agent", settings)
    with Session(settings, threads=2) as session:
        found = policy.run(session, sha256, 0)
        assert found.inlining and found.made is not None
        assert all(choice.always for choice in found.inlining), "what is likely to help"
        again = optimize(sha256, Replayed(found), session, 0)
        assert again.bitcode == found.made.bitcode and again.inlining == found.inlining
        assert again.cost == found.cost < again.costs.baseline
        whole = parse_policy("agent-whole", settings)
        assert not whole.run(session, sha256, 0).inlining, "one list"


def test_a_trial_without_likely_choices_has_more_lists(
    load: Callable[..., Program], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the time that they would take."""
    settings = make_settings("sound", "instructions", "clang")
    lists, choices = [], []
    try_lists, try_inlining = Session.try_lists, Session.try_inlining

    def count_lists(self: Session, tried: Any, most_work: float) -> Any:
        lists[-1] += len(tried)
        return try_lists(self, tried, most_work)

    def count_choices(self: Session, *arguments: Any, **options: Any) -> Inlined:
        inlined = try_inlining(self, *arguments, **options)
        choices[-1] += inlined.trials
        return inlined

    monkeypatch.setattr(Session, "try_lists", count_lists)
    monkeypatch.setattr(Session, "try_inlining", count_choices)
    sha256 = load(EXAMPLES / "sha256.c")
    open_to_all = Module.parse(sha256.bitcode).ir().replace("define internal", "define")
    for program in (sha256, replace(sha256, bitcode=module_of(open_to_all).bitcode())):
        lists.append(0)
        choices.append(0)
        with Session(settings) as session:
            parse_policy("agent", settings).run(session, program, 0)
    assert choices[0] > choices[1] == 0 and lists[0] < lists[1]


def test_a_trial_with_little_time_has_no_such_choices(
    twice: Program, account: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def try_inlining(self: Session, *arguments: Any, **_: Any) -> Inlined:
        calls.append(arguments)
        return Inlined((), None, 0, is_running=False)

    monkeypatch.setattr(Session, "try_inlining", try_inlining)
    settings, size = make_settings("sound", "loaded", "clang"), shipped_agents()["size"]
    for program, work, wanted in (
        (twice, 1.0, 0),
        (twice, 2.0, 0),
        (twice, 20.0, 1),
        (account, 2.0, 0),
    ):
        calls.clear()
        limit = TrialLimit(work)
        with Session(settings) as session:
            policy = AgentPolicy(size, limit=limit, objective=Objective.LOADED)
            policy.run(session, program, 0)
        assert len(calls) == wanted, (program.name, work)


VECTORS = """
typedef double vec __attribute__((vector_size(256)));
void note(int, int, int), other(const char *);
struct Filter { vec a, b, c; int n; };
inline void step(Filter &f, int k) { f.a = f.a * f.b + f.c; note(f.n, k, 3); }
int first(Filter &f, int x) {
    int r = 0;
    for (int i = 0; i < x; i++) {
        if (i % 7 == 3) { step(f, i); r += i * x; } else r ^= i;
    }
    other("first");
    return r;
}
int second(Filter &f, int x) {
    int r = 1;
    while (x--) {
        if (r % 5 == 3) { step(f, r); r += x; } else r = r * 3 + 1;
    }
    other("second");
    return r;
}
"""
ACCOUNT = """
struct Account {
    long balance;
    int changes;
    bool take(long amount) {
        if (amount > balance || changes == 99)
            return false;
        balance -= amount;
        if (balance % 7 == 3)
            ++changes;
        return true;
    }
};
bool pay(Account &from, long amount) { return from.take(amount + 1); }
"""


@pytest.fixture
def account(tmp_path: Path, load: Callable[..., Program]) -> Program:
    (tmp_path / "account.cpp").write_text(ACCOUNT)
    return load(tmp_path / "account.cpp")


def policy_for(objective: str, work: float = 1.0) -> AgentPolicy:
    agent = shipped_agents()["instructions" if objective == "instructions" else "size"]
    return AgentPolicy(agent, limit=TrialLimit(work), objective=Objective(objective))


@pytest.mark.parametrize("objective", ["loaded", "text", "instructions"])
def test_what_is_small_and_shared_is_inlined_in_any_trial(objective: str, account: Program) -> None:
    settings = make_settings("sound", objective, "clang")
    with Session(settings) as session:
        found = policy_for(objective).run(session, account, 0)
        result = optimize(account, Replayed(found), session, 0)
        assert [*in_words(result.inlining).values()] == ["always"] and not result.fell_back
        assert result.cost < result.costs.baseline, "which leaves the call"
        assert [*Module.parse(result.bitcode).instruction_counts()] == ["_Z3payR7Accountl"]
        assert found.made is not None and result.bitcode == found.made.bitcode
        whole = parse_policy("agent-whole", settings).run(session, account, 0)
        assert not whole.inlining, "it is one list"


def test_what_llvm_fails_over_is_not_inlined(
    account: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold, try_lists, held, tried = Session.hold, Session.try_lists, [()], []

    def hold_it(self: Session, program: Program, inlining: Inlining = ()) -> Any:
        held[0] = inlining
        return hold(self, program, inlining)

    def fail(self: Session, lists: Any, *arguments: Any) -> Any:
        tried.append(bool(held[0]))
        if held[0]:
            raise WorkerFailure("it has died")
        return try_lists(self, lists, *arguments)

    monkeypatch.setattr(Session, "hold", hold_it)
    monkeypatch.setattr(Session, "try_lists", fail)
    with Session(make_settings("sound", "loaded", "clang")) as session:
        found = policy_for("loaded", work=4.0).run(session, account, 0)
    assert found.made is not None and found.actions and not found.inlining
    assert True in tried and False in tried


LARGE_STACK = """
void use(char *, int);
static void helper(int k) { char b[16000]; use(b, k); }
inline void f(int k) { helper(k); }
int rec(int n) {
    if (n % 1000 == 999)
        f(n);
    return n == 0 ? 0 : n + rec(n - 1) * rec(n - 2);
}
"""


def test_what_calls_itself_has_no_larger_stack(
    load: Callable[..., Program], tmp_path: Path
) -> None:
    """By way of a function that is inlined always, into which another is inlined first."""
    (tmp_path / "stack.cpp").write_text(LARGE_STACK)
    program = load(tmp_path / "stack.cpp")
    settings = make_settings("sound", "loaded", "clang")
    bottom_up = [settings.action(name) for name in ("inline", "default-oz")]
    with Session(settings) as session:
        session.begin(program)
        prospects = session.inlining_prospects()
        assert prospects is not None and not prospects.beforehand
        session.begin(program, (InliningChoice("_Z1fi", ALWAYS),))
        session.replay(bottom_up)
        with pytest.raises(LLVMError, match="_Z3reci calls itself, with 16000 bytes"):
            session.finish()
        (tried,) = session.try_lists([bottom_up])
        assert tried.cost is None
        session.begin(program)
        session.replay(bottom_up)
        assert session.finish().cost, "without that"
    assert not module_of(LOOP_OF_CALLS.format(1024)).recursive_stacks()
    assert module_of(LOOP_OF_CALLS.format(1025)).recursive_stacks() == {"a": 1025}


LOOP_OF_CALLS = """
declare void @use(ptr)
define void @a() {{
    %1 = alloca [{} x i8]
    call void @use(ptr %1)
    call void @b()
    ret void
}}
define void @b() {{
    call void @a()
    ret void
}}
define void @other() {{
    %1 = alloca [9999 x i8]
    call void @use(ptr %1)
    call void @a()
    ret void
}}
"""


def test_choices_that_do_not_help_are_taken_back(
    load: Callable[..., Program], tmp_path: Path
) -> None:
    """Those of a function whose calls take more than its code."""
    (tmp_path / "vectors.cpp").write_text(VECTORS)
    program = load(tmp_path / "vectors.cpp")
    with Session(make_settings("sound", "text", "clang")) as session:
        session.begin(program)
        prospects = session.inlining_prospects()
        assert prospects is not None and prospects.beforehand
        result = optimize(program, policy_for("text"), session, 0)
    assert result.cost < result.costs.baseline and not result.inlining


def test_a_trial_that_is_late_has_no_such_choices(
    load: Callable[..., Program], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings("sound", "instructions", "clang")
    sha256 = load(EXAMPLES / "sha256.c")
    try_lists = Session.try_lists

    def try_slowly(self: Session, *arguments: Any) -> Any:
        tried = try_lists(self, *arguments)
        time.sleep(0.6)
        return tried

    policy = AgentPolicy(shipped_agents()["instructions"], limit=TrialLimit(10.0, 30.0))
    with Session(settings, threads=8) as session:
        assert policy.run(session, sha256, 0).inlining
    monkeypatch.setattr(Session, "try_lists", try_slowly)
    # They would end in time, if all went well, but not with what comes after them.
    policy = AgentPolicy(shipped_agents()["instructions"], limit=TrialLimit(10.0, 3.0))
    with Session(settings, threads=8) as session:
        assert not policy.run(session, sha256, 0).inlining


def test_a_search_goes_on_with_what_was_chosen(twice: Program) -> None:
    settings = make_settings("sound", "instructions", "clang")
    trial = parse_policy("agent", settings)
    more = parse_policy("agent:60", settings)
    with Session(settings, threads=2) as session:
        before = trial.run(session, twice, 0)
        after = more.run(session, twice, 0)
        assert after.cost <= before.cost and after.trials >= 60
        result = optimize(twice, Replayed(after), session, 0)
        assert result.cost == after.cost and result.inlining == after.inlining


def test_the_process_may_end_on_the_way(twice: Program, space_file: Callable[..., Path]) -> None:
    settings = make_settings(space_file("cgscc(inline)", "function(sroa)"), "instructions", "clang")
    with Session(settings) as session:
        session.begin(twice)
        session.try_lists([[0, 1]])
        session.keep_list(0)
        session.deadline = time.monotonic()
        with pytest.raises(WorkerFailure):
            session.try_inlining(2)
        session.deadline = math.inf
        assert not session.keeps_list
        session.begin(twice)
        session.try_lists([[0, 1]])
        session.keep_list(0)
        assert session.try_inlining(2).trials


def test_what_was_chosen_is_said(tmp_path: Path) -> None:
    source = EXAMPLES / "sha256.c"
    command = [sys.executable, "-m", "codezero", "optimize", source]

    def run(*options: object) -> str:
        words = list(map(str, [*command, *options]))
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout

    (told,) = json.loads(run("--json", "--objective", "instructions", "-o", tmp_path / "x.ll"))
    assert told["inlining"] and {*told["inlining"].values()} <= {"always", "never"}
    assert "codezero-inlining" not in (tmp_path / "x.ll").read_text()
    subprocess.run([CLANG.require(), tmp_path / "x.ll", "-o", tmp_path / "ours"], check=True)
    subprocess.run([CLANG.require(), source, "-o", tmp_path / "plain"], check=True)
    ours, plain = (subprocess.check_output([tmp_path / name]) for name in ("ours", "plain"))
    assert ours == plain
    (listed,) = json.loads(run("--json", "--objective", "instructions", "-o", tmp_path / "x.txt"))
    assert listed["inlining"] == {}, "a list is all that opt needs"


INLINE_ALONE = """
inline int clamp(int x) { return x < 0 ? 0 : x > 255 ? 255 : x; }
int sum(const int *p, int n) { int s = 0; for (int i = 0; i < n; i++) s += clamp(p[i]); return s; }
int main(void) { int p[] = {1, -5, 999}; return sum(p, 3) == 256 ? 0 : 1; }
"""
"""Links at -Oz, which inlines the call, and not at -O0: ``clamp`` is in no object."""


def test_what_links_with_oz_links(tmp_path: Path) -> None:
    (tmp_path / "alone.c").write_text(INLINE_ALONE)
    run = partial(subprocess.run, cwd=tmp_path, check=True)
    run([CLANG.require(), "-Oz", "alone.c", "-o", "baseline"])
    for objective in ("text", "instructions"):
        for search in (["--search", "greedy", "--budget", "200ms"], ["--budget", "300ms"]):
            command = [sys.executable, "-m", "codezero", "optimize", "alone.c", "-o", "ours.o"]
            run([*command, "--objective", objective, *search], stdout=subprocess.DEVNULL)
            run([CLANG.require(), "ours.o", "-o", "ours"])
            run(["./ours"])


def test_a_call_of_what_may_be_nowhere_is_no_result(
    tmp_path: Path, load: Callable[..., Program]
) -> None:
    (tmp_path / "alone.c").write_text(INLINE_ALONE)
    program, settings = load(tmp_path / "alone.c"), make_settings("sound", "text", "clang")
    sroa, inline = settings.action("sroa"), settings.action("inline")
    with Session(settings) as session:
        session.begin(program)
        without, with_ = session.try_lists([[sroa], [sroa, inline]])
        assert without.cost is None and with_.cost is not None
        session.begin(program)
        session.replay([sroa])
        with pytest.raises(LLVMError, match="clamp"):
            session.finish()


def test_choices_are_fuzzed(twice: Program, load: Callable[..., Program]) -> None:
    settings = make_settings("sound", "instructions", "clang")
    cases = random_cases([twice], settings.space, 40, 10, seed=0)
    assert any(isinstance(step, InliningStep) for case in cases for step in case.steps)
    runner = SequenceRunner()
    for case in cases[:8]:
        outcome = runner.run(case.program, settings.protocol, case.steps, case.generation)
        assert outcome.verdict in (Verdict.PASSED, Verdict.GREW), case
    sha256 = load(EXAMPLES / "sha256.c")
    (chosen,) = policy_cases([sha256], parse_policy("agent", settings), settings)
    assert isinstance(chosen.steps[0], InliningStep) and isinstance(chosen.steps[0].function, str)
    assert str(chosen.steps[0]).split()[0] in ("always", "never")
