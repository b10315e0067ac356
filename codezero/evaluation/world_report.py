"""How well a world model foresees what passes do: Figure 4 of the paper, and errors over suites.

The model sees a program once, before the first pass. From then on it imagines what a given sequence
of passes does, while the compiler does it in fact.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from codezero.compiler.program import Program
from codezero.dreamer.policy import Actor
from codezero.dreamer.replay import smooth, unsmooth
from codezero.dreamer.rssm import State
from codezero.env.reward import Costs
from codezero.env.session import Session
from codezero.errors import CodeZeroError
from codezero.parallel import run_all
from codezero.search.sequences import FAILURES
from codezero.training.networks import Networks

BRANCHES, BLOCKS = 15, 50
"""Autophase's BranchCount and TotalBlocks, Table B1: the features that Figure 4 shows."""

SAMPLES = 32
"""Imagined trajectories whose mean is the prediction: latents are drawn."""

Float = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Trajectory:
    """What L passes do to a program, or are imagined to do."""

    autophase: Float
    """Features over instructions, before the first pass and after each, shape (L + 1, 56)."""
    rewards: Float
    """Smoothed by equation (5), as the model learns them, shape (L,)."""
    costs: Float
    """Of the objective, shape (L + 1,)."""


@dataclass(frozen=True)
class Foresight:
    """A program, what was done to it, and what the model imagined of that."""

    program: str
    passes: tuple[str, ...]
    baseline: int
    """Cost of -Oz."""
    real: Trajectory
    imagined: Trajectory


@dataclass(frozen=True)
class HorizonError:
    """Mean absolute errors of a number of passes ahead, over programs.

    Of the model, and of the prediction that nothing changes: no other features, no reward.
    """

    horizon: int
    programs: int
    features: float
    """Over the 56 features."""
    features_no_change: float
    total_reward: float
    """Of the sum of rewards so far."""
    total_reward_no_change: float


class Foreseer:
    """Has the compiler and the model do the same to one program after another.

    Args:
        actions: what is done to each; None for the agent's own choice.
        seed: of the latents.
    """

    def __init__(self, networks: Networks, actions: Sequence[int] | None, seed: int = 0) -> None:
        self._networks = networks
        self._actions = actions
        self._seed = seed
        step_seconds = networks.config.task.step_seconds
        self._env = Session(networks.settings, step_seconds=step_seconds)

    def run(self, program: Program) -> Foresight:
        """Raises `ProgramError` for a program that LLVM fails on before the first pass."""
        observations, actions, costs, rewards = self._play(program)
        alpha = self._networks.config.dreamer.replay.smoothing
        return Foresight(
            program.name,
            tuple(self._networks.settings.action_names(actions)),
            self._env.costs.baseline,
            Trajectory(
                observations[:, self._networks.settings.layout["autophase"]].astype(np.float64),
                smooth(np.array(rewards), alpha),
                np.array(costs, np.float64),
            ),
            imagine(
                self._networks,
                observations[0],
                actions,
                self._env.costs,
                torch.Generator().manual_seed(self._seed),
            ),
        )

    def _play(
        self, program: Program
    ) -> tuple[npt.NDArray[np.float32], list[int], list[int], list[float]]:
        """Observations (L + 1, D), the L actions, L + 1 costs and L rewards."""
        observation = self._env.begin(program)
        observations, costs = [observation], [self._env.cost]
        actions: list[int] = []
        rewards: list[float] = []
        choose = self._chooser()
        while (action := choose(observation)) is not None:
            observation, reward, terminated, truncated, info = self._env.step(action)
            if info.get("end") in FAILURES:
                break
            observations.append(observation)
            actions.append(action)
            costs.append(self._env.cost)
            rewards.append(float(reward))
            if terminated or truncated:
                break
        return np.stack(observations), actions, costs, rewards

    def _chooser(self) -> Callable[[npt.NDArray[np.float32]], int | None]:
        """Gives the next action for an observation, or None at the end of a given sequence."""
        if self._actions is not None:
            remaining = iter(self._actions)
            return lambda observation: next(remaining, None)
        actor = Actor(self._networks.world, self._networks.behaviour, 1)
        is_first = np.ones(1, np.bool_)

        def act(observation: npt.NDArray[np.float32]) -> int:
            action = actor.act([0], observation[np.newaxis], is_first.copy(), greedy=True)
            is_first[0] = False
            return int(action[0])

        return act

    def interrupt(self) -> None:
        self._env.interrupt()

    def close(self) -> None:
        self._env.close()


