"""Building: from sources to a corpus, on all cores, and on from where a killed build was."""

from __future__ import annotations

import errno
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path

from codezero._native import LLVM_VERSION
from codezero.corpus.corpus import write_corpus
from codezero.corpus.examine import Examination, Limits, Rejected
from codezero.corpus.journal import (
    FORMAT,
    NO_COMPILER,
    OUR_FAULT,
    TRIED_AGAIN,
    Journal,
    Rejection,
)
from codezero.corpus.select import select
from codezero.corpus.unit import Unit, UnitSource
from codezero.errors import CodeZeroError, DiskFull, ProgramError, ToolchainError
from codezero.isolation import Worker, WorkerCrashed, WorkerTimedOut
from codezero.parallel import available_cores, run_each
from codezero.programs.load import ProgramLoader

COMPILE_SECONDS = 15.0
"""Time limit of one compiler run."""
LOAD_SECONDS = 5.0
"""Time limit of what else is done to load a unit, such as marking Fortran for size."""
EXAMINE_SECONDS = 10.0
"""Time limit of an examination, five times what the passes of -Oz may take."""
CORES_PER_PREPARATION = 4
"""For so many cores one more source is fetched and configured while others are examined."""
HEADERS_REPORTED = 40
MISSING_HEADER = "a header is missing"
COMMIT_UNITS = 20
"""Units between commits: what a kill may lose."""


@dataclass(frozen=True)
class Report:
    """What a build came to."""

    programs: int
    units: int
    """All that the sources offered."""
    rejected: dict[str, int]
    """Units left out, by reason."""
    failed_sources: dict[str, str]
    """Sources that could not be read to their end, and why."""
    by_package: dict[str, dict[str, int]] = field(default_factory=dict, compare=False)
    """Units and programs of each package."""
    missing_headers: dict[str, int] = field(default_factory=dict, compare=False)
    """The headers that most units lack, and how many do: what else might be installed."""
    setups: dict[str, str] = field(default_factory=dict, compare=False)
    """How each Debian package was configured, by its source's key."""


class UnitWorker:
    """Loads and examines one unit after another."""

    def __init__(self, limits: Limits) -> None:
        self._loader = ProgramLoader(COMPILE_SECONDS, LOAD_SECONDS)
        self._examiner = Worker("codezero.corpus.examine:Examiner", {"limits": limits})

    def run(self, unit: Unit) -> Examination | Rejection:
        """Raises `DiskFull`."""
        try:
            return self._examine(unit)
        except CodeZeroError:
            raise
        except Exception as error:  # whatever it is, the other units go on
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise DiskFull(f"{unit.name}: no space left on device") from None
            return Rejection(OUR_FAULT, f"{type(error).__name__}: {error}")

    def _examine(self, unit: Unit) -> Examination | Rejection:
        try:
            program = unit.load(self._loader)
        except ProgramError as error:
            if "No space left on device" in str(error):
                raise DiskFull(f"{unit.name}: no space left on device") from None
            return classify(str(error))
        except ToolchainError as error:
            return Rejection(NO_COMPILER, str(error))
        try:
            examination: Examination = self._examiner.call(
                "examine", program, unit.name, timeout=EXAMINE_SECONDS
            )
        except Rejected as rejected:
            return Rejection(rejected.reason, rejected.detail)
        except WorkerTimedOut:
            return Rejection("-Oz takes too long", f"over {EXAMINE_SECONDS:g} s")
        except WorkerCrashed as crash:
            return Rejection("LLVM crashes", str(crash))
        return examination

    def interrupt(self) -> None:
        self._loader.interrupt()
        self._examiner.interrupt()

    def close(self) -> None:
        self._loader.close()
        self._examiner.close()


_MISSING_HEADER = re.compile(r"fatal error: '([^']+)' file not found")
_FIRST_ERROR = re.compile(r"error: (.+)")


def classify(message: str) -> Rejection:
    """Why a unit did not compile, from the compiler's message."""
    if "the compiler took over" in message:
        return Rejection("compiling takes too long")
    if "LLVM fails on it" in message or "PLEASE submit a bug report" in message:
        return Rejection("the compiler crashes", message.splitlines()[0])
    if "not valid LLVM IR" in message or "does not verify" in message:
        return Rejection("not valid IR", message.splitlines()[0])
    if "the file is empty" in message:
        return Rejection("empty")
    if found := _MISSING_HEADER.search(message):
        return Rejection(MISSING_HEADER, found[1])
    found = _FIRST_ERROR.search(message)
    return Rejection("does not compile", found[1] if found else message.splitlines()[0])


