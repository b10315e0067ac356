"""One call of a driver that may be for us: what clang would do, and the server for some of it.

Where anything goes wrong, clang takes the place of this process: a build never fails for our sake.
Nothing is written before it is whole.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
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
    searched_folders,
    to_stdout,
    value_of,
)
from codezero.compiler.toolchain import CLANG, CLANGXX, FLANG, SIZE_LEVELS, Tool, as_taken
from codezero.driver import client, outputs
from codezero.driver.messages import Message, receive, send
from codezero.driver.records import as_text
from codezero.driver.settings import DriverSettings
from codezero.errors import CodeZeroError

TOOLS = {"codezero-cc": CLANG, "codezero-c++": CLANGXX, "codezero-flang": FLANG}
LEVELS = frozenset(("-O", "-O0", "-O1", "-O2", "-O3", "-Og", "-Os", "-Oz", "-Ofast"))
LOST_SECONDS = 0.2
"""For a server that was killed to be gone."""
NOT_AT_OZ = LEVELS | {"-vectorize-loops"}
"""What a driver tells flang by the level."""


class _GiveUp(Exception):
    """Our part has failed, for the reason that is given."""


class _Warned(Exception):
    """Code generation has something to say."""


def main() -> NoReturn:
    """The command ``codezero-driver``, which `native/driver/main.cpp` calls, in words of its own.

    Does what a user asks a driver for, and ends the process.
    """
    # As for any program that Python has not started, and that may be interrupted from here on.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    command, name, path, conversation, terminal, *arguments = sys.argv[1:]
    try:
        tool = TOOLS[command]
        if conversation == "clang":
            compiler = tool.require()
            os.execv(compiler, [compiler, *as_taken(arguments, tool)])
        server = client.Server(path, conversation)
        driver = _Driver(name, tool, arguments, terminal.split(), DriverSettings.read(), server)
        try:
            driver.run()
        except CodeZeroError:
            raise
        except Exception as error:
            driver.give_up(f"{type(error).__name__}: {error}")
    except CodeZeroError as error:
        print(f"{name}: error: {error}", file=sys.stderr)
        sys.exit(1)


class _Driver:
    """One call of a driver.

    Args:
        name: what the user calls it.
        tool: clang, or flang.
        terminal: flags by which messages look as they do at a terminal.

    Raises:
        CodeZeroError: there is no such compiler.
    """

    def __init__(
        self,
        name: str,
        tool: Tool,
        arguments: Sequence[str],
        terminal: Sequence[str],
        settings: DriverSettings,
        server: client.Server,
    ) -> None:
        self._name = name
        self._tool = tool
        self._compiler = tool.require()
        self._arguments = list(arguments)
        self._terminal = list(terminal)
        self._settings = settings
        self._server = server
        self._began = time.time()
        self._stdin: bytes | None = None
        """The source, if that is what it is: it can be read only once."""
        self._clangs_messages: bytes | None = None
        """Of an object that clang has made by itself, in a conversation."""

    def run(self) -> NoReturn:
        """Do what the user asks for, and end the process.

        Raises:
            CodeZeroError: our part has failed, and ``strict`` is set.
        """
        outputs.clean_up_if_stopped()
        arguments = self._arguments
        if self._settings.always or level_of(arguments) in SIZE_LEVELS:
            arguments = _at_oz(arguments)
        said = self._server.jobs() or self._ask(arguments)
        jobs = parse_jobs(said)
        if not self._are_ours(jobs.commands):
            self._become_clang()
        self._check(jobs)
        self._arguments = arguments
        if any(level_of(job) != "-Oz" for job in jobs.commands if is_compilation(job)):
            # The level is in a file of flags.
            self._arguments = _at_oz(arguments)
            said = self._ask(self._arguments)
            jobs = parse_jobs(said)
        if any(is_compilation(job) and job[-1] == "-" for job in jobs.commands):
            self._stdin = sys.stdin.buffer.read()
        if len(jobs.commands) > 1:
            self._server.forget()
        temporary = _temporary(jobs.commands)
        if not temporary:
            self._run_all(said, jobs, {})
        import tempfile  # seldom needed, and slow to import

        with tempfile.TemporaryDirectory(prefix="codezero-") as folder:
            outputs.unfinished.append(folder)
            names = {
                name: os.path.join(folder, f"{number}{os.path.splitext(name)[1]}")
                for number, name in enumerate(temporary)
            }
            self._run_all(said, jobs, names)

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
            if any(map(outputs.is_special, written)):
                self._become_clang()
            for word in job:
                reason = objection(word, only_object=False)
                if reason is not None:
                    self._leave(job, f"{word} {reason}")
            # flang generates no code for bitcode of ours.
            at_oz = [word for word in back_end_command(job) if word not in NOT_AT_OZ]
            unknown = not_followed(at_oz) if is_fortran(job) else None
            if unknown is not None:
                self._leave(job, f"{unknown} may change code generation, which is ours for Fortran")

    def _leave(self, job: Sequence[str], reason: str) -> NoReturn:
        """Leave to the compiler what cannot be done here."""
        outputs.record(self._settings, value_of(job, "-o"), job[-1], {"reason": reason})
        self._become_clang()

    def give_up(self, reason: str) -> NoReturn:
        """Let clang do all of it for a fault of ours.

        Raises:
            CodeZeroError: ``strict`` is set.
        """
        if self._settings.strict:
            raise CodeZeroError(f"{reason} (CODEZERO_STRICT is set)")
        note = f"{self._name}: {reason}; {self._tool.name} does it by itself\n"
        outputs.print_messages(os.fsencode(note))
        self._become_clang()

    def _run_all(self, said: bytes, jobs: Jobs, names: Mapping[str, str]) -> NoReturn:
        messages = jobs.messages
        for job in jobs.commands:
            messages += self._run(tuple(names.get(word, word) for word in job), said, jobs)
        outputs.print_messages(messages)
        sys.exit(0)

    def _ask(self, arguments: Sequence[str]) -> bytes:
        """What clang says that it would do."""
        asked = [self._compiler, "-###", *self._terminal, *arguments]
        done = subprocess.run(asked, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        if done.returncode != 0:
            self._become_clang()
        return done.stderr

    def _run(self, job: tuple[str, ...], said: bytes, jobs: Jobs) -> bytes:
        """Do one job; returns what it has to say. Where it fails, clang does all of them.

        Args:
            said: what clang's driver said that it would do.
            jobs: the same, understood.
        """
        if not is_compilation(job):
            return self._run_clang(job)
        output, source = value_of(job, "-o"), job[-1]
        headers = os.memfd_create("headers")
        path = f"/proc/self/fd/{headers}"
        listed = path if os.path.exists(path) else None  # there is no /proc in some chroots
        front_end = self._start(front_end_command(job, listed), source, headers)
        if front_end.returncode != 0:
            self._become_clang()
        names = [source, *jobs.configuration, *os.fsdecode(_contents(headers)).splitlines()]
        task: Message = {"files": [], "results": None}
        # What a file of flags says may change with it.
        task["jobs"] = "" if jobs.configuration else said.decode("latin-1")
        task["folders"] = searched_folders(job)
        if listed is not None:
            task["files"] = [os.path.abspath(name) for name in dict.fromkeys(names)]
        if listed is not None and source != "-" and reads_listed_files(job):
            task["results"] = _results(job, jobs.messages + front_end.stderr)
        self._clangs_messages = None
        try:
            data, record = self._compile(job, task, front_end)
        except _Warned:
            reason = "clang warns as it generates code"
            outputs.record(self._settings, output, source, {"reason": reason})
            return self._run_clang(job)
        except _GiveUp as failure:
            level = f"{self._tool.name} {self._tool.size_level}"
            note = self._note(source, failure, f"the object is what {level} makes")
            messages = self._run_clang(job)
            outputs.record(self._settings, output, source, {"reason": str(failure)})
            return messages + note
        try:
            outputs.write(output, data)
        except OSError:
            self._become_clang()  # which says what is wrong
        outputs.record(self._settings, output, source, record)
        clangs = self._clangs_messages
        return front_end.stderr if record["passes"] or clangs is None else clangs

    def _note(self, what: str, failure: _GiveUp, instead: str) -> bytes:
        """A line that says what has failed. Raises `CodeZeroError` if ``strict`` is set."""
        if self._settings.strict:
            raise CodeZeroError(f"{what}: {failure} (CODEZERO_STRICT is set)") from None
        return os.fsencode(f"{self._name}: {what}: {failure}; {instead}\n")

    def _compile(
        self,
        job: tuple[str, ...],
        files: Message,
        front_end: subprocess.CompletedProcess[bytes],
    ) -> tuple[bytes, Message]:
        """The object, and what there is to say of it. Raises `_GiveUp` and `_Warned`."""
        back_end = back_end_command(job)
        task = {
            "name": as_text(job[-1]),
            "flags": back_end,
            "compiler": identity(back_end[0]),
            "settings": self._settings._asdict(),
            "began": self._began,
            **files,
        }
        if self._server.is_stuck:
            raise _GiveUp("the server does not answer")
        for is_last in (False, False, True):
            try:
                with self._server.connect() as server:
                    return self._converse(server, job, task, front_end)
            except TimeoutError:
                raise _GiveUp("the server does not answer") from None
            except OSError as error:
                # A server that was killed, or ends just now, is replaced.
                if is_last:
                    raise _GiveUp(f"the server is lost ({error})") from None
                time.sleep(LOST_SECONDS)
            except client.ServerError as error:
                raise _GiveUp(str(error)) from None
        raise AssertionError("unreachable")

    def _converse(
        self,
        server: socket.socket,
        job: tuple[str, ...],
        task: Message,
        front_end: subprocess.CompletedProcess[bytes],
    ) -> tuple[bytes, Message]:
        """One conversation; see `codezero.driver.messages`."""
        send(server, {"task": task}, front_end.stdout)
        made: dict[str, bytes] = {}
        while True:
            answer, data = receive(server)
            if answer["answer"] == "failed":
                raise _GiveUp(answer["reason"])
            if answer["answer"] == "object":
                return data, answer["record"]
            if answer["answer"] == "done":
                return made[answer["by"]], answer["record"]
            by = "us" if answer["answer"] == "bitcode" else "clang"
            made[by] = self._generate(job, data) if by == "us" else self._by_clang(job)
            # Messages of code generation would be lost with what is kept.
            keep = self._clangs_messages in (None, front_end.stderr)
            send(server, {"by": by, "keep": keep}, made[by])

    def _generate(self, job: Sequence[str], bitcode: bytes) -> bytes:
        command = back_end_command(job)
        done = subprocess.run(command, input=bitcode, capture_output=True, check=False)
        if done.stderr:
            raise _Warned  # which clang does better of its own program: with lines of the source
        if done.returncode != 0:
            raise _GiveUp(f"clang ends with {done.returncode} on what passes have made")
        return done.stdout

    def _by_clang(self, job: Sequence[str]) -> bytes:
        done = self._start(to_stdout(as_taken(job, self._tool)), job[-1])
        if done.returncode != 0:
            self._become_clang()  # where its front end did not fail: it says why
        self._clangs_messages = done.stderr
        return done.stdout

    def _run_clang(self, job: Sequence[str]) -> bytes:
        """A job as it is."""
        done = self._start(as_taken(job, self._tool), job[-1], stdout=None)
        if done.returncode != 0:
            self._become_clang()
        return done.stderr

    def _start(
        self,
        job: Sequence[str],
        source: str,
        file: int | None = None,
        stdout: int | None = subprocess.PIPE,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a job, with a file of ours, until it ends."""
        files = () if file is None else (file,)
        stdin: dict[str, Any] = {"stdin": subprocess.DEVNULL}
        if source == "-":
            stdin = {"input": self._stdin}
        return subprocess.run(
            job, **stdin, stdout=stdout, stderr=subprocess.PIPE, pass_fds=files, check=False
        )

    def _become_clang(self) -> NoReturn:
        """Let clang do it, whatever has been done: with its messages, and its exit code."""
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:  # both may be closed
                stream.flush()
        outputs.clean_up()
        if self._stdin is not None:
            again = os.memfd_create("stdin")
            os.write(again, self._stdin)
            os.lseek(again, 0, os.SEEK_SET)
            os.dup2(again, 0)
        os.execv(self._compiler, [self._compiler, *as_taken(self._arguments, self._tool)])


