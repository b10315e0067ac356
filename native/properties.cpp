#include "properties.h"

#include "errors.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/IR/InstIterator.h"
#include "llvm/IR/IntrinsicInst.h"
#include "llvm/IR/Module.h"

using namespace llvm;

namespace codezero {

// No two functions are compiled for different processors: code moved from one
// function to another runs wherever the first did.
static bool hasUniformTarget(const Module &M) {
  const Function *First = nullptr;
  for (const Function &F : M) {
    if (F.isDeclaration())
      continue;
    if (!First)
      First = &F;
    for (const char *Name : {"target-cpu", "target-features", "tune-cpu"})
      if (F.getFnAttribute(Name) != First->getFnAttribute(Name))
        return false;
  }
  return true;
}

// No instruction asks about the frame it is in, which is another one once the
// instruction has moved to a function of its own.
static bool asksAboutNoFrame(const Module &M) {
  static constexpr Intrinsic::ID AboutFrames[] = {
      Intrinsic::returnaddress,   Intrinsic::addressofreturnaddress,
      Intrinsic::frameaddress,    Intrinsic::sponentry,
      Intrinsic::stacksave,       Intrinsic::stackrestore,
      Intrinsic::localescape,     Intrinsic::localrecover,
      Intrinsic::eh_typeid_for,   Intrinsic::eh_dwarf_cfa,
      Intrinsic::eh_return_i32,   Intrinsic::eh_return_i64,
      Intrinsic::eh_unwind_init,  Intrinsic::eh_sjlj_setjmp,
      Intrinsic::eh_sjlj_longjmp, Intrinsic::eh_sjlj_lsda,
      Intrinsic::eh_sjlj_callsite};
  for (const Function &F : M)
    if (is_contained(AboutFrames, F.getIntrinsicID()) && !F.use_empty())
      return false;
  return true;
}

// No function uses its own address but to call itself: that address is another
// one in a function merged with it.
static bool usesNoOwnAddress(const Module &M) {
  for (const Function &F : M)
    for (const Instruction &I : instructions(F))
      for (const Use &Operand : I.operands()) {
        const auto *Call = dyn_cast<CallBase>(&I);
        if (Call && Call->isCallee(&Operand))
          continue;
        if (Operand->stripPointerCastsAndAliases() == &F)
          return false;
      }
  return true;
}

bool hasProperty(const Module &M, StringRef Name) {
  if (Name == "uniform-target")
    return hasUniformTarget(M);
  if (Name == "no-frame-intrinsics")
    return asksAboutNoFrame(M);
  if (Name == "no-own-address")
    return usesNoOwnAddress(M);
  throw LLVMError("unknown property '" + Name.str() +
                  "': expected uniform-target, no-frame-intrinsics or "
                  "no-own-address");
}

} // namespace codezero
