#include "outputs.h"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

namespace codezero::driver {

using std::string;
using std::string_view;

// The largest file of records, in bytes (records.py).
static constexpr off_t LargestRecords = off_t(64) << 20;

// The file that is not whole yet. Empty when there is none: a signal may come
// at any time.
static char Unfinished[4096 + 32];

static void stop(int Number) {
  if (Unfinished[0])
    unlink(Unfinished);
  signal(Number, SIG_DFL);
  raise(Number);
}

void cleanUpIfStopped() {
  for (int Number : {SIGTERM, SIGHUP, SIGINT}) {
    struct sigaction Action;
    sigaction(Number, nullptr, &Action);
    if (Action.sa_handler != SIG_IGN)
      signal(Number, stop);
  }
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

bool write(const string &Path, string_view Contents) {
  const string Temporary = Path + "." + std::to_string(getpid()) + ".tmp";
  if (Temporary.size() >= sizeof Unfinished)
    return false;
  Temporary.copy(Unfinished + 1, Temporary.size() - 1, 1);
  Unfinished[Temporary.size()] = 0;
  Unfinished[0] = Temporary[0]; // last: now it is a name
  const int File =
      open(Temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  bool Done = File >= 0 && writeAll(File, Contents);
  if (File >= 0)
    Done = close(File) == 0 && Done; // some file systems say only here
  Done = Done && rename(Temporary.c_str(), Path.c_str()) == 0;
  if (!Done && File >= 0)
    unlink(Temporary.c_str());
  Unfinished[0] = 0;
  return Done;
}

static void makeFoldersOf(const string &Path) {
  for (size_t Slash = Path.find('/', 1); Slash != string::npos;
       Slash = Path.find('/', Slash + 1))
    mkdir(Path.substr(0, Slash).c_str(), 0777);
}

void record(const string &Path, string_view Line) {
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
