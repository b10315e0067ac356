"""From a training run to an agent: the policy as one ONNX graph. Needs torch."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from codezero.agents.agent import OUTPUTS
from codezero.agents.precision import Precision, convert, newest_episodes, smallest
from codezero.agents.trained import FORMAT, SPACE_FILE
from codezero.dreamer.behaviour import Behaviour
from codezero.dreamer.config import to_dict
from codezero.dreamer.rssm import next_h, posterior_logits
from codezero.dreamer.world_model import WorldModel
from codezero.errors import CodeZeroError
from codezero.files import replacing
from codezero.training.folder import load_networks
from codezero.training.networks import Checkpoint, mean_of

OPSET = 18
MEASURED_EPISODES = 200
"""On which decisions in other precisions are compared."""


class PolicyStep(nn.Module):
    """One decision: the state takes in an observation, and the actor answers.

    Latents are the likeliest ones, not drawn: the same program gives the same decisions.
    """

    def __init__(self, world: WorldModel, behaviour: Behaviour) -> None:
        super().__init__()
        self._world = world
        self._behaviour = behaviour

    def forward(
        self, observation: Tensor, h: Tensor, z: Tensor, action: Tensor, goes_on: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Log-probabilities of actions (B, actions), the next state, and its value (B,).

        Args:
            observation: shape (B, D).
            h, z: the state, shapes (B, ...).
            action: the last one, int64, shape (B,).
            goes_on: 0 where an episode begins, else 1, shape (B,).
        """
        rssm = self._world.rssm
        keep = goes_on.unsqueeze(-1)
        h = next_h(rssm.weights, h * keep, z * keep, rssm.action_in(action) * keep)
        logits = posterior_logits(
            rssm.weights, h, rssm.posterior_o(self._world.encode(observation))
        )
        latents, classes = rssm.latent_shape
        likeliest = logits.reshape(-1, latents, classes).argmax(-1, keepdim=True)
        z = (likeliest == torch.arange(classes)).to(h.dtype).flatten(1)
        features = torch.cat([h, z], -1)
        return self._behaviour.policy(features), h, z, self._behaviour.value(features)


def export(
    run: Path,
    folder: Path,
    checkpoint: Checkpoint = "best",
    precision: Precision | Literal["smallest"] = "smallest",
    mean_with: Sequence[Path] = (),
) -> dict[str, Any]:
    """Write the agent of a training run; returns its description.

    Args:
        run: the run's folder.
        folder: the agent's; made if it is not there.
        checkpoint: ``"best"`` or ``"last"``.
        precision: of the policy's weights; ``"smallest"`` is the one of the smallest file that
            decides as float32 does, measured on episodes of the run's replay.
        mean_with: other checkpoints, of runs that began with the same networks: the agent has the
            mean of all their weights.

    Raises:
        CodeZeroError: there is no such checkpoint, or no episodes to measure on, or the folder
            cannot be written to.
    """
    networks = mean_of(load_networks(run, checkpoint), mean_with)
    settings = networks.settings
    values = to_dict(networks.config)
    values["rollouts"]["lists"] = [Path(path).name for path in networks.config.rollouts.lists]
    values["start_from"] = Path(networks.config.start_from).name
    description: dict[str, Any] = {
        "format": FORMAT,
        "task": {**values["task"], "passes": [p.name for p in settings.space.passes]},
        "trained": {
            "steps": networks.steps,
            "score": networks.score,
            "config": values,
            "checkpoints": 1 + len(mean_with),
        },
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CodeZeroError(f"{folder}: {error.strerror}") from None
    space = Path(networks.config.task.space)
    if space.name == SPACE_FILE:
        with replacing(folder / SPACE_FILE) as temporary:
            shutil.copyfile(space, temporary)
        description["task"]["space"] = SPACE_FILE
    with (
        replacing(folder / "policy.onnx") as temporary,
        tempfile.TemporaryDirectory(prefix="codezero-") as scratch,
    ):
        original = Path(scratch, "policy.onnx")
        step = PolicyStep(networks.world, networks.behaviour)
        write_onnx(step, settings.observation_size, original)
        description["policy"] = _store(original, temporary, run, precision)
    with replacing(folder / "agent.json") as temporary:
        temporary.write_text(json.dumps(description, indent=2) + "\n")
    return description


def _store(
    original: Path, target: Path, run: Path, precision: Precision | Literal["smallest"]
) -> dict[str, Any]:
    """Write a policy in some precision; what the agent's description says of it."""
    if precision != "smallest":
        convert(original, target, precision)
        return {"precision": precision}
    episodes = newest_episodes(run, MEASURED_EPISODES)
    chosen, measured = smallest(original, target, episodes)
    return {"precision": chosen, "measured": measured}


def write_onnx(step: PolicyStep, observation_size: int, path: Path) -> None:
    """Write a policy step for batches of any size."""
    rssm = step._world.rssm
    batch = 2
    h, z = rssm.initial(batch)
    arguments = (
        torch.zeros(batch, observation_size),
        *(h, z),
        torch.zeros(batch, dtype=torch.int64),
        torch.ones(batch),
    )
    names = ["observation", "h", "z", "action", "goes_on"]
    write_graph(step, arguments, path, inputs=names, outputs=list(OUTPUTS))


def write_graph(
    module: nn.Module,
    arguments: tuple[Tensor, ...],
    path: Path,
    *,
    inputs: list[str],
    outputs: list[str],
) -> None:
    """Write a module as an ONNX file, for batches of any size.

    Args:
        arguments: a batch of two or more of each input.
    """
    size = torch.export.Dim("batch", min=1, max=65_536)
    # It warns of packages that are not there and are not needed.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's own code
        program = torch.onnx.export(
            module.eval(),
            arguments,
            input_names=inputs,
            output_names=outputs,
            dynamic_shapes=tuple({0: size} for _ in inputs),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    program.save(str(path))
