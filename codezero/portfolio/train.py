"""Make a portfolio from tables: which lists are in it, and what chooses among them. Needs torch.

The lists are taken greedily, by what each adds on the training programs to the best of those before
it for the time it takes, as in Xu et al., "Hydra: automatically configuring algorithms for
portfolio-based selection", AAAI 2010. What chooses is a mixture: programs are of a number of kinds;
on one kind, every list's gain has a Laplace distribution; and a network tells the kind from the
features. Both are learned together, by maximum likelihood. Kinds rather than a forecast for each
list, since what a second list adds depends on what the first has already gained on the same
program. For the same reason the portfolio's scenarios are the training programs themselves, all of
a kind alike, and not what lists gain in the mean of a kind.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codezero.agents.export import write_graph
from codezero.agents.precision import convert
from codezero.errors import CodeZeroError
from codezero.files import replacing
from codezero.portfolio.portfolio import DESCRIPTION, FORMAT, NETWORK, Portfolio, order
from codezero.portfolio.table import Float, ListTable

CLIP = 4.0
"""Standard deviations from the mean that a feature counts for."""
GAINS = (-0.2, 0.6)
"""Beyond these, a gain or a loss counts as no more."""


@dataclass(frozen=True)
class PortfolioConfig:
    """How a portfolio is made."""

    size: int = 32
    """Lists in it."""
    most_work: float = 6.0
    """Time of a trial's lists together, over the baseline's."""
    kinds: int = 64
    """Of programs."""
    prior: float = 0.3
    """Weight of all training programs alike, against what the network tells."""
    hidden: int = 128
    members: int = 3
    """Networks whose mean decides."""
    epochs: int = 60
    batch: int = 256
    learning_rate: float = 3e-3
    weight_decay: float = 0.1
    dropout: float = 0.3
    noise: float = 0.1
    """Added to features in training, in standard deviations."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("size", "kinds", "hidden", "members", "epochs", "batch"):
            if getattr(self, name) < 1:
                raise CodeZeroError(f"portfolio: {name} is at least 1")
        if not self.most_work > 0:
            raise CodeZeroError("portfolio: most_work is more than 0")
        if not 0 <= self.prior <= 1:
            raise CodeZeroError("portfolio: prior is between 0 and 1")


def choose_lists(table: ListTable, size: int) -> list[int]:
    """Indices of lists taken greedily; those that no program gains from are left out."""
    saved = table.saved
    equal = np.full(len(saved), 1 / len(saved), np.float32)
    useful = np.flatnonzero(saved.max(0) > 0).tolist()
    return order(equal, saved, mean_work(table), useful, math.inf).trial[:size]


def mean_work(table: ListTable) -> Float:
    """The time of each list over the baseline's, the mean of the programs, shape (L,)."""
    mean: Float = np.nanmean(table.work, 0)
    return mean


class Member(nn.Module):
    """One network of the mixture.

    Args:
        gains: of training programs, shape (P, L): the kinds begin as some of them.
    """

    def __init__(self, features: int, gains: Tensor, config: PortfolioConfig) -> None:
        super().__init__()
        first = torch.randint(len(gains), (config.kinds,))
        self.location = nn.Parameter(gains[first].clone())
        self.log_scale = nn.Parameter(torch.full_like(self.location, -3.5))
        self.network = nn.Sequential(
            nn.Linear(features, config.hidden),
            nn.LayerNorm(config.hidden),
            nn.SiLU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.hidden, config.kinds),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Log-probabilities of kinds, shape (B, kinds)."""
        return F.log_softmax(self.network(features), -1)

    def likelihood(self, gains: Tensor) -> Tensor:
        """Of gains (B, L) on each kind, as a logarithm, shape (B, kinds).

        A list's counts for a quarter: what lists gain on one program is not independent.
        """
        scale = self.log_scale.clamp(-6.0, 0.0)
        distance = (gains[:, None] - self.location).abs() / scale.exp()
        return (-distance - scale - math.log(2)).sum(-1) / 4

    def posterior(self, features: Tensor, gains: Tensor) -> Tensor:
        """Probabilities of kinds where the gains are known, shape (B, kinds)."""
        return torch.softmax(self(features) + self.likelihood(gains), -1)


class Chooser(nn.Module):
    """What a portfolio's network file has: features to scenarios.

    Args:
        gains: of each scenario, shape (S, L): the training programs.
        kinds: that the scenarios are of, shape (members, S): each member has its own.
    """

    mean: Tensor
    deviation: Tensor
    scenarios: Tensor
    kinds: Tensor
    shares: Tensor

    def __init__(
        self,
        mean: Tensor,
        deviation: Tensor,
        members: Sequence[Member],
        gains: Tensor,
        kinds: Tensor,
        prior: float,
    ) -> None:
        super().__init__()
        self.members = nn.ModuleList(member.network for member in members)
        self.prior = prior
        sizes = torch.stack([row.bincount()[row] for row in kinds])
        for name, value in (
            ("mean", mean),
            ("deviation", deviation),
            ("scenarios", gains.half()),  # a thousandth of what they are is nothing here
            ("kinds", kinds),
            ("shares", 1 / sizes),
        ):
            self.register_buffer(name, value)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Weights of scenarios (B, S), and gains (B, S, L), of features (B, 2 * NUM_FEATURES)."""
        scaled = scale(features, self.mean, self.deviation)
        told = [
            torch.softmax(member(scaled), -1)[:, kinds] * share
            for member, kinds, share in zip(self.members, self.kinds, self.shares, strict=True)
        ]
        weights = (1 - self.prior) * torch.stack(told).mean(0)
        weights = weights + self.prior / self.scenarios.shape[0]
        return weights, self.scenarios.float().expand(features.shape[0], -1, -1)


