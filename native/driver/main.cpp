// The commands codezero-cc, codezero-c++ and codezero-flang: clang and flang,
// with smaller objects.
//
// This starts before each command of a build, links and configure's tests among
// them. Where there is nothing for us to do, clang takes its place at once;
// what has been compiled before, the server knows; all else is done by
// codezero/driver/driver.py, which takes its place as well.

#include "command_line.h"
#include "outputs.h"
#include "server.h"

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sys/auxv.h>
#include <unistd.h>

using namespace codezero::driver;
using std::string;

namespace {

// The path of this program, wherever links to it are; there may be no /proc.
string thisProgram() {
  const char *Started =
      reinterpret_cast<const char *>(getauxval(AT_EXECFN)); // not argv[0]
  char *Real = Started ? realpath(Started, nullptr) : nullptr;
  const string Path = Real ? Real : "codezero-cc";
  std::free(Real);
  return Path;
}

// Lets another program take the place of this one; returns if that fails.
void become(const string &Program, const Words &Arguments) {
  std::vector<char *> Pointers = {const_cast<char *>(Program.c_str())};
  for (const string &Word : Arguments)
    Pointers.push_back(const_cast<char *>(Word.c_str()));
  Pointers.push_back(nullptr);
  execv(Program.c_str(), Pointers.data());
}

bool isSet(const char *Variable) {
  const char *Value = std::getenv(Variable);
  return Value && *Value && std::strcmp(Value, "0") != 0;
}

// What is opened later must not be taken for one of them. clang does the same.
void openStandardStreams() {
  for (int File : {0, 1, 2})
    if (fcntl(File, F_GETFD) < 0)
      open("/dev/null", O_RDWR);
}

string currentDirectory() {
  char *Path = getcwd(nullptr, 0);
  string Directory = Path ? Path : "";
  std::free(Path);
  return Directory;
}

// What the server cannot tell from these words: what a file names, and which
// processor this is.
bool dependsOnMore(const Words &Arguments) {
  for (const string &Word : Arguments)
    if (Word.starts_with('@') || Word.ends_with("=native"))
      return true;
  return false;
}

// Writes what the server knows; false where that is not for us, or cannot be.
bool finish(const Known &What) {
  const bool HasDependencies = !What.DependencyFile.empty();
  if (isSpecial(What.Output) ||
      (HasDependencies && isSpecial(What.DependencyFile)))
    return false;
  if (HasDependencies && !write(What.DependencyFile, What.Dependencies))
    return false;
  if (!write(What.Output, What.Object))
    return false;
  if (!What.Records.empty())
    record(What.Records, What.Record);
  printMessages(What.Messages);
  return true;
}

// Lets driver.py do what this was called for. It is told:
//
// - which of our commands this is, and what the user calls it;
// - where the server listens;
// - a connection to the server, with a question that it could not
//   answer; "none"; "stuck" where it does not answer; or "clang", where all
//   there is to do is to find clang;
// - flags by which clang's messages are as they are at a terminal.
[[noreturn]] void leaveToPython(const Tool &T, const string &Driver,
                                const string &Compiler, const Words &Told,
                                const Words &Arguments) {
  // Python would report an interrupt before it can be told not to. It lets them
  // through once it is.
  sigset_t Interrupt;
  sigemptyset(&Interrupt);
  sigaddset(&Interrupt, SIGINT);
  sigprocmask(SIG_BLOCK, &Interrupt, nullptr);
  Words All = Told;
  All.insert(All.end(), Arguments.begin(), Arguments.end());
  become(Driver, All);
  const string &Name = Told[1];
  const string Reason = Driver + ": " + std::strerror(errno);
  sigprocmask(SIG_UNBLOCK, &Interrupt, nullptr);
  if (isSet("CODEZERO_STRICT") || Compiler.empty()) {
    printMessages(Name + ": error: " + Reason + "\n");
    std::exit(1);
  }
  printMessages(Name + ": " + Reason + "; " + Compiler +
                " does it by itself\n");
  become(Compiler, asTaken(T, Arguments));
  printMessages(Name + ": error: " + Compiler + ": " + std::strerror(errno) +
                "\n");
  std::exit(1);
}

} // namespace

int main(int Count, char **Values) {
  openStandardStreams();
  const Words Arguments(Values + (Count > 0), Values + Count);
  string Name = Count > 0 ? Values[0] : "codezero-cc";
  Name = Name.substr(Name.rfind('/') + 1);
  const string Program = thisProgram();
  const size_t Folder = Program.rfind('/') + 1;
  const Tool &T = toolOf(Program.substr(Folder));
  const string Driver = Program.substr(0, Folder) + "codezero-driver";
  const string Compiler = findCompiler(T);
  if (!mayCompile(Arguments, isSet("CODEZERO_ALWAYS"))) {
    if (!Compiler.empty())
      become(Compiler, asTaken(T, Arguments));
    leaveToPython(T, Driver, Compiler, {T.Driver, Name, "", "clang", ""},
                  Arguments);
  }
  cleanUpIfStopped();
  const string Socket = socketPath(Driver);
  const Words Terminal = asAtATerminal();
  string Conversation = "none", AsText;
  const string Directory = currentDirectory();
  Server S;
  if (!Directory.empty() && !Compiler.empty() && !dependsOnMore(Arguments)) {
    const Reply Answer =
        S.ask(Socket, {Directory, Compiler, Terminal, Arguments});
    if (Answer == Reply::Object && finish(S.known()))
      return 0;
    if (Answer == Reply::Unknown)
      Conversation = std::to_string(S.handOver());
    else if (Answer == Reply::Stuck)
      Conversation = "stuck";
  }
  for (const string &Flag : Terminal)
    AsText += (AsText.empty() ? "" : " ") + Flag;
  leaveToPython(T, Driver, Compiler,
                {T.Driver, Name, Socket, Conversation, AsText}, Arguments);
}
