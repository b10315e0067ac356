"""What the server tells one driver to do.

Where anything goes wrong, clang takes the driver's place: a build never fails for our sake. Nothing
is written before it is whole.
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from codezero.compiler.clang_driver import (
    Jobs,
    back_end_command,
    front_end_command,
    is_assembler,
    is_compilation,
    is_compiler,
    is_fortran,
    not_followed,
    objection,
    parse_jobs,
    reads_listed_files,
    to_stdout,
    value_of,
)
from codezero.compiler.toolchain import CLANG, CLANGXX, FLANG, SIZE_LEVELS, as_taken
from codezero.driver import records
from codezero.driver.compilations import Clang, Compilations, Task
from codezero.driver.messages import (
    HEADERS,
    Done,
    Gone,
    Question,
    Run,
    pack_list,
    receive,
    send,
)
from codezero.driver.seen import Results, key_of, tell_all
from codezero.driver.settings import OFF, DriverSettings
from codezero.errors import CodeZeroError
from codezero.files import is_special

TOOLS = {"codezero-cc": CLANG, "codezero-c++": CLANGXX, "codezero-flang": FLANG}
LEVELS = frozenset(("-O", "-O0", "-O1", "-O2", "-O3", "-Og", "-Os", "-Oz", "-Ofast"))
TEMPORARY = ("TMPDIR", "TMP", "TEMP", "TEMPDIR")
"""Variables that say where LLVM has temporary files, in its order."""
_IS_ANOTHER_HERE = re.compile(r"/dev/(std(in|out|err)|fd/|tty)|/proc/(thread-)?(self|\d)")
"""What can be read only once, or is another file for whoever opens it."""
NOT_AT_OZ = LEVELS | {"-vectorize-loops"}
"""What a driver tells flang by the level."""


class _Over(Exception):
    """The driver has been told the last that it has to do."""


class _Warned(Exception):
    """Code generation has something to say."""


def hold(connection: socket.socket, compilations: Compilations) -> None:
    """One conversation, as `codezero.driver.messages` has it.

    Raises:
        Gone: the driver has gone.
        ValueError: it is none of ours.
    """
    question = Question.parse(receive(connection))
    try:
        settings = DriverSettings.read(question.environment, question.directory)
    except CodeZeroError as error:
        send(connection, b"error", os.fsencode(str(error)))
        return
    conversation = _Conversation(connection, question, settings, compilations)
    try:
        conversation.run()
    except _Over:
        pass
    except Gone:
        raise
    except Exception as error:
        conversation.give_up(f"{type(error).__name__}: {error}")


class _Conversation:
    """See `hold`."""

    def __init__(
        self,
        connection: socket.socket,
        question: Question,
        settings: DriverSettings,
        compilations: Compilations,
    ) -> None:
        self._connection = connection
        self._question = question
        self._settings = settings
        self._compilations = compilations
        self._tool = TOOLS[question.driver]
        self._arguments = list(question.arguments)
        self._began = time.time()
        self._key = ""
        """What the compilation is known by, if its words tell what comes of it."""
        self._lines: list[tuple[bytes, bytes]] = []
        """Records of what the driver has written, which are kept when all is done."""

    def run(self) -> NoReturn:
        """Have the driver do what its user asks for. Raises `_Over`."""
        if tell_all(self._arguments):
            self._key = key_of(self._question, self._settings, self._compilations.version)
        known = self._compilations.known(self._key, self._settings)
        if known.results is not None:
            self._write(known.results, known.object, {**(known.record or {}), "cached": True})
            self._finish(known.results.messages.encode("latin-1"))
        arguments = self._arguments
        if self._all_are_here() and (self._settings.always or level_of(arguments) in SIZE_LEVELS):
            arguments = _at_oz(arguments)
        jobs = self._ask(arguments)
        if not self._are_ours(jobs.commands):
            self._leave_to_clang()
        self._check(jobs)
        self._arguments = arguments
        if any(level_of(job) != "-Oz" for job in jobs.commands if is_compilation(job)):
            self._arguments = _at_oz(arguments)
            jobs = self._ask(self._arguments)
        temporary = self._temporary(jobs.commands)
        names = self._in_folder(temporary) if temporary else {}
        messages = jobs.messages
        for job in jobs.commands:
            messages += self._do(tuple(names.get(word, word) for word in job), jobs)
        self._finish(messages)

    def _finish(self, messages: bytes) -> NoReturn:
        self._send_lines()
        self._end(b"finish", messages)

    def _all_are_here(self) -> bool:
        """Whether `level_of` tells clang's level: there are other ways to give one."""
        return "CCC_OVERRIDE_OPTIONS" not in self._question.environment and not any(
            word.startswith(("@", "--optimize")) for word in self._arguments
        )

    def _are_ours(self, jobs: Sequence[tuple[str, ...]]) -> bool:
        """Whether there is something to compile for size, and nothing that cannot be done here."""
        compiled = list(filter(is_compilation, jobs))
        others = [job for job in jobs if job not in compiled and not is_assembler(job)]
        return (
            bool(compiled)
            and others in ([], [jobs[-1]])  # all others but a link at the end
            and not any(map(is_compiler, others))
            and (self._settings.always or all(level_of(job) in SIZE_LEVELS for job in compiled))
            and all("-o" in job for job in jobs)
        )

    def _check(self, jobs: Jobs) -> None:
        """Leave to clang what it does under these flags and cannot be repeated here."""
        for job in filter(is_compilation, jobs.commands):
            written = [value_of(job, "-o")]
            if "-dependency-file" in job:
                written.append(value_of(job, "-dependency-file"))
            if any(path == "-" or is_special(self._question.path(path)) for path in written):
                self._leave_to_clang()
            # What can be read only once, or is another file for us.
            if job[-1] != "-" and is_special(self._question.path(job[-1])):
                self._leave_to_clang()
            if any(_IS_ANOTHER_HERE.match(word) for word in job) or "-working-directory" in job:
                self._leave_to_clang()
            for word in job:
                reason = objection(word, only_object=False)
                if reason is not None:
                    self._leave_to_clang(job, f"{word} {reason}")
            # flang generates no code for bitcode of ours.
            at_oz = [word for word in back_end_command(job) if word not in NOT_AT_OZ]
            unknown = not_followed(at_oz) if is_fortran(job) else None
            if unknown is not None:
                reason = f"{unknown} may change code generation, which is ours for Fortran"
                self._leave_to_clang(job, reason)

    def _folder(self) -> str:
        """Where clang's driver has files that one job makes for another."""
        variables = map(self._question.environment.get, TEMPORARY)
        return next(filter(None, variables), "/tmp").rstrip("/") or "/"

    def _temporary(self, jobs: Sequence[tuple[str, ...]]) -> list[str]:
        """Those files, whose names it has made up."""
        return [
            name
            for number, name in enumerate(value_of(job, "-o") for job in jobs[:-1])
            if os.path.dirname(name) == self._folder()
            and any(name in later for later in jobs[number + 1 :])
        ]

    def _in_folder(self, names: Sequence[str]) -> dict[str, str]:
        """Names in a folder of the driver's own in their place."""
        ours = [f"{number}{os.path.splitext(name)[1]}" for number, name in enumerate(names)]
        done = self._tell(b"folder", os.fsencode(self._folder()), pack_list(ours))
        if done.code != 0:
            self._leave_to_clang()
        folder = os.fsdecode(done.output)
        return {name: os.path.join(folder, our) for name, our in zip(names, ours, strict=True)}

    def _do(self, job: tuple[str, ...], jobs: Jobs) -> bytes:
        """Have one of the jobs done; returns what it has to say."""
        if not is_compilation(job):
            return self._run_clang(job)
        source, listed = job[-1], HEADERS if os.path.isdir("/proc/self/fd") else None
        front_end = self._run(front_end_command(job, listed), source, Run.OUTPUT, Run.HEADERS)
        if front_end.code != 0:
            self._leave_to_clang()
        files = None  # there is no /proc in some chroots
        if listed is not None:
            names = [source, *jobs.configuration, *os.fsdecode(front_end.headers).splitlines()]
            files = list(dict.fromkeys(map(self._question.path, names)))
            if any(map(_IS_ANOTHER_HERE.match, files)):
                self._leave_to_clang()
        name, flags = records.as_text(source), back_end_command(job)
        task = Task(name, front_end.output, flags, files, self._settings)
        clang = _ClangOf(self, job, front_end)
        try:
            made = self._compilations.make(task, clang)
        except _Warned:
            messages = self._run_clang(job)
            self._record(job, {"reason": "clang warns as it generates code"})
            return messages
        except CodeZeroError as failure:
            level = f"{self._tool.name} {self._tool.size_level}"
            note = self._note(f"{source}: {failure}", f"the object is what {level} makes")
            messages = self._run_clang(job)
            self._record(job, {"reason": str(failure)})
            return messages + note
        results = self._results(job, jobs.messages + front_end.messages)
        self._write(results._replace(dependency_file=None), made.object, made.record)
        tells_all = files is not None and source != "-" and reads_listed_files(job)
        if self._key and made.key and tells_all and len(jobs.commands) == 1:
            self._compilations.remember(self._key, task, made, results, self._began)
        of_clang = clang.messages if not made.record["passes"] else None
        return front_end.messages if of_clang is None else of_clang

    def _results(self, job: Sequence[str], messages: bytes) -> Results:
        """What comes of a compilation besides the object."""
        dependencies = None
        if "-dependency-file" in job:
            path = value_of(job, "-dependency-file")
            with open(self._question.path(path), "rb") as file:
                dependencies = (path, file.read().decode("latin-1"))
        return Results(value_of(job, "-o"), job[-1], dependencies, messages.decode("latin-1"))

    def object_by_clang(self, job: Sequence[str]) -> Done:
        """The object that clang makes by itself."""
        done = self._run(to_stdout(as_taken(job, self._tool)), job[-1], Run.OUTPUT)
        if done.code != 0:
            self._leave_to_clang()  # where its front end did not fail: it says why
        return done

    def generate(self, job: Sequence[str], bitcode: bytes) -> bytes:
        """The object that clang makes of bitcode.

        Raises:
            CodeZeroError: it cannot.
            _Warned: it has something to say of it.
        """
        done = self._run(back_end_command(job), "", Run.OUTPUT, Run.INPUT, data=bitcode)
        if done.messages:
            raise _Warned  # which clang does better of its own program: with lines of the source
        if done.code != 0:
            raise CodeZeroError(f"clang ends with {done.code} on what passes have made")
        return done.output

    def _run_clang(self, job: Sequence[str]) -> bytes:
        """A job as it is; returns what it has to say."""
        done = self._run(as_taken(job, self._tool), job[-1])
        if done.code != 0:
            self._leave_to_clang()
        return done.messages

    def _ask(self, arguments: Sequence[str]) -> Jobs:
        """What clang would do."""
        question = self._question
        done = self._run([question.compiler, "-###", *question.terminal, *arguments], "")
        if done.code != 0:
            self._leave_to_clang()
        return parse_jobs(done.messages)

    def _run(self, job: Sequence[str], source: str, *options: Run, data: bytes = b"") -> Done:
        """Have the driver run a job, until it ends."""
        if source == "-":
            options = (*options, Run.SOURCE)
        words = pack_list(option.value for option in options)
        return self._tell(b"run", pack_list(job), words, data)

    def _tell(self, *parts: bytes) -> Done:
        send(self._connection, *parts)
        return Done.parse(receive(self._connection))

    def _write(self, results: Results, data: bytes, record: Mapping[str, Any]) -> None:
        """Have the driver write what there is."""
        if results.dependency_file is not None:
            path, text = results.dependency_file
            path = os.path.realpath(self._question.path(path))  # clang writes through a link
            send(self._connection, b"write", os.fsencode(path), text.encode("latin-1"))
        send(self._connection, b"write", os.fsencode(results.output), data)
        self._keep_line(results.output, results.source, record)

    def _keep_line(self, output: str, source: str, record: Mapping[str, Any]) -> None:
        """A record of an object, for when all is done."""
        if self._settings.records != OFF:
            output, source = (
                os.path.normpath(self._question.path(name)) for name in (output, source)
            )
            line = records.to_line(output, source, record)
            self._lines.append((os.fsencode(self._settings.records), line))

    def _record(self, job: Sequence[str], record: Mapping[str, Any]) -> None:
        """The same of one that clang writes."""
        self._keep_line(value_of(job, "-o"), job[-1], record)

    def _send_lines(self) -> None:
        for file, line in self._lines:
            send(self._connection, b"record", file, line)

    def _leave_to_clang(self, job: Sequence[str] = (), reason: str = "") -> NoReturn:
        """Let clang do all of it: with its messages, and its exit code. Raises `_Over`.

        Args:
            job: what cannot be done here.
            reason: why.
        """
        self._lines = []  # clang makes all objects once more
        if job:
            self._record(job, {"reason": reason})
        self._send_lines()
        self._end(b"clang", pack_list(self._arguments), b"")

    def give_up(self, reason: str) -> None:
        """Let clang do all of it for a fault of ours; or nobody, if ``strict`` is set."""
        try:
            note = self._note(reason, f"{self._tool.name} does it by itself")
            self._end(b"clang", pack_list(self._arguments), note)
        except _Over:
            pass

    def _note(self, failure: str, instead: str) -> bytes:
        """A line that says what has failed. Raises `_Over` if ``strict`` is set."""
        if self._settings.strict:
            self._end(b"error", os.fsencode(f"{failure} (CODEZERO_STRICT is set)"))
        return os.fsencode(f"{self._question.name}: {failure}; {instead}\n")

    def _end(self, *parts: bytes) -> NoReturn:
        send(self._connection, *parts)
        raise _Over


class _ClangOf(Clang):
    """Clang, for one job of a driver."""

    def __init__(self, conversation: _Conversation, job: Sequence[str], front_end: Done) -> None:
        self._conversation = conversation
        self._job = job
        self._front_end = front_end
        self.messages: bytes | None = None
        """Of the object that it has made by itself, if it has."""

    def generate(self, bitcode: bytes) -> bytes:
        return self._conversation.generate(self._job, bitcode)

    def compile(self) -> bytes:
        done = self._conversation.object_by_clang(self._job)
        self.messages = done.messages
        return done.output

    @property
    def says_the_same(self) -> bool:
        # Messages of code generation would be lost with what is kept.
        return self.messages in (None, self._front_end.messages)


def level_of(arguments: Sequence[str]) -> str:
    """The level of optimisation: the last counts."""
    return next(filter(LEVELS.__contains__, reversed(arguments)), "-O0")


def _at_oz(arguments: Sequence[str]) -> list[str]:
    """The same, for size: the last level counts."""
    if level_of(arguments) == "-Oz":
        return list(arguments)
    end = arguments.index("--") if "--" in arguments else len(arguments)
    return [*arguments[:end], "-Oz", *arguments[end:]]
