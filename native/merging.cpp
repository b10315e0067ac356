#include "merging.h"

#include "errors.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/IR/InstrTypes.h"
#include "llvm/IR/Metadata.h"
#include "llvm/IR/Module.h"

using namespace llvm;

namespace codezero {

bool isEnteredSpecially(const Function &F) {
  static constexpr StringLiteral Special[] = {"interrupt",
                                              "signal",
                                              "interrupt-handler",
                                              "cmse_nonsecure_entry",
                                              "no_caller_saved_registers",
                                              "no_callee_saved_registers",
                                              "wasm-export-name",
                                              "save-reg-params",
                                              "entry"};
  switch (F.getCallingConv()) {
  case CallingConv::X86_INTR:
  case CallingConv::AVR_INTR:
  case CallingConv::AVR_SIGNAL:
  case CallingConv::MSP430_INTR:
  case CallingConv::M68k_INTR:
    return true;
  default:
    return F.hasFnAttribute(Attribute::Naked) ||
           any_of(Special,
                  [&](StringRef Name) { return F.hasFnAttribute(Name); });
  }
}

bool takesMetadata(const CallBase &Call) {
  return any_of(Call.args(), [](const Use &Operand) {
    const auto *Wrapped = dyn_cast<MetadataAsValue>(Operand);
    return Wrapped && !isa<ValueAsMetadata>(Wrapped->getMetadata());
  });
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
