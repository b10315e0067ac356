// Functions for mergefunc: FunctionComparator.cpp compares most of what there
// is. What it leaves out is taken away where it differs, if code means the same
// without it, and keeps functions apart if not.

#include "merging.h"
#include "properties.h"

#include "llvm/ADT/DepthFirstIterator.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/Analysis/TargetLibraryInfo.h"
#include "llvm/IR/CFG.h"
#include "llvm/IR/DebugInfoMetadata.h"
#include "llvm/IR/InlineAsm.h"
#include "llvm/IR/InstIterator.h"
#include "llvm/IR/Instructions.h"
#include "llvm/IR/Module.h"
#include "llvm/IR/Operator.h"
#include "llvm/IR/StructuralHash.h"
#include "llvm/Support/raw_ostream.h"

#include <optional>

using namespace llvm;

namespace codezero {

// In the order in which functions are compared, which is not that of the
// blocks in memory.
static SmallVector<Instruction *, 0> instructionsOf(Function &F) {
  SmallVector<Instruction *, 0> Instructions;
  for (BasicBlock *Block : depth_first(&F))
    for (Instruction &I : *Block)
      Instructions.push_back(&I);
  return Instructions;
}

// Loops have nodes of their own, which say the same if what is in them does.
static bool isSameLoop(const MDNode &A, const MDNode &B) {
  const auto PropertiesOf = [](const MDNode &Loop) {
    SmallVector<const Metadata *, 4> Properties;
    for (const MDOperand &Operand : Loop.operands())
      if (Operand != &Loop && !isa_and_nonnull<DILocation>(Operand.get()))
        Properties.push_back(Operand);
    return Properties;
  };
  return PropertiesOf(A) == PropertiesOf(B);
}

using Attached = SmallVector<std::pair<unsigned, MDNode *>, 4>;

static Attached metadataOf(const Instruction &I) {
  Attached Nodes;
  I.getAllMetadataOtherThanDebugLoc(Nodes);
  return Nodes;
}

static bool isSameMetadata(const Instruction &A, const Instruction &B) {
  return llvm::equal(metadataOf(A), metadataOf(B),
                     [](const auto &X, const auto &Y) {
                       return X == Y || (X.first == LLVMContext::MD_loop &&
                                         X.first == Y.first &&
                                         isSameLoop(*X.second, *Y.second));
                     });
}

// That a sum does not overflow it does compare, but not that an address does
// not.
static bool hasSameFlags(const Instruction &A, const Instruction &B) {
  const auto *X = dyn_cast<GEPOperator>(&A), *Y = dyn_cast<GEPOperator>(&B);
  return !X || !Y || X->getNoWrapFlags() == Y->getNoWrapFlags();
}

static void dropMetadata(Instruction &I) { I.dropUnknownNonDebugMetadata(); }

static void dropFlags(Instruction &I) {
  if (auto *Address = dyn_cast<GetElementPtrInst>(&I))
    Address->setNoWrapFlags(GEPNoWrapFlags::none());
}

// Take away promises that not all of some functions make at the same place.
// Returns whether there were any.
static bool dropPromises(ArrayRef<Function *> Functions) {
  SmallVector<SmallVector<Instruction *, 0>, 2> All;
  for (Function *F : Functions)
    All.push_back(instructionsOf(*F));
  bool Changed = false;
  const auto AgreeAt = [&](size_t K, auto IsSame) {
    return all_of(All, [&](const auto &Instructions) {
      return K < Instructions.size() && K < All.front().size() &&
             IsSame(*Instructions[K], *All.front()[K]);
    });
  };
  const auto DropAt = [&](size_t K, auto Drop) {
    for (const auto &Instructions : All)
      if (K < Instructions.size())
        Drop(*Instructions[K]);
    Changed = true;
  };
  const auto *Longest = max_element(
      All, [](const auto &A, const auto &B) { return A.size() < B.size(); });
  for (size_t K = 0; K < Longest->size(); ++K) {
    if (!AgreeAt(K, isSameMetadata))
      DropAt(K, dropMetadata);
    if (!AgreeAt(K, hasSameFlags))
      DropAt(K, dropFlags);
  }
  return Changed;
}

static bool usesItselfButAsCallee(const Function &F, const Instruction &I) {
  const auto *Call = dyn_cast<CallBase>(&I);
  return any_of(I.operands(), [&](const Use &Operand) {
    return !(Call && Call->isCallee(&Operand)) &&
           Operand->stripPointerCastsAndAliases() == &F;
  });
}

// Who calls an interposable function by its symbol may call another one: also
// that function itself.
static bool callsItselfBySymbol(const Function &F, const Instruction &I) {
  const auto *Call = dyn_cast<CallBase>(&I);
  return Call && F.isInterposable() &&
         Call->getCalledOperand()->stripPointerCastsAndAliases() == &F;
}

// What a function does apart from what is compared and what it promises, as
// text that is the same for functions that may be merged. None of one that may
// be merged with no other.
static std::optional<std::string> kindOf(Function &F,
                                         const TargetLibraryInfoImpl &Library) {
  LibFunc Known;
  // A loop in one called memset is not made a call of memset. If it calls what
  // it is equal to, there it is.
  if (isEnteredSpecially(F) || asksAboutFrame(F) || F.hasPrefixData() ||
      F.hasPrologueData() || Library.getLibFunc(F.getName(), Known))
    return std::nullopt;
  std::string Text;
  raw_string_ostream Kind(Text);
  if (F.hasPersonalityFn())
    Kind << 'p' << F.getPersonalityFn();
  Attached Nodes;
  F.getAllMetadata(Nodes);
  for (const auto &[ID, Node] : Nodes)
    if (ID != LLVMContext::MD_dbg && ID != LLVMContext::MD_prof)
      Kind << 'm' << ID << '=' << Node;
  for (const Instruction *I : instructionsOf(F)) {
    if (usesItselfButAsCallee(F, *I) || callsItselfBySymbol(F, *I))
      return std::nullopt;
    if (const auto *Pad = dyn_cast<LandingPadInst>(I))
      Kind << (Pad->isCleanup() ? 'c' : 'n');
    if (const auto *Exchange = dyn_cast<AtomicCmpXchgInst>(I))
      Kind << 'a' << Exchange->getAlign().value();
    if (const auto *Update = dyn_cast<AtomicRMWInst>(I))
      Kind << 'a' << Update->getAlign().value();
    const auto *Call = dyn_cast<CallBase>(I);
    if (!Call)
      continue;
    if (const auto *Assembly = dyn_cast<InlineAsm>(Call->getCalledOperand()))
      Kind << 'i' << Assembly;
    if (takesMetadata(*Call))
      for (const Use &Operand : Call->args())
        if (const auto *Wrapped = dyn_cast<MetadataAsValue>(Operand))
          Kind << 'o' << Wrapped->getMetadata();
  }
  return Text;
}

// By which functions of different kinds differ in what is compared.
static constexpr StringLiteral Apart = "codezero.apart";

static void keepApart(llvm::Module &M) {
  const TargetLibraryInfoImpl Library(M.getTargetTriple());
  StringMap<unsigned> Kinds;
  unsigned Number = 0;
  for (Function &F : M) {
    if (F.isDeclaration())
      continue;
    const auto Kind = kindOf(F, Library);
    const unsigned Own =
        Kind ? Kinds.try_emplace(*Kind, Number).first->second : Number;
    F.addFnAttr(Apart, std::to_string(Own));
    ++Number;
  }
}

static void joinAgain(llvm::Module &M) {
  for (Function &F : M) {
    F.removeFnAttr(Apart);
    for (Instruction &I : instructions(F)) // the calls of thunks have them, too
      if (auto *Call = dyn_cast<CallBase>(&I))
        Call->removeFnAttr(Apart);
  }
}

bool runMergingFunctions(function_ref<llvm::Module &()> Current,
                         function_ref<bool()> Run) {
  // What is compared has equal hashes.
  MapVector<stable_hash, SmallVector<Function *, 1>> ByHash;
  for (Function &F : Current())
    if (!F.isDeclaration())
      ByHash[StructuralHash(F)].push_back(&F);
  bool Changed = false;
  for (const auto &[Hash, Functions] : ByHash)
    if (Functions.size() > 1)
      Changed |= dropPromises(Functions);
  keepApart(Current());
  Changed |= Run();
  joinAgain(Current());
  return Changed;
}

} // namespace codezero
