// The commands codezero-cc, codezero-c++ and codezero-flang: clang and flang,
// with smaller objects.
//
// This starts before each command of a build, links and configure's tests among
// them. Where there is nothing for us to do, clang takes its place at once.
// Otherwise the server tells it what to do (codezero/driver/conversation.py);
// and if anything goes wrong with that, clang takes its place as well.

#include "command_line.h"
#include "outputs.h"
#include "process.h"
#include "server.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <exception>
#include <fcntl.h>
#include <optional>
#include <string_view>
#include <sys/auxv.h>
#include <unistd.h>

extern char **environ;

using namespace codezero::driver;
using std::string;
using std::string_view;

namespace {

// For an answer to a question, which takes neither clang nor LLVM; and for
// others, with many before them.
constexpr int AnswerSeconds = 15, WorkSeconds = 900;
// Servers that may be lost in one call, as one is that ends just now, and the
// time for one that was killed to be gone.
constexpr int MostTries = 3;
constexpr timespec BetweenTries = {0, 200'000'000};

// Variables that clang reads, or a server that works for it, besides ours.
constexpr string_view Variables[] = {
    "CPATH",
    "C_INCLUDE_PATH",
    "CPLUS_INCLUDE_PATH",
    "OBJC_INCLUDE_PATH",
    "OBJCPLUS_INCLUDE_PATH",
    "SOURCE_DATE_EPOCH",
    "CCC_OVERRIDE_OPTIONS",
    "COMPILER_PATH",
    "GCC_EXEC_PREFIX",
    "HOME",
    "LANG",
    "LC_ALL",
    "PWD",
    "SDKROOT",
    "CLANG_NO_DEFAULT_CONFIG",
    "MACOSX_DEPLOYMENT_TARGET",
    "IPHONEOS_DEPLOYMENT_TARGET",
    "TVOS_DEPLOYMENT_TARGET",
    "WATCHOS_DEPLOYMENT_TARGET",
    "XROS_DEPLOYMENT_TARGET",
    "DRIVERKIT_DEPLOYMENT_TARGET",
    "XDG_CACHE_HOME",
    "XDG_STATE_HOME",
    "TMPDIR",
    "TMP",
    "TEMP",
    "TEMPDIR",
};

bool isSet(const char *Variable) {
  const char *Value = std::getenv(Variable);
  return Value && *Value && std::strcmp(Value, "0") != 0;
}

// What is opened later must not be taken for one of them. clang does the same.
void openStandardStreams() {
  for (int Number : {0, 1, 2})
    if (fcntl(Number, F_GETFD) < 0)
      open("/dev/null", O_RDWR);
}

// The folder of this program, wherever links to it are, with a slash at its
// end. Empty where that cannot be told.
string ownFolder() {
  string Path = realPath("/proc/self/exe");
  if (Path.empty()) // there is no /proc in some chroots
    Path = realPath(reinterpret_cast<const char *>(getauxval(AT_EXECFN)));
  return Path.substr(0, Path.rfind('/') + 1);
}

string currentDirectory() {
  char *Path = getcwd(nullptr, 0);
  string Directory = Path ? Path : "/"; // where it is gone
  std::free(Path);
  return Directory;
}

string toText(const Words &List) {
  string Text;
  for (const string &Word : List)
    Text.append(Word).push_back('\0');
  return Text;
}

Words toList(const string &Text) {
  Words List;
  for (size_t Begin = 0; Begin < Text.size();) {
    const size_t End = Text.find('\0', Begin);
    List.push_back(Text.substr(Begin, End - Begin));
    if (End == string::npos)
      break;
    Begin = End + 1;
  }
  return List;
}

Words environment() {
  Words List;
  for (char **Variable = environ; *Variable; ++Variable) {
    const string_view Text = *Variable;
    const string_view Name = Text.substr(0, Text.find('='));
    bool Matters = Name.starts_with("CODEZERO_");
    for (string_view Each : Variables)
      Matters |= Name == Each;
    if (Matters)
      List.emplace_back(Text);
  }
  return List;
}

// Whether clang is told by the environment to say what it does: of each program
// that it runs, and not of those that a server would have run.
bool hasClangPrint() {
  for (char **Variable = environ; *Variable; ++Variable) {
    const string_view Text = *Variable;
    if (Text.starts_with("CC_PRINT_") || Text.starts_with("CC_LOG_"))
      return true;
  }
  return false;
}

// One call of a driver.
class Call {
public:
  Call(string Name, Words Arguments)
      : Folder(ownFolder()), T(toolOf(CODEZERO_DRIVER)), Name(std::move(Name)),
        Arguments(std::move(Arguments)),
        Compiler(findCompiler(T, Folder, NoCompiler)) {}

  [[noreturn]] void run();
  [[noreturn]] void giveUp(const string &Reason);

private:
  // Does what the server says, until there is no more to do. Returns where the
  // server is lost.
  void obey(Connection &Server);
  Outcome runCommand(const Words &Message);
  int source(); // standard input, which can be read only once, as a file
  void writeFile(const Words &Message);
  [[noreturn]] void becomeClang(const Words &Given, string_view Messages);
  [[noreturn]] void fail(const string &Reason);

