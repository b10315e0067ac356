"""The native module: LLVM's behaviour through our binding."""

from __future__ import annotations

import itertools
import re
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import EXAMPLES

from codezero.compiler import (
    TARGETS,
    CodegenError,
    CompileOptions,
    LLVMError,
    Module,
    ParseError,
    PipelineError,
    VerificationError,
    executable_size,
    function_sizes,
    loaded_size,
)
from codezero.compiler.program import Program
from codezero.compiler.toolchain import CLANG, CLANGXX, OPT

ADD = """
define i32 @add(i32 %a, i32 %b) {
  %unused = mul i32 %a, 7
  %sum = add i32 %a, %b
  ret i32 %sum
}
"""


def parse(text: str) -> Module:
    return Module.parse(text.encode())


def test_textual_ir_is_parsed_and_optimised() -> None:
    module = parse(ADD)
    assert module.instruction_count() == 3
    assert module.run("dce") is True
    assert module.instruction_count() == 2
    assert "%unused" not in module.ir()


def test_run_reports_when_nothing_changed() -> None:
    module = parse(ADD)
    module.run("dce")
    assert module.run("dce") is False


def test_parse_error_has_line_and_column() -> None:
    with pytest.raises(ParseError, match="result type 'i32'") as error:
        parse("define i32 @f() {\n  ret i33 0\n}\n")
    assert (error.value.line, error.value.column) == (2, 7)


def test_bitcode_error_has_no_line(sha256: Program) -> None:
    with pytest.raises(ParseError) as error:
        Module.parse(sha256.bitcode[:100])
    assert (error.value.line, error.value.column) == (0, 0)


def test_ir_that_does_not_verify_is_rejected() -> None:
    # Every use must be dominated by its definition: the parser does not check that.
    with pytest.raises(VerificationError, match="dominate"):
        parse("define i32 @f() {\n  %a = add i32 %b, 1\n  %b = add i32 1, 1\n  ret i32 %a\n}\n")


def test_unknown_pass_is_an_error_and_runs_nothing() -> None:
    module = parse(ADD)
    with pytest.raises(PipelineError, match="unknown function pass 'dec'"):
        module.run("dce,dec")
    assert module.instruction_count() == 3


def test_errors_are_llvm_errors() -> None:
    for error in (ParseError, VerificationError, PipelineError, CodegenError):
        assert issubclass(error, LLVMError)


def test_clone_is_independent() -> None:
    module = parse(ADD)
    copy = module.clone()
    copy.run("dce")
    assert (copy.instruction_count(), module.instruction_count()) == (2, 3)
    del module
    assert copy.text_size() > 0


def test_clone_becomes_the_same_code(load: Callable[..., Program]) -> None:
    # Passes depend on the order of use lists, which LLVM's own CloneModule changes.
    pipeline = "default<Oz>"
    for name in ("lzss.c", "sha256.c", "json.c", "vm.c"):
        original = Module.parse(load(name).bitcode)
        copy = original.clone().clone()
        original.run(pipeline)
        copy.run(pipeline)
        assert copy.ir() == original.ir()
        assert copy.text_size() == original.text_size()


def test_bitcode_of_llvm_10_is_upgraded() -> None:
    for path in sorted((Path(__file__).parent / "autophase").glob("*.bc")):
        module = Module.parse(path.read_bytes())
        module.run("default<Oz>")
        assert executable_size(module.object()) > 0


def test_bitcode_text_and_object_come_back(sha256: Program) -> None:
    module = Module.parse(sha256.bitcode)
    assert Module.parse(module.bitcode()).ir() == module.ir()
    assert Module.parse(module.ir().encode()).instruction_count() == module.instruction_count()
    assert executable_size(module.object()) == module.text_size()
    assert ".globl" in module.assembly()


RELOCATIONS = re.compile(r"\.rela\.data\.rel\S* +RELA +\w+ +\w+ +(\w+)")
"""Sizes of those that a loader reads for constants, as readelf lists them."""


