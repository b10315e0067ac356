// The errors of this library. Each becomes a Python exception of the same name
// and carries LLVM's own message.

#pragma once

#include <stdexcept>
#include <string>

namespace codezero {

struct LLVMError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Bytes that are neither bitcode nor textual IR that this LLVM reads. Line and
// column count from 1, and are 0 for bitcode, which has neither.
struct ParseError : LLVMError {
  ParseError(const std::string &Message, int Line, int Column)
      : LLVMError(Message), Line(Line), Column(Column) {}
  int Line;
  int Column;
};

// IR that LLVM's verifier rejects.
struct VerificationError : LLVMError {
  using LLVMError::LLVMError;
};

// Pipeline text that LLVM's pass builder does not accept.
struct PipelineError : LLVMError {
  using LLVMError::LLVMError;
};

// A target without a code generator in this build, or one that reports an
// error.
struct CodegenError : LLVMError {
  using LLVMError::LLVMError;
};

} // namespace codezero