def squash(features: Tensor) -> Tensor:
    """Ratios from a thousandth to one apart, counts and logarithms as they are or nearly."""
    return features.sign() * torch.log1p(100 * features.abs())


def scale(features: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    return ((squash(features) - mean) / deviation).clamp(-CLIP, CLIP)


def train(table: ListTable, config: PortfolioConfig) -> tuple[ListTable, Chooser]:
    """The portfolio's lists, as a table, and what chooses among them.

    Raises:
        CodeZeroError: no list makes any program smaller than the baseline does, or there are less
            than two programs.
    """
    if len(table.programs) < 2:
        raise CodeZeroError("a portfolio is learnt from two programs at least")
    torch.manual_seed(config.seed)
    chosen = choose_lists(table, config.size)
    if not chosen:
        raise CodeZeroError("no list of the table makes a program smaller than the baseline does")
    table = table.with_lists(chosen)
    squashed = squash(torch.from_numpy(table.features))
    mean, deviation = squashed.mean(0), squashed.std(0) + 1e-2
    features = scale(torch.from_numpy(table.features), mean, deviation)
    gains = torch.from_numpy(np.nan_to_num(table.gains, nan=GAINS[0])).clamp(*GAINS)
    members, kinds = [], []
    for _ in range(config.members):
        member = _train_member(features, gains, config)
        with torch.no_grad():
            kinds.append(member.posterior(features, gains).argmax(-1))
        members.append(member)
    saved = torch.from_numpy(table.saved)
    chooser = Chooser(mean, deviation, members, saved, torch.stack(kinds), config.prior)
    return table, chooser.eval()


def _train_member(features: Tensor, gains: Tensor, config: PortfolioConfig) -> Member:
    member = Member(features.shape[1], gains, config)
    optimizer = torch.optim.AdamW(
        [
            {"params": member.network.parameters(), "weight_decay": config.weight_decay},
            {"params": [member.location, member.log_scale], "weight_decay": 0.0},
        ]
    )
    batches = list(_batches(len(features), config))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.learning_rate, total_steps=len(batches)
    )
    for rows in batches:
        seen = features[rows] + config.noise * torch.randn(len(rows), features.shape[1])
        loss = -torch.logsumexp(member(seen) + member.likelihood(gains[rows]), -1).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return member.eval()


def _batches(programs: int, config: PortfolioConfig) -> Iterator[Tensor]:
    for _ in range(config.epochs):
        yield from torch.randperm(programs).split(config.batch)  # type: ignore[no-untyped-call]


def write(folder: Path, lists: ListTable, chooser: Chooser, config: PortfolioConfig) -> None:
    """Write a portfolio to an agent's folder, one without tails."""
    description = {
        "format": FORMAT,
        "objective": lists.objective,
        "protocol": lists.protocol,
        "most_work": config.most_work,
        "trained": {"programs": len(lists.programs), "config": asdict(config)},
        "work": [max(round(float(each), 3), 0.001) for each in mean_work(lists)],
        "lists": lists.lists,
        "tails": [],
        "tail_work": [],
        "rebuild_work": 0.0,
    }
    with replacing(folder / NETWORK) as temporary, tempfile.TemporaryDirectory() as scratch:
        original = Path(scratch) / NETWORK
        write_graph(
            chooser,
            (torch.from_numpy(lists.features[:2]),),
            original,
            inputs=["features"],
            outputs=["weights", "gains"],
        )
        convert(original, temporary, "float16")
    with replacing(folder / DESCRIPTION) as temporary:
        temporary.write_text(json.dumps(description, indent=1) + "\n")


def figures(portfolio: Portfolio, table: ListTable) -> list[dict[str, Any]]:
    """What a portfolio comes to on a table's programs: a row for each number of lists tried.

    Raises:
        CodeZeroError: the table has not all its lists.
    """
    where = {names: k for k, names in enumerate(table.lists)}
    missing = [each for each in portfolio.lists if each not in where]
    if missing:
        raise CodeZeroError(f"the table has not the list {' '.join(missing[0])}")
    table = table.with_lists([where[each] for each in portfolio.lists])
    orders = [portfolio.order_of(row) for row in table.features]
    everything = [[*each.trial, *each.others] for each in orders]
    return [
        *(_figures_of(table, [each[:k] for each in everything], f"{k}") for k in range(1, 9)),
        _figures_of(table, [each.trial for each in orders], "trial"),
        _figures_of(table, everything, "all"),
    ]


def _figures_of(table: ListTable, chosen: Sequence[Sequence[int]], name: str) -> dict[str, Any]:
    saved = [float(row[list(c)].max()) for row, c in zip(table.saved, chosen, strict=True)]
    work = [float(np.nansum(row[list(c)])) for row, c in zip(table.work, chosen, strict=True)]
    return {
        "lists": name,
        "mean_lists": float(np.mean([len(c) for c in chosen])),
        "ratio": math.exp(float(np.mean(saved))),
        "median_work": float(np.median(work)),
    }
