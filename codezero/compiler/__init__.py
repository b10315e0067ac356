"""The compiler: LLVM in the process, front ends, pass spaces, objectives and protocols.

Names are imported when they are first used: what asks clang alone needs no LLVM.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # as in codezero/__init__.py
if TYPE_CHECKING:
    from typing import Any

    from codezero._native import LLVM_VERSION as LLVM_VERSION
    from codezero._native import TARGETS as TARGETS
    from codezero._native import CodegenError as CodegenError
    from codezero._native import CompileOptions as CompileOptions
    from codezero._native import LLVMError as LLVMError
    from codezero._native import Module as Module
    from codezero._native import ParseError as ParseError
    from codezero._native import PipelineError as PipelineError
    from codezero._native import VerificationError as VerificationError
    from codezero._native import executable_size as executable_size
    from codezero._native import function_sizes as function_sizes
    from codezero._native import loaded_size as loaded_size
    from codezero.compiler.objectives import Objective as Objective
    from codezero.compiler.protocols import Protocol as Protocol
    from codezero.compiler.spaces import Pass as Pass
    from codezero.compiler.spaces import PassSpace as PassSpace
    from codezero.compiler.spaces import load_space as load_space

_MODULES = {
    "Objective": "codezero.compiler.objectives",
    "Pass": "codezero.compiler.spaces",
    "PassSpace": "codezero.compiler.spaces",
    "Protocol": "codezero.compiler.protocols",
    "load_space": "codezero.compiler.spaces",
}
_NATIVE = (
    *("LLVM_VERSION", "TARGETS", "CodegenError", "CompileOptions", "LLVMError", "Module"),
    *(
        "ParseError",
        "PipelineError",
        "VerificationError",
        "executable_size",
        "function_sizes",
        "loaded_size",
    ),
)

__all__ = [*_MODULES, *_NATIVE]


def __getattr__(name: str) -> Any:
    module = "codezero._native" if name in _NATIVE else _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module 'codezero.compiler' has no attribute '{name}'")
    return getattr(importlib.import_module(module), name)
