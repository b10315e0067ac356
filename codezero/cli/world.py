"""``codezero world``: what a trained world model foresees of what passes do to programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from codezero.cli.extras import require
from codezero.cli.options import parse
from codezero.cli.output import print_table, progress_bar
from codezero.errors import CodeZeroError
from codezero.programs.load import LoadFailure, load_all
from codezero.programs.suites import find_suite

if TYPE_CHECKING:
    from codezero.evaluation.world_report import Foresight, HorizonError, Trajectory

SHOWN_HORIZONS = (1, 2, 3, 5, 10, 15, 20, 30, 45)
"""Passes ahead that the table of errors has a row for; --json has all."""


@dataclass
class Options:
    """Compare what a run's world model imagines with what the compiler does.

    The model sees a program once, before the first pass, and imagines the rest. Of one program the
    whole trajectories are shown (Figure 4 of the paper), of a suite the errors by the number of
    passes ahead, beside those of predicting that nothing changes.
    """

    run: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="RUN")]]
    """The run's folder."""
    program: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="PROGRAM")]]
    """A program's file, or a suite's folder."""
    passes: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Passes to run, one a line, as in --policy fixed:FILE; by default the agent chooses."""
    checkpoint: Literal["best", "last"] = "best"
    """The networks that were best on validation, or the last ones."""
    plot: Annotated[Path | None, tyro.conf.arg(metavar="FILE.png")] = None
    """Draw it, too; needs matplotlib."""
    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print an object with the trajectories and the errors of every horizon."""
    seed: int = 0
    """Of the latents that are drawn."""
    jobs: Annotated[int, tyro.conf.arg(aliases=["-j"])] = 0
    """Programs at a time; 0 is one a core."""


def run(arguments: Sequence[str], flags: Sequence[str]) -> int:
    """Exits 1 if the compiler failed on a program of a suite, 2 if on all."""
    options = parse(Options, "world", arguments)
    if options.jobs < 0 or options.seed < 0:
        raise CodeZeroError("world: --jobs and --seed are not negative")
    require("world", "train", "torch")
    from codezero.evaluation.world_report import errors_by_horizon, foresee_all
    from codezero.search.sequences import FixedSequence
    from codezero.training.folder import load_networks

    networks = load_networks(options.run, options.checkpoint)
    actions = None
    if options.passes is not None:
        actions = FixedSequence.read(options.passes, passes_only=True).actions(networks.settings)
    suite = find_suite(options.program)
    loaded = load_all([program.files for program in suite.programs], flags, options.jobs)
    failures = [each.reason for each in loaded if isinstance(each, LoadFailure)]
    programs = [each[0] for each in loaded if not isinstance(each, LoadFailure)]
    with progress_bar() as progress:
        bar = progress.add_task("imagining", total=len(programs))
        foresights, errors = foresee_all(
            networks,
            programs,
            actions,
            seed=options.seed,
            jobs=options.jobs,
            on_done=lambda program, result: progress.advance(bar),
        )
    failures += map(str, errors)
    if not foresights:
        raise CodeZeroError("\n".join(failures))
    by_horizon = errors_by_horizon(foresights)
    unit = networks.settings.objective.unit
    if options.json:
        json.dump(_report(foresights, by_horizon), sys.stdout, indent=2)
        print()
    else:
        if len(foresights) == 1:
            _print_trajectories(foresights[0], unit)
        _print_errors(by_horizon)
    if options.plot is not None:
        from codezero.evaluation.world_figures import draw_errors, draw_trajectories

        if len(foresights) == 1:
            draw_trajectories(foresights[0], unit, options.plot)
        else:
            draw_errors(by_horizon, options.plot)
    for failure in failures:
        print(f"codezero: {failure}", file=sys.stderr)
    return 1 if failures else 0


def _print_trajectories(foresight: Foresight, unit: str) -> None:
    """A row a pass; each value as the compiler has it and as the model imagines it."""
    from codezero.evaluation.world_report import BLOCKS, BRANCHES

    print(
        f"{foresight.program}: -Oz {foresight.baseline:,} {unit}; branches and blocks are per 100"
    )
    print("instructions; each as the compiler has it, then as the model imagines it")
    print()
    headers = ["step", "pass", "branches", "", "blocks", "", unit, "", "reward", ""]
    rows = []
    for step in range(len(foresight.passes) + 1):
        name = foresight.passes[step - 1] if step else ""
        row = [str(step), name]
        for column in (BRANCHES, BLOCKS):
            for trajectory in (foresight.real, foresight.imagined):
                row.append(f"{100 * trajectory.autophase[step, column]:.1f}")
        for trajectory in (foresight.real, foresight.imagined):
            row.append(f"{trajectory.costs[step]:,.0f}")
        for trajectory in (foresight.real, foresight.imagined):
            row.append(f"{trajectory.rewards[step - 1]:.3f}" if step else "")
        rows.append(row)
    print_table(headers, rows, numeric_from=2)


def _print_errors(errors: Sequence[HorizonError]) -> None:
    print("mean absolute errors:")
    print()
    headers = ["passes ahead", "programs", "features", "no change", "sum of rewards", "no change"]
    rows = [
        [
            str(e.horizon),
            str(e.programs),
            f"{e.features:.4f}",
            f"{e.features_no_change:.4f}",
            f"{e.total_reward:.3f}",
            f"{e.total_reward_no_change:.3f}",
        ]
        for e in errors
        if e.horizon in SHOWN_HORIZONS or e is errors[-1]
    ]
    print_table(headers, rows, numeric_from=0)


def _report(foresights: Sequence[Foresight], errors: Sequence[HorizonError]) -> dict[str, Any]:
    from codezero.evaluation.world_report import BLOCKS, BRANCHES

    def lists(trajectory: Trajectory) -> dict[str, Any]:
        return {
            "branches_per_instruction": trajectory.autophase[:, BRANCHES].tolist(),
            "blocks_per_instruction": trajectory.autophase[:, BLOCKS].tolist(),
            "costs": trajectory.costs.tolist(),
            "rewards": trajectory.rewards.tolist(),
        }

    return {
        "programs": [
            {
                "program": f.program,
                "passes": f.passes,
                "baseline": f.baseline,
                "real": lists(f.real),
                "imagined": lists(f.imagined),
            }
            for f in foresights
        ],
        "errors": [asdict(error) for error in errors],
    }