  const string Folder;
  const Tool &T;
  const string Name; // what the user calls it
  const Words Arguments;
  string NoCompiler; // why there is none
  const string Compiler;
  int Source = -1; // standard input, once it has been read: a file
};

void Call::run() {
  if (Compiler.empty())
    fail(NoCompiler);
  if (hasClangPrint() || !mayCompile(Arguments, isSet("CODEZERO_ALWAYS")))
    becomeClang(Arguments, "");
  cleanUpIfStopped();
  if (Folder.empty())
    giveUp("the server is not to be found");
  for (int Try = 0; Try < MostTries; ++Try) {
    string Failure;
    Connection Server = connectToServer(Folder + "codezero-server", Failure);
    if (!Server.isOpen())
      giveUp(Failure);
    Server.setPatience(AnswerSeconds);
    if (Server.send({"question", Name, T.Driver, currentDirectory(), Compiler,
                     identity(Compiler), toText(asAtATerminal(T)),
                     toText(Arguments), toText(environment())}))
      obey(Server);
    if (Server.isOutOfTime())
      giveUp("the server does not answer");
    cleanUp();
    nanosleep(&BetweenTries, nullptr);
  }
  giveUp("the server is lost");
}

void Call::obey(Connection &Server) {
  Words Message;
  while (Server.receive(Message)) {
    Server.setPatience(WorkSeconds);
    const string Verb = Message.front();
    Message.resize(4);
    if (Verb == "write") {
      writeFile(Message);
    } else if (Verb == "record") {
      record(Message[1], Message[2]);
    } else if (Verb == "finish") {
      cleanUp();
      printMessages(Message[1]);
      std::exit(0);
    } else if (Verb == "clang") {
      becomeClang(toList(Message[1]), Message[2]);
    } else if (Verb == "error") {
      fail(Message[1]);
    } else if (Verb == "run" || Verb == "folder") {
      Outcome Result;
      if (Verb == "run") {
        Result = runCommand(Message);
      } else {
        Result.Output = temporaryFolder(Message[1], toList(Message[2]));
        Result.Code = Result.Output.empty();
      }
      if (!Server.send({"done", std::to_string(Result.Code), Result.Output,
                        Result.Messages, Result.Headers}))
        return;
    } else {
      return;
    }
  }
}

Outcome Call::runCommand(const Words &Message) {
  RunOptions Options;
  int Input = -1;
  for (const string &Option : toList(Message[2])) {
    Options.CaptureOutput |= Option == "output";
    Options.ListsHeaders |= Option == "headers";
    if (Option == "input") {
      Input = fileOf(Message[3]);
      if (Input < 0)
        return Outcome();
    }
    if (Option == "source")
      Options.Input = source();
  }
  if (Input >= 0)
    Options.Input = Input;
  const Outcome Result = codezero::driver::run(toList(Message[1]), Options);
  if (Input >= 0)
    close(Input);
  return Result;
}

int Call::source() {
  bool IsBegun = false;
  if (Source < 0)
    Source = standardInput(IsBegun);
  if (Source < 0 && IsBegun)
    fail(string("standard input: ") + std::strerror(errno));
  if (Source < 0)
    becomeClang(Arguments, ""); // which says the same
  lseek(Source, 0, SEEK_SET);
  return Source;
}

void Call::writeFile(const Words &Message) {
  // Where it cannot be done, clang says what is wrong.
  if (isSpecial(Message[1]) || !write(Message[1], Message[2]))
    becomeClang(Arguments, "");
}

void Call::becomeClang(const Words &Given, string_view Messages) {
  cleanUp();
  printMessages(Messages);
  if (Source >= 0) {
    lseek(Source, 0, SEEK_SET);
    dup2(Source, 0);
  }
  become(Compiler, asTaken(T, Given));
  fail(Compiler + ": " + std::strerror(errno));
}

void Call::giveUp(const string &Reason) {
  if (isSet("CODEZERO_STRICT"))
    fail(Reason + " (CODEZERO_STRICT is set)");
  becomeClang(Arguments,
              Name + ": " + Reason + "; " + T.Command + " does it by itself\n");
}

void Call::fail(const string &Reason) {
  cleanUp();
  printMessages(Name + ": error: " + Reason + "\n");
  std::exit(1);
}

} // namespace

int main(int Count, char **Values) {
  openStandardStreams();
  takeSignals();
  std::optional<Call> This;
  try {
    string Name = Count > 0 ? Values[0] : CODEZERO_DRIVER;
    Name = Name.substr(Name.rfind('/') + 1);
    This.emplace(Name, Words(Values + (Count > 0), Values + Count));
    This->run();
  } catch (const std::exception &Error) { // memory is short
    if (This)
      This->giveUp(Error.what());
    printMessages(Error.what());
    return 1;
  }
}
