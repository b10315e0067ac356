#include "inlining.h"

#include "properties.h"

#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Analysis/InlineCost.h"
#include "llvm/IR/Attributes.h"
#include "llvm/IR/InstIterator.h"
#include "llvm/IR/Instructions.h"
#include "llvm/IR/Module.h"

using namespace llvm;

namespace codezero {

// Tells our marks from those that were there before. Passes copy attributes,
// as for what they outline or specialise, and take this one along.
static constexpr StringLiteral Mark = "codezero-inlining";
// Of variables on the stack: a caller that calls itself would have as many more
// each time. LLVM's inliner has the same limit for such callers.
static constexpr uint64_t MostStackBytes =
    InlineConstants::TotalAllocaSizeRecursiveCaller;

std::vector<CallEdge> callEdges(const llvm::Module &M) {
  std::vector<CallEdge> Edges;
  for (const Function &Caller : M) {
    MapVector<const Function *, unsigned> Calls;
    for (const Instruction &I : instructions(Caller))
      if (const auto *Call = dyn_cast<CallBase>(&I))
        if (const Function *Callee = Call->getCalledFunction())
          if (!Callee->isDeclaration())
            ++Calls[Callee];
    for (const auto &[Callee, Number] : Calls)
      Edges.push_back(
          {Caller.getName().str(), Callee->getName().str(), Number});
  }
  return Edges;
}

static bool hasSmallFrame(const Function &F) {
  uint64_t Bytes = 0;
  for (const Instruction &I : instructions(F))
    if (const auto *Alloca = dyn_cast<AllocaInst>(&I)) {
      const auto Size = Alloca->getAllocationSize(F.getDataLayout());
      if (!Size || Size->isScalable())
        return false;
      Bytes += Size->getFixedValue();
    }
  return Bytes <= MostStackBytes;
}

// Whether the code of a function may be in any other's. For a function marked
// alwaysinline, inliners ask only isInlineViable.
static bool mayBeAnywhere(Function &F) {
  return !F.isInterposable() && !F.isPresplitCoroutine() && !F.hasOptNone() &&
         isInlineViable(F).isSuccess() && !asksAboutFrame(F) &&
         hasSmallFrame(F) &&
         all_of(*F.getParent(), [&](const Function &Caller) {
           return Caller.isDeclaration() ||
                  (targetOf(Caller) == targetOf(F) &&
                   AttributeFuncs::areInlineCompatible(Caller, F));
         });
}

bool chooseInlining(Function &F, bool Always) {
  if (F.hasFnAttribute(Attribute::AlwaysInline) ||
      F.hasFnAttribute(Attribute::NoInline) ||
      F.hasFnAttribute(Attribute::Naked) || (Always && !mayBeAnywhere(F)))
    return false;
  F.addFnAttr(Always ? Attribute::AlwaysInline : Attribute::NoInline);
  F.addFnAttr(Mark);
  return true;
}

void forgetInlining(llvm::Module &M) {
  for (Function &F : M)
    if (F.hasFnAttribute(Mark)) {
      F.removeFnAttr(Mark);
      F.removeFnAttr(Attribute::AlwaysInline);
      F.removeFnAttr(Attribute::NoInline);
    }
}

} // namespace codezero
