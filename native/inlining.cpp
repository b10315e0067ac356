#include "inlining.h"

#include "properties.h"

#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/SCCIterator.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallPtrSet.h"
#include "llvm/Analysis/CallGraph.h"
#include "llvm/Analysis/InlineCost.h"
#include "llvm/IR/Attributes.h"
#include "llvm/IR/InstIterator.h"
#include "llvm/IR/Instructions.h"
#include "llvm/IR/Module.h"
#include "llvm/Support/MathExtras.h"

#include <memory>
#include <optional>

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

namespace {

// What is on the stack of a function, as far as its size is fixed.
struct StackUse {
  uint64_t Bytes = 0;
  bool IsFixed = true;
};

} // namespace

static StackUse stackOf(const Function &F) {
  StackUse Found;
  for (const Instruction &I : instructions(F))
    if (const auto *Alloca = dyn_cast<AllocaInst>(&I)) {
      const auto Size = Alloca->getAllocationSize(F.getDataLayout());
      if (Size)
        Found.Bytes = SaturatingAdd(Found.Bytes, Size->getKnownMinValue());
      Found.IsFixed &= Size && !Size->isScalable();
    }
  return Found;
}

std::map<std::string, uint64_t> recursiveStacks(llvm::Module &M) {
  CallGraph Graph(M);
  std::map<std::string, uint64_t> Found;
  for (auto It = scc_begin(&Graph); !It.isAtEnd(); ++It)
    if (It.hasCycle())
      for (const CallGraphNode *Node : *It)
        if (const Function *F = Node->getFunction()) {
          const uint64_t Bytes = stackOf(*F).Bytes;
          if (Bytes > MostStackBytes)
            Found[F->getName().str()] = Bytes;
        }
  return Found;
}

namespace {

// What functions have on the stack, while nothing but their marks changes. What
// is always inlined into a function counts as its code.
class Frames {
public:
  // Whether the code of a function may be in other frames than its own, and
  // more than once.
  bool mayMove(const Function &F) {
    Totals Done;
    return isLittle(total(F, Done));
  }

  // The same of all functions with our mark that a function is inlined into,
  // directly or by way of others.
  bool mayCallersMove(const Function &F) {
    Totals Done;
    SmallPtrSet<const Function *, 8> Seen = {&F};
    SmallVector<const Function *, 8> Open = {&F};
    while (!Open.empty()) {
      const Function *Callee = Open.pop_back_val();
      for (const User *U : Callee->users()) {
        const auto *Call = dyn_cast<CallBase>(U);
        if (!Call || Call->getCalledFunction() != Callee)
          continue;
        const Function *Caller = Call->getFunction();
        if (!Caller->hasFnAttribute(Attribute::AlwaysInline) ||
            !Seen.insert(Caller).second)
          continue;
        if (Caller->hasFnAttribute(Mark) && !isLittle(total(*Caller, Done)))
          return false;
        Open.push_back(Caller);
      }
    }
    return true;
  }

private:
  struct Own {
    bool MayMove;
    uint64_t Bytes;
    SmallVector<const Function *, 4> Callees; // one a call
  };
  // Bytes, or nothing where the code may not move; as far as is known.
  using Totals = DenseMap<const Function *, std::optional<uint64_t>>;

  DenseMap<const Function *, std::unique_ptr<Own>> Known;

  const Own &own(const Function &F) {
    std::unique_ptr<Own> &Kept = Known[&F];
    if (!Kept)
      Kept = std::make_unique<Own>(look(F));
    return *Kept;
  }

  static bool isLittle(std::optional<uint64_t> Bytes) {
    return Bytes && *Bytes <= MostStackBytes;
  }

  static Own look(const Function &F) {
    const auto [Bytes, IsFixed] = stackOf(F);
    Own Found = {IsFixed && !asksAboutFrame(F) && !hasAssembly(F), Bytes, {}};
    for (const Instruction &I : instructions(F))
      if (const auto *Call = dyn_cast<CallBase>(&I)) {
        Found.MayMove &= !Call->cannotDuplicate();
        if (const Function *Callee = Call->getCalledFunction())
          Found.Callees.push_back(Callee);
      }
    return Found;
  }

  std::optional<uint64_t> total(const Function &F, Totals &Done) {
    // Nothing more for a function that comes to call itself.
    const auto [It, IsNew] = Done.try_emplace(&F, 0);
    if (!IsNew)
      return It->second;
    const Own &Mine = own(F);
    std::optional<uint64_t> Bytes;
    if (Mine.MayMove)
      Bytes = Mine.Bytes;
    for (const Function *Callee : Mine.Callees)
      if (Bytes && Callee->hasFnAttribute(Attribute::AlwaysInline)) {
        const auto More = total(*Callee, Done);
        Bytes = More ? std::optional(SaturatingAdd(*Bytes, *More)) : More;
      }
    return Done[&F] = Bytes;
  }
};

} // namespace

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
static bool mayBeAnywhere(Function &F, ArrayRef<const Function *> Callers,
                          Frames &Stack) {
  return !F.isInterposable() && !F.isPresplitCoroutine() && !F.hasOptNone() &&
         !F.hasFnAttribute("loader-replaceable") &&
         isInlineViable(F).isSuccess() && Stack.mayMove(F) &&
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

static bool mayChooseAlways(Function &F, ArrayRef<const Function *> Callers,
                            Frames &Stack) {
  return !isChosen(F) && mayBeAnywhere(F, Callers, Stack);
}

static bool mayChooseNever(const Function &F) {
  return !isChosen(F) && !F.hasAvailableExternallyLinkage();
}

std::vector<Inlinable> inlinableFunctions(llvm::Module &M) {
  const auto Callers = differing(M);
  Frames Stack;
  std::vector<Inlinable> Found;
  for (Function &F : M) {
    if (F.isDeclaration() || !F.hasName())
      continue;
    const bool Always = mayChooseAlways(F, Callers, Stack);
    const bool Never = mayChooseNever(F);
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
  Frames Stack;
  std::vector<bool> Chosen;
  for (const auto &[F, Always] : Choices) {
    bool May =
        Always ? mayChooseAlways(*F, Callers, Stack) : mayChooseNever(*F);
    if (May) {
      F->addFnAttr(Always ? Attribute::AlwaysInline : Attribute::NoInline);
      F->addFnAttr(Mark);
      if (Always && !Stack.mayCallersMove(*F)) {
        F->removeFnAttr(Attribute::AlwaysInline);
        F->removeFnAttr(Mark);
        May = false;
      }
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
