// Properties of a module that some passes need to be sound, and do not check.

#pragma once

#include "llvm/ADT/StringRef.h"

namespace llvm {
class Attribute;
class AttributeSet;
class Function;
class Module;
} // namespace llvm

namespace codezero {

// Throws LLVMError for a name that is none of properties.cpp's.
bool hasProperty(const llvm::Module &M, llvm::StringRef Name);

// Whether an attribute of a function says how code is to be generated for it,
// beyond what the module says: for which processor, and with what liberties.
bool isOfTarget(llvm::Attribute A);

// All of those that a function has.
llvm::AttributeSet targetOf(const llvm::Function &F);

// Whether there is assembly in a function's code.
bool hasAssembly(const llvm::Function &F);

// Whether an instruction asks about the frame it is in, which is another one
// once the instruction has moved to a function of its own, or about a register
// such as the stack pointer.
bool asksAboutFrame(const llvm::Function &F);

} // namespace codezero
