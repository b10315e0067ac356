"""The agents that come with CodeZero: a folder each, beside this file, with a model card."""

from __future__ import annotations

from pathlib import Path

from codezero.agents.trained import read_description
from codezero.compiler.objectives import Objective
from codezero.env.episode import EpisodeSettings
from codezero.errors import CodeZeroError

DEFAULT_AGENT = "size"
"""For programs as clang compiles them, and machine code."""


def shipped_agents() -> dict[str, Path]:
    """Folders of agents by their names."""
    folders = (path.parent for path in Path(__file__).parent.glob("*/agent.json"))
    return {folder.name: folder for folder in sorted(folders)}


def agent_for(settings: EpisodeSettings) -> Path:
    """The folder of the agent that comes closest to what it was trained for.

    It was trained to choose from these passes, or more; where there are several such, for the same
    objective, or another that is of code as well, and then for the same protocol.

    Raises:
        CodeZeroError: there is none for these passes.
    """
    passes = {p.name for p in settings.space.passes}
    agents = {folder: read_description(folder)["task"] for folder in shipped_agents().values()}
    fitting = [folder for folder, task in agents.items() if passes <= set(task["passes"])]
    if not fitting:
        raise CodeZeroError(
            f"no agent comes with codezero for the passes of the space '{settings.space.name}': "
            "search without one, or train one"
        )
    return max(
        fitting,
        key=lambda folder: (
            agents[folder]["objective"] == settings.objective.value,
            Objective(agents[folder]["objective"]).of_code == settings.objective.of_code,
            agents[folder]["protocol"] == settings.protocol.value,
        ),
    )
