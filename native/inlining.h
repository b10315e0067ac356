// Which functions are inlined, chosen for each in place of by its cost.

#pragma once

#include <string>
#include <vector>

namespace llvm {
class Function;
class Module;
} // namespace llvm

namespace codezero {

// Direct calls from one function with a body to another.
struct CallEdge {
  std::string Caller;
  std::string Callee;
  unsigned Calls;
};

std::vector<CallEdge> callEdges(const llvm::Module &M);

// Marks a function: inliners leave all calls of it, or inline all that they
// can. Returns whether it is marked: it is not where it has been chosen
// already, by whoever wrote it too, or where not every function could take in
// its code.
bool chooseInlining(llvm::Function &F, bool Always);

// Takes all of those marks away, so that nothing says later what was chosen.
void forgetInlining(llvm::Module &M);

} // namespace codezero
