"""Passes that make one piece of code of several: what the pieces do and promise has to be equal.

Every case is one that LLVM 22's passes by themselves get wrong.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from codezero.compiler import LLVMError, Module, load_space
from codezero.compiler.toolchain import CLANG
from codezero.programs.load import ProgramLoader

SOUND = {p.name: p for p in load_space("sound").passes}

DECLARED = """\
declare i32 @use(i32)
declare i64 @llvm.read_register.i64(metadata)
declare ptr @llvm.returnaddress(i32)
declare i1 @llvm.type.test(ptr, metadata)
declare i32 @__gxx_personality_v0(...)
declare i32 @other_personality(...)
"""
BODY = "  %s = call i32 @use(i32 %a)\n  %t = call i32 @use(i32 %s)\n  ret i32 %t\n"
LANDING = (
    "  %r = invoke i32 @use(i32 %a) to label %done unwind label %pad\ndone:\n  ret i32 %r\n"
    "pad:\n  %l = landingpad { ptr, i32 } KIND catch ptr null\n  resume { ptr, i32 } %l\n"
)
REGISTER = (
    "  %v = call i64 @llvm.read_register.i64(metadata KIND)\n  %r = trunc i64 %v to i32\n"
    "  %t = call i32 @use(i32 %r)\n  ret i32 %t\n"
)
EXCHANGE = (
    "  %p = inttoptr i32 %a to ptr\n"
    "  %e = cmpxchg ptr %p, i32 0, i32 1 seq_cst seq_cst, align KIND\n"
    "  %r = extractvalue { i32, i1 } %e, 0\n  ret i32 %r\n"
)
ITSELF = "  %s = call i32 @NAME(i32 %a)\n  %t = call i32 @use(i32 %s)\n  ret i32 %t\n"
ADDRESS = (
    "  %p = inttoptr i32 %a to ptr\n  %c = icmp eq ptr %p, @NAME\n  %t = zext i1 %c to i32\n"
    "  %u = call i32 @use(i32 %t)\n  ret i32 %u\n"
)
FRAME = (
    "  %p = call ptr @llvm.returnaddress(i32 0)\n  %i = ptrtoint ptr %p to i32\n"
    "  %t = call i32 @use(i32 %i)\n  ret i32 %t\n"
)
TYPE = (
    "  %p = inttoptr i32 %a to ptr\n  %c = call i1 @llvm.type.test(ptr %p, metadata !0)\n"
    "  %t = zext i1 %c to i32\n  ret i32 %t\n"
)
PERSONALITY = "personality ptr @__gxx_personality_v0"
LOOP = (
    "  br label %loop\nloop:\n  %i = phi i32 [ %a, %0 ], [ %n, %loop ]\n"
    "  %n = call i32 @use(i32 %i)\n"
    "  %c = icmp eq i32 %n, 1\n  br i1 %c, label %done, label %loop, !llvm.loop !0\n"
    "done:\n  ret i32 7\n"
)
POINTER = (
    "  %p = call ptr @where()\n  %q = getelementptr FLAGS i8, ptr %p, i32 %a\n"
    "  %c = icmp ult ptr %q, %p\n  %t = zext i1 %c to i32\n  ret i32 %t\n"
)
LOAD = "  %p = call ptr @where()\n  %v = load i32, ptr %pMETADATA\n  ret i32 %v\n"


def two(first: str, second: str, rest: tuple[str, str] = ("", ""), name: str = "g") -> str:
    """Functions of these bodies, and what follows their signatures."""
    return DECLARED + "".join(
        f"define i32 @{name}(i32 %a) {after} {{\n{body.replace('NAME', name)}}}\n"
        for name, body, after in (("f", first, rest[0]), (name, second, rest[1]))
    )


APART = {
    "naked": two(*[BODY.replace("%a", "7")] * 2, ("naked", "naked")),
    "interrupt": two(BODY, BODY, ('"interrupt"="machine"', '"interrupt"="machine"')),
    "prefix": two(BODY, BODY, ("prefix i32 1", "prefix i32 2")),
    "personality": two(
        *[LANDING.replace("KIND", "")] * 2, (PERSONALITY, "personality ptr @other_personality")
    ),
    "cleanup": two(
        LANDING.replace("KIND", ""), LANDING.replace("KIND", "cleanup"), (PERSONALITY, PERSONALITY)
    ),
    "register": two(REGISTER.replace("KIND", "!0"), REGISTER.replace("KIND", "!1"))
    + '!0 = !{!"sp"}\n!1 = !{!"tp"}\n',
    "node": two(TYPE, TYPE.replace("!0", "!1")) + '!0 = !{!"a"}\n!1 = !{!"b"}\n',
    "exchange": two(EXCHANGE.replace("KIND", "4"), EXCHANGE.replace("KIND", "8")),
    "address": two(ADDRESS, ADDRESS),
    "frame": two(FRAME, FRAME),
    "attached": two(BODY, BODY, ("!kcfi_type !0", "!kcfi_type !1"))
    + "!0 = !{i32 1}\n!1 = !{i32 2}\n",
    "itself by a symbol": two(ITSELF, ITSELF).replace("define i32", "define weak i32"),
    "library": two(BODY, BODY, name="memset"),
}
"""Functions that are to stay, by what is special in them."""

MERGED = {
    "equal": two(BODY, BODY),
    "cleanup": two(*[LANDING.replace("KIND", "cleanup")] * 2, (PERSONALITY, PERSONALITY)),
    "itself": two(ITSELF, ITSELF),
    "node": two(TYPE, TYPE) + '!0 = !{!"a"}\n',
    "profile": two(BODY, BODY, ("!prof !0", "!prof !1"))
    + '!0 = !{!"function_entry_count", i64 1}\n!1 = !{!"function_entry_count", i64 2}\n',
}


@pytest.mark.parametrize("special", APART)
def test_functions_stay_apart(special: str) -> None:
    module = Module.parse(APART[special].encode())
    before = module.ir()
    assert SOUND["mergefunc"].run(module) is False
    assert module.ir() == before


@pytest.mark.parametrize("special", MERGED)
def test_functions_are_merged(special: str) -> None:
    module = Module.parse(MERGED[special].encode())
    assert SOUND["mergefunc"].run(module)
    assert module.ir().count("tail call i32 @f(") == 1 and "codezero" not in module.ir()


@pytest.mark.parametrize(
    ("first", "second", "promise"),
    [
        (POINTER.replace("FLAGS", "inbounds nuw"), POINTER.replace("FLAGS", ""), "inbounds"),
        (LOOP, LOOP.replace(", !llvm.loop !0", ""), "!llvm.loop"),
        (LOOP, LOOP.replace("!0", "!2"), "!llvm.loop"),
        (LOAD.replace("METADATA", ", !tbaa !4"), LOAD.replace("METADATA", ", !tbaa !6"), "!tbaa"),
    ],
)
def test_merged_functions_promise_what_both_do(first: str, second: str, promise: str) -> None:
    nodes = (
        '!0 = distinct !{!0, !1}\n!1 = !{!"llvm.loop.mustprogress"}\n!2 = distinct !{!2, !3}\n'
        '!3 = !{!"llvm.loop.disable_nonforced"}\n!4 = !{!5, !5, i64 0}\n!5 = !{!"int", !8}\n'
        '!6 = !{!7, !7, i64 0}\n!7 = !{!"enum", !8}\n!8 = !{!"root"}\n'
    )
    text = "declare ptr @where()\n" + two(first, second) + nodes
    module = Module.parse(text.encode())
    assert SOUND["mergefunc"].run(module)
    assert "tail call i32 @f(" in module.ir() and promise not in module.ir()


def test_merged_functions_keep_what_both_promise() -> None:
    nodes = '!0 = distinct !{!0, !1}\n!1 = !{!"llvm.loop.mustprogress"}\n!2 = distinct !{!2, !1}\n'
    module = Module.parse((two(LOOP, LOOP.replace("!0", "!2")) + nodes).encode())
    assert SOUND["mergefunc"].run(module)
    assert "tail call i32 @f(" in module.ir() and "!llvm.loop" in module.ir()


def test_promises_are_compared_in_the_order_of_control_flow() -> None:
    """Blocks may stand in any order: LLVM compares them as they are reached."""
    start = "  %c = icmp eq i32 %a, 1\n  br i1 %c, label %x, label %y\n"
    block = (
        "{0}:\n  %p{0} = call ptr @where()\n  %v{0} = load i32, ptr %p{0}, !tbaa !{1}\n"
        "  %w{0} = add i32 %v{0}, {2}\n  ret i32 %w{0}\n"
    )
    text = (
        "declare ptr @where()\n"
        + two(
            start + block.format("x", 4, 1) + block.format("y", 6, 2),
            start + block.format("y", 4, 2) + block.format("x", 6, 1),
        )
        + '!4 = !{!5, !5, i64 0}\n!5 = !{!"int", !8}\n!6 = !{!7, !7, i64 0}\n!7 = !{!"enum", !8}\n'
        '!8 = !{!"root"}\n'
    )
    module = Module.parse(text.encode())
    assert SOUND["mergefunc"].run(module)
    assert "tail call i32 @f(" in module.ir() and "!tbaa" not in module.ir()


def test_merged_functions_may_alias_what_each_of_them_may(tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text(
        "#include <stdio.h>\n"
        "static void set(long *p, long v) { *p = v; }\n"
        "static void set_long(long long *p, long long v) { *p = v; }\n"
        "__attribute__((noinline)) long f(long *p, long *q) { *p = 1; set(q, 3); return *p; }\n"
        "__attribute__((noinline)) long long g(long long *p, long long *q) "
        "{ *p = 1; set_long(q, 5); return *p; }\n"
        'int main(void) { long a; long long b; printf("%ld ", f(&a, &a)); '
        'printf("%lld\\n", g(&b, &b)); }\n'
    )
    with ProgramLoader() as loader:
        program, _ = loader.load([tmp_path / "a.c"])
    module = Module.parse(program.bitcode)
    assert SOUND["mergefunc"].run(module)
    assert sum("call" in line and "@set" in line for line in module.ir().splitlines()) >= 2
    module.run("default<Oz>")
    (tmp_path / "a.o").write_bytes(module.object())
    subprocess.run([CLANG.require(), "a.o", "-o", "a"], cwd=tmp_path, check=True)
    assert subprocess.check_output([tmp_path / "a"]) == b"3 5\n"


def outline_compares(folder: Path, outline: Callable[[Module], bool]) -> bytes:
    """What a program prints that compares numbers in regions that are alike but for the order."""
    steps = " ".join(f"p[{i}] += p[{i + 1}] * {i + 3};" for i in range(9))
    functions = "".join(
        f"__attribute__((noinline)) int {name}(unsigned long a, unsigned long b, int *p) "
        f'{{ if ({compare}) {{ puts("{name}"); {steps} return 1; }} return 0; }}\n'
        for name, compare in (("f", "a < b"), ("g", "a > b"), ("h", "a < 2"))
    )
    calls = " ".join(f"{name}({a}, {3 - a}, p);" for name in "fgh" for a in (1, 2))
    (folder / "a.c").write_text(
        f"#include <stdio.h>\n{functions}int main(void) {{ int p[13] = {{0}}; {calls} }}\n"
    )
    with ProgramLoader() as loader:
        program, _ = loader.load([folder / "a.c"])
    module = Module.parse(program.bitcode)
    module.run("sroa")
    assert outline(module) and module.ir().count("@outlined_ir_func_0(") > 2
    assert "codezero.swapped" not in module.ir()
    (folder / "a.o").write_bytes(module.object())
    subprocess.run([CLANG.require(), "a.o", "-o", "a"], cwd=folder, check=True)
    return subprocess.check_output([folder / "a"])


def test_outlined_compares_keep_their_operands_in_order(tmp_path: Path) -> None:
    assert outline_compares(tmp_path, SOUND["iroutliner"].run) == b"f\ng\nh\n"


def test_only_regions_and_functions_are_merged() -> None:
    with pytest.raises(LLVMError, match="not 'loops'"):
        Module.parse(b"").run_merging("mergefunc", "loops")


def test_outlined_code_promises_what_all_regions_do() -> None:
    def function(name: str, flags: str, number: str, tag: str, value: str) -> str:
        steps = "".join(f"  %s{i + 1} = add {flags} i32 %s{i}, %a\n" for i in range(30))
        return (
            f"define float @{name}(ptr %p, ptr %q, i32 %a, float %b) minsize {{\n"
            f"  %s0 = load i32, ptr %p, !tbaa !{tag}{value}\n{steps}"
            f"  %r = fadd {number} float %b, %b\n  store i32 %s30, ptr %q, !tbaa !{tag}\n"
            f"  ret float %r\n}}\n"
        )

    text = (
        function("f", "nuw nsw", "fast", "0", ", !range !4")
        + function("g", "", "", "2", "")
        + '!0 = !{!1, !1, i64 0}\n!1 = !{!"int", !5}\n!2 = !{!3, !3, i64 0}\n'
        '!3 = !{!"enum", !5}\n!4 = !{i32 0, i32 2}\n!5 = !{!"root"}\n'
    )
    module = Module.parse(text.encode())
    assert SOUND["iroutliner"].run(module)
    ir = module.ir()
    outlined = ir[ir.index("@outlined_ir_func_0(ptr %0") :]
    assert outlined.count("add i32") == 30
    for promise in ("nsw", "nuw", "fast", "!tbaa", "!range"):
        assert promise not in outlined.partition("\n}")[0]


STEPS = "".join(f"  %s{i + 1} = add i32 %s{i}, %a\n" for i in range(30))


def outlinable(name: str, rest: str, before: str = "") -> str:
    return (
        f"define i32 @{name}(ptr %p, i32 %a) {rest} {{\n{before}  %s0 = load i32, ptr %p\n{STEPS}"
        "  store i32 %s30, ptr %p\n  ret i32 %s30\n}\n"
    )


def test_outlined_code_is_what_no_function_promises_to_be() -> None:
    own = 'minsize norecurse nounwind nofree memory(argmem: readwrite) "no-builtins" "mine"'
    module = Module.parse(
        (outlinable("f", own) + outlinable("g", 'minsize "no-builtins"')).encode()
    )
    assert SOUND["iroutliner"].run(module)
    ir = module.ir()
    (group,) = {
        line.split()[-2].lstrip("#")
        for line in ir.splitlines()
        if line.startswith("define") and "@outlined_ir_func_0(" in line
    }
    (attributes,) = (line for line in ir.splitlines() if line.startswith(f"attributes #{group} ="))
    assert '"no-builtins"' in attributes and "minsize" in attributes
    for promise in ("norecurse", "nounwind", "nofree", "memory", '"mine"'):
        assert promise not in attributes


@pytest.mark.parametrize(
    ("rest", "before"),
    [
        ('minsize section ".ram"', ""),
        ('minsize "interrupt"="machine"', ""),
        ('minsize "cmse_nonsecure_entry"', ""),
        ("minsize", "  %r = call ptr @llvm.returnaddress(i32 0)\n"),
        ("minsize", "  %r = call i64 @llvm.read_register.i64(metadata !0)\n"),
    ],
)
def test_nothing_is_outlined_that_has_to_stay(rest: str, before: str) -> None:
    text = DECLARED + outlinable("f", rest, before) + outlinable("g", "minsize")
    module = Module.parse((text + '!0 = !{!"sp"}\n').encode())
    ir = module.ir()
    assert SOUND["iroutliner"].run(module) is False
    assert module.ir() == ir


def test_strict_comparisons_are_not_outlined() -> None:
    """What they compare, and how they round, is an operand that is metadata."""
    intrinsic = "@llvm.experimental.constrained.fcmp.f64(double, double, metadata, metadata)"
    text = f"declare i1 {intrinsic}\n"
    for name, predicate in (("f", "olt"), ("g", "oge")):
        call = intrinsic.partition("(")[0]
        before = (
            f'  %c = call i1 {call}(double 1.0, double 2.0, metadata !"{predicate}", '
            'metadata !"fpexcept.strict") strictfp\n'
        )
        text += outlinable(name, "minsize strictfp", before)
    module = Module.parse(text.encode())
    assert SOUND["iroutliner"].run(module) is False
