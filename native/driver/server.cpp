#include "server.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

namespace codezero::driver {

using std::string;

// For the server to come up, on a machine however busy.
static constexpr int StartSeconds = 60;
static constexpr timespec BetweenTries = {0, 5'000'000};
// Paths of sockets are short (sun_path in sys/un.h).
static constexpr size_t LongestBase = 72;
// As messages.py has it.
static constexpr uint64_t Longest = uint64_t(1) << 30, MostParts = 16;

Connection::~Connection() {
  if (Number >= 0)
    close(Number);
}

void Connection::setPatience(int Seconds) {
  const timeval Time = {Seconds, 0};
  setsockopt(Number, SOL_SOCKET, SO_RCVTIMEO, &Time, sizeof Time);
  setsockopt(Number, SOL_SOCKET, SO_SNDTIMEO, &Time, sizeof Time);
}

static void appendBigEndian(string &Text, uint64_t Value, int Bytes) {
  while (Bytes-- > 0)
    Text.push_back(char(Value >> (8 * Bytes)));
}

static uint64_t bigEndian(const char *Bytes, int Count) {
  uint64_t Value = 0;
  for (int Number = 0; Number < Count; ++Number)
    Value = Value << 8 | static_cast<unsigned char>(Bytes[Number]);
  return Value;
}

template <typename MoveSome>
bool Connection::moveAll(size_t Length, MoveSome Move) {
  for (size_t Begin = 0; Begin < Length;) {
    const ssize_t Moved = Move(Begin, Length - Begin);
    if (Moved < 0 && errno == EINTR)
      continue;
    OutOfTime = Moved < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
    if (Moved <= 0)
      return false;
    Begin += size_t(Moved);
  }
  return true;
}

bool Connection::send(const Words &Parts) {
  string Text;
  appendBigEndian(Text, Parts.size(), 4);
  for (const string &Part : Parts)
    appendBigEndian(Text, Part.size(), 8);
  for (const string &Part : Parts)
    Text += Part;
  return moveAll(Text.size(), [&](size_t Begin, size_t Length) {
    return ::send(Number, Text.data() + Begin, Length, MSG_NOSIGNAL);
  });
}

bool Connection::receiveAll(char *To, size_t Length) {
  return moveAll(Length, [&](size_t Begin, size_t Left) {
    return recv(Number, To + Begin, Left, 0);
  });
}

bool Connection::receive(Words &Parts) {
  char Lengths[8 * MostParts];
  if (!receiveAll(Lengths, 4))
    return false;
  const uint64_t Count = bigEndian(Lengths, 4);
  if (Count == 0 || Count > MostParts || !receiveAll(Lengths, 8 * Count))
    return false;
  Parts.assign(Count, "");
  for (size_t Number = 0; Number < Count; ++Number) {
    const uint64_t Length = bigEndian(Lengths + 8 * Number, 8);
    if (Length > Longest)
      return false;
    Parts[Number].resize(Length);
    if (!receiveAll(Parts[Number].data(), Length))
      return false;
  }
  return true;
}

string identity(const string &Path) {
  struct stat Status = {};
  stat(Path.c_str(), &Status);
  return Path + " " + std::to_string(Status.st_size) + " " +
         std::to_string(Status.st_mtim.tv_sec) + "." +
         std::to_string(Status.st_mtim.tv_nsec);
}

// Tells one view of the files from another, as in a container that shares a
// folder: the server looks at files by their names.
static string fileSystems() {
  struct stat Root = {};
  stat("/", &Root);
  char Space[64];
  const ssize_t Length = readlink("/proc/self/ns/mnt", Space, sizeof Space);
  return std::to_string(Root.st_dev) + " " + std::to_string(Root.st_ino) + " " +
         string(Space, Length > 0 ? size_t(Length) : 0);
}

static string hash(const string &Text) { // FNV-1a
  uint64_t Value = 0xcbf29ce484222325;
  for (unsigned char Byte : Text)
    Value = (Value ^ Byte) * 0x100000001b3;
  char Digits[17];
  std::snprintf(Digits, sizeof Digits, "%016llx",
                static_cast<unsigned long long>(Value));
  return Digits;
}

static string folderOfSocket() {
  const char *Base = std::getenv("XDG_RUNTIME_DIR");
  struct stat Status;
  if (Base && *Base == '/' && std::strlen(Base) < LongestBase &&
      stat(Base, &Status) == 0 && S_ISDIR(Status.st_mode))
    return string(Base) + "/codezero";
  return "/tmp/codezero-" + std::to_string(getuid());
}

// Makes a folder that nobody else can write to, if it is not there: whoever may
// write there could be the server.
static bool prepare(const string &Folder, string &Failure) {
  struct stat Status;
  if ((mkdir(Folder.c_str(), 0700) != 0 && errno != EEXIST) ||
      lstat(Folder.c_str(), &Status) != 0)
    Failure = Folder + ": " + std::strerror(errno);
  else if (!S_ISDIR(Status.st_mode) || Status.st_uid != getuid() ||
           (Status.st_mode & 022) != 0)
    Failure = Folder + " is not this user's alone";
  return Failure.empty();
}

// A connection; negative if nobody listens.
static int tryToConnect(const string &Path, string &Failure) {
  sockaddr_un Address = {};
  Address.sun_family = AF_UNIX;
  Path.copy(Address.sun_path, sizeof Address.sun_path - 1);
  const int Number =
      socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (Number >= 0 && connect(Number, reinterpret_cast<sockaddr *>(&Address),
                             sizeof Address) == 0) {
    fcntl(Number, F_SETFL, 0); // from here on it may wait
    return Number;
  }
  // EAGAIN: it has more to do than may wait.
  if (errno != ENOENT && errno != ECONNREFUSED && errno != EAGAIN)
    Failure = Path + ": " + std::strerror(errno);
  if (Number >= 0)
    close(Number);
  return -1;
}

// In the process that is to be the server.
[[noreturn]] static void beServer(const string &Program, const string &Path,
                                  int Lock) {
  setsid(); // Ctrl-C is for the build
  const int Nothing = open("/dev/null", O_RDWR);
  const int Log =
      open((Path + ".log").c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  dup2(Nothing, 0);
  dup2(Log < 0 ? Nothing : Log, 1);
  dup2(Log < 0 ? Nothing : Log, 2);
  // What others have left open here is not the server's to keep, such as a pipe
  // of which someone waits for the end.
  dup2(Lock, 3);
  fcntl(3, F_SETFD, 0); // where it was 3 before
  if (close_range(4, ~0U, 0) != 0)
    for (int Number = 4; Number < 1024; ++Number)
      close(Number);
  // It works for all builds: what one of them has set is not for the others.
  setenv("TMPDIR", Path.substr(0, Path.rfind('/')).c_str(), 1);
  unsetenv("LD_PRELOAD");
  for (auto Resource : {RLIMIT_CPU, RLIMIT_AS, RLIMIT_DATA, RLIMIT_FSIZE}) {
    rlimit Limit;
    getrlimit(Resource, &Limit);
    Limit.rlim_cur = Limit.rlim_max;
    setrlimit(Resource, &Limit);
  }
  execl(Program.c_str(), Program.c_str(), Path.c_str(), nullptr);
  dprintf(2, "%s: %s\n", Program.c_str(), std::strerror(errno));
  _exit(1);
}

// Its process; 0 where another driver starts it, or one is there.
static pid_t start(const string &Program, const string &Path, string &Failure) {
  const string LockPath = Path + ".lock";
  const int Lock = open(LockPath.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  pid_t Child = 0;
  if (Lock < 0)
    Failure = LockPath + ": " + std::strerror(errno);
  else if (flock(Lock, LOCK_EX | LOCK_NB) == 0) {
    Child = fork();
    if (Child == 0)
      beServer(Program, Path, Lock);
    if (Child < 0)
      Failure = string("the server does not start: ") + std::strerror(errno);
  }
  close(Lock);
  return Child;
}

static string lastWords(const string &Path) {
  string Last = "it says nothing";
  FILE *Log = std::fopen((Path + ".log").c_str(), "re");
  if (!Log)
    return Last;
  char *Line = nullptr;
  size_t Size = 0;
  while (getline(&Line, &Size, Log) > 0)
    if (*Line != '\n')
      Last.assign(Line, std::strcspn(Line, "\n"));
  std::free(Line);
  std::fclose(Log);
  return Last;
}

static double now() {
  timespec Time;
  clock_gettime(CLOCK_MONOTONIC, &Time);
  return double(Time.tv_sec) + 1e-9 * double(Time.tv_nsec);
}

Connection connectToServer(const string &Program, string &Failure) {
  Failure.clear();
  const char *Set = std::getenv("PYTHONPATH");
  const string Folder = folderOfSocket(), Search = Set ? Set : "";
  const string Path = Folder + "/cc-" +
                      hash(CODEZERO_VERSION " " + identity(Program) + " " +
                           fileSystems() + " " + Search);
  if (!prepare(Folder, Failure))
    return Connection(-1);
  const double Deadline = now() + StartSeconds;
  pid_t Started = 0;
  while (now() < Deadline) {
    const int Number = tryToConnect(Path, Failure);
    if (Number >= 0)
      return Connection(Number);
    if (Failure.empty() && Started == 0)
      Started = start(Program, Path, Failure);
    else if (Started > 0 && waitpid(Started, nullptr, WNOHANG) != 0)
      Failure = "the server does not start: " + lastWords(Path);
    if (!Failure.empty())
      return Connection(-1);
    nanosleep(&BetweenTries, nullptr);
  }
  Failure =
      "the server does not start within " + std::to_string(StartSeconds) + " s";
  return Connection(-1);
}

} // namespace codezero::driver
