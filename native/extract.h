// Functions as a module of their own.

#pragma once

#include "llvm/ADT/ArrayRef.h"

namespace llvm {
class Function;
class Module;
} // namespace llvm

namespace codezero {

// Takes the bodies of all other functions away, and what Kept do not need. The
// code that is generated for Kept stays the same, and their own linkage is such
// that no pass takes them for dead.
void keepOnly(llvm::Module &M, llvm::ArrayRef<llvm::Function *> Kept);

} // namespace codezero
