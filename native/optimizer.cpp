#include "optimizer.h"

#include "errors.h"

#include "llvm/Analysis/LoopInfo.h"
#include "llvm/IR/Module.h"
#include "llvm/IR/StructuralHash.h"
#include "llvm/Target/TargetMachine.h"

#include <chrono>
#include <optional>

using namespace llvm;

namespace codezero {

// Passes of LLVM 22.1 that were seen to change IR and report that they had not,
// which would leave stale analyses behind. What they run on is hashed before
// and after.
static bool mayHideChanges(StringRef PassID) {
  return PassID == "InstCombinePass" || PassID == "IPSCCPPass" ||
         PassID == "InferAlignmentPass";
}

// Passes that change attributes, names or debug information only, which
// features do not see.
static bool leavesInstructionsAlone(StringRef PassID) {
  return PassID == "PostOrderFunctionAttrsPass" ||
         PassID == "ReversePostOrderFunctionAttrsPass" ||
         PassID == "InferFunctionAttrsPass" || PassID == "StripSymbolsPass" ||
         PassID == "StripNonDebugSymbolsPass";
}

static stable_hash hashOf(Any IR) {
  if (const auto *F = any_cast<const Function *>(&IR))
    return StructuralHash(**F, /*DetailedHash=*/true);
  return StructuralHash(**any_cast<const Module *>(&IR), /*DetailedHash=*/true);
}

Optimizer::Optimizer(const Module &M, TargetMachine *TM,
                     AutophaseCounter &Features)
    : TM(TM), Features(Features), Builder(TM, PipelineTuningOptions(),
                                          /*PGOOpt=*/std::nullopt, &Callbacks) {
  // opt and clang leave functions marked optnone alone; so do we. No pass marks
  // one, and each callback costs time at every pass.
  if (any_of(M, [](const Function &F) { return F.hasOptNone(); }))
    OptNone.registerCallbacks(Callbacks);
  Callbacks.registerBeforeNonSkippedPassCallback(
      [this](StringRef PassID, Any IR) {
        if (mayHideChanges(PassID))
          HashBefore = hashOf(IR);
      });
  Callbacks.registerAfterPassCallback(
      [this](StringRef PassID, Any IR, const PreservedAnalyses &Preserved) {
        noteChange(PassID, IR, Preserved);
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

void Optimizer::noteChange(StringRef PassID, Any IR,
                           const PreservedAnalyses &Preserved) {
  if (Preserved.areAllPreserved()) {
    if (!mayHideChanges(PassID) || hashOf(IR) == HashBefore)
      return;
    ChangeWasHidden = true;
  }
  // Managers and adaptors only pass on what the passes inside them have
  // reported.
  if (isSpecialPass(PassID, {"PassManager", "PassAdaptor"}) ||
      leavesInstructionsAlone(PassID))
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

// What is in an adaptor, if that is all of a pipeline: "adce" of
// "function(adce)".
static std::optional<StringRef> inside(StringRef Adaptor, StringRef Pipeline) {
  if (!Pipeline.consume_front(Adaptor) || !Pipeline.starts_with("("))
    return std::nullopt;
  int Depth = 0;
  for (size_t I = 0; I < Pipeline.size(); ++I) {
    Depth += Pipeline[I] == '(';
    Depth -= Pipeline[I] == ')';
    if (Pipeline[I] == ')' && Depth == 0) {
      if (I + 1 < Pipeline.size())
        return std::nullopt;
      return Pipeline.drop_front().drop_back();
    }
  }
  return std::nullopt;
}

// Whether a pipeline is one adaptor around function or CGSCC passes. These are
// made to run on one function after another, and so again and again. A module
// pass may be good for one run only: ModuleInlinerWrapperPass moves its
// pipeline out of itself.
static bool mayRunAgain(StringRef Pipeline) {
  return inside("function", Pipeline) || inside("cgscc", Pipeline);
}

FunctionPassManager Optimizer::parseForOne(StringRef Pipeline) {
  const std::optional<StringRef> Inside = inside("function", Pipeline);
  if (!Inside)
    throw PipelineError("no pipeline of function passes: " + Pipeline.str());
  FunctionPassManager Passes;
  if (Error E = Builder.parsePassPipeline(Passes, *Inside))
    throw PipelineError(toString(std::move(E)));
  return Passes;
}

bool Optimizer::runOn(Module &M, Function &F, StringRef Pipeline) {
  auto Found = ParsedForOne.find(Pipeline);
  if (Found == ParsedForOne.end())
    Found = ParsedForOne.try_emplace(Pipeline, parseForOne(Pipeline)).first;
  // As ModuleToFunctionPassAdaptor does it, which looks at all functions.
  auto &Analyses =
      ModuleAnalyses.getResult<FunctionAnalysisManagerModuleProxy>(M)
          .getManager();
  return timed(M, [&] {
    PreservedAnalyses Preserved = Found->second.run(F, Analyses);
    Analyses.invalidate(F, Preserved);
    if (Preserved.areAllPreserved())
      return Preserved;
    Preserved.preserveSet<AllAnalysesOn<Function>>();
    Preserved.preserve<FunctionAnalysisManagerModuleProxy>();
    ModuleAnalyses.invalidate(M, Preserved);
    return Preserved;
  });
}

bool Optimizer::run(Module &M, StringRef Pipeline) {
  if (mayRunAgain(Pipeline)) {
    auto Found = Parsed.find(Pipeline);
    if (Found == Parsed.end())
      Found = Parsed.try_emplace(Pipeline, parse(Pipeline)).first;
    return run(M, Found->second);
  }
  ModulePassManager Passes = parse(Pipeline);
  return run(M, Passes);
}

bool Optimizer::run(Module &M, ModulePassManager &Passes) {
  return timed(M, [&] { return Passes.run(M, ModuleAnalyses); });
}

bool Optimizer::timed(Module &M, function_ref<PreservedAnalyses()> Run) {
  ChangeWasHidden = false;
  const auto Start = std::chrono::steady_clock::now();
  const PreservedAnalyses Preserved = Run();
  Seconds +=
      std::chrono::duration<double>(std::chrono::steady_clock::now() - Start)
          .count();
  if (ChangeWasHidden)
    ModuleAnalyses.invalidate(M, PreservedAnalyses::none());
  return ChangeWasHidden || !Preserved.areAllPreserved();
}

void Optimizer::runClangOz(Module &M, const CompileOptions &Options) {
  // As clang/lib/CodeGen/BackendUtil.cpp sets it.
  PipelineTuningOptions Tuning;
  Tuning.LoopUnrolling = Options.UnrollLoops;
  Tuning.LoopInterleaving = Options.UnrollLoops;
  Tuning.LoopVectorization = Options.VectorizeLoops;
  Tuning.SLPVectorization = Options.SLPVectorize;
  Tuning.MergeFunctions = Options.MergeFunctions;
  Tuning.CallGraphProfile = true;
  PassBuilder Clang(TM, Tuning, /*PGOOpt=*/std::nullopt, &Callbacks);
  Clang.buildPerModuleDefaultPipeline(OptimizationLevel::Oz)
      .run(M, ModuleAnalyses);
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
