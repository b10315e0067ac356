// The rate that nothing can beat: LLVM's passes in a loop, with no environment around them. Run by
// run.py as `bare_loop PROGRAM.bc PIPELINES.txt EPISODES`; each episode parses the program and runs
// every line of the pipelines on it. Prints the seconds that each episode's passes took.

#include "llvm/IR/LLVMContext.h"
#include "llvm/IR/Module.h"
#include "llvm/IRReader/IRReader.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Support/SourceMgr.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Target/TargetMachine.h"

#include <chrono>
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

using namespace llvm;

static std::unique_ptr<TargetMachine> targetMachine(const Module &M) {
  std::string Error;
  const Target *T = TargetRegistry::lookupTarget(M.getTargetTriple(), Error);
  return std::unique_ptr<TargetMachine>(
      T->createTargetMachine(M.getTargetTriple(), "x86-64", "", TargetOptions(),
                             Reloc::PIC_));
}

static double runEpisode(const char *Path,
                         const std::vector<std::string> &Pipelines) {
  LLVMContext Context;
  Context.setDiscardValueNames(true);
  SMDiagnostic Diagnostic;
  auto M = parseIRFile(Path, Diagnostic, Context);
  auto TM = targetMachine(*M);
  PassBuilder Builder(TM.get());
  LoopAnalysisManager LAM;
  FunctionAnalysisManager FAM;
  CGSCCAnalysisManager CGAM;
  ModuleAnalysisManager MAM;
  Builder.registerModuleAnalyses(MAM);
  Builder.registerCGSCCAnalyses(CGAM);
  Builder.registerFunctionAnalyses(FAM);
  Builder.registerLoopAnalyses(LAM);
  Builder.crossRegisterProxies(LAM, FAM, CGAM, MAM);

  const auto Start = std::chrono::steady_clock::now();
  for (const std::string &Pipeline : Pipelines) {
    ModulePassManager Passes;
    cantFail(Builder.parsePassPipeline(Passes, Pipeline));
    Passes.run(*M, MAM);
  }
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - Start)
      .count();
}

int main(int, char **Arguments) {
  InitializeNativeTarget();
  std::vector<std::string> Pipelines;
  std::ifstream File(Arguments[2]);
  for (std::string Line; std::getline(File, Line);)
    Pipelines.push_back(Line);
  for (int Episode = std::stoi(Arguments[3]); Episode > 0; --Episode)
    std::printf("%f\n", runEpisode(Arguments[1], Pipelines));
}
