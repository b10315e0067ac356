// Other programs: one that is run, and one that takes the place of this one.

#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace codezero::driver {

struct RunOptions {
  int Input = -1;             // an open file; nothing if negative
  bool CaptureOutput = false; // or it is this program's own
  bool ListsHeaders = false;  // to /proc/self/fd/3, which is open there
};

struct Outcome {
  int Code = 127; // of the shell, where it does not start
  std::string Output;
  std::string Messages; // its standard error
  std::string Headers;
};

// Signals are as a program of C's library expects them from here on: it hears
// of its children, and of a file that is too large by errno. Other programs
// have them as this one was given them.
void takeSignals();

// Runs a command until it ends. It does not outlive this program.
Outcome run(const std::vector<std::string> &Command, RunOptions Options);

// Lets a program take the place of this one; returns if that fails.
void become(const std::string &Program,
            const std::vector<std::string> &Arguments);

// An open file in memory with some contents, to be read from the beginning.
int fileOf(std::string_view Contents);

// All of standard input, as such a file; negative, with errno, where that
// cannot be read. IsBegun: whether some of it has been.
int standardInput(bool &IsBegun);

} // namespace codezero::driver
