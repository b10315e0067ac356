// May a parsed pipeline be run twice? docs/soundness.md has the answer and the commands.
//
// `pass_reuse PROGRAM.bc PIPELINES.txt SEED LENGTH reuse|fresh` runs LENGTH pipelines, drawn at
// random from the file, on the program: parsing each text once and running the object again, or
// parsing it each time. Ends early where the program has grown fourfold.

#include "llvm/IR/LLVMContext.h"
#include "llvm/IR/Module.h"
#include "llvm/IR/Verifier.h"
#include "llvm/IRReader/IRReader.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Support/SourceMgr.h"

#include <fstream>
#include <map>
#include <random>
#include <string>
#include <vector>

using namespace llvm;

int main(int, char **Arguments) {
  std::vector<std::string> Pipelines;
  std::ifstream File(Arguments[2]);
  for (std::string Line; std::getline(File, Line);)
    Pipelines.push_back(Line);
  std::mt19937 Random(std::stoi(Arguments[3]));
  const bool Reuse = std::string(Arguments[5]) == "reuse";

  LLVMContext Context;
  SMDiagnostic Diagnostic;
  auto M = parseIRFile(Arguments[1], Diagnostic, Context);
  PassBuilder Builder;
  LoopAnalysisManager LAM;
  FunctionAnalysisManager FAM;
  CGSCCAnalysisManager CGAM;
  ModuleAnalysisManager MAM;
  Builder.registerModuleAnalyses(MAM);
  Builder.registerCGSCCAnalyses(CGAM);
  Builder.registerFunctionAnalyses(FAM);
  Builder.registerLoopAnalyses(LAM);
  Builder.crossRegisterProxies(LAM, FAM, CGAM, MAM);

  std::map<std::string, ModulePassManager> Parsed;
  const size_t Limit = 4 * M->getInstructionCount() + 3000;
  for (int Left = std::stoi(Arguments[4]); Left > 0; --Left) {
    const std::string &Text = Pipelines[Random() % Pipelines.size()];
    if (!Reuse || !Parsed.count(Text)) {
      ModulePassManager Passes;
      cantFail(Builder.parsePassPipeline(Passes, Text));
      Parsed.insert_or_assign(Text, std::move(Passes));
    }
    Parsed.at(Text).run(*M, MAM);
    if (verifyModule(*M))
      return 1;
    if (M->getInstructionCount() > Limit)
      return 0;
  }
}
