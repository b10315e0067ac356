#include "inlining.h"

#include "properties.h"

#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallPtrSet.h"
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

// Whether the code of a function may be in other frames than its own, and more
// than once. What is always inlined into it counts as its code.
static bool mayMove(const Function &F,
                    SmallPtrSetImpl<const Function *> &Seen) {
  if (!Seen.insert(&F).second)
    return true;
  if (asksAboutFrame(F) || hasAssembly(F))
    return false;
  uint64_t Bytes = 0;
  for (const Instruction &I : instructions(F))
    if (const auto *Alloca = dyn_cast<AllocaInst>(&I)) {
      const auto Size = Alloca->getAllocationSize(F.getDataLayout());
      if (!Size || Size->isScalable())
        return false;
      Bytes += Size->getFixedValue();
    } else if (const auto *Call = dyn_cast<CallBase>(&I)) {
      const Function *Callee = Call->getCalledFunction();
      if (Call->cannotDuplicate() ||
          (Callee && Callee->hasFnAttribute(Attribute::AlwaysInline) &&
           !mayMove(*Callee, Seen)))
        return false;
    }
  return Bytes <= MostStackBytes;
}

// Functions of a module with bodies, of those that say the same of themselves
// only one: there may be thousands of functions, but hardly ever ten that
// differ.
static SmallVector<const Function *> differing(const llvm::Module &M) {
  MapVector<AttributeSet, const Function *> Firsts;
  for (const Function &F : M)
    if (!F.isDeclaration())
      Firsts.insert({F.getAttributes().getFnAttrs(), &F});
  return to_vector(make_second_range(Firsts));
}

// Whether pipelines such as -Oz's run the Attributor, see WithoutAlwaysInline.
static bool hasOpenMP(const llvm::Module &M) {
  return M.getModuleFlag("openmp") || M.getModuleFlag("openmp-device");
}

// Whether the code of a function may be in any other's. For a function marked
// alwaysinline, inliners ask only isInlineViable.
static bool mayBeAnywhere(Function &F, ArrayRef<const Function *> Callers) {
  SmallPtrSet<const Function *, 4> Seen;
  return !F.isInterposable() && !F.isPresplitCoroutine() && !F.hasOptNone() &&
         !F.hasFnAttribute("loader-replaceable") &&
         isInlineViable(F).isSuccess() && mayMove(F, Seen) &&
         (F.hasExactDefinition() || !hasOpenMP(*F.getParent())) &&
         all_of(Callers, [&](const Function *Caller) {
           return targetOf(*Caller) == targetOf(F) &&
                  AttributeFuncs::areInlineCompatible(*Caller, F);
         });
}

// Whether that has been decided, by whoever wrote it or by us.
static bool isChosen(const Function &F) {
  return F.hasFnAttribute(Attribute::AlwaysInline) ||
         F.hasFnAttribute(Attribute::NoInline) ||
         F.hasFnAttribute(Attribute::Naked);
}

static bool mayChooseAlways(Function &F, ArrayRef<const Function *> Callers) {
  return !isChosen(F) && mayBeAnywhere(F, Callers);
}

static bool mayChooseNever(const Function &F) {
  return !isChosen(F) && !F.hasAvailableExternallyLinkage();
}

std::vector<Inlinable> inlinableFunctions(llvm::Module &M) {
  const auto Callers = differing(M);
  std::vector<Inlinable> Found;
  for (Function &F : M) {
    if (F.isDeclaration() || !F.hasName())
      continue;
    const bool Always = mayChooseAlways(F, Callers), Never = mayChooseNever(F);
    const bool Disappears = F.isDiscardableIfUnused() &&
                            !F.hasAvailableExternallyLinkage() &&
                            !F.hasAddressTaken();
    if (Always || Never)
      Found.push_back({F.getName().str(), Always, Never, Disappears,
                       F.hasLinkOnceLinkage()});
  }
  return Found;
}

std::vector<bool> chooseInlining(llvm::Module &M,
                                 ArrayRef<InliningChoice> Choices) {
  const auto Callers = differing(M);
  std::vector<bool> Chosen;
  for (const auto &[F, Always] : Choices) {
    const bool May = Always ? mayChooseAlways(*F, Callers) : mayChooseNever(*F);
    if (May) {
      F->addFnAttr(Always ? Attribute::AlwaysInline : Attribute::NoInline);
      F->addFnAttr(Mark);
    }
    Chosen.push_back(May);
  }
  return Chosen;
}

// Calls of a function, too: what merges functions repeats their attributes
// there.
void forgetInlining(llvm::Module &M) {
  for (Function &F : M) {
    if (F.hasFnAttribute(Mark)) {
      F.removeFnAttr(Mark);
      F.removeFnAttr(Attribute::AlwaysInline);
      F.removeFnAttr(Attribute::NoInline);
    }
    for (Instruction &I : instructions(F))
      if (auto *Call = dyn_cast<CallBase>(&I))
        if (Call->getAttributes().hasFnAttr(Mark)) {
          Call->removeFnAttr(Mark);
          Call->removeFnAttr(Attribute::AlwaysInline);
          Call->removeFnAttr(Attribute::NoInline);
        }
  }
}

WithoutAlwaysInline::WithoutAlwaysInline(llvm::Module &M) {
  for (Function &F : M)
    if (F.hasFnAttribute(Mark) && F.hasFnAttribute(Attribute::AlwaysInline) &&
        !F.hasExactDefinition()) {
      F.removeFnAttr(Attribute::AlwaysInline);
      Functions.push_back(&F);
    }
}

WithoutAlwaysInline::~WithoutAlwaysInline() {
  for (const WeakVH &Handle : Functions)
    if (auto *F = cast_or_null<Function>(static_cast<Value *>(Handle)))
      F->addFnAttr(Attribute::AlwaysInline);
}

} // namespace codezero
