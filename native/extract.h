// A function as a module of its own.

#pragma once

namespace llvm {
class Function;
class Module;
} // namespace llvm

namespace codezero {

// Takes the bodies of all other functions away, and what Kept does not need.
// The code that is generated for Kept stays the same, and its own linkage is
// such that no pass takes it for dead.
void keepOnly(llvm::Module &M, llvm::Function &Kept);

} // namespace codezero
