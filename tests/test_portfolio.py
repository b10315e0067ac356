"""Portfolios: what lists do to real programs, and what is learned of it."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import NEVER_ENDS, NEVER_ENDS_BY_FUNCTION

from codezero._native import CompileOptions, Module, VerificationError, executable_size
from codezero.agents.shipped import shipped_agents
from codezero.agents.trained import read_trained
from codezero.cli import main
from codezero.compiler.objectives import Objective
from codezero.compiler.program import Program
from codezero.compiler.spaces import load_space
from codezero.env.features import NUM_FEATURES, Features
from codezero.env.session import Session, make_settings
from codezero.env.subject import Made
from codezero.env.trials import Trials, halves, in_groups
from codezero.errors import CodeZeroError
from codezero.optimize import Optimizer
from codezero.portfolio.portfolio import DESCRIPTION, Order, Portfolio, order
from codezero.portfolio.table import ListTable, measure
from codezero.portfolio.tails import TailTable, choose_tails, measure_tails
from codezero.portfolio.train import PortfolioConfig, choose_lists, figures, train, write
from codezero.search.agent import AgentPolicy
from codezero.search.budget import Budget, TrialLimit
from codezero.search.policy import CodegenChoice, Found, Policy, parse_policy
from codezero.search.portfolio import PortfolioSearch

CONFIG = PortfolioConfig(size=3, kinds=4, members=1, epochs=60, batch=32, hidden=16, most_work=1.5)
KINDS = 2


def made_up(programs: int = 200) -> ListTable:
    """Programs of two kinds, which a feature tells apart; on each another list gains.

    A third list gains a little on all of them; a fourth nothing.
    """
    rng = np.random.default_rng(0)
    kind = rng.integers(KINDS, size=programs)
    features = rng.normal(size=(programs, 2 * NUM_FEATURES)).astype(np.float32)
    features[:, 5] = kind
    gains = np.full((programs, 4), -0.1, np.float32)
    gains[np.arange(programs), kind] = 0.2
    gains[:, 2], gains[:, 3] = 0.05, -0.05
    names = (("sroa",), ("dce",), ("gvn",), ("adce",))
    work = np.ones_like(gains)
    programs_ = tuple(map(str, range(programs)))
    return ListTable("text", "clang", programs_, names, features, gains, work)


@pytest.fixture
def portfolio(tmp_path: Path) -> Callable[..., Portfolio]:
    """A portfolio of these lists, that likes them in this order."""

    def make(*lists: str, most_work: float = 1.5, tails: Sequence[str] = ()) -> Portfolio:
        names = tuple(tuple(each.split()) for each in lists)
        worth = np.linspace(0.5, 0.1, len(names), dtype=np.float32)
        table = ListTable(
            "text",
            "clang",
            ("a", "b"),
            names,
            np.zeros((2, 2 * NUM_FEATURES), np.float32),
            np.tile(worth, (2, 1)),
            np.ones((2, len(names)), np.float32),
        )
        config = PortfolioConfig(kinds=1, members=1, epochs=1, most_work=most_work)
        folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        write(folder, *train(table, config), config)
        if tails:
            description = Portfolio.read(folder)
            description |= {
                "tails": [each.split() for each in tails],
                "tail_work": [0.5] * len(tails),
                "rebuild_work": 0.0,
            }
            (folder / DESCRIPTION).write_text(json.dumps(description))
        return Portfolio(folder)

    return make


def whole(order: Order) -> tuple[list[int], list[int]]:
    return order.trial, list(order.others)


def test_lists_are_taken_that_complement_each_other() -> None:
    gains = np.array([[0.3, 0.25, 0.0], [0.3, 0.25, 0.0], [0.0, 0.0, 0.2]], np.float32)
    weights = np.full(3, 1 / 3, np.float32)
    work = np.ones(3, np.float32)
    assert whole(order(weights, gains, work, range(3), 9.0)) == ([0, 2, 1], [])
    assert whole(order(weights, gains, work, [1, 2], 9.0)) == ([1, 2], [])
    one_kind = np.array([0.0, 0.0, 1.0], np.float32)
    assert order(one_kind, gains, work, range(3), 9.0).trial[0] == 2


def test_a_trial_has_what_fits_into_its_time() -> None:
    gains = np.array([[0.3, 0.25, 0.0], [0.3, 0.25, 0.0], [0.0, 0.0, 0.2]], np.float32)
    weights = np.full(3, 1 / 3, np.float32)
    work = np.array([3.0, 1.0, 2.0], np.float32)
    assert whole(order(weights, gains, work, range(3), 3.5)) == ([1, 2], [0])
    assert whole(order(weights, gains, work, range(3), 1.5)) == ([1], [2, 0])
    assert whole(order(weights, gains, work, range(3), 0.5)) == ([1], [2, 0]), "one at least"
    assert whole(order(weights, gains, work, [], 3.5)) == ([], [])


def test_a_portfolio_learns_which_list_is_for_whom(tmp_path: Path) -> None:
    table = made_up()
    assert set(choose_lists(table, 4)) == {0, 1, 2}, "the fourth gains nothing"
    lists, chooser = train(table, CONFIG)
    write(tmp_path, lists, chooser, CONFIG)
    chosen = Portfolio(tmp_path)
    assert set(chosen.lists) == {("sroa",), ("dce",), ("gvn",)}
    rows = {row["lists"]: row for row in figures(chosen, table)}
    assert rows["1"]["ratio"] > np.exp(0.19), "the first list is the right one"
    assert rows["all"]["ratio"] == pytest.approx(np.exp(0.2))
    assert rows["trial"]["mean_lists"] == 1 and rows["trial"]["median_work"] == 1
    # One program at a time, as in use.
    row = table.features[7]
    features = Features(row[:NUM_FEATURES], row[NUM_FEATURES:])
    assert whole(chosen.order(features, range(3))) == whole(chosen.order_of(row))


def test_tables_say_what_lists_do(
    sha256: Program, space_file: Callable[..., Path], tmp_path: Path
) -> None:
    settings = make_settings(
        space_file("default<Oz>", "sroa", "instcombine", NEVER_ENDS), "text", "clang"
    )
    broken = Program("broken", b"not bitcode", sha256.options)
    table = measure([sha256, broken], [(1, 2), (3,), (0,)], settings, jobs=1, step_seconds=0.5)
    assert table.programs == (sha256.name,) and len(table.lists) == 3
    assert np.isnan(table.gains[0, 2]) and np.isnan(table.work[0, 2]), "it never ends"
    assert table.saved[0, 2] == 0
    table = table.with_lists([0, 1])
    assert (table.work[:, 0] == 1).all() and (table.work > 0).all()
    with Session(settings) as session:
        session.begin(sha256)
        for name, gain in zip(table.lists, table.gains[0], strict=True):
            session.begin(sha256)
            session.replay([settings.action(each) for each in name])
            cost = session.finish().cost
            assert gain == pytest.approx(np.log(session.costs.baseline / cost), abs=1e-6)
    path = tmp_path / "table.npz"
    table.write(path)
    again = ListTable.read(path)
    assert again.lists == table.lists and (again.gains == table.gains).all()
    path.write_bytes(b"nothing")
    with pytest.raises(CodeZeroError, match="no table"):
        ListTable.read(path)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_trial_is_the_best_of_the_first_lists(
    sha256: Program,
    space_file: Callable[..., Path],
    portfolio: Callable[..., Portfolio],
    threads: int,
) -> None:
    space = space_file("sroa", "instcombine", "simplifycfg", "dce", "default<Oz>")
    settings = make_settings(space, "text", "clang")
    oz = settings.space.passes[settings.action("default<Oz>")].name
    chosen = portfolio("dce", "sroa instcombine", "gvn", "dce sroa", f"sroa {oz}", most_work=2.5)
    with Session(settings, threads=threads) as session:
        search = PortfolioSearch(session, sha256, chosen, lists_alone=True)
        found = search.begin()
        assert found.trials == 2 and found.actions == (0, 1)
        assert found.made is not None and found.made.cost == found.cost
        assert search.go_on(Budget(trials=1)).trials == 3, "as many as that, on any machine"
        more = search.go_on(Budget(trials=10))
        assert more.trials == 4, "gvn is no pass of the space"
        assert more.cost < found.cost and more.actions == (0, 4)
        session.begin(sha256)
        session.replay(more.actions)
        assert session.finish().cost == more.cost


def test_what_a_trial_finds_does_not_depend_on_threads(load: Callable[..., Program]) -> None:
    settings, found = make_settings("sound", "text", "clang"), []
    policy, program = parse_policy("agent:10x", settings), load("calc.cpp")
    for threads in (1, 2, 7):
        with Session(settings, threads=threads) as session:
            found.append(policy.run(session, program, 0))
    assert found[0].inlining and found[0].functions, "all that is chosen side by side"
    assert found[0] == found[1] == found[2]


def test_what_helps_is_tried_together_and_then_by_half() -> None:
    assert [*map(len, halves(range(9)))] == [9, 4, 2]
    assert halves("ab") == ["ab", "a"] and halves("a") == ["a"] and halves("") == []


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("most_work", [math.inf, 1e9])
@pytest.mark.parametrize(
    ("costs", "expected"),
    [
        ({4: 9, 2: 1, 1: 1}, (9, 1)),
        ({4: 10, 2: 9, 1: 1}, (9, 2)),
        ({4: None, 2: None, 1: 9}, (9, 3)),
        ({4: 11, 2: None, 1: 10}, (None, 3)),
    ],
)
def test_of_what_helps_the_first_that_is_smaller_is_taken(
    threads: int, most_work: float, costs: dict[int, int | None], expected: tuple[int | None, int]
) -> None:
    """``costs``: of attempts, by how many choices they have; None for what comes to nothing."""
    subject: Any = SimpleNamespace(baseline_seconds=1.0, measure_start_meanwhile=lambda: None)
    with ThreadPoolExecutor(threads) as pool:
        trials = Trials(subject, load_space("sound"), pool, threads)

        def make(attempt: Sequence[str], limit: Any) -> list[Any]:
            limit.start()
            cost = costs[len(attempt)]
            return [] if cost is None else [SimpleNamespace(cost=cost)]

        made, number, is_running = trials._try_together(make, halves("abcd"), 10, most_work)
    assert (made and made.cost, number, is_running) == (*expected, False)


def test_functions_are_in_groups_of_about_one_size() -> None:
    sizes = {"a": 7, "b": 5, "c": 4, "d": 3, "e": 1}
    assert in_groups(sizes, 2) == [["a", "d"], ["b", "c", "e"]]
    assert in_groups({"a": 1}, 4) == [["a"]] and in_groups({}, 4) == []


def test_a_list_that_fails_is_left_out(
    sha256: Program, space_file: Callable[..., Path], portfolio: Callable[..., Portfolio]
) -> None:
    settings = make_settings(space_file("sroa", NEVER_ENDS), "instructions", "clang")
    endless = settings.space.passes[1].name
    chosen = portfolio(f"sroa {endless}", "sroa", most_work=2.5)
    with Session(settings, step_seconds=0.3) as session:
        found = PortfolioSearch(session, sha256, chosen, lists_alone=True).begin()
        assert found.actions == (0,) and found.trials == 2
        assert found.cost < session.costs.initial


def test_a_list_that_cannot_be_finished_is_left_out(
    sha256: Program,
    space_file: Callable[..., Path],
    portfolio: Callable[..., Portfolio],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = make_settings(space_file("sroa", "default<Oz>"), "text", "clang")
    oz = settings.space.passes[1].name
    chosen = portfolio("sroa", oz, most_work=2.5)
    finish = Session.finish_list

    def finish_list(session: Session, index: int) -> Made:
        if index == 1:
            raise VerificationError("what it leaves does not verify")
        return finish(session, index)

    monkeypatch.setattr(Session, "finish_list", finish_list)
    with Session(settings) as session:
        found = PortfolioSearch(session, sha256, chosen, lists_alone=True).begin()
    assert found.actions == (0,) and found.made is not None


@pytest.mark.parametrize("objective", ["text", "loaded", "instructions"])
def test_functions_get_what_makes_them_smallest(
    objective: str, load: Callable[..., Program]
) -> None:
    program, settings = load("json.c"), make_settings("sound", objective, "clang")

    def actions(*names: str) -> list[int]:
        return [settings.action(name) for name in names]

    tails = [actions("simplifycfg-late", "instcombine"), actions("gvn", "dse"), actions("dce")]
    with Session(settings, threads=2, for_objects=objective != "instructions") as session:
        session.begin(program)
        assert session.tells_functions() and not session.keeps_list
        (tried,) = session.try_lists([actions("sroa", "inline", "globaldce")])
        listed = session.finish_list(0)
        session.keep_list(0)
        costs = session.measure_tails(tails)
        tailed = session.try_tails(tails)
        assert tailed.made is not None and tailed.made.cost < listed.cost
        assert not tailed.is_running and len(tailed.functions) > 1
        for name, own in tailed.functions.items():
            least = min(after.get(name, costs.before[name]) for after in costs.after)
            assert least < costs.before[name]
            (k,) = (
                k
                for k, tail in enumerate(tails)
                if set(own) <= set(tail) and costs.after[k].get(name) == least
            )
            assert own == tuple(action for action in tails[k] if action in own), "in order"
        if objective != "loaded":
            saved = sum(
                max(before - after.get(name, before) for after in costs.after)
                for name, before in costs.before.items()
            )
            assert listed.cost - tailed.made.cost == pytest.approx(saved, rel=0.1)
        more = session.try_tails([actions("early-cse-memssa", "simplifycfg-bonus", "adce")])
        if more.made is not None:
            assert more.made.cost < tailed.made.cost
            assert all(more.functions[f][: len(own)] == own for f, own in tailed.functions.items())
        last = more if more.made is not None else tailed
        session.begin(program)
        assert session.replay(tried.passes, last.functions) == (tried.passes, last.functions)
        again = session.finish()
        assert last.made is not None and again.cost == last.made.cost
        # What two rounds add to the module, such as tables of switches, may be in another order.
        assert again == last.made or last is more


def test_a_tail_that_takes_too_long_is_given_up(
    sha256: Program, space_file: Callable[..., Path]
) -> None:
    space = space_file("sroa", "simplifycfg", NEVER_ENDS_BY_FUNCTION)
    settings = make_settings(space, "text", "clang")
    with Session(settings, threads=2) as session:
        session.begin(sha256)
        session.try_lists([[0]])
        listed = session.finish_list(0)
        session.keep_list(0)
        tailed = session.try_tails([[1], [2]], most_work=1.0)
        assert tailed.is_running and tailed.made is not None and tailed.made.cost < listed.cost
        assert not session.keeps_list, "not beside what still runs"
        session.begin(sha256)
        assert session.try_lists([[0]])[0].cost is not None, "a new process is at work"
        assert not session.keeps_list, "the other kept it"


def test_a_trial_goes_through_the_functions_of_its_best_list(
    load: Callable[..., Program], portfolio: Callable[..., Portfolio]
) -> None:
    program, settings = load("json.c"), make_settings("sound", "text", "clang")
    tails = ("simplifycfg-late instcombine", "gvn dse", "early-cse-memssa adce")
    lists = ("sroa globaldce", "sroa inline", "sroa", "default-oz")
    chosen = portfolio(*lists, most_work=4.9, tails=tails)
    with Session(settings) as session:
        listed = PortfolioSearch(session, program, chosen, lists_alone=True, most_work=2.9).begin()
        assert listed.trials == 2 and not listed.functions
        search = PortfolioSearch(session, program, chosen)
        found = search.begin()
        of_inlining = 1 + 1  # nothing has helped: there is time for one list more
        assert found.trials == 2 + of_inlining + 1, "two lists, choices, and a tail"
        assert found.functions and found.cost < listed.cost and found.made is not None
        assert search.go_on(Budget(trials=2)).trials == 7, "as many as that"
        more = search.go_on(Budget(trials=1_000))
        assert 8 + 3 <= more.trials < 100, "the other list, and all tails after it"
        assert search.go_on(Budget(trials=1_000)) == more, "that was all"
        assert more.cost < found.cost
        whole = PortfolioSearch(session, program, chosen, by_function=False)
        for one in (whole.begin(), whole.go_on(Budget(trials=2))):
            assert not one.functions and one.cost < listed.cost
        session.begin(program, one.inlining)
        session.replay(one.actions)
        assert session.finish().cost == one.cost


def test_an_agent_may_have_a_portfolio_for_another_objective(tmp_path: Path) -> None:
    size = shipped_agents()["size"]
    loaded = Portfolio.folder_of(size, Objective.LOADED)
    assert loaded.parent == size and Portfolio(loaded).lists != Portfolio(size).lists
    for objective in (None, Objective.TEXT, Objective.INSTRUCTIONS):
        assert Portfolio.folder_of(size, objective) == size
    assert Portfolio.folder_of(tmp_path, Objective.LOADED) == tmp_path
    sound = load_space("sound")
    for folder in (size, loaded, shipped_agents()["instructions"]):
        chosen = Portfolio(folder)
        for each in (*chosen.lists, *chosen.tails):
            assert all(name in {p.name for p in sound.passes} for name in each)
        assert set(sound.by_function) >= {sound.action(n) for tail in chosen.tails for n in tail}
        assert 0 < len(chosen.tails_of().chosen) < len(chosen.tails)


def test_tails_go_on_from_the_list_that_is_reported(
    portfolio: Callable[..., Portfolio],
) -> None:
    """Where what has to be inlined makes what a list has come to larger."""
    helper = "".join(f"  %s{i + 1} = mul i32 %s{i}, %x\n" for i in range(9))
    text = (
        f"define internal i32 @h(i32 %s0, i32 %x) alwaysinline {{\n{helper}  ret i32 %s9\n}}\n"
        "define i32 @f(i32 %a, i32 %b, i1 %c) {\n  %p = alloca i32\n  store i32 %a, ptr %p\n"
        "  %v = load i32, ptr %p\n  %x = call i32 @h(i32 %v, i32 %b)\n"
        "  %y = call i32 @h(i32 %b, i32 %v)\n  %z = add i32 %x, %y\n  %d = add i32 %z, 0\n"
        "  ret i32 %d\n}\n"
    )
    program = Program("inlined", Module.parse(text.encode()).bitcode(), CompileOptions())
    settings = make_settings("sound", "instructions", "clang")
    chosen = portfolio(
        "always-inline globaldce", "sroa", "default-oz", most_work=7.0, tails=["instcombine", "dce"]
    )
    with Session(settings) as session:
        found = PortfolioSearch(session, program, chosen).begin()
        assert found.trials == 3 + 2, "nothing can be chosen about h"
        session.begin(program)
        assert session.replay(found.actions, found.functions).actions == found.actions
        assert session.finish().cost == found.cost
        session.begin(program)
        for (tried,) in (session.try_lists([actions]) for actions in ([], [0])):
            assert tried.cost == session.finish_list(0).cost, "what is handed over is what counts"


def test_tails_go_on_after_another_list_has_ended_the_process(
    sha256: Program, space_file: Callable[..., Path], portfolio: Callable[..., Portfolio]
) -> None:
    settings = make_settings(space_file("sroa", "simplifycfg", NEVER_ENDS), "text", "clang")
    endless = settings.space.passes[2].name
    chosen = portfolio("sroa", f"sroa {endless}", most_work=4.0, tails=["simplifycfg", "dce"])
    with Session(settings, step_seconds=0.3) as session:
        found = PortfolioSearch(session, sha256, chosen).begin()
        assert found.actions == (0,) and found.functions and found.trials == 2 + 1
        assert found.made is not None and found.made.cost == found.cost
    table = measure_tails([sha256], chosen, [(1,)], settings, jobs=1, step_seconds=0.3)
    assert table.gain([0]) > 0


def test_where_functions_cannot_be_told_lists_have_all_the_time(
    portfolio: Callable[..., Portfolio],
) -> None:
    text = (
        'target triple = "wasm32"\ndefine i32 @f(i32 %a) {\n  %p = alloca i32\n'
        "  store i32 %a, ptr %p\n  %v = load i32, ptr %p\n  ret i32 %v\n}\n"
    )
    wasm = Program("wasm", Module.parse(text.encode()).bitcode(), CompileOptions())
    chosen = portfolio("sroa", "dce", "adce", most_work=3.0, tails=["instcombine"])
    features = np.zeros(2 * NUM_FEATURES, np.float32)
    assert (
        len(chosen.order_of(features).trial) == 2
        and len(chosen.order_of(features, tails=()).trial) == 3
    )
    for objective in ("text", "instructions"):
        settings = make_settings("sound", objective, "clang")
        with Session(settings) as session:
            found = PortfolioSearch(session, wasm, chosen).begin()
            assert session.tells_functions() == (objective == "instructions")
            assert found.trials == 3 and found.cost < session.costs.initial


def test_tails_are_chosen_that_complement_each_other() -> None:
    saved = np.array([[5.0, 4, 0], [5, 4, 0], [0, 0, 3], [0, 1, 1]])
    table = TailTable(
        (("dce",), ("adce",), ("gvn",)),
        np.array([100.0, 50.0]),
        np.array([0, 0, 1, 1]),
        saved,
        np.ones(3),
        0.5,
    )
    assert table.gain([]) == 0
    assert table.gain([0]) == pytest.approx(-np.log(0.9) / 2)
    assert choose_tails(table, 3) == [0, 2], "the second adds nothing to the two"
    assert choose_tails(replace(table, work=np.array([9.0, 1, 1])), 1) == [1]


def test_a_space_may_have_none_of_the_passes(
    space_file: Callable[..., Path], portfolio: Callable[..., Portfolio]
) -> None:
    chosen = portfolio("sroa dce", "gvn")
    assert PortfolioSearch.fits(chosen, load_space(space_file("dce", "sroa")))
    assert not PortfolioSearch.fits(chosen, load_space(space_file("dce")))


def test_a_portfolio_that_is_none(tmp_path: Path) -> None:
    assert not Portfolio.is_in(tmp_path)
    (tmp_path / DESCRIPTION).write_text("{}")
    with pytest.raises(CodeZeroError, match="not a portfolio"):
        Portfolio(tmp_path)
    (tmp_path / DESCRIPTION).write_text("nonsense")
    with pytest.raises(CodeZeroError, match="not JSON"):
        Portfolio(tmp_path)


def test_the_commands(
    training_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lists = tmp_path / "lists.txt"
    lists.write_text("sroa instcombine\n\nsroa oz gvn-no-pre oz\n")
    space = tmp_path / "small.toml"
    space.write_text(
        "".join(
            f'[[pass]]\nname = "{name}"\npipeline = "{pipeline}"\n'
            for name, pipeline in [
                ("sroa", "sroa"),
                ("instcombine", "instcombine"),
                ("simplifycfg", "simplifycfg"),
                ("gvn-no-pre", "gvn<no-pre>"),
                ("oz", "default<Oz>"),
            ]
        )
    )
    table, agent = tmp_path / "table.npz", tmp_path / "agent"
    agent.mkdir()
    command = ["portfolio", "measure", str(training_corpus), "--space", str(space)]
    command += ["--objective", "instructions", "--protocol", "paper"]
    assert _run([*command, "--lists", str(lists), "-o", str(table)]) == 0
    assert "3 lists on 3 programs" in capsys.readouterr().out
    settings = ["kinds=2", "members=1", "epochs=5"]
    assert _run(["portfolio", "train", str(table), str(agent), "--set", *settings]) == 0
    assert "trial" in capsys.readouterr().out
    description = json.loads((agent / DESCRIPTION).read_text())
    assert description["trained"]["programs"] == 3 and description["lists"]
    assert description["tails"] == []
    assert _run(["portfolio", "train", str(table), str(agent), "--set", "colours=2"]) == 2
    lists.write_text("sroa nonsense\n")
    assert _run([*command, "--lists", str(lists), "-o", str(table)]) == 2
    assert "nonsense" in capsys.readouterr().err


def test_an_agent_is_given_tails(
    training_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    agent = tmp_path / "agent"
    shutil.copytree(shipped_agents()["instructions"], agent)
    lists = tmp_path / "lists.txt"
    lists.write_text("sroa inline instcombine\nglobaldce\n")
    command = ["portfolio", "tails", str(training_corpus), str(agent), "--lists", str(lists)]
    assert _run([*command, "--size", "2", "-j", "1"]) == 0
    assert "smaller by" in capsys.readouterr().out
    chosen = Portfolio(agent)
    assert 1 <= len(chosen.tails) <= 2
    space = read_trained(agent).settings.space
    assert {space.action(name) for tail in chosen.tails for name in tail} <= {*space.by_function}
    assert chosen.tails_of().work > 0 and chosen.tails_of(0.0) == ([], 0.0)
    lists.write_text("globaldce nonsense\n")
    assert _run(command) == 2 and "nonsense" in capsys.readouterr().err
    assert _run([*command, "--size", "0"]) == 2
    assert _run([*command, "--objective", "text"]) == 2, "it has none for that"
    assert "is of instructions and paper" in capsys.readouterr().err
    (agent / DESCRIPTION).unlink()
    assert _run(command) == 2


def _run(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    return int(end.value.code or 0)


def test_an_optimizer_uses_what_the_trial_made(
    load: Callable[..., Program], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the shipped agent: one trial, its result as the passes make it once more."""
    program, settings = load("vm.c"), make_settings("sound", "text", "clang")
    policy = parse_policy("agent", settings, codegen=CodegenChoice.NONE)
    with closing(Optimizer(settings, threads=2)) as optimizer, monkeypatch.context() as patch:
        patch.delattr(Session, "replay")
        optimizer.warm_up(policy)
        result = optimizer.run(program, policy)
    assert not result.fell_back and result.cost < result.costs.baseline
    with Session(settings) as session:
        session.begin(program, result.inlining)
        functions = {
            name: [settings.action(each) for each in own] for name, own in result.functions.items()
        }
        session.replay([settings.action(name) for name in result.passes], functions)
        assert session.finish()[1:3] == (result.cost, result.bitcode)


