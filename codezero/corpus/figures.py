"""Figures of a corpus: lengths, headroom, and a map of how programs react to passes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from codezero.corpus.corpus import Corpus
from codezero.errors import CodeZeroError
from codezero.plots import MISSING, new_figure, save

FEWEST = 5
"""Programs of a domain or language that are shown; a box plot of fewer says nothing."""
PCA_DIMENSIONS = 50
"""Kept before t-SNE, which works on distances and is slow in many dimensions."""


def draw_lengths(corpora: Sequence[Corpus], path: Path) -> None:
    """Histogram of instructions before optimisation, by language."""
    by_language: dict[str, list[int]] = defaultdict(list)
    for corpus in corpora:
        columns = (corpus.table.column(name).to_pylist() for name in ("language", "instructions"))
        for language, instructions in zip(*columns, strict=True):
            by_language[language].append(instructions)
    languages = sorted(by_language, key=lambda name: -len(by_language[name]))
    shortest = min((min(lengths) for lengths in by_language.values()), default=50)
    longest = max((max(lengths) for lengths in by_language.values()), default=20_000)
    figure, axes = new_figure(8, 4)
    axes.hist(
        [by_language[language] for language in languages],
        bins=np.geomspace(min(shortest, 50), max(longest, 20_000), 40).tolist(),
        stacked=True,
        label=[f"{language} ({len(by_language[language]):,})" for language in languages],
    )
    axes.set_xscale("log")
    axes.set_xlabel("IR instructions before optimisation")
    axes.set_ylabel("programs")
    axes.legend()
    save(figure, path)


def draw_headroom(survey: pa.Table, domains: Mapping[str, str], path: Path) -> None:
    """Box plots of -Oz over the best of the random trials, by domain and by language.

    Args:
        domains: of packages; those of no domain are grouped by their corpus.
    """
    names = ("corpus", "package", "language", "baseline", "best")
    groups: dict[str, list[float]] = defaultdict(list)
    for corpus, package, language, baseline, best in _rows(survey, names):
        headroom = baseline / max(best, 1)
        groups[domains.get(package, corpus)].append(headroom)
        groups[f"in {language}"].append(headroom)
    shown = sorted(
        (name for name in groups if len(groups[name]) >= FEWEST),
        key=lambda name: (name.startswith("in "), float(np.median(groups[name]))),
    )
    if not shown:
        raise CodeZeroError(f"the survey has no group of {FEWEST} programs or more")
    figure, axes = new_figure(8, 1 + 0.28 * len(shown))
    axes.boxplot(
        [groups[name] for name in shown],
        orientation="horizontal",
        tick_labels=[f"{name} ({len(groups[name])})" for name in shown],
        showfliers=False,
    )
    axes.axvline(1, color="grey", linewidth=0.8)
    axes.set_xlabel("instructions: clang -Oz over the best of the random trials")
    save(figure, path)


def draw_map(
    survey: pa.Table, trained_on: Sequence[str], contrast: Sequence[str], path: Path
) -> None:
    """t-SNE of the features along random sequences, as Figure D2 of the paper.

    Args:
        trained_on: corpora whose programs are drawn as triangles, by language.
        contrast: corpora whose programs are drawn as crosses; all others are circles.
    """
    try:
        from sklearn.decomposition import PCA
        from sklearn.manifold import TSNE
        from sklearn.preprocessing import StandardScaler
    except ImportError:
        raise CodeZeroError(MISSING) from None

    features = np.stack(survey.column("features").to_numpy())
    if len(features) <= PCA_DIMENSIONS:
        raise CodeZeroError(f"a map needs more than {PCA_DIMENSIONS} programs")
    scaled = StandardScaler().fit_transform(features)
    reduced = PCA(PCA_DIMENSIONS, random_state=0).fit_transform(scaled)
    points = TSNE(random_state=0, init="pca").fit_transform(reduced)
    corpora = survey.column("corpus").to_pylist()
    languages = survey.column("language").to_pylist()
    if unknown := {*trained_on, *contrast} - set(corpora):
        raise CodeZeroError(f"the survey has nothing of {', '.join(sorted(unknown))}")
    labels = np.array(
        [
            f"{corpus}, {language}" if corpus in trained_on else corpus
            for corpus, language in zip(corpora, languages, strict=True)
        ]
    )
    figure, axes = new_figure(9, 7)
    for label in sorted(set(labels), key=lambda label: (", " not in label, label)):
        group = points[labels == label]
        marker = "x" if label in contrast else "^" if ", " in label else "o"
        name = f"{label} ({len(group)})"
        axes.scatter(
            group[:, 0], group[:, 1], s=14, marker=marker, alpha=0.7, linewidths=0.8, label=name
        )
    axes.set_xticks([])
    axes.set_yticks([])
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    save(figure, path)


def _rows(table: pa.Table, names: Sequence[str]) -> Any:
    return zip(*(table.column(name).to_pylist() for name in names), strict=True)
