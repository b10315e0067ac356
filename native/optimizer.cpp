#include "optimizer.h"

#include "errors.h"

#include "llvm/Analysis/LoopInfo.h"
#include "llvm/IR/Module.h"
#include "llvm/IR/StructuralHash.h"
#include "llvm/Target/TargetMachine.h"

using namespace llvm;

namespace codezero {

// Passes of LLVM 22.1 that were seen to change IR and report that they had not,
// which would leave stale analyses behind. Takes a pipeline's text, or a class.
static bool reportsItsChanges(StringRef Passes) {
  return !Passes.contains_insensitive("instcombine") &&
         !Passes.contains_insensitive("ipsccp");
}

Optimizer::Optimizer(TargetMachine *TM, AutophaseCounter &Features)
    : TM(TM), Features(Features), Builder(TM, PipelineTuningOptions(),
                                          /*PGOOpt=*/std::nullopt, &Callbacks) {
  // opt and clang leave functions marked optnone alone; so do we.
  OptNone.registerCallbacks(Callbacks);
  Callbacks.registerAfterPassCallback(
      [this](StringRef PassID, Any IR, const PreservedAnalyses &Preserved) {
        forgetChanged(PassID, IR, Preserved);
      });
  Callbacks.registerAfterPassInvalidatedCallback(
      [this](StringRef, const PreservedAnalyses &) {
        // The pass deleted what it ran on, a function perhaps.
        this->Features.forgetAll();
      });
  Builder.registerModuleAnalyses(ModuleAnalyses);
  Builder.registerCGSCCAnalyses(CGSCCAnalyses);
  Builder.registerFunctionAnalyses(FunctionAnalyses);
  Builder.registerLoopAnalyses(LoopAnalyses);
  Builder.crossRegisterProxies(LoopAnalyses, FunctionAnalyses, CGSCCAnalyses,
                               ModuleAnalyses);
}

void Optimizer::forgetChanged(StringRef PassID, Any IR,
                              const PreservedAnalyses &Preserved) {
  // Managers and adaptors only pass on what the passes inside them have
  // reported.
  if (isSpecialPass(PassID, {"PassManager", "PassAdaptor"}))
    return;
  if (Preserved.areAllPreserved() && reportsItsChanges(PassID))
    return;
  if (const auto *F = any_cast<const Function *>(&IR))
    Features.forget(**F);
  else if (const auto *L = any_cast<const Loop *>(&IR))
    Features.forget(*(*L)->getHeader()->getParent());
  else
    Features.forgetAll();
}

ModulePassManager Optimizer::parse(StringRef Pipeline) {
  ModulePassManager Passes;
  if (Error E = Builder.parsePassPipeline(Passes, Pipeline))
    throw PipelineError(toString(std::move(E)));
  return Passes;
}

bool Optimizer::run(Module &M, StringRef Pipeline) {
  // Parsed afresh each time, which costs microseconds: some pass objects are
  // good for one run only (ModuleInlinerWrapperPass moves its pipeline out of
  // itself).
  ModulePassManager Passes = parse(Pipeline);
  const bool Trusted = reportsItsChanges(Pipeline);
  const stable_hash Before = Trusted ? 0 : StructuralHash(M, true);
  if (!Passes.run(M, ModuleAnalyses).areAllPreserved())
    return true;
  if (Trusted || StructuralHash(M, true) == Before)
    return false;
  ModuleAnalyses.invalidate(M, PreservedAnalyses::none());
  Features.forgetAll();
  return true;
}

void Optimizer::runClangPipeline(Module &M, OptimizationLevel Level) {
  // clang's own tuning (clang/lib/CodeGen/BackendUtil.cpp and the driver's
  // defaults): unlike opt it vectorises straight-line code, and at -Oz leaves
  // loops scalar.
  PipelineTuningOptions Tuning;
  Tuning.LoopUnrolling = true;
  Tuning.LoopInterleaving = true;
  Tuning.LoopVectorization = Level != OptimizationLevel::Oz;
  Tuning.SLPVectorization = true;
  Tuning.CallGraphProfile = true;
  PassBuilder Clang(TM, Tuning, /*PGOOpt=*/std::nullopt, &Callbacks);
  Clang.buildPerModuleDefaultPipeline(Level).run(M, ModuleAnalyses);
}

std::string Optimizer::explicitNesting(StringRef Pipeline) {
  // LLVM infers the nesting from a text's first name. What it inferred shows in
  // the pipeline it prints.
  std::string Printed;
  raw_string_ostream Stream(Printed);
  parse(Pipeline).printPipeline(Stream, [this](StringRef ClassName) {
    const StringRef PassName = Callbacks.getPassNameForClassName(ClassName);
    return PassName.empty() ? ClassName : PassName;
  });
  for (const StringRef Adaptors :
       {"function(loop-mssa(", "function(loop(", "function(", "cgscc("}) {
    const StringRef Outermost =
        Adaptors.take_until([](char C) { return C == '('; });
    if (!StringRef(Printed).starts_with(Adaptors) ||
        Pipeline.starts_with((Outermost + "(").str()) ||
        Pipeline.starts_with((Outermost + "<").str()))
      continue;
    const std::string Nested =
        Adaptors.str() + Pipeline.str() + std::string(Adaptors.count('('), ')');
    ModulePassManager Passes;
    Error E = Builder.parsePassPipeline(Passes, Nested);
    const bool Accepted = !E;
    consumeError(std::move(E));
    if (Accepted)
      return Nested;
  }
  return Pipeline.str();
}

} // namespace codezero
