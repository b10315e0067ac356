// What a driver's own words say: which compiler is meant, and whether there can
// be something to compile for size. All else about them, clang is asked.

#pragma once

#include <string>
#include <vector>

namespace codezero::driver {

using Words = std::vector<std::string>;

// A compiler that a driver stands for; codezero/compiler/toolchain.py has them,
// too.
struct Tool {
  const char *Driver;       // the name of our command
  const char *Variable;     // overrides the search
  const char *Command;      // looked for on PATH, with the version and without
  const char *OtherCommand; // likewise; may be null
  const char *Package;      // of Debian, with the version
  bool IsClang;             // and takes -Oz, and flags for how messages look
};

// Where a path leads; empty if nowhere.
std::string realPath(const std::string &Path);

// By the name of our command.
const Tool &toolOf(const std::string &Driver);

// The path of a compiler of LLVM's version that is built in here: another one's
// -Oz is another baseline. Empty if there is none; then Failure says so.
//
// OwnFolder: where our commands are. Whatever leads there is not what is looked
// for.
std::string findCompiler(const Tool &T, const std::string &OwnFolder,
                         std::string &Failure);

// Whether there can be something for us to do. To ask clang takes as long as
// many a job. Always: whatever the level.
bool mayCompile(const Words &Arguments, bool Always);

// The words as a compiler takes them: flang has no level for size.
Words asTaken(const Tool &T, Words Arguments);

// Flags by which clang's messages look as they do at a terminal, if there is
// one.
Words asAtATerminal(const Tool &T);

} // namespace codezero::driver
