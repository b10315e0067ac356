// The 56 Autophase features of the paper's Table B1, as CompilerGym computes
// them: the observation an agent decides on.

#pragma once

#include <array>
#include <cstdint>

#include "llvm/ADT/DenseMap.h"

namespace llvm {
class Function;
class Module;
} // namespace llvm

namespace codezero {

constexpr unsigned NumAutophaseFeatures = 56;
using AutophaseFeatures = std::array<int64_t, NumAutophaseFeatures>;
// The feature that the others are divided by in an observation.
constexpr unsigned TotalInstructions = 51;

// The features of one module, remembered by function: a pass that changes few
// functions costs a look at those alone.
class AutophaseCounter {
public:
  AutophaseFeatures count(const llvm::Module &M);

  void forget(const llvm::Function &F) { ByFunction.erase(&F); }
  void forgetAll() { ByFunction.clear(); }

private:
  llvm::DenseMap<const llvm::Function *, AutophaseFeatures> ByFunction;
};

} // namespace codezero
