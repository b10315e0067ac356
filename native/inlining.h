// Which functions are inlined, chosen for each in place of by its cost.

#pragma once

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/IR/ValueHandle.h"

#include <map>
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

// A function about which something may be chosen.
struct Inlinable {
  std::string Function;
  bool MayAlways;
  bool MayNever;
  // Whether nothing is left of it where all calls of it are inlined: no other
  // object counts on it, and nothing has its address.
  bool Disappears;
  // Whether other objects may have a copy of it, as of C++'s inline functions.
  bool IsShared;
};

std::vector<Inlinable> inlinableFunctions(llvm::Module &M);

// Bytes on the stack of functions that come to call themselves, by direct
// calls: of those that have more than inliners give any of them.
std::map<std::string, uint64_t> recursiveStacks(llvm::Module &M);

struct InliningChoice {
  llvm::Function *F;
  bool Always;
};

// Marks functions of a module: inliners leave all calls of one, or inline all
// that they can. Returns for each whether it is marked: it is not where that
// has been chosen already, by whoever wrote it too, or where not every function
// could take in its code.
std::vector<bool> chooseInlining(llvm::Module &M,
                                 llvm::ArrayRef<InliningChoice> Choices);

// While this is there, functions that a linker may put another definition of in
// the place of are not marked to be inlined always. The Attributor takes what
// it finds in a function of that mark for true of every call, since it is to be
// gone: but it is not, where no inliner comes after.
class WithoutAlwaysInline {
public:
  explicit WithoutAlwaysInline(llvm::Module &M);
  ~WithoutAlwaysInline();
  WithoutAlwaysInline(const WithoutAlwaysInline &) = delete;
  WithoutAlwaysInline &operator=(const WithoutAlwaysInline &) = delete;

private:
  llvm::SmallVector<llvm::WeakVH> Functions;
};

// Takes all of those marks away, so that nothing says later what was chosen.
// Looks at every instruction.
void forgetInlining(llvm::Module &M);

} // namespace codezero
