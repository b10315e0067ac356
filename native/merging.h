// Passes that make one piece of code of several compare the pieces, but not all
// there is to compare: not all that they promise beyond what they do (that a
// sum does not overflow, that a value is in some range, that an access is of
// some type), nor all that decides what they do. So they are run on code that
// has been made ready for what they leave out.

#pragma once

#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/ADT/StringRef.h"

namespace llvm {
class CallBase;
class Function;
class Module;
} // namespace llvm

namespace codezero {

// Run a pass that makes one of several pieces of code, so that what is left
// does what each of them did, and promises nothing that one of them did not.
// Returns whether the module changed. What is merged is "regions" (iroutliner),
// of which a new function is made, or "functions" (mergefunc). Throws LLVMError
// for anything else.
//
// `Run` may replace the module; `Current` is the one that there is.
bool runMerging(llvm::StringRef What,
                llvm::function_ref<llvm::Module &()> Current,
                llvm::function_ref<bool()> Run);

bool runMergingRegions(llvm::function_ref<llvm::Module &()> Current,
                       llvm::function_ref<bool()> Run);
bool runMergingFunctions(llvm::function_ref<llvm::Module &()> Current,
                         llvm::function_ref<bool()> Run);

// Whether a function is entered or left in another way than by a call and a
// return, as an interrupt handler is: what it does is not done by calling what
// its code is merged with.
bool isEnteredSpecially(const llvm::Function &F);

// Whether an operand is metadata other than of a single value: how to round,
// what to compare, the name of a register.
bool takesMetadata(const llvm::CallBase &Call);

} // namespace codezero
