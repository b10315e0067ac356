#include "process.h"

#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

namespace codezero::driver {

using std::string;
using std::string_view;

// An open file that ends with its scope.
class File {
public:
  explicit File(int Number) : Number(Number) {}
  File(const File &) = delete;
  File &operator=(const File &) = delete;
  ~File() {
    if (Number >= 0)
      close(Number);
  }

  int number() const { return Number; }
  string contents() const;

private:
  const int Number;
};

string File::contents() const {
  struct stat Status;
  if (Number < 0 || fstat(Number, &Status) != 0)
    return "";
  string Contents(size_t(Status.st_size), 0);
  size_t Begin = 0;
  while (Begin < Contents.size()) {
    const ssize_t Read = pread(Number, Contents.data() + Begin,
                               Contents.size() - Begin, off_t(Begin));
    if (Read <= 0)
      break;
    Begin += size_t(Read);
  }
  Contents.resize(Begin);
  return Contents;
}

static int inMemory() { return memfd_create("codezero", MFD_CLOEXEC); }

static bool append(int Number, string_view Contents) {
  while (!Contents.empty()) {
    const ssize_t Written = write(Number, Contents.data(), Contents.size());
    if (Written <= 0)
      return false;
    Contents.remove_prefix(size_t(Written));
  }
  return true;
}

int fileOf(string_view Contents) {
  const int Number = inMemory();
  if (Number >= 0 && append(Number, Contents) &&
      lseek(Number, 0, SEEK_SET) == 0)
    return Number;
  close(Number);
  return -1;
}

int standardInput(bool &IsBegun) {
  const int Number = inMemory();
  char Part[1 << 16];
  while (Number >= 0) {
    const ssize_t Read = read(0, Part, sizeof Part);
    if (Read < 0 && errno == EINTR)
      continue;
    if (Read == 0 && lseek(Number, 0, SEEK_SET) == 0)
      return Number;
    IsBegun |= Read > 0;
    if (Read <= 0 || !append(Number, {Part, size_t(Read)}))
      break;
  }
  const int Error = errno;
  close(Number);
  errno = Error;
  return -1;
}

// How signals were given to this program.
static struct {
  bool Known = false;
  void (*OfChildren)(int) = SIG_DFL;
  void (*OfLargeFiles)(int) = SIG_DFL;
} Given;

void takeSignals() {
  Given.OfChildren = signal(SIGCHLD, SIG_DFL);
  Given.OfLargeFiles = signal(SIGXFSZ, SIG_IGN);
  Given.Known = true;
}

static void giveSignalsBack() {
  if (!Given.Known)
    return;
  signal(SIGCHLD, Given.OfChildren);
  signal(SIGXFSZ, Given.OfLargeFiles);
}

static std::vector<char *> pointersTo(const std::vector<string> &Words) {
  std::vector<char *> Pointers;
  for (const string &Word : Words)
    Pointers.push_back(const_cast<char *>(Word.c_str()));
  Pointers.push_back(nullptr);
  return Pointers;
}

// In the process that is to be the command.
[[noreturn]] static void beCommand(const std::vector<char *> &Words, int Input,
                                   int Output, int Messages, int Headers,
                                   pid_t Parent) {
  prctl(PR_SET_PDEATHSIG, SIGTERM); // it has nobody to work for then
  if (getppid() != Parent)
    _exit(127);
  const int Nothing = Input < 0 ? open("/dev/null", O_RDONLY) : -1;
  // Headers last: one of the others may have this number here.
  const std::pair<int, int> Files[] = {{Input < 0 ? Nothing : Input, 0},
                                       {Output, 1},
                                       {Messages, 2},
                                       {Headers, 3}};
  for (const auto &[From, To] : Files) {
    if (From < 0)
      continue;
    if (From == To)
      fcntl(To, F_SETFD, 0);
    else if (dup2(From, To) < 0)
      _exit(127);
  }
  if (Nothing > 3)
    close(Nothing);
  giveSignalsBack();
  execv(Words.front(), Words.data());
  _exit(127);
}

Outcome run(const std::vector<string> &Command, RunOptions Options) {
  const File Output(Options.CaptureOutput ? inMemory() : -1);
  const File Messages(inMemory());
  const File Headers(Options.ListsHeaders ? inMemory() : -1);
  Outcome Result;
  if (Messages.number() < 0 || (Options.CaptureOutput && Output.number() < 0) ||
      (Options.ListsHeaders && Headers.number() < 0))
    return Result;
  const std::vector<char *> Words = pointersTo(Command);
  const pid_t Parent = getpid(), Child = fork();
  if (Child == 0)
    beCommand(Words, Options.Input, Output.number(), Messages.number(),
              Headers.number(), Parent);
  if (Child < 0)
    return Result;
  int Status;
  while (waitpid(Child, &Status, 0) < 0)
    if (errno != EINTR)
      return Result;
  Result.Code =
      WIFEXITED(Status) ? WEXITSTATUS(Status) : 128 + WTERMSIG(Status);
  Result.Output = Output.contents();
  Result.Messages = Messages.contents();
  Result.Headers = Headers.contents();
  return Result;
}

void become(const string &Program, const std::vector<string> &Arguments) {
  std::vector<string> Words = {Program};
  Words.insert(Words.end(), Arguments.begin(), Arguments.end());
  giveSignalsBack();
  execv(Program.c_str(), pointersTo(Words).data());
}

} // namespace codezero::driver