def test_a_program_whose_baseline_takes_all_the_time_is_the_baselines(sha256: Program) -> None:
    settings = make_settings("sound", "loaded", "clang")
    policy = AgentPolicy(
        shipped_agents()["size"], limit=TrialLimit(seconds=1e-6), objective=Objective.LOADED
    )
    with closing(Optimizer(settings, for_objects=True, estimate_start=True)) as optimizer:
        result = optimizer.run(sha256, policy, bitcode=False)
    assert result.fell_back and result.cost == result.costs.baseline
    assert result.object is not None
    assert Objective.LOADED.measure_object(result.object) == result.cost


def test_costs_are_the_programs_whatever_a_search_has_looked_at(
    sha256: Program, load: Callable[..., Program], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings("sound", "text", "clang")
    policy, other = parse_policy("agent", settings), load("lzss.c")
    run = type(policy).run

    def run_and_look(self: Policy, env: Session, *args: Any) -> Found:
        found = run(self, env, *args)
        env.begin(other)
        return found

    monkeypatch.setattr(type(policy), "run", run_and_look)
    with closing(Optimizer(settings, for_objects=True)) as optimizer, Session(settings) as session:
        result = optimizer.run(sha256, policy, bitcode=False)
        session.begin(sha256)
        assert result.costs.baseline == session.costs.baseline
        again = optimizer.run(other, policy, bitcode=False)
    assert again.object is not None and executable_size(again.object) == again.cost
    assert result.object is None or executable_size(result.object) == result.cost


def test_a_table_of_another_task_is_not_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, other = tmp_path / "text.npz", tmp_path / "instructions.npz"
    made_up(8).write(table)
    replace(made_up(8), objective="instructions").write(other)
    arguments = ["portfolio", "train", str(table), str(tmp_path), "--validation", str(other)]
    assert _run(arguments) == 2
    assert "is of instructions and clang" in capsys.readouterr().err
    with pytest.raises(CodeZeroError, match="two programs"):
        train(made_up(1), CONFIG)


def test_a_list_that_takes_too_long_is_given_up_and_the_others_kept(
    sha256: Program, space_file: Callable[..., Path], portfolio: Callable[..., Portfolio]
) -> None:
    settings = make_settings(space_file("sroa", NEVER_ENDS), "text", "clang")
    endless = settings.space.passes[1].name
    chosen = portfolio(f"sroa {endless}", "sroa", most_work=2.5)
    limit = TrialLimit(work=2.5, seconds=300.0)
    for threads in (2, 1):
        with Session(settings, threads=threads, for_objects=True) as session:
            began = time.monotonic()
            found = PortfolioSearch(session, sha256, chosen, lists_alone=True).begin(limit)
            assert time.monotonic() - began < 10
            if threads == 2:
                assert found.actions == (0,) and found.made is not None
                assert executable_size(found.made.object) == found.cost
            session.begin(sha256)
            assert session.try_lists([[0]])[0].cost is not None, "a new process is at work"


def test_a_trial_ends_in_time(
    sha256: Program, space_file: Callable[..., Path], portfolio: Callable[..., Portfolio]
) -> None:
    settings = make_settings(space_file("sroa", NEVER_ENDS), "text", "clang")
    endless = settings.space.passes[1].name
    chosen = portfolio("sroa", f"sroa {endless}", "sroa sroa", most_work=9.0)
    with Session(settings) as session:
        began = time.monotonic()
        found = PortfolioSearch(session, sha256, chosen).begin(TrialLimit(seconds=2.0))
        assert time.monotonic() - began < 6
        assert found.actions == (0,) and found.trials < 4
