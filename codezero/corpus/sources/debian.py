"""Debian source packages, fetched with apt and compiled file by file."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
import tempfile
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from operator import itemgetter
from pathlib import Path

from codezero.compiler.frontends import FrontEnd
from codezero.compiler.program import Program
from codezero.corpus.entry import stable_hash
from codezero.corpus.projects.licences import Licences
from codezero.corpus.projects.source_tree import Recipe, SourceTree
from codezero.corpus.unit import Unit, compiled, printable, require_room, unpacking_failed
from codezero.errors import CodeZeroError, DiskFull, ToolchainError
from codezero.isolation import CommandRunner, CommandStopped
from codezero.programs.load import ProgramLoader

FETCH_SECONDS = 1_800.0
"""Time limit of fetching an index or a package."""


class SourceArchive:
    """The archive of source packages that the system's apt settings name.

    apt keeps its index of source packages in a folder of ours: nothing of the system is changed,
    no right to change it is needed, and deb-src need not be enabled.
    """

    def __init__(self) -> None:
        for command in ("apt-get", "apt-cache", "dpkg-source"):
            if shutil.which(command) is None:
                raise ToolchainError(
                    f"{command} is not installed: it fetches Debian's source packages. "
                    "On Debian and its derivatives: apt-get install apt dpkg-dev"
                )
        self._folder = tempfile.TemporaryDirectory(prefix="codezero-apt-")
        self._runner = CommandRunner(FETCH_SECONDS)
        self._lock = threading.Lock()
        self._has_index = False
        self.missing_index = ""
        """Why part of the index could not be fetched, if so."""

    def _with_index(self) -> tuple[str, ...]:
        """Options by which apt uses the index, which the first call fetches."""
        folder = Path(self._folder.name)
        options = (
            *("-o", "Dir::Etc::sourcelist=/dev/null"),
            *("-o", f"Dir::Etc::sourceparts={folder / 'sources.list.d'}"),
            *("-o", f"Dir::State::lists={folder / 'lists'}"),
            *("-o", f"Dir::Cache={folder / 'cache'}"),
            *("-o", "APT::Sandbox::User="),
        )
        with self._lock:
            if not self._has_index:
                for name in ("lists", "cache", "sources.list.d"):
                    (folder / name).mkdir(exist_ok=True)
                for path in _apt_source_files():
                    (folder / "sources.list.d" / path.name).write_text(_only_sources(path))
                # By default a mirror that cannot be reached is a warning, and the index empty.
                update = ["apt-get", *options, "-o", "APT::Update::Error-Mode=any", "update"]
                try:
                    self._run(update)
                except CodeZeroError as error:
                    # One repository without sources does not stand in the way of the others.
                    if not any((folder / "lists").glob("*Sources*")):
                        raise
                    self.missing_index = str(error)
                self._has_index = True
        return options

    def fetch_index(self) -> None:
        """Fetch the index now, rather than in the thread that first needs it.

        Raises:
            CodeZeroError: none of it can be fetched.
        """
        self._with_index()

    def versions(
        self, names: Sequence[str], runner: CommandRunner | None = None
    ) -> dict[str, list[str]]:
        """The versions there are of some packages, the newest first.

        Raises:
            CodeZeroError: the index cannot be fetched.
        """
        found: dict[str, set[str]] = defaultdict(set)
        show = ["apt-cache", *self._with_index(), "showsrc", "--only-source", *names]
        shown = self._run(show, any_code=True, runner=runner)
        for record in shown.split("\n\n"):
            name = re.search(r"^Package: (.+)$", record, re.MULTILINE)
            version = re.search(r"^Version: (.+)$", record, re.MULTILINE)
            if name and version:
                found[name[1]].add(version[1])
        return {name: _newest_first(versions) for name, versions in found.items()}

    def newest_to_be_had(self, name: str, versions: Sequence[str]) -> str:
        """The newest version whose description can be fetched: an index may name what is gone.

        Args:
            versions: the newest first. The oldest is the answer if no newer one can be fetched;
                whether it can be shows in `unpack`.
        """
        for version in versions[:-1]:
            description = ["source", "--dsc-only", "--download-only", "--only-source"]
            with tempfile.TemporaryDirectory(prefix="codezero-") as folder:
                command = ["apt-get", *self._with_index(), *description, f"{name}={version}"]
                try:
                    self._run(command, cwd=Path(folder))
                except CodeZeroError:
                    continue
            return version
        return versions[-1]

    def unpack(self, name: str, version: str, folder: Path, runner: CommandRunner) -> Path:
        """Fetch a package and unpack it, with Debian's patches; returns its folder.

        Raises:
            CodeZeroError: the archive has no such file, or it cannot be unpacked.
        """
        source = ["source", "--download-only", "--only-source", f"{name}={version}"]
        try:
            self._run(["apt-get", *self._with_index(), *source], cwd=folder, runner=runner)
            description = next(folder.glob("*.dsc"))
            tree = folder / "tree"
            command = ["dpkg-source", "--no-check", "-x", str(description), str(tree)]
            self._run(command, cwd=folder, runner=runner)
        except DiskFull:
            raise
        except CodeZeroError as error:
            others = [v for v in self.versions([name], runner).get(name, ()) if v != version]
            there_is = f"; there is {name}={others[0]}" if others else ""
            raise CodeZeroError(f"{name}={version}: {error}{there_is}") from None
        return tree

    def close(self) -> None:
        """Stop what is under way, and forget the index."""
        self._runner.interrupt()
        self._folder.cleanup()

    def _run(
        self,
        command: list[str],
        any_code: bool = False,
        cwd: Path | None = None,
        runner: CommandRunner | None = None,
    ) -> str:
        try:
            done = (runner or self._runner).run(command, cwd=cwd, environment={"LC_ALL": "C"})
        except subprocess.TimeoutExpired as error:
            raise CodeZeroError(f"{command[0]} took over {error.timeout:g} s") from None
        if done.returncode != 0 and not any_code:
            lines = done.stderr.decode(errors="replace").strip().splitlines()
            first = next(
                (line for line in lines if line.startswith(("E:", "dpkg-source: error"))), ""
            )
            if any("No space left on device" in line for line in lines):
                raise DiskFull(f"{command[0]}: no space left on device")
            raise CodeZeroError(first.removeprefix("E: ") or f"{command[0]} fails: {lines[-1:]}")
        return done.stdout.decode(errors="replace")


def _apt_source_files() -> list[Path]:
    """The files that tell apt where packages are."""
    command = ["apt-config", "shell", "LIST", "Dir::Etc::sourcelist/f", "PARTS"]
    done = subprocess.run(
        [*command, "Dir::Etc::sourceparts/d"], capture_output=True, text=True, check=False
    )
    found = dict(re.findall(r"^(LIST|PARTS)='(.*)'$", done.stdout, re.MULTILINE))
    parts = Path(found.get("PARTS", "/etc/apt/sources.list.d"))
    files = [Path(found.get("LIST", "/etc/apt/sources.list"))]
    if parts.is_dir():
        files += sorted(f for f in parts.iterdir() if f.suffix in (".list", ".sources"))
    return [file for file in files if file.is_file()]


def _only_sources(path: Path) -> str:
    """A file of apt's, with source packages in place of binary ones."""
    text = path.read_text(errors="replace")
    if path.suffix == ".sources":
        return re.sub(r"^Types:.*$", "Types: deb-src", text, flags=re.MULTILINE | re.IGNORECASE)
    lines = (re.sub(r"^\s*deb(-src)?\s", "deb-src ", line) for line in text.splitlines())
    return "\n".join(dict.fromkeys(lines)) + "\n"


