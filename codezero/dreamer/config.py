"""What an agent is made of and how it learns: every number, and the presets.

The defaults are the paper's Table B3, and for what it leaves out, the configuration that its
authors published with a later version (CompilerDream, KDD 2025).
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass, replace
from enum import Enum
from typing import Any

from codezero.errors import CodeZeroError


def _require(settings: Any, **least: float) -> None:
    for name, bound in least.items():
        value = getattr(settings, name)
        if not value >= bound:
            raise CodeZeroError(f"{name} is {value}; it is at least {bound}")


def _require_positive(settings: Any, *names: str) -> None:
    for name in names:
        if not getattr(settings, name) > 0:
            raise CodeZeroError(f"{name} is {getattr(settings, name)}; it is more than 0")


def _require_share(settings: Any, *names: str) -> None:
    for name in names:
        value = getattr(settings, name)
        if not 0 <= value <= 1:
            raise CodeZeroError(f"{name} is {value}; it is between 0 and 1")


@dataclass(frozen=True)
class ModelSizes:
    """Sizes of the networks."""

    recurrent: int = 1024
    """Units of the deterministic state h, the GRU's."""
    latents: int = 32
    """Categorical variables in the stochastic state z."""
    classes: int = 32
    """Classes of each."""
    hidden: int = 1024
    """Units of the RSSM's own hidden layers."""
    layers: int = 4
    """Hidden layers of encoder, decoders, heads, actor and critic."""
    units: int = 400
    """Units of each of these layers."""
    bins: int = 255
    """Bins of the two-hot heads, for reward and value."""
    bin_limit: float = 20.0
    """The outermost bins stand for symexp(+-bin_limit)."""

    def __post_init__(self) -> None:
        _require(self, recurrent=1, latents=1, classes=2, hidden=1, layers=1, units=1, bins=3)
        _require_positive(self, "bin_limit")
        if self.bins % 2 == 0:
            raise CodeZeroError(f"bins is {self.bins}; an odd number has a bin for zero")


@dataclass(frozen=True)
class InputScales:
    """What the parts of an observation are multiplied by before symlog, in and out.

    Most numbers are shares of a few hundredths, and differences of a per cent decide. At a scale of
    1, which is the paper's, a network hardly sees them, and they hardly count in its loss.
    """

    autophase: float = 1.0
    histogram: float = 1.0
    sizes: float = 1.0
    margins: float = 1.0
    shape: float = 1.0

    def __post_init__(self) -> None:
        _require_positive(self, *(f.name for f in fields(self)))


@dataclass(frozen=True)
class WorldLosses:
    """Scales of the world model's losses, equation (4), and how its KL divergence is taken."""

    autophase: float = 100.0
    histogram: float = 10.0
    sizes: float = 100.0
    """Of the relative sizes, where they are observed."""
    margins: float = 100.0
    """Of the logarithms of relative sizes, where they are observed."""
    shape: float = 100.0
    """Of the finer features, where they are observed."""
    reward: float = 1.0
    discount: float = 5.0
    kl: float = 0.1
    kl_balance: float = 0.8
    """Share of the KL divergence that trains the prior; the rest trains the posterior."""
    free_nats: float = 1.0
    """The mean divergence is not pushed below this."""
    unimix: float = 0.01
    """Share of the uniform distribution in every categorical: latents and actor."""

    def __post_init__(self) -> None:
        _require(self, autophase=0, histogram=0, sizes=0, margins=0, shape=0, reward=0)
        _require(self, discount=0, kl=0, free_nats=0)
        _require_share(self, "kl_balance", "unimix")


@dataclass(frozen=True)
class BehaviourSettings:
    """How the actor and the critic learn in imagination, equations (6) to (9)."""

    horizon: int = 15
    start_every: int = 1
    """Imagination starts from every k-th observed state of a sequence."""
    discount: float = 0.99
    """Gamma."""
    return_lambda: float = 0.95
    entropy: float = 3e-4
    """Eta: the weight of the actor's entropy."""
    entropy_limit: float = 2.0
    """Entropy counts up to so many nats."""
    return_decay: float = 0.99
    """Of the moving average of the returns' 5th and 95th percentiles."""
    return_floor: float = 1.0
    """Returns are divided by the range between the two, but by no less than this."""
    imitation: float = 0.0
    """Weight of the loss by which the actor takes after replayed actions that came to more than
    the critic foresees, as in "Self-Imitation Learning" (Oh et al., ICML 2018): a compiler does the
    same each time, so what was reached once can be reached again."""
    slow_critic_every: int = 100
    """Updates between copies of the critic to the slow one, which targets and baseline use."""

    def __post_init__(self) -> None:
        _require(self, horizon=1, start_every=1, entropy=0, entropy_limit=0, imitation=0)
        _require(self, slow_critic_every=1)
        _require_share(self, "discount", "return_lambda", "return_decay")
        _require_positive(self, "return_floor")


@dataclass(frozen=True)
class OptimizerSettings:
    """Adam, for the world model and for actor and critic."""

    world_rate: float = 1e-4
    behaviour_rate: float = 3e-5
    epsilon: float = 1e-5
    weight_decay: float = 1e-5
    clip: float = 100.0
    """Gradients are scaled down to this norm."""

    def __post_init__(self) -> None:
        _require(self, world_rate=0, behaviour_rate=0, epsilon=0, weight_decay=0)
        _require_positive(self, "clip")