@pytest.mark.parametrize(
    ("measure", "flag"), [(executable_size, "CODE"), (loaded_size, "CONTENTS, ALLOC")]
)
def test_sizes_agree_with_objdump(
    measure: Callable[[bytes], int], flag: str, sha256: Program, tmp_path: Path
) -> None:
    path = tmp_path / "sha256.o"
    path.write_bytes(Module.parse(sha256.bitcode).object())
    headers = subprocess.run(
        ["objdump", "-h", path], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    sizes = [
        int(line.split()[2], 16) for line, flags in itertools.pairwise(headers) if flag in flags
    ]
    relocations = 0
    if measure is loaded_size:
        listed = subprocess.check_output(["readelf", "-SW", path], text=True)
        relocations = sum(int(size, 16) for size in RELOCATIONS.findall(listed))
    assert len(sizes) > (flag != "CODE")
    assert measure(path.read_bytes()) == sum(sizes) + relocations


def test_what_is_loaded_is_more_than_code() -> None:
    numbers = ", ".join(f"i32 {number}" for number in range(64))
    data = f"@table = constant [64 x i32] [{numbers}]\n@zeros = global [999 x i8] zeroinitializer\n"
    module = parse(data + ADD)
    assert module.loaded_size() == loaded_size(module.object())
    assert module.text_size() + 256 <= module.loaded_size() < module.text_size() + 600
    with pytest.raises(CodegenError):
        loaded_size(b"this is text")


def test_executable_size_rejects_what_is_no_object() -> None:
    with pytest.raises(CodegenError):
        executable_size(b"this is text")


TRIPLES = {
    "X86": "x86_64-unknown-linux-gnu",
    "AArch64": "aarch64-unknown-linux-gnu",
    "ARM": "thumbv7m-none-eabi",
    "RISCV": "riscv32-unknown-elf",
    "WebAssembly": "wasm32-unknown-unknown",
}


@pytest.mark.parametrize("target", TARGETS)
def test_code_is_generated_for_every_target(target: str) -> None:
    module = parse(f'target triple = "{TRIPLES[target]}"\n{ADD}')
    assert module.run("default<Oz>")
    assert module.text_size() > 0
    assert module.text_size() == executable_size(module.object())


def test_target_without_code_generator_still_optimises() -> None:
    module = parse(f'target triple = "mips-unknown-linux-gnu"\n{ADD}')
    assert module.run("default<Oz>")
    with pytest.raises(CodegenError, match="mips"):
        module.text_size()


def test_ir_without_triple_is_given_the_hosts_code() -> None:
    assert parse(ADD).text_size() > 0


def test_inline_assembly_is_assembled_and_its_errors_reported() -> None:
    template = 'define void @f() {{\n  call void asm sideeffect "{}", ""()\n  ret void\n}}\n'
    header = f'target triple = "{TRIPLES["X86"]}"\n'
    assert parse(header + template.format("nop; nop")).text_size() >= 3
    with pytest.raises(CodegenError, match="invalid instruction mnemonic"):
        parse(header + template.format("no_such_instruction")).text_size()


def test_function_sections_show_in_the_object(sha256: Program) -> None:
    module = Module.parse(sha256.bitcode)
    assert b".text.main" not in module.object()
    assert b".text.main" in module.object(CompileOptions(function_sections=True))


def test_modules_link() -> None:
    caller = parse(
        "declare i32 @add(i32, i32)\n"
        "define i32 @twice(i32 %a) {\n  %r = call i32 @add(i32 %a, i32 %a)\n  ret i32 %r\n}\n"
    )
    linked = Module.link([parse(ADD), caller])
    assert linked.instruction_count() == 5
    with pytest.raises(LLVMError, match="add"):
        Module.link([parse(ADD), parse(ADD)])


def test_size_attributes_are_added_and_stripped(sha256: Program) -> None:
    module = Module.parse(sha256.bitcode)
    assert " minsize " in module.ir()
    module.strip_size_attributes()
    assert "minsize" not in module.ir() and "optsize" not in module.ir()
    module.add_size_attributes()
    assert " minsize " in module.ir()


def test_one_target_leaves_another_alone(load: Callable[..., Program]) -> None:
    # WebAssembly's lowering sets LLVM's global option for the smallest jump table.
    def size() -> int:
        module = Module.parse(load("vm.c").bitcode)
        module.run("default<Oz>")
        return module.text_size()

    before = size()
    for triple in TRIPLES.values():
        other = parse(f'target triple = "{triple}"\n{ADD}')
        other.run("default<Oz>")
        other.text_size()
        assert size() == before, triple


def test_functions_marked_optnone_are_left_alone() -> None:
    module = parse(ADD.replace("{", "noinline optnone {", 1))
    assert module.run("dce") is False
    assert module.instruction_count() == 3


def test_structural_hash_ignores_names_and_sees_changes() -> None:
    module = parse(ADD)
    assert parse(ADD.replace("%sum", "%total")).structural_hash() == module.structural_hash()
    before = module.structural_hash()
    module.run("dce")
    assert module.structural_hash() != before
    (function,) = module.functions()
    assert (function.name, function.instructions, function.is_shared) == ("add", 2, False)


CHECKED = """
@.str = private unnamed_addr constant [4 x i8] c"a.c\\00"
@table = internal constant [2 x i32] [i32 1, i32 2]
declare void @fail(ptr)
define internal i32 @helper(i32 %x) {
  %p = getelementptr [2 x i32], ptr @table, i32 0, i32 %x
  %v = load i32, ptr %p
  ret i32 %v
}
define i32 @check(i32 %x) {
  call void @fail(ptr @.str)
  %v = call i32 @helper(i32 %x)
  ret i32 %v
}
"""


def test_structural_hash_is_the_same_for_a_renamed_copy() -> None:
    copy = CHECKED
    for name in ("helper", "check", "table", "fail"):
        copy = copy.replace(f"@{name}", f"@other_{name}")
    copy = copy.replace('[4 x i8] c"a.c', '[10 x i8] c"other/a.c')
    module, renamed = parse(CHECKED), parse(copy)
    assert [f.name for f in renamed.functions()] == ["other_helper", "other_check"]
    assert module.structural_hash() == renamed.structural_hash()
    for ours, theirs in zip(module.functions(), renamed.functions(), strict=True):
        assert ours.structural_hash == theirs.structural_hash
    changed = parse(CHECKED.replace("@helper(i32 %x)\n  ret", "@helper(i32 7)\n  ret"))
    hashes = [f.structural_hash for f in changed.functions()]
    assert hashes[0] == module.functions()[0].structural_hash
    assert hashes[1] != module.functions()[1].structural_hash
    assert changed.structural_hash() != module.structural_hash()


@pytest.mark.parametrize(
    ("linkage", "is_shared"),
    [
        ("", False),
        ("internal", False),
        ("linkonce_odr", True),
        ("weak_odr", True),
        ("available_externally", True),
    ],
)
def test_functions_that_every_object_may_have_are_told(linkage: str, is_shared: bool) -> None:
    text = f"define {linkage} void @f() {{\n  ret void\n}}\n@use = global ptr @f\n"
    (function,) = parse(text).functions()
    assert function.is_shared == is_shared


@pytest.mark.parametrize(
    ("text", "nested"),
    [
        ("licm", "function(loop-mssa(licm))"),
        ("loop-reduce", "function(loop(loop-reduce))"),
        ("sroa,gvn", "function(sroa,gvn)"),
        ("inline", "cgscc(inline)"),
        ("globaldce", "globaldce"),
        ("default<Oz>", "default<Oz>"),
        ("function-simplification<Oz>", "function(function-simplification<Oz>)"),
        ("function(sroa),globaldce", "function(sroa),globaldce"),
    ],
)
def test_nesting_is_written_out(text: str, nested: str) -> None:
    assert parse(ADD).explicit_nesting(text) == nested


def test_other_threads_run_during_a_pass(load: Callable[..., Program]) -> None:
    module = Module.parse(load("lzss.c").bitcode)
    finished = threading.Event()
    ticks = 0

    def optimise() -> None:
        module.run(",".join(["default<O3>"] * 20))
        finished.set()

    thread = threading.Thread(target=optimise)
    thread.start()
    while not finished.is_set():
        ticks += 1
        time.sleep(0.001)
    thread.join()
    assert ticks > 10


def test_an_observation_is_autophase_over_the_instructions(sha256: Program) -> None:
    module = Module.parse(sha256.bitcode)
    out = np.zeros(56, np.float32)
    assert module.observe(out) == module.instruction_count()
    expected = (module.autophase() / module.instruction_count()).astype(np.float32)
    np.testing.assert_array_equal(out, expected)
    for wrong in (np.zeros(55, np.float32), np.zeros(56), np.zeros(112, np.float32)[::2]):
        with pytest.raises(TypeError):
            module.observe(wrong)  # type: ignore[arg-type]


def test_pass_time_is_counted(sha256: Program) -> None:
    module = Module.parse(sha256.bitcode)
    assert module.pass_seconds == 0
    start = time.perf_counter()
    module.run("default<Oz>")
    assert 0 < module.pass_seconds <= time.perf_counter() - start


TEN_PROGRAMS = [
    "json.c", "lzss.c", "regex.c", "sha256.c", "vm.c",
    "btree.cpp", "calc.cpp", "scheduler.cpp", "solver.cpp", "shapes.m",
]  # fmt: skip


@pytest.mark.parametrize("name", TEN_PROGRAMS)
@pytest.mark.parametrize(
    "flags",
    [
        (),
        ("-ffunction-sections", "-fno-pic"),
        ("-march=x86-64-v3", "-fno-slp-vectorize", "-fvectorize", "-Xclang", "-fmerge-functions"),
        ("-march=x86-64-v3", "-fno-unroll-loops", "-fno-builtin"),
    ],
    ids=["plain", "sections", "vectorise", "unroll"],
)
def test_baseline_is_what_clang_makes(
    name: str, flags: tuple[str, ...], load: Callable[..., Program], tmp_path: Path
) -> None:
    from codezero.soundness.execution import compile_flags

    flags = (*flags, *compile_flags(EXAMPLES / name))
    program = load(name, *flags)
    module = Module.parse(program.bitcode)
    module.run_clang_oz(program.options)
    tool = CLANGXX if name.endswith(".cpp") else CLANG
    output = tmp_path / "clang.o"
    subprocess.run([tool.require(), "-Oz", "-c", *flags, EXAMPLES / name, "-o", output], check=True)
    assert module.text_size(program.options) == executable_size(output.read_bytes())


@pytest.mark.parametrize("pipeline", ["default<Oz>", "function(sroa),default<Oz>,function(dce)"])
def test_a_pipeline_may_be_run_again(pipeline: str, sha256: Program) -> None:
    module = Module.parse(sha256.bitcode)
    for _ in range(3):
        module.run(pipeline)
        module.verify()


@pytest.mark.parametrize("pipeline", ["default<Oz>", "function(sroa,gvn),globaldce,mergefunc"])
def test_passes_do_what_opt_does(pipeline: str, sha256: Program, tmp_path: Path) -> None:
    source, output = tmp_path / "in.bc", tmp_path / "out.bc"
    source.write_bytes(sha256.bitcode)
    subprocess.run([OPT.require(), f"-passes={pipeline}", source, "-o", output], check=True)
    module = Module.parse(sha256.bitcode)
    module.run(pipeline)
    expected = Module.parse(output.read_bytes())
    assert module.instruction_count() == expected.instruction_count()
    assert module.structural_hash() == expected.structural_hash()


@pytest.mark.parametrize("triple", ["x86_64-linux-gnu", "aarch64-linux-gnu", "riscv64-linux-gnu"])
def test_static_constructors_are_where_linkers_look(triple: str) -> None:
    module = parse(
        f'target triple = "{triple}"\n'
        "@llvm.global_ctors = appending global [1 x { i32, ptr, ptr }] "
        "[{ i32, ptr, ptr } { i32 65535, ptr @f, ptr null }]\n"
        "define internal void @f() {\n  ret void\n}\n"
    )
    assert b".init_array" in module.object()
    assert b".ctors" not in module.object()


def test_ir_without_a_layout_is_optimised_under_its_targets() -> None:
    # The size of a pointer: 4 bytes on riscv32, 8 by LLVM's default.
    module = parse(
        'target triple = "riscv32-unknown-elf"\n'
        "define i32 @f() {\n  %p = getelementptr ptr, ptr null, i32 1\n"
        "  %i = ptrtoint ptr %p to i32\n  ret i32 %i\n}\n"
    )
    module.run("default<Oz>")
    assert "ret i32 4" in module.ir()


def test_threads_with_different_targets_optimise_and_measure_the_same() -> None:
    """Two threads a target: each makes modules, and so targets, all the time."""
    switch = "define i32 @f(i32 %x) {\n  switch i32 %x, label %d ["
    switch += "".join(f" i32 {i}, label %b{i}" for i in range(3)) + " ]\n"
    switch += "".join(f"b{i}:\n  ret i32 {i * 77}\n" for i in range(3)) + "d:\n  ret i32 9\n}\n"
    texts = [f'target triple = "{TRIPLES[t]}"\n{switch}' for t in ("X86", "WebAssembly")]

    def make(index: int) -> tuple[int, int, bytes]:
        module = parse(texts[index])
        before = module.text_size()
        module.run("default<O2>")
        return before, module.text_size(), module.bitcode()

    expected = [make(index) for index in range(2)]
    wrong = []

    def measure(index: int) -> None:
        for _ in range(50):
            if make(index) != expected[index]:
                wrong.append(index)

    threads = [threading.Thread(target=measure, args=(index % 2,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("name", ["vm.c", "calc.cpp", "shapes.m"])
def test_sizes_do_not_depend_on_what_was_measured_before(
    name: str, load: Callable[..., Program]
) -> None:
    """Between `text_size`s the code generator is kept, and for each `object` it is a new one."""
    from codezero.soundness.execution import compile_flags

    start = Module.parse(load(name, *compile_flags(EXAMPLES / name)).bitcode)
    small = start.clone()
    small.run("default<Oz>")
    alone = [small.extract([each.name]) for each in small.functions()[:20]]
    for options in (CompileOptions(), CompileOptions(function_sections=True)):
        for module in (start, *alone, small, *alone):
            assert module.text_size(options) == executable_size(module.object(options))


def test_what_was_used_in_one_module_is_not_in_the_next() -> None:
    """LLVM remembers by their addresses which functions need sections of their own."""
    names = [f"@f{i}" for i in range(200)]
    text = 'target triple = "x86_64-pc-linux-gnu"\n' + "".join(
        f"define internal void {caller}() minsize {{\n  tail call void {callee}()\n  ret void\n}}\n"
        for caller, callee in itertools.pairwise([*names, names[0]])
    )
    used = f"@llvm.used = appending global [{len(names)} x ptr] ["
    used += ", ".join(f"ptr {name}" for name in names) + '], section "llvm.metadata"\n'
    modules = [parse(text + used), parse(text)]
    sizes = [module.text_size() for module in modules]
    assert sizes[0] > sizes[1], "a jump to another section is longer"
    for _ in range(5):
        assert [module.text_size() for module in modules] == sizes


def test_labels_of_one_module_are_not_looked_for_in_the_next() -> None:
    """LLVM's code generator leaves numbered labels of assembly dangling when it is used again."""
    texts = (
        'module asm "1: nop"\nmodule asm ".long 1b - ."\ndefine void @f() {\n  ret void\n}\n',
        'define void @f() {\n  call void asm sideeffect "1: jmp 1b", ""()\n  ret void\n}\n',
    )
    triple = 'target triple = "x86_64-pc-linux-gnu"\n'
    modules = [parse(triple + text) for text in texts]
    sizes = [executable_size(module.object()) for module in modules]
    for _ in range(5):
        assert [module.text_size() for module in modules] == sizes


EXTRACTED = """
target triple = "x86_64-pc-linux-gnu"

@table = internal constant [2 x ptr] [ptr @a, ptr @b]
@unused = internal global [100 x i32] zeroinitializer
@llvm.used = appending global [1 x ptr] [ptr @kept], section "llvm.metadata"
@other_name = alias void (), ptr @a

define internal void @a() {
  ret void
}

define internal void @b() {
  ret void
}

define void @not_needed() {
  call void @kept(i64 0)
  ret void
}

define available_externally void @elsewhere() {
  ret void
}

declare void @declared()

define internal void @kept(i64 %i) {
  %slot = getelementptr ptr, ptr @table, i64 %i
  %f = load ptr, ptr %slot
  call void %f()
  call void @other_name()
  ret void
}
"""


def test_a_function_is_extracted_with_what_it_needs() -> None:
    module = parse(EXTRACTED)
    before = module.ir()
    alone = module.extract(["kept"])
    alone.verify()
    assert module.ir() == before
    assert [each.name for each in alone.functions()] == ["kept"]
    ir = alone.ir()
    assert "define hidden void @kept" in ir
    assert "@table = internal constant [2 x ptr] [ptr @a, ptr @b]" in ir
    assert "declare hidden void @a()" in ir and "declare hidden void @b()" in ir
    assert "declare void @other_name()" in ir
    for gone in ("@unused", "@llvm.used", "@not_needed", "@elsewhere", "@declared"):
        assert gone not in ir
    alone.run("default<Oz>")
    assert alone.instruction_count() > 0, "it was taken for dead"


@pytest.mark.parametrize("name", ["nowhere", "declared", "elsewhere"])
def test_what_has_no_code_is_not_extracted(name: str) -> None:
    with pytest.raises(LLVMError, match=f"'{name}'"):
        parse(EXTRACTED).extract([name])


@pytest.mark.parametrize("name", ["vm.c", "json.c", "calc.cpp", "life.rs"])
def test_sizes_of_functions_are_those_of_their_symbols(
    name: str, load: Callable[..., Program], tmp_path: Path
) -> None:
    program = load(EXAMPLES / name)
    module = Module.parse(program.bitcode)
    file = tmp_path / "module.o"
    file.write_bytes(module.object(program.options))
    listing = subprocess.run(
        ["nm", "--print-size", "--radix=d", file], check=True, capture_output=True, text=True
    )
    symbols = [line.split() for line in listing.stdout.splitlines()]
    expected = {s[3]: int(s[1]) for s in symbols if len(s) == 4 and s[2] in "tTwW"}
    sizes = function_sizes(file.read_bytes())
    assert {name: size for name, size in sizes.items() if size} == expected
    counts = module.instruction_counts()
    assert counts == {each.name: each.instructions for each in module.functions()}
    assert expected.keys() <= counts.keys() and sum(counts.values()) == module.instruction_count()


def test_names_that_are_not_text_and_what_is_no_object() -> None:
    module = parse('define void @"\\ff"() {\n  ret void\n}\ndefine void @f() {\n  ret void\n}\n')
    assert module.instruction_counts() == {"f": 1}
    assert function_sizes(module.object()).keys() == {"f"}
    wasm = parse('target triple = "wasm32"\ndefine void @f() {\n  ret void\n}\n')
    assert function_sizes(wasm.object()) == {}
    with pytest.raises(CodegenError):
        function_sizes(b"no object")


@pytest.mark.parametrize("name", ["vm.c", "json.c", "calc.cpp", "life.rs"])
def test_an_extracted_function_has_the_size_it_has_in_the_module(
    name: str, load: Callable[..., Program]
) -> None:
    program = load(EXAMPLES / name)
    module = Module.parse(program.bitcode)
    module.run("default<Oz>")
    whole = function_sizes(module.object(program.options))
    names = [name for name in module.instruction_counts() if name in whole][:40]
    sizes = {each: module.extract([each]).text_size(program.options) for each in names}
    differ = [each for each in names if sizes[each] != whole[each]]
    # A jump to a function that is only declared takes five bytes, to one nearby two.
    assert len(differ) <= len(names) / 5
    total = sum(whole[each] for each in names)
    assert sum(sizes.values()) == pytest.approx(total, rel=0.01)
    together = function_sizes(module.extract(names).object(program.options))
    assert together.keys() == set(names)
    assert sum(together.values()) == pytest.approx(total, rel=0.01)


@pytest.mark.parametrize(
    "pipeline",
    [
        "function(instcombine<no-verify-fixpoint>)",
        "function(loop-mssa(licm))",
        "function(function-simplification<Oz>)",
        "function(sroa<modify-cfg>)",
    ],
)
def test_passes_on_each_function_are_passes_on_all(
    pipeline: str, load: Callable[..., Program]
) -> None:
    module = Module.parse(load(EXAMPLES / "json.c").bitcode)
    expected = module.clone()
    assert expected.run(pipeline)
    first, *others = [each.name for each in module.functions()]
    untouched = {each.name: each.structural_hash for each in module.functions()}
    module.run_on(pipeline, first)
    after = {each.name: each.structural_hash for each in module.functions()}
    assert all(after[each] == untouched[each] for each in others)
    for each in others:
        module.run_on(pipeline, each)
        features = np.zeros(56, np.float32)
        fresh = np.zeros(56, np.float32)
        assert module.observe(features) == module.clone().observe(fresh)
        np.testing.assert_array_equal(features, fresh)
    assert module.ir() == expected.ir()


def test_only_function_passes_run_on_one_function() -> None:
    module = parse(ADD)
    for pipeline in ("globaldce", "dce", "function(dce),globaldce", "function(dce),function(adce)"):
        with pytest.raises(PipelineError):
            module.run_on(pipeline, "add")
    with pytest.raises(PipelineError, match="nonsense"):
        module.run_on("function(nonsense)", "add")
    with pytest.raises(LLVMError, match="'subtract'"):
        module.run_on("function(dce)", "subtract")
    assert module.run_on("function(dce)", "add")
    assert not module.run_on("function(dce)", "add")
