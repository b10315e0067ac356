#include "extract.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallPtrSet.h"
#include "llvm/IR/Module.h"

using namespace llvm;

namespace codezero {

// Local values have no symbol, and can only be defined. As hidden ones they are
// addressed in the same way: neither goes through a table.
static void makeVisible(GlobalValue &Value) {
  if (!Value.hasLocalLinkage())
    return;
  Value.setLinkage(GlobalValue::ExternalLinkage);
  Value.setVisibility(GlobalValue::HiddenVisibility);
}

static void dropBody(Function &F) {
  const bool IsDSOLocal = F.isDSOLocal();
  makeVisible(F);
  F.setPersonalityFn(nullptr);
  F.setPrefixData(nullptr);
  F.setPrologueData(nullptr);
  F.deleteBody();
  F.setComdat(nullptr);
  F.setDSOLocal(IsDSOLocal);
}

// An alias or ifunc needs a definition to stand for.
static void replaceByDeclaration(Module &M, GlobalValue &Value) {
  makeVisible(Value);
  Type *T = Value.getValueType();
  const unsigned AddressSpace = Value.getAddressSpace();
  GlobalValue *Declared;
  if (auto *Signature = dyn_cast<FunctionType>(T))
    Declared = Function::Create(Signature, GlobalValue::ExternalLinkage,
                                AddressSpace, "", &M);
  else
    Declared = new GlobalVariable(
        M, T, /*isConstant=*/false, GlobalValue::ExternalLinkage, nullptr, "",
        nullptr, Value.getThreadLocalMode(), AddressSpace);
  Declared->takeName(&Value);
  Declared->setVisibility(Value.getVisibility());
  Declared->setDSOLocal(Value.isDSOLocal());
  Value.replaceAllUsesWith(Declared);
  Value.eraseFromParent();
}

static bool eraseIfUnused(GlobalValue &Value) {
  Value.removeDeadConstantUsers();
  if (!Value.use_empty())
    return false;
  Value.eraseFromParent();
  return true;
}

void keepOnly(Module &M, ArrayRef<Function *> Kept) {
  const SmallPtrSet<const Function *, 16> IsKept(Kept.begin(), Kept.end());
  for (const StringRef Name : {"llvm.used", "llvm.compiler.used",
                               "llvm.global_ctors", "llvm.global_dtors"})
    if (GlobalVariable *List = M.getNamedGlobal(Name))
      List->eraseFromParent();
  for (GlobalAlias &Alias : make_early_inc_range(M.aliases()))
    replaceByDeclaration(M, Alias);
  for (GlobalIFunc &IFunc : make_early_inc_range(M.ifuncs()))
    replaceByDeclaration(M, IFunc);
  for (Function &F : M)
    if (!IsKept.contains(&F) && !F.isDeclaration())
      dropBody(F);

  for (Function *F : Kept) {
    makeVisible(*F);
    F->setComdat(nullptr);
    if (F->hasLinkOnceLinkage())
      F->setLinkage(F->hasLinkOnceODRLinkage() ? GlobalValue::WeakODRLinkage
                                               : GlobalValue::WeakAnyLinkage);
  }

  // One may be all that another is used by.
  bool Erased = true;
  while (Erased) {
    Erased = false;
    for (GlobalVariable &Variable : make_early_inc_range(M.globals()))
      Erased |= eraseIfUnused(Variable);
    for (Function &F : make_early_inc_range(M))
      if (!IsKept.contains(&F))
        Erased |= eraseIfUnused(F);
  }
}

} // namespace codezero
