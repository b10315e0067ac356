"""The project's speed, as ratios taken in one run: ``make bench``.

Machines are shared and noisy, so each figure that compares two things measures them in turn,
several times, and takes the median of the ratios. docs/benchmarks.md keeps a run's output.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from codezero.compiler import Module, load_space
from codezero.compiler.program import Program
from codezero.compiler.toolchain import CLANG, OPT
from codezero.env import PhaseOrderingEnv, PhaseOrderingVectorEnv
from codezero.programs.load import ProgramLoader

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
STEPS = 45
SPACE = load_space("autophase")


def main() -> None:
    # It has every start of ours compile all its modules, as no user's does.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    print(f"{len(os.sched_getaffinity(0))} cores, Python {sys.version.split()[0]}\n")
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        time_outside_passes()
        against_processes_and_bare_loop(folder)
        vector_environment()
        start_up()
        against_clang(folder)
        drivers(folder)


def load(name: str) -> Program:
    with ProgramLoader() as loader:
        return loader.load([EXAMPLES / name])[0]


def report(what: str, value: str, target: str) -> None:
    print(f"{what:<66} {value:>10}   (target: {target})", flush=True)


def walk(env: PhaseOrderingEnv, program: Program, actions: list[int]) -> float:
    """Seconds that an episode's steps take. Stops where the episode does."""
    env.reset(options={"program": program})
    start = time.perf_counter()
    for action in actions:
        _, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            break
    return time.perf_counter() - start


def random_actions(seed: int) -> list[int]:
    actions: list[int] = np.random.default_rng(seed).integers(len(SPACE), size=STEPS).tolist()
    return actions


def time_outside_passes() -> None:
    """Random walks over the 42 passes, in one process: what is not LLVM's own time."""
    env = PhaseOrderingEnv(iter(()), space=SPACE, isolated=False)
    walls, passes, sizes = [], [], []
    for name in ("sha256.c", "vm.c", "json.c", "lzss.c", "heat.f90", "calc.cpp", "btree.cpp"):
        program = load(name)
        sizes.append(Module.parse(program.bitcode).instruction_count())
        wall = inside = 0.0
        for seed in range(10):
            wall += walk(env, program, random_actions(seed))
            inside += env.pass_seconds()
        walls.append(wall)
        passes.append(inside)
    what = f"time outside LLVM's passes, {min(sizes):,} to {max(sizes):,} instructions"
    report(what, f"{1 - sum(passes) / sum(walls):.1%}", "at most 10%")
    shares = [1 - p / w for p, w in zip(passes, walls, strict=True)]
    report("the same, of each program alone", f"{min(shares):.1%} to {max(shares):.1%}", "none")


def against_processes_and_bare_loop(folder: Path) -> None:
    """Steps a second against a process a step, and against a C++ loop without an environment."""
    program = program_of_600_instructions()
    bitcode = folder / "program.bc"
    bitcode.write_bytes(program.bitcode)
    loop = build_bare_loop(folder)
    env = PhaseOrderingEnv(iter(()), space=SPACE, isolated=False)
    isolated = PhaseOrderingEnv(iter(()), space=SPACE)
    against_process, against_loop, isolation = [], [], []
    for seed in range(5):
        actions = random_actions(seed)
        pipelines = [SPACE.passes[action].pipeline for action in actions]
        listing = folder / "pipelines.txt"
        listing.write_text("\n".join(pipelines) + "\n")
        bare: list[float] = []
        ours: list[float] = []
        remote: list[float] = []
        for _ in range(10):  # in turn, so that what else the machine does meets all three
            command = [str(loop), str(bitcode), str(listing), "10"]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            bare += map(float, done.stdout.split())
            ours += (walk(env, program, actions) for _ in range(10))
            remote += (walk(isolated, program, actions) for _ in range(10))
        median = statistics.median
        processes = process_a_step(bitcode, folder / "next.bc", pipelines)
        against_process.append(processes / median(ours))
        against_loop.append(median(bare) / median(ours))
        isolation.append(median(ours) / median(remote))
    isolated.close()
    what = "rate over one opt-22 process a step, 600 instructions"
    report(what, f"{statistics.median(against_process):.1f}x", "at least 5x")
    what = "rate over a bare C++ loop over the same passes"
    report(what, f"{statistics.median(against_loop):.2f}x", "at least 0.90x")
    what = "rate isolated in a worker process over in-process"
    report(what, f"{statistics.median(isolation):.2f}x", "none")


