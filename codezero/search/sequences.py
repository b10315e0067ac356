"""Sequences chosen without looking at the program: at random, or one list for all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from codezero.compiler.program import Program
from codezero.compiler.spaces import Codegen
from codezero.env.episode import RESTART, End, EpisodeSettings
from codezero.env.session import Session
from codezero.errors import CodeZeroError
from codezero.search.budget import Budget, Meter
from codezero.search.codegen import with_codegen
from codezero.search.policy import CodegenPlan, Found

CODEGEN = "codegen:"
"""How the last line of a list begins that names options of the code generator."""

FAILURES = frozenset((End.CRASH.value, End.TIMEOUT.value, End.ERROR.value))
"""Ends after which the program, as it was, is gone."""


def best_prefix(env: Session, program: Program, actions: Iterable[int], meter: Meter) -> Found:
    """Run one episode; the shortest prefix with the lowest cost in it."""
    env.begin(program)
    for action in actions:
        if meter.out_of_time():
            break
        _, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            break
    return Found(env.best_passes, env.best, trials=1)


@dataclass(frozen=True)
class RandomSearch:
    """Episodes of uniformly random passes until the budget is spent."""

    budget: Budget

    @property
    def name(self) -> str:
        if self.budget == Budget(trials=1):
            return "random"
        return f"random-search:{self.budget}"

    def adapt(self, settings: EpisodeSettings) -> EpisodeSettings:
        return settings

    def warm_up(self) -> None:
        """Nothing to do."""

    def check(self, settings: EpisodeSettings) -> None:
        """It can act under any."""

    def run(self, env: Session, program: Program, seed: int) -> Found:
        import numpy as np

        rng, best = np.random.default_rng(seed), None
        with self.budget.spend(env) as meter:
            while best is None or not meter.spent():
                actions = rng.integers(len(env.settings.space), size=env.settings.max_steps)
                found = best_prefix(env, program, actions.tolist(), meter)
                if best is None or found.cost < best.cost:
                    best = found
                meter.trials += 1
        return Found(best.actions, best.cost, meter.trials)


@dataclass(frozen=True)
class FixedSequence:
    """One list of passes for every program: the honest opponent of an agent.

    The list is text, a pass a line, by its name in the space or by LLVM's pipeline text; or
    ``restart``, from which on the passes are those of another list, tried after the first. A last
    line ``codegen: NAME...`` names options of the space for the code generator, which the best of
    that gets if it is smaller with them.
    """

    name: str
    passes: tuple[str, ...]
    options: tuple[str, ...] = ()
    """Of the code generator."""

    @staticmethod
    def read(path: Path, *, passes_only: bool = False) -> FixedSequence:
        """A list from a file.

        Args:
            passes_only: whether options for the code generator are of no use.

        Raises:
            CodeZeroError: the file cannot be read, or has something that is of no use.
        """
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise CodeZeroError(f"cannot read the pass list {path}: {error}") from None
        passes = [line.strip() for line in lines if line.strip()]
        options: tuple[str, ...] = ()
        if passes and passes[-1].startswith(CODEGEN):
            options = tuple(passes.pop().removeprefix(CODEGEN).split())
            if passes_only or not options:
                what = "only passes count here" if passes_only else "it names no option"
                raise CodeZeroError(f"{path}: '{CODEGEN}' is of no use: {what}")
        return FixedSequence(f"fixed:{path.name}", tuple(passes), options)

    def adapt(self, settings: EpisodeSettings) -> EpisodeSettings:
        return replace(settings, restart=settings.restart or RESTART in self.passes)

    def warm_up(self) -> None:
        """Nothing to do."""

    def check(self, settings: EpisodeSettings) -> None:
        """Raises `CodeZeroError` for what the space has not, or too many passes."""
        self.actions(self.adapt(settings))
        self._codegen(settings)

    def run(self, env: Session, program: Program, seed: int) -> Found:
        with Budget().spend(env) as meter:
            found = best_prefix(env, program, self.actions(env.settings), meter)
        codegen = self._codegen(env.settings)
        if not codegen:
            return found
        return with_codegen(env, program, found, CodegenPlan((codegen,), frame_pointers=False))

    def _codegen(self, settings: EpisodeSettings) -> Codegen:
        if self.options and not settings.objective.of_code:
            raise CodeZeroError(f"{self.name}: no code is generated to count instructions")
        return tuple(settings.space.codegen_option(name) for name in self.options)

    def actions(self, settings: EpisodeSettings) -> list[int]:
        """The list as actions of a space. Raises as `check`."""
        actions = [settings.action(name) for name in self.passes]
        if len(actions) > settings.max_steps:
            raise CodeZeroError(
                f"{self.name} has {len(actions)} passes, an episode {settings.max_steps} steps"
            )
        return actions
