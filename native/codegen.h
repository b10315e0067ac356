// From a module to an object file: the target machine that clang would make,
// code generation, and the size of what it generates.

#pragma once

#include "options.h"

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Target/TargetOptions.h"

#include <cstdint>
#include <map>
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
  // As create, or the same target as kept after another module: setting one up
  // takes longer than generating code for a small function.
  static std::unique_ptr<Target> createOrReuse(const llvm::Module &M,
                                               const CompileOptions &Options,
                                               std::string &Error);
  ~Target();

  // Takes back a target from createOrReuse that has generated code for a copy
  // of M, to be used again unless something of the module may be left in it.
  static void keep(std::unique_ptr<Target> Used, const llvm::Module &M);

  llvm::TargetMachine &machine() { return *Machine; }

  // Keeps the globals this target's own as long as what is returned lives.
  // For passes that consult it: other targets may be in use meanwhile, by other
  // threads too, which wait if theirs differ. Not while one is created.
  [[nodiscard]] std::shared_ptr<void> holdGlobals() const;

  // Generates code. Consumes the module: code generation rewrites its IR.
  // Throws CodegenError where the target emits no such file.
  llvm::SmallVector<char, 0> generateCode(llvm::Module &M, OutputKind Kind);

private:
  struct Generator;

  explicit Target(std::unique_ptr<llvm::TargetMachine> Machine);

  std::unique_ptr<Generator> makeGenerator(OutputKind Kind);

  std::unique_ptr<llvm::TargetMachine> Machine;
  // As they are before the first function, each of which sets them.
  llvm::TargetOptions Options;
  std::vector<std::string> Codegen;
  std::vector<unsigned> Globals;
  std::unique_ptr<Generator> ForObjects;
  // Where it is kept.
  std::string Description;
};

// Whether bitcode, or a member of an archive, is to be optimised a module at a
// time as it is linked. False for what is neither.
bool isThinLTO(llvm::StringRef File);

// Names of those members of an archive that are bitcode. None of what is no
// archive, or cannot be read.
std::vector<std::string> bitcodeMembers(const std::string &Path);

// Bytes in the executable sections of an object file. Throws CodegenError for
// bytes that are no object file.
uint64_t executableSize(llvm::StringRef Object);

// Bytes in those sections that are loaded and have contents: code, constants
// with the relocations that a loader reads for them, first values of variables,
// tables to unwind by. Throws as executableSize.
uint64_t loadedSize(llvm::StringRef Object);

// Throws LLVMError where LLVM has no such option, or not of such a value; see
// CompileOptions::Codegen.
void checkCodegenOption(llvm::StringRef Option);

// Bytes of each function in an object file, by its symbol: of its code, and, if
// they are wanted, of its entries in .eh_frame. None where the format does not
// tell, as ELF does. Throws as executableSize.
std::map<std::string, uint64_t> functionSizes(llvm::StringRef Object,
                                              bool WithUnwindTables);

} // namespace codezero