@torch.no_grad()
def imagine(
    networks: Networks,
    observation: npt.NDArray[np.float32],
    actions: Sequence[int],
    costs: Costs,
    generator: torch.Generator,
) -> Trajectory:
    """What the model imagines actions to do to a program that it has seen once.

    Args:
        observation: of the program as it is at the start, shape (D,).
        costs: of the start and the baseline, which costs are told by: from sizes where the model
            sees them, and else from rewards, by equation (2).
    """
    world, rssm = networks.world, networks.world.rssm

    def uniform() -> torch.Tensor:
        return torch.rand(SAMPLES, *rssm.latent_shape, generator=generator)

    def same(action: int) -> torch.Tensor:
        return torch.full((SAMPLES,), action)

    state = rssm.observe_one(
        rssm.initial(SAMPLES),
        world.encode(torch.from_numpy(observation)).expand(SAMPLES, -1),
        same(0),
        torch.ones(SAMPLES, dtype=torch.bool),
        uniform(),
    )
    states = [state]
    for action in actions:
        state = rssm.imagine_one(rssm.weights, state, same(action), uniform())
        states.append(state)
    features = State(*map(torch.stack, zip(*states, strict=True))).features
    layout = networks.settings.layout
    observed = _mean(world.decode(features))
    rewards = _mean(world.predict_reward(features[1:]))
    if "margins" in layout:
        of_costs = np.exp(observed[:, layout["margins"]][:, 0]) * costs.baseline
    elif "sizes" in layout:
        of_costs = observed[:, layout["sizes"]][:, 1] * costs.baseline
    else:
        saved = unsmooth(rewards, networks.config.dreamer.replay.smoothing).cumsum()
        of_costs = costs.initial - np.concatenate([[0.0], saved]) * costs.unit
    return Trajectory(observed[:, layout["autophase"]], rewards, of_costs)


def _mean(samples: torch.Tensor) -> Float:
    """Over the second axis."""
    mean: Float = samples.mean(1).double().numpy()
    return mean


def foresee_all(
    networks: Networks,
    programs: Sequence[Program],
    actions: Sequence[int] | None,
    *,
    seed: int = 0,
    jobs: int = 0,
    on_done: Callable[[Program, Foresight | CodeZeroError], None] = lambda program, result: None,
) -> tuple[list[Foresight], list[CodeZeroError]]:
    """`Foreseer.run` for programs on all cores; and why it failed for the rest."""

    def work(foreseer: Foreseer, program: Program) -> Foresight | CodeZeroError:
        try:
            return foreseer.run(program)
        except CodeZeroError as error:
            return error

    results = run_all(
        work, programs, lambda: Foreseer(networks, actions, seed), jobs=jobs, on_done=on_done
    )
    return (
        [result for result in results if isinstance(result, Foresight)],
        [result for result in results if isinstance(result, CodeZeroError)],
    )


def errors_by_horizon(foresights: Sequence[Foresight]) -> list[HorizonError]:
    """The errors of 1, 2, ... passes ahead, each over the programs whose trajectory is as long."""
    longest = max((len(f.passes) for f in foresights), default=0)
    return [
        _error([f for f in foresights if len(f.passes) >= horizon], horizon)
        for horizon in range(1, longest + 1)
    ]


def _error(foresights: Sequence[Foresight], horizon: int) -> HorizonError:
    def mean(errors: list[Float]) -> float:
        return float(np.mean(np.abs(errors)))

    def total(trajectory: Trajectory) -> Float:
        return np.asarray(trajectory.rewards[:horizon].sum())

    return HorizonError(
        horizon,
        len(foresights),
        mean([f.imagined.autophase[horizon] - f.real.autophase[horizon] for f in foresights]),
        mean([f.real.autophase[0] - f.real.autophase[horizon] for f in foresights]),
        mean([total(f.imagined) - total(f.real) for f in foresights]),
        mean([total(f.real) for f in foresights]),
    )
