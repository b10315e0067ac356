"""The agent's equations, against slow and plain computations in float64."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from codezero.dreamer.behaviour import (
    Behaviour,
    Replayed,
    ReturnScale,
    lambda_return,
    replayed_return,
)
from codezero.dreamer.config import (
    PRESETS,
    BehaviourSettings,
    DreamerConfig,
    InputScales,
    ModelSizes,
    OptimizerSettings,
    ReplaySettings,
    WorldLosses,
)
from codezero.dreamer.distributions import (
    TwoHot,
    balanced_kl,
    log_unimix,
    sample_one_hot,
    symexp,
    symlog,
)
from codezero.dreamer.learner import Learner
from codezero.dreamer.policy import Actor
from codezero.dreamer.replay import Replay, Transitions, smooth
from codezero.dreamer.rssm import RSSM, State, StepWeights, next_h, posterior_logits
from codezero.dreamer.world_model import Sequences, WorldModel

F64 = torch.float64


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)  # more are slower for networks of this size


def test_symexp_undoes_symlog() -> None:
    x = torch.linspace(-1_000, 1_000, 101, dtype=F64)
    torch.testing.assert_close(symexp(symlog(x)), x)
    assert symlog(torch.tensor(math.e - 1, dtype=F64)).item() == pytest.approx(1.0)


def test_two_hot_encodes_between_the_two_nearest_bins() -> None:
    two_hot = TwoHot(41, 20.0).double()
    x = torch.tensor([-5e8, -3.3, -0.01, 0.0, 0.2, 7.0, 4e8], dtype=F64)
    weights = two_hot.encode(x)
    for number, row in zip(x.tolist(), weights, strict=True):
        place = math.copysign(math.log(abs(number) + 1), number)
        place = min(max(place, -20.0), 20.0)
        expected = [max(0.0, 1 - abs(centre - place)) for centre in range(-20, 21)]
        assert row.tolist() == pytest.approx(expected, abs=1e-9)
    torch.testing.assert_close(two_hot.decode(torch.log(weights + 1e-30))[1:-1].double(), x[1:-1])


def test_two_hot_loss_is_cross_entropy() -> None:
    two_hot = TwoHot(41, 20.0).double()
    x, logits = torch.randn(6, dtype=F64) * 5, torch.randn(6, 41, dtype=F64)
    plain = -(two_hot.encode(x) * torch.log(logits.exp() / logits.exp().sum(-1, True))).sum(-1)
    torch.testing.assert_close(two_hot.loss(logits, x), plain, check_dtype=False, atol=1e-5, rtol=0)


def test_every_class_keeps_its_share_of_the_uniform() -> None:
    logits = torch.tensor([[0.0, 50.0, -50.0, 1.0]], dtype=F64)
    probabilities = log_unimix(logits, 0.01).exp().double()
    torch.testing.assert_close(probabilities, 0.99 * logits.softmax(-1) + 0.0025, atol=1e-6, rtol=0)
    assert probabilities.min() >= 0.0025


def test_samples_follow_the_probabilities() -> None:
    probabilities = torch.tensor([0.1, 0.6, 0.3])
    samples = sample_one_hot(probabilities.log().expand(50_000, 3), torch.rand(50_000, 3))
    torch.testing.assert_close(samples.mean(0), probabilities, atol=0.01, rtol=0)
    assert torch.equal(samples.sum(-1), torch.ones(50_000))


def test_kl_is_balanced_between_prior_and_posterior() -> None:
    shape = (3, 2, 4, 5)
    p, q = (torch.randn(shape, dtype=F64).requires_grad_() for _ in range(2))

    def kl(a: Tensor, b: Tensor) -> Tensor:
        total = torch.zeros((), dtype=F64)
        for i in range(3):
            for j in range(2):
                for k in range(4):
                    x, y = F.softmax(a[i, j, k], 0), F.softmax(b[i, j, k], 0)
                    total = total + sum(x[c] * (x[c].log() - y[c].log()) for c in range(5))
        return total / 6

    loss = balanced_kl(p.log_softmax(-1), q.log_softmax(-1), 0.8, 0.0)
    torch.testing.assert_close(loss, kl(p, q))
    of_p, of_q = torch.autograd.grad(loss, (p, q))
    plain_p, plain_q = torch.autograd.grad(kl(p, q), (p, q))
    torch.testing.assert_close(of_p, 0.2 * plain_p)
    torch.testing.assert_close(of_q, 0.8 * plain_q)


def test_free_nats_are_not_trained_away() -> None:
    p, q = (torch.randn(4, 2, 3, dtype=F64).requires_grad_() for _ in range(2))
    loss = balanced_kl(p.log_softmax(-1), q.log_softmax(-1), 0.8, 100.0)
    assert loss.item() == 100.0
    for gradient in torch.autograd.grad(loss, (p, q)):
        assert not gradient.any()


def test_rewards_are_smoothed_as_equation_5() -> None:
    rewards = np.array([1.0, 0.0, 0.0, 2.0])
    expected = [1.0, 0.6, 0.36, 0.6 * 0.36 + 0.4 * 2.0]
    assert smooth(rewards, 0.6) == pytest.approx(expected)
    assert smooth(rewards, 0.0) == pytest.approx(rewards)


def test_lambda_return_is_equation_8() -> None:
    horizon, lam = 6, 0.9
    reward, discount = torch.randn(horizon, 3, dtype=F64), torch.rand(horizon, 3, dtype=F64)
    value = torch.randn(horizon + 1, 3, dtype=F64)

    def n_step(t: int, n: int) -> Tensor:
        """The sum of n discounted rewards from t on, and the value after them."""
        total, weight = torch.zeros(3, dtype=F64), torch.ones(3, dtype=F64)
        for k in range(t, t + n):
            total, weight = total + weight * reward[k], weight * discount[k]
        return total + weight * value[t + n]

    returns = lambda_return(reward, discount, value, lam)
    for t in range(horizon):
        steps = horizon - t
        mixture = sum((1 - lam) * lam ** (n - 1) * n_step(t, n) for n in range(1, steps))
        torch.testing.assert_close(returns[t], mixture + lam ** (steps - 1) * n_step(t, steps))


def test_replayed_returns_end_with_the_episode_or_with_the_value_of_the_last_row() -> None:
    # Two episodes, the first cut off at its limit, and the second's end beyond the sequence.
    reward = torch.tensor([[0.0], [1.0], [2.0], [0.0], [4.0], [8.0]])
    is_first = torch.tensor([[True], [False], [False], [True], [False], [False]])
    value = torch.full((6, 1), 16.0)
    discount = torch.full((6, 1), 0.5)
    returns = replayed_return(reward, discount, is_first, value)
    cut_off = 8 + 0.5 * 16
    assert returns.squeeze(1).tolist() == [1 + 0.5 * 2, 2.0, 0.0, 4 + 0.5 * cut_off, cut_off]
    discount[5] = 0.0  # it ended for good
    assert replayed_return(reward, discount, is_first, value)[4].item() == 8.0


def test_returns_are_scaled_by_their_percentiles() -> None:
    scale = ReturnScale(0.99, 0.1)
    low = high = 0.0
    for k in range(5):
        returns = torch.randn(15, 7) * (k + 1)
        measured = scale.update(returns)
        low = 0.99 * low + 0.01 * float(np.percentile(returns.numpy(), 5))
        high = 0.99 * high + 0.01 * float(np.percentile(returns.numpy(), 95))
        assert measured.item() == pytest.approx(max(high - low, 0.1), rel=1e-5)
    assert ReturnScale(0.99, 1.0).update(torch.randn(9)).item() == 1.0


def observed(rssm: RSSM, steps: int, batch: int) -> tuple[Tensor, Tensor, Tensor]:
    embedded = torch.randn(steps, batch, 6, dtype=F64).requires_grad_()
    action = torch.randint(5, (steps, batch))
    is_first = torch.zeros(steps, batch, dtype=torch.bool)
    is_first[0] = True
    is_first[3, 1] = is_first[4, 0] = True
    return embedded, action, is_first


def model() -> RSSM:
    sizes = ModelSizes(recurrent=7, latents=3, classes=4, hidden=8)
    return RSSM(5, 6, sizes, 0.01).double()


def test_the_scan_is_the_plain_recurrence_and_its_gradient() -> None:
    """Against one step after another, under autograd, with samples that pass gradients straight."""
    rssm = model()
    embedded, action, is_first = observed(rssm, 7, 2)
    torch.manual_seed(1)
    states, posterior, prior = rssm.observe(embedded, action, is_first)

    torch.manual_seed(1)
    uniform = torch.rand(7, 2, 3, 4)
    h, z = rssm.initial(2)
    plain: list[list[Tensor]] = [[], [], [], []]
    for t in range(7):
        keep = (~is_first[t]).double().unsqueeze(-1)
        h = next_h(rssm.weights, h * keep, z * keep, rssm.action_in(action[t]) * keep)
        p = rssm.log_probabilities(posterior_logits(rssm.weights, h, rssm.posterior_o(embedded[t])))
        sample = sample_one_hot(p.detach(), uniform[t])
        z = (sample + p.exp() - p.exp().detach()).flatten(-2)
        for column, value in zip(plain, (h, z, p, rssm.prior_of(h)), strict=True):
            column.append(value)

    weights = [torch.randn_like(torch.stack(column)) for column in plain]
    outputs = (states.h, states.z, posterior, prior)
    parameters = [embedded, *rssm.parameters()]
    for output, column in zip(outputs, plain, strict=True):
        torch.testing.assert_close(output, torch.stack(column), check_dtype=False)
    gradients = torch.autograd.grad(
        [(output * weight).sum() for output, weight in zip(outputs, weights, strict=True)],
        parameters,
    )
    expected = torch.autograd.grad(
        [(torch.stack(c) * weight).sum() for c, weight in zip(plain, weights, strict=True)],
        parameters,
    )
    for ours, theirs in zip(gradients, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_nothing_passes_the_boundary_of_an_episode() -> None:
    rssm = model()
    embedded, action, is_first = observed(rssm, 7, 2)
    torch.manual_seed(1)
    states, _, _ = rssm.observe(embedded, action, is_first)
    (gradient,) = torch.autograd.grad(states.h[3:, 1].sum() + states.z[3:, 1].sum(), embedded)
    assert not gradient[:3].any() and gradient[3:, 1].any()
    other = action.clone()
    other[3, 1] = (other[3, 1] + 1) % 5
    torch.manual_seed(1)
    again, _, _ = rssm.observe(embedded, other, is_first)
    assert torch.equal(states.h, again.h), (
        "the action that led to a first observation has no effect"
    )


def test_observations_are_scaled_on_the_way_in_and_back_on_the_way_out() -> None:
    layout = {"autophase": slice(0, 2), "histogram": slice(2, 3)}
    scales = InputScales(autophase=30.0)
    world = WorldModel(layout, 4, replace(PRESETS["debug"], scales=scales))
    observation = torch.tensor([[0.01, 0.02, 0.5]])
    seen = symlog(torch.tensor([[0.3, 0.6, 0.5]]))
    torch.testing.assert_close(world.encode(observation), world.encoder(seen))

    decoders = cast(dict[str, Any], world.decoders)
    for name, part in layout.items():  # as if the networks had learnt what they see
        decoders[name].forward = lambda features, part=part: seen[:, part]
    torch.testing.assert_close(world.decode(torch.zeros(1, 1)), observation)


def test_presets_are_what_they_are_called() -> None:
    paper = PRESETS["paper"]
    assert (paper.sizes.recurrent, paper.sizes.latents, paper.sizes.classes) == (1024, 32, 32)
    assert (paper.sizes.layers, paper.sizes.units) == (4, 400)
    assert (paper.replay.batch, paper.replay.length, paper.behaviour.horizon) == (50, 50, 15)


# Replay


def episode(length: int, first: float = 0.0, terminated: bool = False) -> Transitions:
    observations = first + np.arange(length + 1, dtype=np.float32)[:, None] * np.ones((1, 3))
    rng = np.random.default_rng(int(first))
    return Transitions(
        observations.astype(np.float32),
        rng.integers(0, 4, length),
        rng.normal(0, 0.1, length),
        terminated,
    )


def settings(**changes: Any) -> ReplaySettings:
    return replace(ReplaySettings(capacity=100, batch=64, length=8), **changes)


def test_a_sequence_is_consecutive_rows_of_whole_episodes() -> None:
    replay = Replay(3, settings(smoothing=0.0))
    episodes = [episode(5, 100.0, terminated=True), episode(9, 200.0), episode(3, 300.0)]
    for each in episodes:
        assert replay.add(each)
    assert len(replay) == 6 + 10 + 4
    expected = np.concatenate([e.observations[:, 0] for e in episodes])
    rows = replay.draw(np.random.default_rng(0))
    assert rows.observation.shape == (8, 64, 3) and rows.is_first[0].all()
    seen = set()
    for b in range(64):
        start = int(np.flatnonzero(expected == rows.observation[0, b, 0])[0])
        seen.add(start)
        assert rows.observation[:, b, 0].tolist() == expected[start : start + 8].tolist()
        firsts = [k for k in range(1, 8) if start + k in (6, 16)]
        assert np.flatnonzero(rows.is_first[1:, b] + 0).tolist() == [k - 1 for k in firsts]
        ends = [k for k in range(8) if start + k == 5]
        assert np.flatnonzero(rows.goes_on[:, b] == 0).tolist() == ends
        for k in range(1, 8):
            at = start + k
            if at < 6 and not rows.is_first[k, b]:
                assert rows.action[k, b] == episodes[0].actions[at - 1]
                assert rows.reward[k, b] == pytest.approx(episodes[0].rewards[at - 1])
    assert seen == set(range(20 - 8 + 1)), "every row is drawn, the last ones with what they have"


def test_the_oldest_episodes_make_room() -> None:
    replay = Replay(3, settings())
    for k in range(30):
        replay.add(episode(9, 100.0 * k))
    assert len(replay) == 100
    rows = replay.rows(replay.begin, replay.end)
    assert rows.observation[::10, 0].tolist() == [100.0 * k for k in range(20, 30)]
    copy = Replay(3, settings())
    copy.extend(rows)
    first, second = (r.draw(np.random.default_rng(1)) for r in (replay, copy))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_episodes_beyond_the_limits_are_not_kept() -> None:
    replay = Replay(3, settings(max_reward=3.0, max_return=5.0))
    for rewards in ([0.0, -3.5], [2.0, 2.0, 2.0], [0.0, math.inf]):
        bad = episode(len(rewards))
        assert not replay.add(replace(bad, rewards=np.array(rewards)))
    assert len(replay) == 0 and not replay.can_draw


# Learning


def learner(config: DreamerConfig, size: int = 3, actions: int = 4) -> Learner:
    return Learner({"autophase": slice(0, size)}, actions, config)


def test_the_same_seed_gives_the_same_losses() -> None:
    def losses() -> dict[str, float]:
        replay = Replay(3, PRESETS["debug"].replay)
        for k in range(5):
            replay.add(episode(9, float(k)))
        agent, rng = learner(PRESETS["debug"]), np.random.default_rng(0)
        for _ in range(3):
            agent.update(replay.draw(rng))
        return agent.metrics()

    assert losses() == losses()


def test_learning_goes_on_from_a_saved_state_as_if_nothing_had_happened() -> None:
    replay, rng = Replay(3, PRESETS["debug"].replay), np.random.default_rng(0)
    for k in range(5):
        replay.add(episode(9, float(k)))
    batches = [replay.draw(rng) for _ in range(6)]
    config = replace(PRESETS["debug"], behaviour=BehaviourSettings(horizon=4, slow_critic_every=2))
    agent = learner(config)
    for batch in batches[:3]:
        agent.update(batch)
    file = io.BytesIO()
    torch.save(agent.state_dict(), file)
    agent.metrics()
    for batch in batches[3:]:
        agent.update(batch)
    file.seek(0)
    other = learner(config)
    other.load_state_dict(torch.load(file, weights_only=True))
    for batch in batches[3:]:
        other.update(batch)
    assert other.updates == agent.updates == 6
    assert other.metrics() == agent.metrics()


def test_an_environment_is_decided_for_whichever_others_have_answered() -> None:
    learner = Learner({"autophase": slice(0, 6)}, 5, PRESETS["debug"], seed=3)
    rng = np.random.default_rng(0)
    together, apart = (Actor(learner.world, learner.behaviour, 4) for _ in range(2))
    for t in range(6):
        seen = rng.random((4, 6), np.float32) * 100
        first = np.array([t in (0, 4), t == 0, t == 0, t == 0])
        actions = together.act(range(4), seen, first, greedy=True)
        some = rng.permutation(4)[:3]
        others = [k for k in range(4) if k not in some]
        for part in (some, np.array(others)):
            assert (apart.act(part, seen[part], first[part], greedy=True) == actions[part]).all()
    assert len(torch.unique(together._states.h, dim=0)) == 4
    torch.testing.assert_close(apart._states, together._states)


def test_an_action_that_is_given_is_taken_and_remembered() -> None:
    learner = Learner({"autophase": slice(0, 6)}, 5, PRESETS["debug"], seed=3)
    actors = [Actor(learner.world, learner.behaviour, 2) for _ in range(2)]
    seen, first = np.ones((2, 6), np.float32), np.ones(2, np.bool_)
    chosen = actors[0].act([0, 1], seen, first, greedy=True)
    other = (chosen + 1) % 5
    given = np.array([-1, other[1]])
    assert actors[1].act([0, 1], seen, first, greedy=True, given=given).tolist() == [
        chosen[0],
        other[1],
    ]
    for actor in actors:
        actor.act([0, 1], seen, ~first, greedy=True)
    differs = (actors[0]._states.h != actors[1]._states.h).any(-1)
    assert differs.tolist() == [False, True]


def test_a_world_model_learns_ten_episodes_by_heart() -> None:
    """Observations, rewards and ends of episodes, to near zero error."""
    rng = np.random.default_rng(0)
    config = replace(
        PRESETS["debug"],
        sizes=ModelSizes(
            recurrent=96,
            latents=8,
            classes=8,
            hidden=96,
            layers=2,
            units=96,
            bins=41,
            bin_limit=2.0,
        ),
        losses=WorldLosses(reward=10.0),
        optimizer=OptimizerSettings(world_rate=2e-3),
        replay=ReplaySettings(capacity=1_000, batch=16, length=10, smoothing=0.0),
    )
    replay = Replay(6, config.replay)
    for k in range(10):
        # What it begins with tells which one it is.
        observations = rng.random((10, 6)).astype(np.float32)
        replay.add(
            Transitions(observations, rng.integers(0, 4, 9), rng.normal(0, 1, 9), k % 2 == 0)
        )
    agent = learner(config, 6)
    errors: list[float] = []
    features: list[float] = []
    for _ in range(400):
        sequences = Sequences(*map(torch.from_numpy, replay.draw(rng)))
        loss, states, metrics = agent.world(sequences)
        with torch.no_grad():
            predicted = agent.world.predict_reward(states.features)
        errors.append((predicted - sequences.reward).abs().mean().item())
        agent._step(agent._world_optimizer, agent.world, loss)
        features.append(metrics["world/autophase"].item())
    assert features[-1] < 0.02 * features[0]
    assert metrics["world/discount"] < 0.05
    assert np.mean(errors[-10:]) < 0.1 * errors[0]


class KeyWorld:
    """A perfect model of a problem of five steps, in the place of the world model and its RSSM.

    Action 1 in the first step takes a key at a cost of 0.1; action 2 in the last step earns 1 with
    the key; action 0 earns 0.1, except in the last step. The best return is 1.2; who takes what
    earns at once comes to 0.4. A state is one-hot: the step, and with or without the key.
    """

    steps = 5
    best = -0.1 + 3 * 0.1 + 1.0

    @staticmethod
    def outcome(step: int, key: bool, action: int) -> tuple[bool, float]:
        if step == 0 and action == 1:
            return True, -0.1
        if step == KeyWorld.steps - 1:
            return key, float(key and action == 2)
        return key, 0.1 if action == 0 else 0.0


class PerfectModel:
    latent_shape = (1, 2 * (KeyWorld.steps + 1))
    weights = StepWeights(*[torch.zeros(())] * len(StepWeights._fields))

    def __init__(self) -> None:
        self.rssm = self
        self.rewards = torch.zeros(0)

    def imagine_one(self, weights: object, state: State, action: Tensor, uniform: Tensor) -> State:
        index = state.z.argmax(-1)
        step, key = index // 2, index % 2
        outcomes = [
            KeyWorld.outcome(int(s), bool(k), int(a)) if s < KeyWorld.steps else (bool(k), 0.0)
            for s, k, a in zip(step, key, action, strict=True)
        ]
        after = 2 * (step + 1).clamp(max=KeyWorld.steps) + torch.tensor(
            [int(k) for k, _ in outcomes]
        )
        reward = torch.tensor([[r] for _, r in outcomes])
        return State(reward, F.one_hot(after, self.latent_shape[1]).float())

    def predict_reward(self, features: Tensor) -> Tensor:
        return features[..., 0]

    def predict_goes_on(self, features: Tensor) -> Tensor:
        return (features[..., 1:].argmax(-1) < 2 * KeyWorld.steps).float()


def test_behaviour_finds_the_best_return_in_a_perfect_world_model() -> None:
    config = replace(
        PRESETS["debug"],
        sizes=ModelSizes(recurrent=1, latents=1, classes=12, layers=1, units=32, bins=41),
        behaviour=BehaviourSettings(
            horizon=5, entropy=3e-2, return_floor=0.1, slow_critic_every=10
        ),
    )
    behaviour, world = Behaviour(3, config), cast(WorldModel, PerfectModel())
    optimizer = torch.optim.Adam(behaviour.parameters(), 3e-3)
    start = State(torch.zeros(32, 1), F.one_hot(torch.zeros(32).long(), 12).float())
    for k in range(400):
        loss, _ = behaviour(world, behaviour.imagine(world, start), torch.ones(32))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if k % 10 == 0:
            behaviour.update_slow_critic()
    state, total = State(start.h[:1], start.z[:1]), 0.0
    for _ in range(KeyWorld.steps):
        action = behaviour.policy(state.features).argmax(-1)
        state = world.rssm.imagine_one(world.rssm.weights, state, action, torch.zeros(1))
        total += state.h.item()
    assert total == pytest.approx(KeyWorld.best)
    assert behaviour.value(torch.cat([start.h[:1] * 0, start.z[:1]], -1)).item() > 0.8


def test_the_actor_takes_after_what_came_to_more_than_was_foreseen() -> None:
    config = replace(
        PRESETS["debug"],
        sizes=ModelSizes(recurrent=1, latents=1, classes=12, layers=1, units=32, bins=41),
        behaviour=BehaviourSettings(horizon=5, entropy=0.0, imitation=1.0, slow_critic_every=1),
    )
    behaviour, world = Behaviour(3, config), cast(WorldModel, PerfectModel())
    optimizer = torch.optim.Adam(behaviour.actor.parameters(), 3e-3)
    # Imagination begins where everything is over: there is nothing to be learnt from it.
    over = State(torch.zeros(8, 1), F.one_hot(torch.full((8,), 2 * KeyWorld.steps), 12).float())
    # Of two episodes with a step each, from the same state, one comes to something.
    begin, end = torch.zeros(2, 13), torch.zeros(2, 13)
    begin[:, 1] = end[:, 12] = 1.0
    sequences = Sequences(
        torch.zeros(2, 2, 0),
        torch.tensor([[0, 0], [1, 2]]),
        torch.tensor([[0.0, 0.0], [-0.5, 0.5]]),
        torch.tensor([[1.0, 1.0], [0.0, 0.0]]),
        torch.tensor([[True, True], [False, False]]),
    )
    replayed = Replayed(torch.stack([begin, end]), sequences)
    for _ in range(100):
        loss, metrics = behaviour(world, behaviour.imagine(world, over), torch.zeros(8), replayed)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert behaviour.policy(begin)[0].exp()[2] > 0.9
    assert metrics["behaviour/imitation_loss"] < 0.1
