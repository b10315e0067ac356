"""Policies by name: what ``--policy`` and ``--search`` accept."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from codezero.compiler.frontends import exists
from codezero.compiler.program import Program
from codezero.compiler.spaces import Codegen
from codezero.env.episode import EpisodeSettings
from codezero.env.inlining import Inlining
from codezero.env.session import Session
from codezero.env.subject import Made
from codezero.errors import CodeZeroError
from codezero.search.budget import ONE_TRIAL, Budget, TrialLimit

AGENT, AGENT_WHOLE = "agent", "agent-whole"
"""Names of the agent that chooses for every function, and of the one whose choice is one list."""


class CodegenChoice(enum.Enum):
    """What an agent may do about code, when the passes are chosen."""

    ALL = "all"
    """Generate it in another way than clang does, which IR does not say, and what `IR` may."""
    IR = "ir"
    """Only what IR says: frame pointers."""
    NONE = "none"
    """Nothing: what is found is a list of passes."""


class CodegenPlan(NamedTuple):
    """What is to be tried about code, when the passes are chosen."""

    ways: tuple[Codegen, ...]
    """To generate it."""
    frame_pointers: bool = True
    """Whether functions get one that are smaller with it."""


@dataclass(frozen=True)
class Found:
    """The best actions that a policy came by, and the cost. None changed nothing."""

    actions: tuple[int, ...]
    """For the whole program."""
    cost: int
    trials: int
    """Episodes begun, or lists and tails tried, or for greedy search actions."""
    functions: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """What comes after that: for each function, by name, its own."""
    inlining: Inlining = ()
    """Which functions inliners inline or do not, whatever that costs, while ``actions`` run."""
    made: Made | None = field(default=None, repr=False)
    """What they make of the program, where the policy has it at hand, verified."""
    of_passes: int | None = None
    """The cost of what its passes come to, if ``made`` is what the baseline makes, with other code
    generated for it. No actions make that."""
    plan: CodegenPlan | None = None
    """What was tried about the code of ``made``."""


class Policy(Protocol):
    """A way to choose passes for a program."""

    @property
    def name(self) -> str: ...

    def adapt(self, settings: EpisodeSettings) -> EpisodeSettings:
        """The same task, with what the policy has to see and to do."""

    def check(self, settings: EpisodeSettings) -> None:
        """Raises `CodeZeroError` if the policy cannot act under these settings."""

    def warm_up(self) -> None:
        """Load what `run` needs, where that takes time. Raises `CodeZeroError` as `run` would."""

    def run(self, env: Session, program: Program, seed: int) -> Found:
        """Choose passes for ``program`` by acting in ``env``.

        Args:
            seed: of what is chosen at random.

        Crashes and timeouts of LLVM cost the episode they happen in. Raises `ProgramError` when
        the program cannot even be started.
        """
        ...


def parse_policy(
    text: str,
    settings: EpisodeSettings | None = None,
    *,
    codegen: CodegenChoice = CodegenChoice.ALL,
    effort: float | None = None,
) -> Policy:
    """A policy from its name: ``agent``, ``agent:1s``, ``agent:10x`` (a trial that may take ten
    times as long as the baseline), ``agent:NAME``, ``agent:FOLDER:10x:1s``, the same with
    ``agent-whole``, ``random``, ``random-search:1s``, ``greedy:200``, ``fixed:FILE``,
    ``none``.

    Args:
        settings: of the programs' episodes, which decide what ``agent`` is; without them it is the
            default agent.
        codegen: what an agent may do about code, see `AgentPolicy`.
        effort: times as long as the baseline that an agent's trial may take, if the text does not
            say.

    Raises:
        CodeZeroError: an unknown name, a bad budget, a list that cannot be read, or no agent for
            the settings.
    """
    name, _, argument = text.partition(":")
    if name in (AGENT, AGENT_WHOLE):
        by_function = name == AGENT
        return _agent_policy(
            argument, settings, by_function=by_function, codegen=codegen, effort=effort
        )
    from codezero.search.greedy import GreedySearch
    from codezero.search.sequences import FixedSequence, RandomSearch

    if name == "none" and not argument:
        return FixedSequence("none", ())
    if name == "random" and not argument:
        return RandomSearch(Budget(trials=1))
    if name == "random-search":
        return RandomSearch(Budget.parse(argument or "1s"))
    if name == "greedy":
        return GreedySearch(Budget.parse(argument) if argument else Budget())
    if name == "fixed" and argument:
        return FixedSequence.read(Path(argument))
    raise CodeZeroError(
        f"unknown policy '{text}': choose agent[:NAME or FOLDER][:EFFORTx][:BUDGET], agent-whole "
        "(as agent), none, random, random-search[:BUDGET], greedy[:BUDGET] or fixed:FILE"
    )


def _agent_policy(
    argument: str,
    settings: EpisodeSettings | None,
    *,
    by_function: bool,
    codegen: CodegenChoice,
    effort: float | None,
) -> Policy:
    from codezero.agents.shipped import DEFAULT_AGENT, agent_for, shipped_agents
    from codezero.search.agent import AgentPolicy

    shipped = shipped_agents()
    target, budget, said = argument, None, None
    # A path may have colons in it, and what is no budget is a folder's name.
    while target and target not in shipped and not exists(Path(target)):
        before, colon, last = target.rpartition(":")
        if not colon and not last[:1].isdecimal():
            break
        work = re.fullmatch(r"(\d{1,6}(?:\.\d{1,6})?)x", last)
        if work and float(work[1]) and said is None:
            said = float(work[1])
        elif budget is None:
            budget = Budget.parse(last)
        else:
            raise CodeZeroError(f"agent '{argument[:60]}' has more than one budget")
        target = before
    if target:
        folder = shipped.get(target, Path(target))
    elif settings is None:
        folder = shipped[DEFAULT_AGENT]
    else:
        folder = agent_for(settings)
    objective = None if settings is None else settings.objective
    return AgentPolicy(
        folder,
        budget or ONE_TRIAL,
        by_function=by_function,
        limit=TrialLimit(effort if said is None else said),
        objective=objective,
        codegen=codegen,
    )
