// LLVM's new pass manager set up for one module. Analyses live as long as the
// module and are invalidated by what each pass reports, as within one pipeline,
// so that a step costs its passes and little else.

#pragma once

#include "autophase.h"
#include "options.h"

#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/Analysis/CGSCCPassManager.h"
#include "llvm/Analysis/LoopAnalysisManager.h"
#include "llvm/IR/PassInstrumentation.h"
#include "llvm/IR/PassManager.h"
#include "llvm/IR/StructuralHash.h"
#include "llvm/Passes/OptimizationLevel.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Passes/StandardInstrumentations.h"

#include <string>

namespace llvm {
class Module;
class TargetMachine;
} // namespace llvm

namespace codezero {

class Optimizer {
public:
  // TM may be null: passes then assume a target without costs of its own. The
  // functions that passes change are forgotten in Features.
  Optimizer(const llvm::Module &M, llvm::TargetMachine *TM,
            AutophaseCounter &Features);

  Optimizer(const Optimizer &) = delete;
  Optimizer &operator=(const Optimizer &) = delete;

  // Runs pipeline text as `opt -passes=` takes it. Returns whether the passes
  // report a change. Throws PipelineError.
  bool run(llvm::Module &M, llvm::StringRef Pipeline);

  // The same for a pipeline of the form "function(...)", on one function of M.
  bool runOn(llvm::Module &M, llvm::Function &F, llvm::StringRef Pipeline);

  // Runs the pipeline that `clang -Oz` builds. It differs from opt's
  // default<Oz>: clang vectorises straight-line code.
  void runClangOz(llvm::Module &M, const CompileOptions &Options);

  // Wall time spent in run()'s passes, in seconds.
  double seconds() const { return Seconds; }

  // The same text with every nesting level written out, so that texts can be
  // joined by commas: "licm" becomes "function(loop-mssa(licm))". Throws
  // PipelineError.
  std::string explicitNesting(llvm::StringRef Pipeline);

private:
  llvm::ModulePassManager parse(llvm::StringRef Pipeline);
  llvm::FunctionPassManager parseForOne(llvm::StringRef Pipeline);
  bool run(llvm::Module &M, llvm::ModulePassManager &Passes);
  bool timed(llvm::Module &M,
             llvm::function_ref<llvm::PreservedAnalyses()> Run);
  void noteChange(llvm::StringRef PassID, llvm::Any IR,
                  const llvm::PreservedAnalyses &Preserved);

  llvm::TargetMachine *TM;
  AutophaseCounter &Features;
  llvm::PassInstrumentationCallbacks Callbacks;
  llvm::OptNoneInstrumentation OptNone{/*DebugLogging=*/false};
  llvm::PassBuilder Builder;
  llvm::LoopAnalysisManager LoopAnalyses;
  llvm::FunctionAnalysisManager FunctionAnalyses;
  llvm::CGSCCAnalysisManager CGSCCAnalyses;
  llvm::ModuleAnalysisManager ModuleAnalyses;
  llvm::StringMap<llvm::ModulePassManager> Parsed;
  llvm::StringMap<llvm::FunctionPassManager> ParsedForOne;
  double Seconds = 0;
  llvm::stable_hash HashBefore = 0;
  bool ChangeWasHidden = false;
};

} // namespace codezero
