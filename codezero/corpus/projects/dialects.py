"""Flags for code that was written for older compilers: a corpus takes what was once accepted."""

LENIENT_C = (
    "-w",
    "-Wno-implicit-function-declaration",
    "-Wno-implicit-int",
    "-Wno-int-conversion",
    "-Wno-incompatible-pointer-types",
    "-Wno-incompatible-function-pointer-types",
    "-Wno-return-type",
    "-Wno-return-mismatch",
)
"""Errors to today's clang that were warnings when much C was written."""

LENIENT_CXX = (
    "-w",
    "-Wno-c++11-narrowing",
    "-Wno-register",
    "-Wno-dynamic-exception-spec",
    "-Wno-reserved-user-defined-literal",
    "-Wno-enum-constexpr-conversion",
)
