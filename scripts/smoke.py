"""Does an installed wheel work? Run from an empty environment, outside the source tree."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import codezero
from codezero.compiler import TARGETS, Module, load_space

assert Path(codezero.__file__).is_relative_to(sys.prefix), "not the installed package"

SOURCE = """
target triple = "{triple}"
define i32 @sum(ptr %p, i32 %n) {{
entry:
  %s = alloca i32
  store i32 0, ptr %s
  br label %loop
loop:
  %i = phi i32 [ 0, %entry ], [ %j, %loop ]
  %q = getelementptr i32, ptr %p, i32 %i
  %v = load i32, ptr %q
  %t = load i32, ptr %s
  %u = add i32 %t, %v
  store i32 %u, ptr %s
  %j = add i32 %i, 1
  %c = icmp slt i32 %j, %n
  br i1 %c, label %loop, label %end
end:
  %r = load i32, ptr %s
  ret i32 %r
}}
"""
TRIPLES = ("x86_64-linux-gnu", "aarch64-linux-gnu", "thumbv7m-none-eabi", "riscv32", "wasm32")

assert len(TARGETS) == len(TRIPLES)
for triple in TRIPLES:
    module = Module.parse(SOURCE.format(triple=triple).encode())
    before = module.text_size()
    module.add_size_attributes()
    assert module.run("default<Oz>")
    assert 0 < module.text_size() < before, triple
assert len(load_space("sound")) >= 80

with tempfile.TemporaryDirectory() as directory:
    path, output = Path(directory) / "sum.ll", Path(directory) / "sum.o"
    path.write_text(SOURCE.format(triple=TRIPLES[0]))
    # Without a compiler on PATH: IR needs none.
    command = [sys.executable, "-m", "codezero", "optimize", path, "-o", output, "--budget", "1s"]
    environment = {**os.environ, "PATH": directory}
    subprocess.run(command, check=True, env=environment)
    assert output.stat().st_size > 0

    # The drivers are programs of their own, and say what they need.
    driver = Path(sys.prefix, "bin", "codezero-cc")
    done = subprocess.run(
        [driver, "-Oz", "-c", path], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 1 and "clang 22 is not installed" in done.stderr, done.stderr
    driver.with_name("codezero-server").stat()

import gymnasium  # noqa: E402 (after the parts that need nothing else)

module_bytes = SOURCE.format(triple=TRIPLES[0]).encode()
env = gymnasium.make("codezero/PhaseOrdering-v0", programs=codezero.Program("sum", module_bytes))
env.reset(seed=0)
for _ in range(10):
    env.step(env.action_space.sample())
env.close()

print(f"smoke test passed: codezero {codezero.__version__}, Python {sys.version.split()[0]}")
