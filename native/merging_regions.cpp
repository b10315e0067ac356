// Regions for iroutliner: IRSimilarityIdentifier.cpp takes them as similar if
// their instructions have equal opcodes, types and special state. Flags,
// metadata and what the function is that they are in, it does not compare.

#include "merging.h"
#include "properties.h"

#include "llvm/ADT/StringSet.h"
#include "llvm/IR/AttributeMask.h"
#include "llvm/IR/InstIterator.h"
#include "llvm/IR/Instructions.h"
#include "llvm/IR/Module.h"
#include "llvm/IR/Operator.h"

using namespace llvm;

namespace codezero {

// By which the pass leaves a function as it is.
static constexpr StringLiteral NoOutline = "nooutline";

// Code that means something else elsewhere, or of which what it does is in its
// metadata.
static bool hasToStay(const Function &F) {
  return F.hasSection() || isEnteredSpecially(F) || asksAboutFrame(F) ||
         any_of(instructions(F), [](const Instruction &I) {
           const auto *Call = dyn_cast<CallBase>(&I);
           return Call && takesMetadata(*Call);
         });
}

// Its value, where it is ours.
static constexpr StringLiteral WhileMerging = "codezero";

static void keepWhole(llvm::Module &M) {
  for (Function &F : M)
    if (!F.isDeclaration() && !F.hasFnAttribute(NoOutline) && hasToStay(F))
      F.addFnAttr(NoOutline, WhileMerging);
}

static void releaseWhole(llvm::Module &M) {
  for (Function &F : M)
    if (F.getFnAttribute(NoOutline).getValueAsString() == WhileMerging)
      F.removeFnAttr(NoOutline);
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

static void dropPromises(Instruction &I) {
  I.dropPoisonGeneratingAnnotations();
  if (isa<FPMathOperator>(I))
    I.copyFastMathFlags(FastMathFlags());
  I.dropUnknownNonDebugMetadata();
}

// Whether an attribute says how code is to be generated, in which all functions
// agree that code was outlined from (`uniform-target`), or asks for more of it.
// All others are promises of the function that the first region was in.
static bool isOfCode(Attribute A) {
  if (isOfTarget(A))
    return true;
  if (A.isStringAttribute()) {
    static constexpr StringLiteral Kept[] = {
        "frame-pointer",         "min-legal-vector-width", "probe-stack",
        "no-stack-arg-probe",    "no-jump-tables",         "stackrealign",
        "guarded-control-stack", "zero-call-used-regs"};
    static constexpr StringLiteral Prefixes[] = {"stack-p", "sign-return-",
                                                 "branch-", "indirect-"};
    const StringRef Name = A.getKindAsString();
    return is_contained(Kept, Name) || any_of(Prefixes, [&](StringRef Prefix) {
             return Name.starts_with(Prefix);
           });
  }
  switch (A.getKindAsEnum()) {
  case Attribute::MinSize:
  case Attribute::OptimizeForSize:
  case Attribute::UWTable:
  case Attribute::NonLazyBind:
  case Attribute::SafeStack:
  case Attribute::ShadowCallStack:
  case Attribute::SpeculativeLoadHardening:
  case Attribute::StackProtect:
  case Attribute::StackProtectReq:
  case Attribute::StackProtectStrong:
  case Attribute::SanitizeAddress:
  case Attribute::SanitizeHWAddress:
  case Attribute::SanitizeMemory:
  case Attribute::SanitizeMemTag:
  case Attribute::SanitizeThread:
    return true;
  default:
    return false;
  }
}

static void dropPromises(Function &F) {
  for (Instruction &I : instructions(F))
    dropPromises(I);
  AttributeMask Dropped;
  for (const Attribute A : F.getAttributes().getFnAttrs())
    if (!isOfCode(A))
      Dropped.addAttribute(A);
  F.removeFnAttrs(Dropped);
}

bool runMergingRegions(function_ref<llvm::Module &()> Current,
                       function_ref<bool()> Run) {
  StringSet<> Before;
  for (const Function &F : Current())
    Before.insert(F.getName());
  keepWhole(Current());
  swapGreater(Current());
  const bool Changed = Run();
  swapBack(Current());
  releaseWhole(Current());
  if (!Changed)
    return false;
  for (Function &F : Current())
    if (!F.isDeclaration() && !Before.contains(F.getName()))
      dropPromises(F);
  return true;
}

} // namespace codezero
