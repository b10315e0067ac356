#include "process.h"

#include <cerrno>
#include <fcntl.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

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
  append(Number, Contents);
  lseek(Number, 0, SEEK_SET);
  return Number;
}

int standardInput() {
  const int Number = inMemory();
  char Part[1 << 16];
  for (;;) {
    const ssize_t Read = read(0, Part, sizeof Part);
    if (Read < 0 && errno == EINTR)
      continue;
    if (Read <= 0 || !append(Number, {Part, size_t(Read)}))
      break;
  }
  lseek(Number, 0, SEEK_SET);
  return Number;
}

static std::vector<char *> pointersTo(const std::vector<string> &Words) {
  std::vector<char *> Pointers;
  for (const string &Word : Words)
    Pointers.push_back(const_cast<char *>(Word.c_str()));
  Pointers.push_back(nullptr);
  return Pointers;
}

Outcome run(const std::vector<string> &Command, RunOptions Options) {
  const File Output(Options.CaptureOutput ? inMemory() : -1);
  const File Messages(inMemory());
  const File Headers(Options.ListsHeaders ? inMemory() : -1);
  posix_spawn_file_actions_t Files;
  posix_spawn_file_actions_init(&Files);
  if (Options.Input >= 0)
    posix_spawn_file_actions_adddup2(&Files, Options.Input, 0);
  else
    posix_spawn_file_actions_addopen(&Files, 0, "/dev/null", O_RDONLY, 0);
  if (Options.CaptureOutput)
    posix_spawn_file_actions_adddup2(&Files, Output.number(), 1);
  posix_spawn_file_actions_adddup2(&Files, Messages.number(), 2);
  // Last: one of the others may have this number here.
  if (Options.ListsHeaders)
    posix_spawn_file_actions_adddup2(&Files, Headers.number(), 3);
  pid_t Child;
  Outcome Result;
  const int Failed = posix_spawn(&Child, Command.front().c_str(), &Files,
                                 nullptr, pointersTo(Command).data(), environ);
  posix_spawn_file_actions_destroy(&Files);
  if (Failed)
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
  execv(Program.c_str(), pointersTo(Words).data());
}

} // namespace codezero::driver
