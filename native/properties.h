// Properties of a module that some passes need to be sound, and do not check.

#pragma once

#include "llvm/ADT/StringRef.h"

namespace llvm {
class Function;
class Module;
} // namespace llvm

namespace codezero {

// Throws LLVMError for a name that is none of properties.cpp's.
bool hasProperty(const llvm::Module &M, llvm::StringRef Name);

// Whether an instruction asks about the frame it is in, which is another one
// once the instruction has moved to a function of its own, or about a register
// such as the stack pointer.
bool asksAboutFrame(const llvm::Function &F);

} // namespace codezero