def level_of(arguments: Sequence[str]) -> str:
    """The level of optimisation: the last counts."""
    return next(filter(LEVELS.__contains__, reversed(arguments)), "-O0")


def identity(compiler: str) -> str:
    """Tells one clang from another."""
    status = os.stat(compiler)
    return f"{compiler} {status.st_size} {status.st_mtime_ns}"


def _results(job: Sequence[str], messages: bytes) -> Message:
    """What comes of a compilation besides the object."""
    dependencies = None
    if "-dependency-file" in job:
        path = value_of(job, "-dependency-file")
        with open(path, "rb") as file:
            dependencies = [path, file.read().decode("latin-1")]
    return {
        "output": value_of(job, "-o"),
        "source": job[-1],
        "dependency_file": dependencies,
        "messages": messages.decode("latin-1"),
    }


def _contents(file: int) -> bytes:
    os.lseek(file, 0, os.SEEK_SET)
    with os.fdopen(file, "rb") as stream:
        return stream.read()


def _at_oz(arguments: Sequence[str]) -> list[str]:
    """The same, for size: the last level counts."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    return [*arguments[:end], "-Oz", *arguments[end:]]


def _temporary(jobs: Sequence[tuple[str, ...]]) -> list[str]:
    """Files that one job makes for another, whose names the driver has made up."""
    folder = next(filter(None, map(os.environ.get, ("TMPDIR", "TEMP", "TMP"))), "/tmp")
    return [
        name
        for number, name in enumerate(value_of(job, "-o") for job in jobs[:-1])
        if os.path.dirname(name) == folder.rstrip("/")
        and any(name in later for later in jobs[number + 1 :])
    ]