def program_of_600_instructions() -> Program:
    """The example functions of a C file, as many as make about 600 instructions."""
    source = """
    #include <stddef.h>
    {functions}
    """
    function = """
    int f{i}(const int *a, size_t n, int k) {{
      int s = 0;
      for (size_t i = 0; i < n; i++) {{
        if (a[i] > k) s += a[i] * {i}; else if (a[i] < -k) s -= a[i]; else s ^= a[i] << (k & 7);
        for (int j = 0; j < k; j++) s = s * 31 + (a[i] >> (j & 15));
      }}
      return s;
    }}
    """
    text = source.format(functions="".join(function.format(i=i) for i in range(6)))
    with tempfile.TemporaryDirectory() as directory, ProgramLoader() as loader:
        path = Path(directory) / "program.c"
        path.write_text(text)
        program = loader.load([path])[0]
    count = Module.parse(program.bitcode).instruction_count()
    assert 550 <= count <= 650, count
    return program


def process_a_step(source: Path, target: Path, pipelines: list[str]) -> float:
    start = time.perf_counter()
    current = source
    for pipeline in pipelines:
        command = [OPT.require(), f"-passes={pipeline}", str(current), "-o", str(target)]
        subprocess.run(command, check=True)
        current = target
    return time.perf_counter() - start


