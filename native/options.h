// What a user's flags say to clang's optimiser and code generator, and the IR
// does not. The defaults are those of `clang -Oz`.

#pragma once

#include <string>
#include <vector>

namespace codezero {

struct CompileOptions {
  // Of the pipeline that clang builds (clang/lib/CodeGen/BackendUtil.cpp).
  bool SLPVectorize = true;
  bool VectorizeLoops = false;
  bool UnrollLoops = true;
  bool MergeFunctions = false;
  // Of code generation.
  bool FunctionSections = false;
  bool DataSections = false;
  bool AddressSignificance = true;
  // Of ARM: "", "soft" or "hard".
  std::string FloatABI;
  // LLVM's own options for the code generator, "NAME" or "NAME=VALUE", as llc
  // and clang -mllvm take them after the dash. Some of them; see codegen.cpp.
  std::vector<std::string> Codegen;

  bool operator==(const CompileOptions &) const = default;
};

} // namespace codezero
