#include "promises.h"

#include "errors.h"

#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/IR/InstIterator.h"
#include "llvm/IR/Instructions.h"
#include "llvm/IR/Module.h"
#include "llvm/IR/Operator.h"
#include "llvm/IR/StructuralHash.h"

using namespace llvm;

namespace codezero {

// Regions are similar if their instructions have equal opcodes, types and
// special state: flags and metadata are not compared
// (IRSimilarityIdentifier.cpp, isClose).
static void dropPromises(Function &F) {
  for (Instruction &I : instructions(F)) {
    I.dropPoisonGeneratingAnnotations();
    if (isa<FPMathOperator>(I))
      I.copyFastMathFlags(FastMathFlags());
    I.dropUnknownNonDebugMetadata();
  }
}

// Of `a > b` and `b < a` regions are similar, too, but what is outlined is then
// called with the operands in the order that they have
// (IRSimilarityIdentifier's predicateForConsistency, which IROutliner.cpp knows
// nothing of). So there are none of the former while it runs.
static constexpr char Swapped[] = "codezero.swapped";

static void swapGreater(llvm::Module &M) {
  for (Function &F : M)
    for (Instruction &I : instructions(F))
      if (auto *Compare = dyn_cast<CmpInst>(&I))
        switch (Compare->getPredicate()) {
        case CmpInst::FCMP_OGT:
        case CmpInst::FCMP_UGT:
        case CmpInst::FCMP_OGE:
        case CmpInst::FCMP_UGE:
        case CmpInst::ICMP_SGT:
        case CmpInst::ICMP_UGT:
        case CmpInst::ICMP_SGE:
        case CmpInst::ICMP_UGE:
          Compare->swapOperands();
          Compare->setMetadata(Swapped, MDNode::get(M.getContext(), {}));
          break;
        default:
          break;
        }
}

static void swapBack(llvm::Module &M) {
  for (Function &F : M)
    for (Instruction &I : instructions(F))
      if (I.getMetadata(Swapped)) {
        cast<CmpInst>(I).swapOperands();
        I.setMetadata(Swapped, nullptr);
      }
}

static bool runMergingRegions(function_ref<llvm::Module &()> Current,
                              function_ref<bool()> Run) {
  StringSet<> Before;
  for (const Function &F : Current())
    Before.insert(F.getName());
  swapGreater(Current());
  const bool Changed = Run();
  swapBack(Current());
  if (!Changed)
    return false;
  for (Function &F : Current())
    if (!F.isDeclaration() && !Before.contains(F.getName()))
      dropPromises(F);
  return true;
}

static SmallVector<AAMDNodes, 0> aliasingOf(const Function &F) {
  SmallVector<AAMDNodes, 0> Nodes;
  for (const Instruction &I : instructions(F))
    Nodes.push_back(I.getAAMetadata());
  return Nodes;
}

// Functions are equal if constants and strings in their metadata are, but
// nodes in nodes, of which TBAA consists, are not compared
// (FunctionComparator.cpp, cmpMetadata).
static bool runMergingFunctions(function_ref<llvm::Module &()> Current,
                                function_ref<bool()> Run) {
  // What MergeFunctions compares has equal hashes.
  MapVector<stable_hash, SmallVector<Function *, 1>> ByHash;
  for (Function &F : Current())
    if (!F.isDeclaration())
      ByHash[StructuralHash(F)].push_back(&F);
  bool Changed = false;
  for (const auto &[Hash, Functions] : ByHash) {
    const auto First = aliasingOf(*Functions.front());
    if (all_of(Functions,
               [&](const Function *F) { return aliasingOf(*F) == First; }))
      continue;
    for (Function *F : Functions)
      for (Instruction &I : instructions(*F))
        I.setAAMetadata(AAMDNodes());
    Changed = true;
  }
  return Run() || Changed;
}

bool runMerging(StringRef What, function_ref<llvm::Module &()> Current,
                function_ref<bool()> Run) {
  if (What == "regions")
    return runMergingRegions(Current, Run);
  if (What == "functions")
    return runMergingFunctions(Current, Run);
  throw LLVMError("passes merge regions or functions, not '" + What.str() +
                  "'");
}

} // namespace codezero