def build_bare_loop(folder: Path) -> Path:
    """Compile bare_loop.cpp against the same static libraries as the extension."""
    config = "/usr/lib/llvm-22/bin/llvm-config"
    flags = subprocess.run(
        [config, "--link-static", "--cxxflags", "--ldflags", "--libs", "passes", "irreader",
         "x86", "--system-libs"],
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    output = folder / "bare_loop"
    source = Path(__file__).with_name("bare_loop.cpp")
    compiler = ["g++", "-std=c++20", "-O3", "-B/usr/lib/llvm-22/bin", "-fuse-ld=lld"]
    command = [*compiler, "-Wl,--gc-sections", str(source), *flags, "-o", str(output)]
    subprocess.run(command, check=True)
    return output


def vector_environment() -> None:
    """Steps a second, resets included, of a worker a core over a single environment."""
    program = load("sha256.c")
    cores = len(os.sched_getaffinity(0))
    single = PhaseOrderingEnv(program, space=SPACE)
    in_process = PhaseOrderingEnv(program, space=SPACE, isolated=False)
    many = PhaseOrderingVectorEnv(program, cores, space=SPACE)
    crowd = PhaseOrderingVectorEnv(program, 2 * cores, space=SPACE)
    ratios: dict[str, list[float]] = {}
    for seed in range(5):
        base, local = rate_single(single, seed), rate_single(in_process, seed)
        rates = {
            "send and recv": rate_async(many, seed),
            "send and recv, 2 a core": rate_async(crowd, seed),
            "step": rate_sync(many, seed),
            "step, 2 a core": rate_sync(crowd, seed),
        }
        for name, rate in rates.items():
            ratios.setdefault(f"{name}, over one env in its process", []).append(rate / base)
        best = rates["send and recv, 2 a core"] / local
        ratios.setdefault("send and recv, 2 a core, over one not isolated", []).append(best)
    for env in (single, in_process, many, crowd):
        env.close()
    for name, values in ratios.items():
        target = "at least 1.8x" if name.startswith("send") and "process" in name else "none"
        report(f"{cores} cores: {name}", f"{statistics.median(values):.2f}x", target)


def rate_single(env: PhaseOrderingEnv, seed: int) -> float:
    rng = np.random.default_rng(seed)
    env.reset(seed=seed)
    steps, start = 0, time.perf_counter()
    while time.perf_counter() - start < SECONDS:
        _, _, terminated, truncated, _ = env.step(rng.integers(len(SPACE)))
        steps += 1
        if terminated or truncated:
            env.reset()
    return steps / (time.perf_counter() - start)


SECONDS = 4.0


def rate_async(envs: PhaseOrderingVectorEnv, seed: int) -> float:
    rng = np.random.default_rng(seed)
    envs.reset(seed=seed)
    steps, start = 0, time.perf_counter()
    envs.send(rng.integers(len(SPACE), size=envs.num_envs))
    while time.perf_counter() - start < SECONDS:
        indices, _ = envs.recv()
        steps += len(indices)
        envs.send(rng.integers(len(SPACE), size=len(indices)), indices.tolist())
    elapsed = time.perf_counter() - start
    envs.recv(at_least=envs.num_envs)
    return steps / elapsed


def rate_sync(envs: PhaseOrderingVectorEnv, seed: int) -> float:
    rng = np.random.default_rng(seed)
    envs.reset(seed=seed)
    steps, start = 0, time.perf_counter()
    while time.perf_counter() - start < SECONDS:
        envs.step(rng.integers(len(SPACE), size=envs.num_envs))
        steps += envs.num_envs
    return steps / (time.perf_counter() - start)


def start_up() -> None:
    """Process start to end, the interpreter's own included; medians."""
    python = sys.executable
    empty = median_seconds([python, "-c", "pass"])
    imports = median_seconds([python, "-c", "import codezero"]) - empty
    usage = median_seconds([python, "-m", "codezero", "--help"])
    report("import codezero", f"{1_000 * imports:.0f} ms", "under 150 ms")
    report("codezero --help", f"{1_000 * usage:.0f} ms", "under 300 ms")


def against_clang(folder: Path) -> None:
    """``codezero optimize`` over ``clang -Oz``, each a process, source to object."""
    ratios = []
    for source in sorted(EXAMPLES.glob("*.c")):
        output = str(folder / "optimized.o")
        clang = [CLANG.require(), "-Oz", "-c", str(source), "-o", output]
        ours = [sys.executable, "-m", "codezero", "optimize", str(source), "-o", output]
        median_seconds(ours, times=1)  # the first may write bytecode
        ratios.append(median_seconds(ours, times=3) / median_seconds(clang))
    value = f"{statistics.median(ratios):.1f}x"
    report("codezero optimize over clang -Oz, median of C examples", value, "at most 4x")


def drivers(folder: Path) -> None:
    """``codezero-cc`` over clang, each a process, source to object."""
    driver, clang = str(Path(sys.executable).parent / "codezero-cc"), CLANG.require()
    os.environ["XDG_RUNTIME_DIR"] = str(folder)  # a server of its own
    os.environ["CODEZERO_CACHE"] = str(folder / "cache")
    os.environ["CODEZERO_RECORDS"] = "off"
    kinds = {
        "left": ("codezero-cc over clang, of what is clang's", "1x"),
        "new": ("codezero-cc over clang -Oz, of what it has never compiled", "at most 4x"),
        "changed": ("the same, where a comment in a header has changed", "at most 1.1x"),
        "known": ("the same, where nothing has", "at most 1.1x"),
    }
    ratios: dict[str, list[float]] = {kind: [] for kind in kinds}
    header, output = folder / "changed.h", str(folder / "driven.o")
    for source in sorted(EXAMPLES.glob("*.c")):
        rest = ["-include", str(header), "-c", str(source), "-o", output]
        header.write_text("")
        at_oz = median_seconds([clang, "-Oz", *rest])
        ratios["left"].append(median_seconds([driver, *rest]) / median_seconds([clang, *rest]))
        for kind, times in (("new", 1), ("changed", 10), ("known", 10)):
            seconds = []
            for number in range(times):
                if kind != "known":
                    header.write_text(f"// {kind} {number} {source}\n")
                    time.sleep(0.2)  # what has just changed is not trusted to stay
                seconds.append(median_seconds([driver, "-Oz", *rest], times=1))
            ratios[kind].append(statistics.median(seconds) / at_oz)
    for kind, (what, target) in kinds.items():
        report(what, f"{statistics.median(ratios[kind]):.2f}x", target)


def median_seconds(command: list[str], times: int = 10) -> float:
    def once() -> float:
        start = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        return time.perf_counter() - start

    timed: Callable[[], float] = once
    return statistics.median(timed() for _ in range(times))


if __name__ == "__main__":
    main()