def build(
    sources: Sequence[UnitSource],
    output: Path,
    *,
    limits: Limits,
    held_out: frozenset[int] = frozenset(),
    jobs: int = 0,
    on_unit: Callable[[UnitSource, Unit], None] = lambda source, unit: None,
    on_source: Callable[[UnitSource, str | None], None] = lambda source, error: None,
) -> Report:
    """Build a corpus.

    What has been examined is remembered in a journal beside the output, and not done again.

    Args:
        held_out: structural hashes of functions that no program may have.
        on_unit: called in this thread as each unit is done.
        on_source: called in this thread as each source is done, with the reason if it could not be
            read to its end; the others go on.

    Raises:
        CodeZeroError: the journal or the corpus cannot be written.
    """
    sources = list({source.key: source for source in sources}.values())
    settings = {
        "journal": FORMAT,
        "llvm": LLVM_VERSION,
        **{name: str(v) for name, v in asdict(limits).items()},
    }
    with closing(Journal(journal_path(output), settings)) as journal:
        _examine(sources, journal, limits, jobs, on_unit, on_source)
        keys = [source.key for source in sources]
        selection = select(journal.candidates(keys), held_out)
        errors = journal.errors(keys)
        if len(errors) == len(sources) and not selection.kept:
            raise CodeZeroError(f"{output} is not written: none of the sources could be read")
        programs = write_corpus(output, journal.entries(selection.kept))
        rejected: Counter[str] = journal.rejections(keys) + selection.rejected
        kept = journal.packages(candidate.row for candidate in selection.kept)
        units = journal.unit_counts(keys)
        return Report(
            programs,
            programs + rejected.total(),
            dict(rejected.most_common()),
            errors,
            {p: {"units": units[p], "programs": kept[p]} for p in sorted(units)},
            dict(journal.details(keys, MISSING_HEADER).most_common(HEADERS_REPORTED)),
            journal.setups(keys),
        )


def journal_path(output: Path) -> Path:
    return output.with_name(f"{output.name}.journal")


@dataclass
class _OpenSource:
    """A source whose units are being examined."""

    source: UnitSource
    pending: int = 0
    """Units that are being examined, or about to be."""
    exhausted: bool = False
    """Whether it has no more units."""
    error: str | None = None
    is_to_try_again: bool = False
    """Whether the next build has to look into it."""


def _examine(
    sources: Sequence[UnitSource],
    journal: Journal,
    limits: Limits,
    jobs: int,
    on_unit: Callable[[UnitSource, Unit], None],
    on_source: Callable[[UnitSource, str | None], None],
) -> None:
    """Examine the units that the journal does not have."""

    def waiting() -> Iterator[UnitSource]:
        for source in sources:
            if source.is_fixed and journal.is_done(source.key, source.selection):
                on_source(source, None)
            else:
                yield source

    def feed() -> Iterator[tuple[_OpenSource, Unit]]:
        ahead = 1 + (jobs or available_cores()) // CORES_PER_PREPARATION
        for source, preparation in _prepared(waiting(), max(ahead, 2)):
            state = _OpenSource(source)
            journal.reopen(source.key)
            known = journal.units_of(source.key)
            try:
                preparation.result()
                for unit in source.units():
                    identity = (unit.package, unit.path, unit.stamp)
                    if known.pop(identity, True):
                        state.pending += 1
                        yield state, unit
            except DiskFull:
                raise
            except CodeZeroError as error:
                state.error = str(error)
            except Exception as error:  # whatever it is, the other sources go on
                state.error = f"{source.key}: {type(error).__name__}: {error}"
            else:
                journal.forget(source.key, known)
            state.exhausted = True
            finish(state)

    def finish(state: _OpenSource) -> None:
        if not state.exhausted or state.pending:
            return
        source = state.source
        source.close()
        if state.error is not None or not state.is_to_try_again:
            journal.finish(source.key, source.selection, source.setup, state.error)
        on_source(source, state.error)

    examined = run_each(
        lambda worker, task: worker.run(task[1]), feed(), lambda: UnitWorker(limits), jobs=jobs
    )
    try:
        with closing(examined):
            for count, ((state, unit), outcome) in enumerate(examined, 1):
                journal.add(state.source.key, unit, outcome)
                if isinstance(outcome, Rejection) and outcome.reason in TRIED_AGAIN:
                    state.is_to_try_again = True
                state.pending -= 1
                finish(state)
                on_unit(state.source, unit)
                if count % COMMIT_UNITS == 0:
                    journal.commit()
    finally:
        for source in sources:
            source.close()
    journal.commit()


def _prepared(
    sources: Iterable[UnitSource], count: int
) -> Iterator[tuple[UnitSource, Future[None]]]:
    """The sources as they are ready, so many prepared at a time while others are examined."""
    remaining = iter(sources)
    ahead: dict[Future[None], UnitSource] = {}
    pool = ThreadPoolExecutor(count)
    try:
        while True:
            for source in islice(remaining, count - len(ahead)):
                ahead[pool.submit(source.prepare)] = source
            if not ahead:
                return
            ready, _ = wait(ahead, return_when=FIRST_COMPLETED)
            oldest = next(preparation for preparation in ahead if preparation in ready)
            yield ahead.pop(oldest), oldest
    finally:
        for preparation, source in ahead.items():
            preparation.cancel()
            source.close()
        pool.shutdown()