def _newest_first(versions: set[str]) -> list[str]:
    def compare(a: str, b: str) -> int:
        is_newer = subprocess.run(["dpkg", "--compare-versions", a, "gt", b], check=False)
        return -1 if is_newer.returncode == 0 else 1

    return sorted(sorted(versions), key=functools.cmp_to_key(compare))


class DebianSource:
    """A source package; each C, C++, Objective-C and Fortran file in it is a unit.

    Args:
        archive: where it is fetched from.
        name: of the source package, which often is not that of the packages built from it.
        version: empty for a package that the archive does not have.
        sample: take only so many files, chosen by a hash of their paths; None takes all.
        only: patterns of `fnmatch` for the paths of the files to take, in which ``*`` also matches
            slashes; none takes all.
        without: patterns for the paths of files to leave out.
        recipe: see `SourceTree`.
    """

    is_fixed = True

    def __init__(
        self,
        archive: SourceArchive,
        name: str,
        version: str,
        *,
        sample: int | None = None,
        only: Sequence[str] = (),
        without: Sequence[str] = (),
        recipe: Recipe | None = None,
    ) -> None:
        self.name = name
        self.version = version
        self.size: int | None = None
        self._sample = sample
        self._only = tuple(only)
        self._without = tuple(without)
        self._recipe = recipe
        self._archive = archive
        self._runner = CommandRunner(FETCH_SECONDS)
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._tree: SourceTree | None = None

    @property
    def key(self) -> str:
        how = repr((self._recipe, self._only)) if self._recipe or self._only else ""
        how += repr(self._without) if self._without else ""
        return f"debian:{self.name}={self.version}" + (how and f":{stable_hash(how).hex()}")

    @property
    def selection(self) -> str:
        return "" if self._sample is None else f"sample of {self._sample}"

    @property
    def setup(self) -> str:
        return "" if self._tree is None else self._tree.setup

    def prepare(self) -> None:
        if not self.version:
            raise CodeZeroError(f"{self.name}: the archive has no such source package")
        self._folder = tempfile.TemporaryDirectory(prefix="codezero-", ignore_cleanup_errors=True)
        try:
            root = self._archive.unpack(
                self.name, self.version, Path(self._folder.name), self._runner
            )
            self._tree = SourceTree(root, self._runner, self._recipe)
            try:
                self._tree.configure()
            except CodeZeroError as error:
                require_room(root, self.name)
                raise CodeZeroError(f"{self.name}={self.version}: {error}") from None
        except CommandStopped:
            raise CodeZeroError(f"{self.name}: stopped") from None
        except OSError as error:
            raise unpacking_failed(self.name, error) from None
        require_room(root, self.name)

    def units(self) -> Iterator[Unit]:
        assert self._tree is not None, "prepare comes first"
        root = self._tree.root
        licences = Licences(root / "debian" / "copyright")
        files = [
            (printable(file.relative_to(root)), file, front_end)
            for file, front_end in self._tree.files()
            if self._is_taken(str(file.relative_to(root)))
        ]
        if self._sample is not None:
            files = sorted(
                sorted(files, key=lambda f: stable_hash(f[0]))[: self._sample], key=itemgetter(0)
            )
        self.size = len(files)
        for path, file, front_end in files:
            yield Unit(
                package=self.name,
                version=self.version,
                path=path,
                language=front_end.language,
                licence=licences.of(path),
                load=partial(self._load, file, front_end),
            )

    def _is_taken(self, path: str) -> bool:
        def matches(patterns: Sequence[str]) -> bool:
            return any(fnmatchcase(path, pattern) for pattern in patterns)

        return (not self._only or matches(self._only)) and not matches(self._without)

    def _load(self, file: Path, front_end: FrontEnd, loader: ProgramLoader) -> Program:
        assert self._tree is not None
        return compiled(file, self._tree.flags(file, front_end))(loader)

    def close(self) -> None:
        self._runner.interrupt()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None


@dataclass(frozen=True)
class Request:
    """What is wanted of the archive: a package, in its newest version if none is named."""

    name: str
    version: str = ""
    only: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    recipe: Recipe | None = None

    @classmethod
    def parse(cls, text: str, only: Sequence[str] = ()) -> Request:
        """From ``NAME`` or ``NAME=VERSION``."""
        name, _, version = text.partition("=")
        return cls(name, version, only=tuple(only))


def debian_sources(
    archive: SourceArchive, requests: Sequence[Request], sample: int | None = None
) -> list[DebianSource]:
    """The sources that answer some requests.

    Raises:
        CodeZeroError: the index of packages cannot be fetched.
    """
    archive.fetch_index()
    unversioned = [request.name for request in requests if not request.version]
    versions = archive.versions(unversioned) if unversioned else {}
    newest = {name: archive.newest_to_be_had(name, found) for name, found in versions.items()}
    return [
        DebianSource(
            archive,
            request.name,
            request.version or newest.get(request.name, ""),
            sample=sample,
            only=request.only,
            without=request.without,
            recipe=request.recipe,
        )
        for request in requests
    ]
