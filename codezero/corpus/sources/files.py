"""Folders, zip and tar archives of source files and of IR."""

from __future__ import annotations

import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from codezero.compiler.frontends import IR_SUFFIXES, SOURCE_SUFFIXES, front_end_of
from codezero.corpus.unit import Unit, compiled, printable, unpacking_failed
from codezero.errors import CodeZeroError

_SUFFIXES = frozenset((*IR_SUFFIXES, *SOURCE_SUFFIXES))


class FilesSource:
    """The files of a folder or an archive, each a program of its own.

    The package of a file is the folder or archive, so that all of it is in one split; or with
    ``by_folder`` the folder's first level, for a collection of packages.

    Args:
        largest: take only so many, the largest by size of file (as the paper takes AnghaBench).
        flags: compiler flags for the source files.
    """

    def __init__(
        self,
        path: Path,
        *,
        largest: int | None = None,
        flags: tuple[str, ...] = (),
        by_folder: bool = False,
    ) -> None:
        self._path = path
        self._largest = largest
        self._flags = flags
        self._by_folder = by_folder
        self.size: int | None = None
        self._unpacked: tempfile.TemporaryDirectory[str] | None = None

    @cached_property
    def key(self) -> str:
        options = f"{' '.join(self._flags)}:{self._by_folder}"
        stamp = _stamp(self._path) if self.is_fixed else ""
        return f"files:{printable(self._path.resolve())}:{stamp}:{options}"

    @property
    def selection(self) -> str:
        return "" if self._largest is None else f"{self._largest} largest"

    @cached_property
    def is_fixed(self) -> bool:
        return not self._path.is_dir()

    @property
    def setup(self) -> str:
        return ""

    def prepare(self) -> None:
        if self._path.is_dir():
            return
        self._unpacked = tempfile.TemporaryDirectory(prefix="codezero-")
        try:
            unpack(self._path, Path(self._unpacked.name))
        except (
            *(OSError, EOFError, zipfile.BadZipFile, tarfile.TarError, zlib.error),
            RuntimeError,  # an encrypted zip
        ) as error:
            raise unpacking_failed(str(self._path), error) from None

    def files(self) -> Iterator[Path]:
        """The files that are units, in no order; of an archive, once it is prepared."""
        for file in self._folder.rglob("*"):
            if file.suffix in _SUFFIXES and file.is_file():
                yield file

    @property
    def _folder(self) -> Path:
        return Path(self._unpacked.name) if self._unpacked else self._path

    def units(self) -> Iterator[Unit]:
        folder = self._folder
        files = list(self.files())
        if not files:
            raise CodeZeroError(f"{self._path}: no source file and no IR in it")
        if self._largest is not None:
            files.sort(key=lambda file: (-file.stat().st_size, file))
            files = files[: self._largest]
        self.size = len(files)
        for file in sorted(files):
            yield self._unit(file, file.relative_to(folder))

    def close(self) -> None:
        if self._unpacked is not None:
            self._unpacked.cleanup()
            self._unpacked = None

    def _unit(self, file: Path, path: Path) -> Unit:
        package = self._path.name
        if self._by_folder and len(path.parts) > 1:
            package, path = path.parts[0], Path(*path.parts[1:])
        front_end = front_end_of(file)
        return Unit(
            package=printable(Path(package)),
            version="",
            path=printable(path),
            language=front_end.language if front_end else "LLVM IR",
            licence="",
            load=compiled(file, self._flags if front_end else ()),
            stamp="" if self.is_fixed else _stamp(file),
        )


def _stamp(path: Path) -> str:
    status = path.stat()
    return f"{status.st_size}-{status.st_mtime_ns}"


def unpack(archive: Path, folder: Path) -> None:
    """Write the regular files of a zip or tar archive to a folder, and to nowhere else.

    Raises:
        OSError, EOFError, zipfile.BadZipFile, tarfile.TarError, zlib.error: it is no archive, or
            one that breaks off.
    """
    folder = folder.resolve()
    with archive.open("rb") as file:
        is_zip = file.read(4) == b"PK\3\4"
    if is_zip or zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            zipped.extractall(folder)  # which leaves out "..", roots and links
        return
    with tarfile.open(archive) as tar:
        for member in tar:
            target = (folder / member.name).resolve()
            contents = tar.extractfile(member) if member.isfile() else None
            if contents is not None and target.is_relative_to(folder):
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("wb") as file:
                    shutil.copyfileobj(contents, file)
        # tarfile takes a header that is cut off or damaged for the end.
        assert tar.fileobj is not None
        tar.fileobj.seek(tar.offset)
        if tar.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("the archive breaks off, or is damaged")
