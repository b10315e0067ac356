#include "command_line.h"
#include "process.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace codezero::driver {

using std::string;
using std::string_view;

#define STRINGIFY(X) #X
#define TO_STRING(X) STRINGIFY(X)
static constexpr string_view Version = TO_STRING(CODEZERO_LLVM_MAJOR);

static constexpr Tool Tools[] = {
    {"codezero-cc", "CODEZERO_CLANG", "clang", nullptr, "clang", true},
    {"codezero-c++", "CODEZERO_CLANGXX", "clang++", nullptr, "clang", true},
    {"codezero-flang", "CODEZERO_FLANG", "flang", "flang-new", "flang", false},
};

const Tool &toolOf(const string &Driver) {
  for (const Tool &T : Tools)
    if (Driver == T.Driver)
      return T;
  return Tools[0];
}

string realPath(const string &Path) {
  char *Real = realpath(Path.c_str(), nullptr);
  const string Found = Real ? Real : "";
  std::free(Real);
  return Found;
}

static bool isOurs(const string &Path, const string &OwnFolder) {
  return realPath(Path).starts_with(OwnFolder + "codezero-");
}

static bool isExecutable(const string &Path) {
  struct stat Status;
  return stat(Path.c_str(), &Status) == 0 && S_ISREG(Status.st_mode) &&
         access(Path.c_str(), X_OK) == 0;
}

static string search(const string &Command, const string &OwnFolder) {
  auto Fits = [&](const string &Path) {
    return isExecutable(Path) && !isOurs(Path, OwnFolder);
  };
  if (Command.find('/') != string::npos)
    return Fits(Command) ? Command : "";
  const char *Set = std::getenv("PATH");
  const string Folders = Set ? Set : "/bin:/usr/bin";
  for (size_t Begin = 0; Begin <= Folders.size();) {
    const size_t End = std::min(Folders.find(':', Begin), Folders.size());
    string Path = Folders.substr(Begin, End - Begin);
    Path += (Path.empty() || Path.back() == '/' ? "" : "/") + Command;
    if (Fits(Path))
      return Path;
    Begin = End + 1;
  }
  return "";
}

static string versioned(const char *Name) {
  return string(Name).append("-").append(Version);
}

string findCompiler(const Tool &T, const string &OwnFolder, string &Failure) {
  const char *Override = std::getenv(T.Variable);
  Words Names = {versioned(T.Command), T.Command};
  if (T.OtherCommand)
    Names.push_back(T.OtherCommand);
  if (Override && *Override)
    Names = {Override};
  Failure = string(T.Command).append(" ").append(Version) + " is not installed";
  for (const string &Name : Names) {
    const string Path = search(Name, OwnFolder);
    if (Path.empty())
      continue;
    if (Path.ends_with(versioned("")) ||
        realPath(Path).ends_with(versioned("")))
      return Path;
    const string Said =
        run({Path, "--version"}, {.CaptureOutput = true}).Output;
    if (Said.find(string("version ").append(Version) + ".") != string::npos)
      return Path;
    Failure += " (" + Path + " is " + Said.substr(0, Said.find('\n')) + ")";
  }
  Failure += ". Install it with: apt-get install " + versioned(T.Package);
  return "";
}

static bool isOneOf(string_view Word, std::initializer_list<string_view> All) {
  return std::find(All.begin(), All.end(), Word) != All.end();
}

static bool beginsWithOneOf(string_view Word,
                            std::initializer_list<string_view> All) {
  return std::any_of(All.begin(), All.end(),
                     [&](string_view Each) { return Word.starts_with(Each); });
}

static bool makesNoObject(string_view Word) {
  return isOneOf(Word, {"-E", "-S", "-M", "-MM", "-fsyntax-only", "-v", "-###",
                        "-emit-llvm", "-emit-ast", "--analyze", "-help",
                        "--help", "--version", "-dumpmachine", "-dumpversion",
                        "-fdriver-only"}) ||
         // What clang's driver writes itself, and does not where it is only
         // asked, follows "print".
         beginsWithOneOf(Word,
                         {"-print-", "--print-", "-MJ",
                          "-gen-cdb-fragment-path", "--gen-cdb-fragment-path",
                          "-fproc-stat-report", "-save-stats", "--save-stats"});
}

// Whether flags are in what can be read only once, or is open here: clang has
// to be the first to read it.
static bool isReadOnce(string_view Word) {
  struct stat Status;
  return Word.starts_with('@') &&
         (beginsWithOneOf(Word, {"@/dev/", "@/proc/"}) ||
          (stat(string(Word.substr(1)).c_str(), &Status) == 0 &&
           !S_ISREG(Status.st_mode)));
}

// Whether a word may be a source, or say that another is: as clang's driver
// tells languages by suffixes (clang/lib/Driver/Types.cpp), whatever their
// case.
static bool mayBeSource(string_view Word) {
  if (Word == "-" || beginsWithOneOf(Word, {"-x", "--language", "@"}))
    return true;
  const size_t Dot = Word.rfind('.');
  if (Dot == string_view::npos)
    return false;
  string Suffix(Word.substr(Dot + 1));
  std::transform(Suffix.begin(), Suffix.end(), Suffix.begin(), [](char C) {
    return C >= 'A' && C <= 'Z' ? char(C - 'A' + 'a') : C;
  });
  return isOneOf(Suffix,
                 {"c",   "cc",  "cp",  "cpp", "cxx", "c++", "i",   "ii",
                  "m",   "mm",  "mi",  "mii", "f",   "for", "ftn", "fpp",
                  "f77", "f90", "f95", "f03", "f08", "f18"});
}

bool mayCompile(const Words &Arguments, bool Always) {
  if (std::any_of(Arguments.begin(), Arguments.end(), makesNoObject) ||
      std::any_of(Arguments.begin(), Arguments.end(), isReadOnce) ||
      std::none_of(Arguments.begin(), Arguments.end(), mayBeSource))
    return false;
  auto IsFile = [](string_view Word) { return Word.starts_with('@'); };
  if (Always || std::any_of(Arguments.begin(), Arguments.end(), IsFile))
    return true;
  // The last level counts. (-ObjC is none.)
  auto IsLevel = [](string_view Word) {
    return beginsWithOneOf(Word, {"-O", "--optimize"}) &&
           !Word.starts_with("-Ob");
  };
  auto Last = std::find_if(Arguments.rbegin(), Arguments.rend(), IsLevel);
  return Last != Arguments.rend() &&
         (*Last == "-Oz" || *Last == "-Os" || Last->starts_with("--"));
}

Words asTaken(const Tool &T, Words Arguments) {
  if (!T.IsClang)
    for (string &Word : Arguments)
      if (Word == "-Oz" || Word == "-Os")
        Word = "-O2";
  return Arguments;
}

Words asAtATerminal(const Tool &T) {
  winsize Size = {};
  if (!T.IsClang || ioctl(2, TIOCGWINSZ, &Size) != 0)
    return {};
  Words Flags;
  const char *Terminal = std::getenv("TERM");
  if (Terminal && std::strcmp(Terminal, "dumb") != 0 &&
      !std::getenv("NO_COLOR"))
    Flags.push_back("-fcolor-diagnostics");
  if (Size.ws_col)
    Flags.push_back("-fmessage-length=" + std::to_string(Size.ws_col));
  return Flags;
}

} // namespace codezero::driver
