// Properties of a module that some passes need to be sound, and do not check.

#pragma once

#include "llvm/ADT/StringRef.h"

namespace llvm {
class Module;
}

namespace codezero {

// Throws LLVMError for a name that is none of properties.cpp's.
bool hasProperty(const llvm::Module &M, llvm::StringRef Name);

} // namespace codezero
