#include "outputs.h"

#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace codezero::driver {

using std::string;
using std::string_view;

// The largest file of records, in bytes (records.py).
static constexpr off_t LargestRecords = off_t(64) << 20;

// The file that is not whole yet, and the folder of temporary files with those
// that may be in it; no name is there if its first byte is 0. A signal may come
// at any time.
static char Unfinished[PATH_MAX + 32], Temporary[PATH_MAX];
static std::vector<string> InTemporary;

// Does only what a handler of signals may.
static void removeUnfinished() {
  if (Unfinished[0])
    unlink(Unfinished);
  Unfinished[0] = 0;
  if (!Temporary[0])
    return;
  for (const string &Path : InTemporary)
    unlink(Path.c_str());
  rmdir(Temporary);
  Temporary[0] = 0;
}

static void stop(int Number) {
  removeUnfinished();
  signal(Number, SIG_DFL);
  raise(Number);
}

void cleanUpIfStopped() {
  for (int Number : {SIGTERM, SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGALRM,
                     SIGXCPU, SIGUSR1, SIGUSR2}) {
    struct sigaction Action;
    sigaction(Number, nullptr, &Action);
    if (Action.sa_handler != SIG_IGN)
      signal(Number, stop);
  }
}

void cleanUp() { removeUnfinished(); }

// Sets one of the names above, the first byte last: then it is one.
static void setName(char *Name, const string &Path) {
  Path.copy(Name + 1, Path.size() - 1, 1);
  Name[Path.size()] = 0;
  Name[0] = Path[0];
}

string temporaryFolder(const string &Base, std::vector<string> Names) {
  string Path = Base + "/codezero-XXXXXX";
  if (Temporary[0] || Path.size() >= sizeof Temporary || !mkdtemp(Path.data()))
    return "";
  for (string &Name : Names)
    Name.insert(0, Path + "/");
  InTemporary = std::move(Names);
  setName(Temporary, Path);
  return Path;
}

bool isSpecial(const string &Path) {
  struct stat Status;
  return Path == "-" ||
         (stat(Path.c_str(), &Status) == 0 && !S_ISREG(Status.st_mode));
}

static bool writeAll(int File, string_view Contents) {
  while (!Contents.empty()) {
    const ssize_t Written = ::write(File, Contents.data(), Contents.size());
    if (Written < 0 && errno == EINTR)
      continue;
    if (Written <= 0)
      return false;
    Contents.remove_prefix(size_t(Written));
  }
  return true;
}

// A new file beside another, of a name that is put into Part; negative if there
// is none.
static int createBeside(const string &Path, string &Part) {
  const string Begin = Path + "." + std::to_string(getpid()) + ".";
  for (int Try = 0; Try < 100; ++Try) { // what was killed may have left some
    Part = Begin + std::to_string(Try) + ".tmp";
    if (Part.size() >= sizeof Unfinished)
      return -1;
    setName(Unfinished, Part);
    const int File =
        open(Part.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (File >= 0)
      return File;
    Unfinished[0] = 0;
    if (errno != EEXIST)
      return -1;
  }
  return -1;
}

bool write(const string &Path, string_view Contents) {
  if (access(Path.c_str(), F_OK) == 0 && access(Path.c_str(), W_OK) != 0)
    return false; // clang would not replace it
  string Part;
  const int File = createBeside(Path, Part);
  if (File < 0)
    return false;
  bool Done = writeAll(File, Contents);
  Done = close(File) == 0 && Done; // some file systems say only here
  Done = Done && rename(Part.c_str(), Path.c_str()) == 0;
  if (!Done)
    unlink(Part.c_str());
  Unfinished[0] = 0;
  return Done;
}

static void makeFoldersOf(const string &Path) {
  for (size_t Slash = Path.find('/', 1); Slash != string::npos;
       Slash = Path.find('/', Slash + 1))
    mkdir(Path.substr(0, Slash).c_str(), 0777);
}

void record(const string &Path, string_view Line) {
  if (Path.empty())
    return;
  constexpr int Flags = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC;
  int File = open(Path.c_str(), Flags, 0666);
  if (File < 0 && errno == ENOENT) {
    makeFoldersOf(Path);
    File = open(Path.c_str(), Flags, 0666);
  }
  if (File < 0)
    return;
  struct stat Ours, There;
  if (::write(File, Line.data(), Line.size()) > 0 && fstat(File, &Ours) == 0 &&
      Ours.st_size > LargestRecords) {
    flock(File, LOCK_EX); // of many, one moves it
    if (stat(Path.c_str(), &There) == 0 && Ours.st_dev == There.st_dev &&
        Ours.st_ino == There.st_ino)
      rename(Path.c_str(), (Path + ".1").c_str());
  }
  close(File);
}

void printMessages(string_view Messages) { writeAll(2, Messages); }

} // namespace codezero::driver
