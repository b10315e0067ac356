"""Tag the wheel with the oldest glibc that it runs on, in place of the vague ``linux``.

What a wheel may link to is a short list (PEP 600): anything else on it is an error here. The
symbol versions that the extension and the programs ask of glibc give the tag.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ALLOWED = {"libstdc++.so.6", "libm.so.6", "libgcc_s.so.1", "libc.so.6", "ld-linux-x86-64.so.2"}
MAX_BYTES = 40_000_000


def main(wheel: Path) -> None:
    size = wheel.stat().st_size
    if size > MAX_BYTES:
        sys.exit(f"{wheel.name} has {size:,} bytes, more than {MAX_BYTES:,}")
    with zipfile.ZipFile(wheel) as archive, tempfile.TemporaryDirectory() as directory:
        native = [
            archive.extract(name, directory)
            for name in archive.namelist()
            if archive.open(name).read(4) == b"\x7fELF"
        ]
        headers = subprocess.run(
            ["objdump", "-p", *native], capture_output=True, text=True, check=True
        ).stdout
    needed = set(re.findall(r"NEEDED\s+(\S+)", headers))
    if needed - ALLOWED:
        sys.exit(f"{wheel.name} needs libraries that a bare machine lacks: {needed - ALLOWED}")
    versions = re.findall(r"\bGLIBC_(\d+)\.(\d+)", headers)
    major, minor = max((int(major), int(minor)) for major, minor in versions)
    tag = f"manylinux_{major}_{minor}_x86_64"
    subprocess.run(
        [sys.executable, "-m", "wheel", "tags", "--remove", f"--platform-tag={tag}", wheel],
        check=True,
    )
    print(f"{size:,} bytes, glibc {major}.{minor} or newer")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
