"""A trained agent's choice of passes: one trial, or as many as a budget allows."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from codezero._native import LLVMError
from codezero.agents.trained import Trained, agents_actions, read_trained
from codezero.compiler.objectives import Objective
from codezero.compiler.program import Program
from codezero.compiler.spaces import PassSpace
from codezero.env.episode import EpisodeSettings
from codezero.env.session import Session
from codezero.errors import CodeZeroError, ProgramError
from codezero.isolation import WorkerFailure
from codezero.portfolio.portfolio import Portfolio
from codezero.search.budget import NO_LIMIT, ONE_TRIAL, UNLIMITED, Budget, Meter, TrialLimit
from codezero.search.codegen import plan_codegen, with_codegen, work_of
from codezero.search.policy import AGENT, AGENT_WHOLE, CodegenChoice, CodegenPlan, Found
from codezero.search.portfolio import PortfolioSearch

if TYPE_CHECKING:  # a trial of lists needs neither this nor NumPy
    from codezero.agents.agent import Agent

FUNCTIONS_SHARE = 0.3
"""Of what is left of a budget after the trial, for functions."""
MOST_FOR_FUNCTIONS = 0.8
"""Where they took more, all is for the whole program."""


class AgentPolicy:
    """What an agent chooses in one trial, and what it comes to with a budget.

    The trial is a few lists of its portfolio, tried side by side, and then a few for each function
    after the best of them. A budget does not cut it short. What is left of one goes for the
    portfolio's other lists; for a trajectory, the action that the
    agent thinks best at every step of an episode; for the same on every function by itself, see
    `codezero.search.functions`; and then for going on from the best, see `codezero.search.guided`.

    For an objective of code, the smallest code for it comes last, in the trial and once more with a
    budget: a few ways to generate it are tried, and frame pointers, see `codezero.search.codegen`.

    Of an agent that has no portfolio, the trial is the trajectory, with some of the space's lists,
    and the functions.

    Args:
        folder: the agent's.
        by_function: whether functions may have passes of their own. If not, what it finds is one
            list for the whole program.
        limit: of the trial, if it is one of a portfolio's lists.
        objective: the one that the portfolio is for, where the agent has one of its own for it.
        codegen: what it may do about code.
    """

    def __init__(
        self,
        folder: Path,
        budget: Budget = ONE_TRIAL,
        *,
        by_function: bool = True,
        limit: TrialLimit = NO_LIMIT,
        objective: Objective | None = None,
        codegen: CodegenChoice = CodegenChoice.ALL,
    ) -> None:
        self._codegen = codegen
        self._folder = folder
        self._budget = budget
        self._by_function = by_function
        self._limit = limit
        self._objective = objective

    @property
    def name(self) -> str:
        name = f"{AGENT if self._by_function else AGENT_WHOLE}:{self._folder.name}"
        if self._limit.work is not None:
            name += f":{self._limit.work:.6f}".rstrip("0").rstrip(".") + "x"
        return name if self._budget == ONE_TRIAL else f"{name}:{self._budget}"

    @cached_property
    def _trained(self) -> Trained:
        return read_trained(self._folder)

    @cached_property
    def _agent(self) -> Agent:
        from codezero.agents.agent import Agent

        return Agent(self._folder)

    @cached_property
    def _portfolio(self) -> Portfolio | None:
        folder = Portfolio.folder_of(self._folder, self._objective)
        return Portfolio(folder) if Portfolio.is_in(folder) else None

    def _lists(self, space: PassSpace) -> Portfolio | None:
        """The agent's portfolio, if there is something in it that a space has the passes for."""
        portfolio = self._portfolio
        return portfolio if portfolio and PortfolioSearch.fits(portfolio, space) else None

    def warm_up(self) -> None:
        """Load what `run` needs."""
        if self._portfolio is not None:
            self._portfolio.warm_up()
        if self._portfolio is None or self._budget != ONE_TRIAL:
            self._agent.begin()

    def adapt(self, settings: EpisodeSettings) -> EpisodeSettings:
        is_lists_alone = self._budget == ONE_TRIAL and self._lists(settings.space) is not None
        return settings if is_lists_alone else self._shown(settings)

    def _shown(self, settings: EpisodeSettings) -> EpisodeSettings:
        """Settings of an environment in which the agent can act by itself."""
        trained = self._trained.settings
        return replace(settings, observe=trained.observe, restart=trained.restart)

    def check(self, settings: EpisodeSettings) -> None:
        """Raises `CodeZeroError` if the agent does not know a pass, or takes other steps."""
        trained, source = self._trained
        wanted = f"it takes --space {source} and --max-steps {trained.max_steps}"
        try:
            agents_actions(trained, self._shown(settings))
        except CodeZeroError as error:
            raise CodeZeroError(f"{self.name}: {error}; {wanted}") from None
        if self._limit.work is not None and self._lists(settings.space) is None:
            raise CodeZeroError(
                f"{self.name}: it has no lists for these passes to make an effort with"
            )
        if settings.max_steps != trained.max_steps:
            raise CodeZeroError(f"{self.name} was trained for other steps: {wanted}")

    def run(self, env: Session, program: Program, seed: int) -> Found:
        """The trial, which is played to its end, and what the rest of the budget goes for."""
        began = time.monotonic()
        portfolio = self._lists(env.settings.space)
        most = math.inf
        if portfolio is not None:
            most = portfolio.most_work if self._limit.work is None else self._limit.work
        plan = self._plan(env.settings, most)
        meter = Meter(self._budget)
        if portfolio is None:
            return self._generate(env, program, self._play(env, program, seed, meter), plan, began)
        lists = PortfolioSearch(
            env,
            program,
            portfolio,
            by_function=self._by_function,
            most_work=most - work_of(plan),
        )
        trial = lists.begin(self._limit)
        found = self._generate(env, program, trial, plan, began)
        meter.trials = trial.trials
        if self._budget == ONE_TRIAL or meter.spent():
            return found
        passes = self._go_on(env, program, seed, lists, meter)
        if passes.cost < trial.cost:  # which the code for it need not be
            better = self._generate(env, program, passes, plan, time.monotonic())
            found = min(found, better, key=lambda each: each.cost)
        return replace(found, trials=passes.trials)

    def _plan(self, settings: EpisodeSettings, most_work: float) -> CodegenPlan | None:
        if self._codegen is CodegenChoice.NONE:
            return None
        return plan_codegen(settings, most_work, ways=self._codegen is CodegenChoice.ALL)

    def _generate(
        self, env: Session, program: Program, found: Found, plan: CodegenPlan | None, began: float
    ) -> Found:
        """The smallest code for what passes have come to, if code is generated, in time.

        Args:
            began: by `time.monotonic`, from when on there is as much time as for a trial.
        """
        left = self._limit.seconds - (time.monotonic() - began)
        if plan is None or left <= 0:
            return found
        with Budget(None if math.isinf(left) else left).spend(env):
            return with_codegen(env, program, found, plan)

    def _go_on(
        self, env: Session, program: Program, seed: int, lists: PortfolioSearch, meter: Meter
    ) -> Found:
        """The best that passes come to with what is left of the budget after a trial of lists."""
        found = lists.go_on(meter.left())
        meter.trials = found.trials
        if meter.spent():
            return found
        try:
            better = self._play(env, program, seed, meter, lists.best)
        except (ProgramError, LLVMError, WorkerFailure):
            return found  # whatever comes after it
        return better if better.cost < found.cost else replace(found, trials=better.trials)

    def _play(
        self,
        env: Session,
        program: Program,
        seed: int,
        meter: Meter,
        before: Found | None = None,
    ) -> Found:
        """The agent's own trajectory, then functions, then both again with what is left.

        Args:
            before: what lists have come to. Without it, this is the trial.
        """
        import numpy as np

        from codezero.agents.view import View
        from codezero.search.functions import FunctionSearch
        from codezero.search.guided import GuidedSearch

        agent, rng = self._agent, np.random.default_rng(seed)
        search = GuidedSearch(env, program, agent, View(agent.settings, env.settings), rng, before)
        if before is None:
            whole = search.begin()
        else:
            with self._budget.spend(env, meter):
                whole = search.begin(meter)
        meter.trials = whole.trials
        if not self._by_function:
            return whole if meter.spent() else search.go_on(meter.left())
        if before and meter.spent():
            return whole
        began = time.monotonic()
        functions = FunctionSearch(env, program, whole, agent, rng)
        found = functions.begin(meter.left() if before else UNLIMITED)
        meter.trials = found.trials
        if meter.spent():
            return found
        share = _share_of_functions(meter.left(), time.monotonic() - began)
        better = search.go_on(meter.left().part(1 - share))
        meter.trials += better.trials - whole.trials
        candidates = [found, better]
        if share and better.cost < whole.cost:
            functions = FunctionSearch(env, program, better, agent, rng)
            candidates.append(functions.begin(meter.left()))
            meter.trials += candidates[-1].trials - better.trials
        elif share:
            candidates.append(functions.go_on(meter.left()))
            meter.trials += candidates[-1].trials - found.trials
        best = min(candidates, key=lambda each: each.cost)
        return replace(best, trials=meter.trials)


def _share_of_functions(left: Budget, seconds: float) -> float:
    """Of what is left after the trial; 0 if they are not looked at again.

    Args:
        seconds: that their trials took. They take as long for another list for the whole program.
    """
    if left.seconds is None:
        return FUNCTIONS_SHARE
    share = max(FUNCTIONS_SHARE, seconds / max(left.seconds, 1e-9))
    return 0.0 if share > MOST_FOR_FUNCTIONS else share
