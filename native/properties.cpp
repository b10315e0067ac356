#include "properties.h"

#include "errors.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/IR/InstIterator.h"
#include "llvm/IR/IntrinsicInst.h"
#include "llvm/IR/Module.h"

#include <optional>

using namespace llvm;

namespace codezero {

bool isOfTarget(Attribute A) {
  static constexpr StringLiteral Names[] = {"target-cpu", "target-features",
                                            "tune-cpu", "use-soft-float"};
  static constexpr StringLiteral Prefixes[] = {"aarch64_", "no-builtin",
                                               "denormal-fp-"};
  if (!A.isStringAttribute())
    return is_contained({Attribute::NullPointerIsValid, Attribute::NoRedZone,
                         Attribute::NoImplicitFloat, Attribute::StrictFP},
                        A.getKindAsEnum());
  const StringRef Name = A.getKindAsString();
  return is_contained(Names, Name) || any_of(Prefixes, [&](StringRef Prefix) {
           return Name.starts_with(Prefix);
         });
}

AttributeSet targetOf(const Function &F) {
  AttrBuilder Target(F.getContext());
  for (const Attribute A : F.getAttributes().getFnAttrs())
    if (isOfTarget(A))
      Target.addAttribute(A);
  return AttributeSet::get(F.getContext(), Target);
}

// No two functions are compiled for different processors, or with different
// liberties: code moved from one function to another runs wherever the first
// did.
static bool hasUniformTarget(const Module &M) {
  std::optional<AttributeSet> First;
  for (const Function &F : M) {
    if (F.isDeclaration())
      continue;
    if (!First)
      First = targetOf(F);
    else if (targetOf(F) != *First)
      return false;
  }
  return true;
}

bool hasAssembly(const Function &F) {
  return any_of(instructions(F), [](const Instruction &I) {
    const auto *Call = dyn_cast<CallBase>(&I);
    return Call && Call->isInlineAsm();
  });
}

bool asksAboutFrame(const Function &F) {
  static constexpr Intrinsic::ID AboutFrames[] = {
      Intrinsic::returnaddress,
      Intrinsic::addressofreturnaddress,
      Intrinsic::frameaddress,
      Intrinsic::sponentry,
      Intrinsic::stacksave,
      Intrinsic::stackrestore,
      Intrinsic::localescape,
      Intrinsic::localrecover,
      Intrinsic::eh_typeid_for,
      Intrinsic::eh_dwarf_cfa,
      Intrinsic::eh_return_i32,
      Intrinsic::eh_return_i64,
      Intrinsic::eh_unwind_init,
      Intrinsic::eh_sjlj_setjmp,
      Intrinsic::eh_sjlj_longjmp,
      Intrinsic::eh_sjlj_lsda,
      Intrinsic::eh_sjlj_callsite,
      Intrinsic::read_register,
      Intrinsic::read_volatile_register,
      Intrinsic::write_register};
  return any_of(instructions(F), [](const Instruction &I) {
    const auto *Call = dyn_cast<IntrinsicInst>(&I);
    return Call && is_contained(AboutFrames, Call->getIntrinsicID());
  });
}

static bool hasFeature(const Function &F, StringRef Feature) {
  const StringRef All = F.getFnAttribute("target-features").getValueAsString();
  return any_of(split(All, ','),
                [&](StringRef Each) { return Each.starts_with(Feature); });
}

// What guards calls and returns, or marks where they may lead: code that is
// generated for it must stay where it is put.
static bool isHardened(const Function &F) {
  static constexpr StringLiteral Features[] = {"+lvi", "+retpoline", "+seses",
                                               "+shstk", "+harden-sls"};
  return F.hasFnAttribute(Attribute::SpeculativeLoadHardening) ||
         F.hasFnAttribute(Attribute::FnRetThunkExtern) ||
         any_of(Features,
                [&](StringRef Feature) { return hasFeature(F, Feature); });
}

static bool isHardened(const Module &M) {
  static constexpr StringLiteral Flags[] = {"cf-protection-branch",
                                            "cf-protection-return"};
  return any_of(M, [](const Function &F) { return isHardened(F); }) ||
         any_of(Flags, [&](StringRef Flag) { return M.getModuleFlag(Flag); });
}

bool hasProperty(const Module &M, StringRef Name) {
  if (Name == "uniform-target")
    return hasUniformTarget(M);
  if (Name == "no-frame-intrinsics")
    return none_of(M, asksAboutFrame);
  if (Name == "no-sections")
    return none_of(M, [](const Function &F) { return F.hasSection(); });
  if (Name == "no-hardening")
    return !isHardened(M);
  if (Name == "no-coroutines")
    return none_of(M,
                   [](const Function &F) { return F.isPresplitCoroutine(); });
  if (Name == "no-amx")
    return none_of(M, [](const Function &F) { return hasFeature(F, "+amx"); });
  if (Name == "x86-64-elf")
    return M.getTargetTriple().getArch() == Triple::x86_64 &&
           M.getTargetTriple().isOSBinFormatELF();
  throw LLVMError("unknown property '" + Name.str() +
                  "': expected uniform-target, no-frame-intrinsics, "
                  "no-sections, no-hardening, no-coroutines, no-amx or "
                  "x86-64-elf");
}

} // namespace codezero
