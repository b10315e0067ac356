"""The compiler: LLVM in the process, front ends, pass spaces, objectives and protocols."""

from codezero._native import (
    LLVM_VERSION,
    TARGETS,
    CodegenError,
    CompileOptions,
    LLVMError,
    Module,
    ParseError,
    PipelineError,
    VerificationError,
    executable_size,
)
from codezero.compiler.objectives import Objective
from codezero.compiler.protocols import Protocol
from codezero.compiler.spaces import Pass, PassSpace, load_space

__all__ = [
    "LLVM_VERSION",
    "TARGETS",
    "CodegenError",
    "CompileOptions",
    "LLVMError",
    "Module",
    "Objective",
    "ParseError",
    "Pass",
    "PassSpace",
    "PipelineError",
    "Protocol",
    "VerificationError",
    "executable_size",
    "load_space",
]
