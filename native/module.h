// One LLVM module in memory with everything an environment asks of it. The
// Python class of the same name is a binding of this one.

#pragma once

#include "autophase.h"
#include "codegen.h"
#include "errors.h"
#include "inlining.h"
#include "shape.h"

#include "llvm/ADT/STLFunctionalExtras.h"

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace llvm {
class Module;
}

namespace codezero {

class Context;
class Optimizer;

struct FunctionSummary {
  std::string Name;
  uint64_t StructuralHash;
  uint64_t Instructions;
  // Linkage by which several objects may have a copy of it, as those of C++
  // templates and inline functions, or of what a library has.
  bool IsShared;
};

// Each module has an LLVM context of its own. Methods may be called from
// several threads: those on one module take turns, those on different ones do
// not.
class Module {
public:
  // Reads bitcode or textual IR and verifies it. Throws ParseError or
  // VerificationError.
  static std::unique_ptr<Module> parse(std::string_view Bytes,
                                       const std::string &Name);
  // Links modules into one, as one linker input each. Throws LLVMError.
  static std::unique_ptr<Module> link(const std::vector<const Module *> &Parts,
                                      const std::string &Name);
  ~Module();

  // A copy that passes and the code generator treat as they would treat the
  // original: use-list order, which both depend on, is kept.
  std::unique_ptr<Module> clone() const;

  // Some functions as a module of their own: all others are only declared.
  // Throws LLVMError where there is no such function, or no code is generated
  // for it.
  std::unique_ptr<Module>
  extract(const std::vector<std::string> &Functions) const;

  // Sets up what the first run needs, so that its time is that of its passes.
  void warmUp();
  bool run(const std::string &Pipeline);
  // As run, but if the passes leave IR that does not verify, the module is put
  // back to what it was, and counts as unchanged.
  bool runVerified(const std::string &Pipeline);
  // See merging.h.
  bool runMerging(const std::string &Pipeline, const std::string &What,
                  bool Verify);
  // As run, for passes by function, on one of them. Throws LLVMError where it
  // has no body.
  bool runOn(const std::string &Pipeline, const std::string &Function);
  void runClangOz(const CompileOptions &Options);
  std::string explicitNesting(const std::string &Pipeline);
  // Wall time that run() has spent inside LLVM's passes, in seconds.
  double passSeconds() const;

  // Whether a property holds that some passes need to be sound; the names and
  // meanings are in properties.cpp. Throws LLVMError for an unknown name.
  bool satisfies(const std::string &Property) const;

  uint64_t instructionCount() const;
  AutophaseFeatures autophase();
  // Autophase over the instruction count, which is returned.
  uint64_t observe(std::span<float, NumAutophaseFeatures> Ratios);
  // See shape.h.
  void observeShape(std::span<float, NumShapeFeatures> Ratios) const;
  uint64_t structuralHash() const;
  // Every function with a body.
  std::vector<FunctionSummary> functions() const;
  // The same, by name, but those without one.
  std::map<std::string, uint64_t> instructionCounts() const;
  // See inlining.h for these.
  std::vector<CallEdge> callEdges() const;
  std::vector<Inlinable> inlinableFunctions() const;
  std::map<std::string, uint64_t> recursiveStacks() const;
  // Functions whose body is there to be inlined alone, by C's rules: that of
  // the linker is to be in another file, and is not, where someone forgot it.
  std::vector<std::string> inlineDefinitions() const;
  // Functions that are referred to, and that the linker has to find elsewhere.
  std::vector<std::string> undefinedFunctions() const;
  // Whether functionSizes has something to say of objects for the target.
  bool tellsFunctionSizes() const;
  uint64_t textSize(const CompileOptions &Options) const;
  uint64_t loadedSize(const CompileOptions &Options) const;

  void verify() const;
  void addSizeAttributes();
  void stripSizeAttributes();
  // Have a function's frame be found by a register of its own. Returns whether
  // that is new; it is not done where the function may use the register for
  // something else. Throws LLVMError where it has no body.
  bool keepFramePointer(const std::string &Function);

  // See inlining.h. Throws LLVMError for a function without a body.
  std::vector<bool>
  chooseInlining(const std::vector<std::pair<std::string, bool>> &Choices);
  void forgetInlining();

  std::string bitcode() const;
  std::string ir() const;
  std::string generate(OutputKind Kind, const CompileOptions &Options) const;

  // Whether LLVM has warned of something in it, passes or code generation.
  bool hasWarned() const;

  std::string name() const;
  void setSourceName(const std::string &Name);
  std::string triple() const;

private:
  Module(std::unique_ptr<Context> Owner, std::unique_ptr<llvm::Module> IR);

  Optimizer &optimizer();
  // See Target; for the optimizer's.
  std::shared_ptr<void> holdGlobals() const;
  bool timed(llvm::function_ref<bool(Optimizer &)> Run);
  bool runLocked(const std::string &Pipeline);
  bool runVerifiedLocked(const std::string &Pipeline);

  // In this order analyses go before the IR they describe, and the IR before
  // its context.
  std::unique_ptr<Context> Owner;
  std::unique_ptr<llvm::Module> IR;
  AutophaseCounter Features;
  std::unique_ptr<Target> OptimizerTarget;
  std::unique_ptr<Optimizer> Passes;
  double PassSeconds = 0;
  // Whether there may be marks for forgetInlining.
  bool HasChosenInlining = false;
};

} // namespace codezero
