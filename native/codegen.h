// From a module to an object file: the target machine that clang would make,
// code generation, and the size of what it generates.

#pragma once

#include "options.h"

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringRef.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace llvm {
class Module;
class TargetMachine;
} // namespace llvm

namespace codezero {

// The names of the targets that this build generates code for.
llvm::ArrayRef<const char *> codegenTargets();

enum class OutputKind { Object, Assembly };

// A target machine, with the part of its state that LLVM keeps in globals.
class Target {
public:
  // For a module's triple, CPU, features and relocation model. Null, with Error
  // set, for a target without a code generator in this build.
  static std::unique_ptr<Target> create(const llvm::Module &M,
                                        const CompileOptions &Options,
                                        std::string &Error);
  ~Target();

  llvm::TargetMachine &machine() { return *Machine; }

  // Makes the globals this target's own. Call before passes or code generation
  // that consult it: another target may have been in use meanwhile. Threads
  // that use different targets at the same time still share the globals.
  void activate() const;

  // Generates code. Consumes the module: code generation rewrites its IR.
  // Throws CodegenError where the target emits no such file.
  llvm::SmallVector<char, 0> generateCode(llvm::Module &M, OutputKind Kind);

private:
  explicit Target(std::unique_ptr<llvm::TargetMachine> Machine);

  std::unique_ptr<llvm::TargetMachine> Machine;
  std::vector<unsigned> Globals;
};

// Bytes in the executable sections of an object file. Throws CodegenError for
// bytes that are no object file.
uint64_t executableSize(llvm::StringRef Object);

} // namespace codezero
