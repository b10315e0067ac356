"""How quickly a corpus is read in random order: ``python benchmarks/corpus.py CORPUS [PROGRAMS]``.

One process reads and parses programs drawn uniformly, the first reading of each row group included.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from codezero.compiler import Module
from codezero.corpus import Corpus


def main(path: str, programs: str = "10000") -> None:
    corpus = Corpus(path)
    indices = np.random.default_rng(0).integers(len(corpus), size=int(programs)).tolist()
    print(f"{len(indices):,} of {len(corpus):,} programs, {len(set(indices)):,} different")
    for when in ("for the first time", "again"):
        start = time.perf_counter()
        read = [corpus[index] for index in indices]
        print(f"read {when}: {len(indices) / (time.perf_counter() - start):,.0f} a second")
    start = time.perf_counter()
    for program in read:
        Module.parse(program.bitcode, program.name)
    print(f"parsed: {len(indices) / (time.perf_counter() - start):,.0f} a second")


if __name__ == "__main__":
    main(*sys.argv[1:])