@dataclass(frozen=True)
class ReplaySettings:
    """What is learnt from."""

    capacity: int = 2_000_000
    """Rows that are kept, one an observation; the oldest episodes go first."""
    batch: int = 50
    """Sequences of an update."""
    length: int = 50
    """Steps of a sequence, which runs over the ends of episodes."""
    smoothing: float = 0.6
    """Alpha of equation (5); 0 leaves rewards as they are."""
    max_reward: float = 3.0
    """An episode with a reward of larger magnitude is not kept: a program whose baseline gains
    next to nothing, or a growth that is undone."""
    max_return: float = 5.0
    """Nor one with a return of larger magnitude."""

    def __post_init__(self) -> None:
        _require(self, capacity=1, batch=1, length=2, max_reward=0, max_return=0)
        if not 0 <= self.smoothing < 1:
            raise CodeZeroError(f"smoothing is {self.smoothing}; it is at least 0 and below 1")


@dataclass(frozen=True)
class DreamerConfig:
    sizes: ModelSizes = field(default_factory=ModelSizes)
    scales: InputScales = field(default_factory=InputScales)
    losses: WorldLosses = field(default_factory=WorldLosses)
    behaviour: BehaviourSettings = field(default_factory=BehaviourSettings)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    replay: ReplaySettings = field(default_factory=ReplaySettings)


PRESETS = {
    "paper": DreamerConfig(),
    # For a CPU: an update takes a seventh of a second, and a few thousand of them learn. So rates
    # are higher; rewards, which are small beside features, count for more; more entropy keeps the
    # actor from believing a model that knows little yet; more weight of the divergence keeps the
    # model to what it can foresee; and a younger slow critic follows within that time.
    "small": DreamerConfig(
        sizes=ModelSizes(
            recurrent=192, latents=16, classes=16, hidden=192, layers=2, units=128, bin_limit=3.0
        ),
        losses=WorldLosses(reward=10.0, kl=1.0),
        behaviour=BehaviourSettings(
            start_every=4, entropy=3e-3, entropy_limit=10.0, slow_critic_every=20
        ),
        optimizer=OptimizerSettings(world_rate=1e-3, behaviour_rate=1e-4),
        replay=ReplaySettings(batch=16, length=32, smoothing=0.0),
    ),
    # For a GPU, and small enough to ship. Larger batches of more steps are what a GPU's time is
    # better spent on than the paper's sizes, which learn some thousand programs by heart. Returns
    # are logarithms of a few per cent (`codezero.env.reward.Reward.BEST`).
    "medium": DreamerConfig(
        sizes=ModelSizes(
            recurrent=512,
            latents=24,
            classes=24,
            hidden=512,
            layers=2,
            units=256,
            bin_limit=1.0,
        ),
        scales=InputScales(autophase=30.0, histogram=30.0, margins=30.0, shape=30.0),
        losses=WorldLosses(
            autophase=1.0, histogram=1.0, sizes=10.0, margins=100.0, shape=1.0, reward=10.0, kl=1.0
        ),
        behaviour=BehaviourSettings(
            discount=0.997, entropy=1e-4, entropy_limit=10.0, return_floor=0.1, imitation=1.0
        ),
        optimizer=OptimizerSettings(world_rate=3e-4, behaviour_rate=1e-4),
        replay=ReplaySettings(batch=64, length=46, smoothing=0.0),
    ),
    # For tests of everything around the learning.
    "debug": DreamerConfig(
        sizes=ModelSizes(
            recurrent=16, latents=4, classes=4, hidden=16, layers=1, units=16, bins=41
        ),
        behaviour=BehaviourSettings(horizon=5),
        replay=ReplaySettings(capacity=10_000, batch=4, length=8),
    ),
}


def to_dict(settings: Any) -> dict[str, Any]:
    """Nested settings as nested dictionaries, for a file."""
    result: dict[str, Any] = {}
    for f in fields(settings):
        value = getattr(settings, f.name)
        if is_dataclass(value):
            value = to_dict(value)
        elif isinstance(value, Enum):
            value = value.value
        result[f.name] = value
    return result


def from_dict(defaults: Any, values: dict[str, Any], where: str = "") -> Any:
    """Settings with some values replaced, as `to_dict` writes them.

    Raises:
        CodeZeroError: a key that there is not, or a value of another type.
    """
    known = {f.name for f in fields(defaults)}
    changes: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:
            raise CodeZeroError(f"no setting '{where}{key}'; there are: {', '.join(sorted(known))}")
        default = getattr(defaults, key)
        if is_dataclass(default):
            if not isinstance(value, dict):
                raise CodeZeroError(f"{where}{key} is {value!r}; it has settings of its own")
            changes[key] = from_dict(default, value, f"{where}{key}.")
        elif isinstance(default, Enum):
            choices = [member.value for member in type(default)]
            if value not in choices:
                raise CodeZeroError(f"{where}{key} is {value!r}; choose from: {', '.join(choices)}")
            changes[key] = type(default)(value)
        elif isinstance(default, tuple):  # of texts
            if not isinstance(value, list) or not all(isinstance(part, str) for part in value):
                raise CodeZeroError(f"{where}{key} is {value!r}; it is a list of texts")
            changes[key] = tuple(value)
        elif isinstance(default, float) and isinstance(value, int):
            changes[key] = float(value)
        elif type(value) is not type(default):
            raise CodeZeroError(f"{where}{key} is {value!r}; it is a {type(default).__name__}")
        else:
            changes[key] = value
    return replace(defaults, **changes)
