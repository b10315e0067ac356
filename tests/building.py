"""For tests of the drivers: builds, through real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from codezero.compiler import loaded_size
from codezero.compiler.toolchain import CLANG, CLANGXX
from codezero.driver import records
from codezero.driver.records import Record

BIN = Path(sys.executable).parent
CC, CXX, FC = (BIN / f"codezero-{name}" for name in ("cc", "c++", "flang"))


def kill_servers(runtime: Path) -> int:
    """End the servers that listen in a folder; how many there were."""
    killed = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if any(word.startswith(os.fsencode(runtime) + b"/codezero/") for word in words):
            os.kill(int(process.name), signal.SIGKILL)
            killed += 1
    return killed


class Builder:
    """Runs drivers and clang in a folder, and looks at what they leave."""

    def __init__(self, folder: Path, runtime: Path) -> None:
        self.folder = folder
        self.runtime = runtime
        self.records = folder / "records.jsonl"
        self.environment = {
            **{name: v for name, v in os.environ.items() if not name.startswith("CODEZERO_")},
            "XDG_RUNTIME_DIR": str(runtime),
            "CODEZERO_CACHE": "off",
            "CODEZERO_EFFORT": "6",
            "CODEZERO_RECORDS": str(self.records),
        }

    def run(
        self, *command: str | Path, stdin: bytes = b"", **environment: str
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            list(map(str, command)),
            input=stdin,
            capture_output=True,
            cwd=self.folder,
            env={**self.environment, **environment},
            timeout=120,
        )

    def cc(self, *arguments: str | Path, **environment: str) -> str:
        """Compile with our driver, which has to succeed; what it has to say."""
        done = self.run(CC, *arguments, **environment)
        assert done.returncode == 0, done.stderr.decode()
        return done.stderr.decode()

    def last_record(self) -> Record:
        return list(records.read(str(self.records)))[-1]

    def size(self, name: str) -> int:
        return loaded_size((self.folder / name).read_bytes())

    def clang_size(self, source: Path | str, *flags: str) -> int:
        compiler = CLANGXX if str(source).endswith(".cpp") else CLANG
        self.run(compiler.require(), "-Oz", *flags, "-c", source, "-o", "clang.o")
        return self.size("clang.o")
