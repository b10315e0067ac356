// What instructions promise beyond what they do: that a sum does not overflow,
// that a value is in some range, that what they access is of some type. Passes
// that make one piece of code of several compare the pieces, but not all
// promises; what is left then makes those of the first for all of them.

#pragma once

#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/ADT/StringRef.h"

namespace llvm {
class Module;
}

namespace codezero {

// Run a pass that makes one of several pieces of code, so that what is left
// promises nothing that one of them did not. Returns whether the module
// changed. What is merged is "regions" (iroutliner), of which a new function
// is made, or "functions" (mergefunc). Throws LLVMError for anything else.
//
// `Run` may replace the module; `Current` is the one that there is.
bool runMerging(llvm::StringRef What,
                llvm::function_ref<llvm::Module &()> Current,
                llvm::function_ref<bool()> Run);

} // namespace codezero
