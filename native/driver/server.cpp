#include "server.h"

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <string_view>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

extern char **environ;

namespace codezero::driver {

using std::string;
using std::string_view;

// For an answer that takes neither clang nor LLVM.
static constexpr timeval AnswerTime = {15, 0};
static constexpr uint64_t Longest = uint64_t(1) << 30;

// Paths of sockets are short (sun_path in sys/un.h).
static constexpr size_t LongestBase = 80;

// Variables that clang reads, and that a driver's settings are read from.
static constexpr string_view Variables[] = {
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
};

static string hash(string_view Text) { // FNV-1a
  uint64_t Value = 0xcbf29ce484222325;
  for (unsigned char Byte : Text)
    Value = (Value ^ Byte) * 0x100000001b3;
  char Digits[17];
  std::snprintf(Digits, sizeof Digits, "%016llx",
                static_cast<unsigned long long>(Value));
  return Digits;
}

static string identity(const string &Path) {
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

string socketPath(const string &Installation) {
  const char *Base = std::getenv("XDG_RUNTIME_DIR");
  struct stat Status;
  const bool HasBase = Base && *Base && std::strlen(Base) < LongestBase &&
                       stat(Base, &Status) == 0 && S_ISDIR(Status.st_mode);
  const string Folder = HasBase ? string(Base) + "/codezero"
                                : "/tmp/codezero-" + std::to_string(getuid());
  return Folder + "/cc-" + hash(identity(Installation) + " " + fileSystems());
}

// Whoever else may write to the folder could be the server.
static bool isOfThisUser(const string &Folder) {
  struct stat Status;
  return lstat(Folder.c_str(), &Status) == 0 && S_ISDIR(Status.st_mode) &&
         Status.st_uid == getuid() && (Status.st_mode & 022) == 0;
}

static int connectTo(const string &Path) {
  sockaddr_un Address = {};
  Address.sun_family = AF_UNIX;
  if (Path.size() >= sizeof Address.sun_path ||
      !isOfThisUser(Path.substr(0, Path.rfind('/'))))
    return -1;
  Path.copy(Address.sun_path, Path.size());
  const int Connection =
      socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (Connection < 0)
    return -1;
  if (connect(Connection, reinterpret_cast<sockaddr *>(&Address),
              sizeof Address) != 0) {
    close(Connection);
    return -1;
  }
  fcntl(Connection, F_SETFL, 0); // from here on it may wait
  setsockopt(Connection, SOL_SOCKET, SO_RCVTIMEO, &AnswerTime,
             sizeof AnswerTime);
  setsockopt(Connection, SOL_SOCKET, SO_SNDTIMEO, &AnswerTime,
             sizeof AnswerTime);
  return Connection;
}

static bool isAsked(string_view Variable) {
  const string_view Name = Variable.substr(0, Variable.find('='));
  if (Name.starts_with("CODEZERO_"))
    return true;
  for (string_view Each : Variables)
    if (Name == Each)
      return true;
  return false;
}

// Words, each with a NUL at its end: the folder, which compiler it is, how many
// words there are and these, and variables.
static string toText(const Question &Asked) {
  string Text;
  auto Add = [&](string_view Word) { Text.append(Word).push_back('\0'); };
  Add(Asked.Directory);
  Add(identity(Asked.Compiler));
  Add(std::to_string(Asked.Terminal.size() + Asked.Arguments.size()));
  for (const Words *Some : {&Asked.Terminal, &Asked.Arguments})
    for (const string &Word : *Some)
      Add(Word);
  for (char **Variable = environ; *Variable; ++Variable)
    if (isAsked(*Variable))
      Add(*Variable);
  return Text;
}

static void appendBigEndian(string &Text, uint64_t Value, int Bytes) {
  while (Bytes-- > 0)
    Text.push_back(char(Value >> (8 * Bytes)));
}

static uint64_t bigEndian(string_view Bytes) {
  uint64_t Value = 0;
  for (unsigned char Byte : Bytes)
    Value = Value << 8 | Byte;
  return Value;
}

static bool sendAll(int Connection, string_view Text) {
  while (!Text.empty()) {
    const ssize_t Sent =
        send(Connection, Text.data(), Text.size(), MSG_NOSIGNAL);
    if (Sent < 0 && errno == EINTR)
      continue;
    if (Sent <= 0)
      return false;
    Text.remove_prefix(size_t(Sent));
  }
  return true;
}

static bool receiveAll(int Connection, string &Text, uint64_t Length) {
  Text.resize(Length);
  for (size_t Begin = 0; Begin < Length;) {
    const ssize_t Received =
        recv(Connection, Text.data() + Begin, Length - Begin, 0);
    if (Received < 0 && errno == EINTR)
      continue;
    if (Received <= 0)
      return false;
    Begin += size_t(Received);
  }
  return true;
}

Server::~Server() { hangUp(); }

void Server::hangUp() {
  if (Connection >= 0)
    close(Connection);
  Connection = -1;
}

Reply Server::ask(const string &Path, const Question &Asked) {
  Connection = connectTo(Path);
  if (Connection < 0)
    return Reply::None;
  constexpr string_view Kind = "{\"question\": true}";
  const string Data = toText(Asked);
  string Message;
  appendBigEndian(Message, Kind.size(), 4);
  appendBigEndian(Message, Data.size(), 8);
  Message.append(Kind).append(Data);
  Reply Answered = Reply::None;
  errno = 0;
  if (sendAll(Connection, Message))
    Answered = receive();
  if (Answered == Reply::None && (errno == EAGAIN || errno == EWOULDBLOCK))
    Answered = Reply::Stuck;
  if (Answered != Reply::Unknown)
    hangUp();
  return Answered;
}

// What is known comes as the lengths of the seven parts, and then these.
Reply Server::receive() {
  string Lengths, Kind, Data;
  if (!receiveAll(Connection, Lengths, 12))
    return Reply::None;
  const uint64_t KindLength = bigEndian(string_view(Lengths).substr(0, 4));
  const uint64_t DataLength = bigEndian(string_view(Lengths).substr(4));
  if (KindLength > Longest || DataLength > Longest ||
      !receiveAll(Connection, Kind, KindLength) ||
      !receiveAll(Connection, Data, DataLength))
    return Reply::None;
  if (Kind == "{\"answer\": \"unknown\"}")
    return Reply::Unknown;
  string *const Parts[] = {&Answer.Output,         &Answer.Object,
                           &Answer.DependencyFile, &Answer.Dependencies,
                           &Answer.Messages,       &Answer.Records,
                           &Answer.Record};
  size_t Begin = 8 * std::size(Parts), Number = 0;
  if (Kind != "{\"answer\": \"object\"}" || Data.size() < Begin)
    return Reply::None;
  for (string *Part : Parts) {
    const uint64_t Length =
        bigEndian(string_view(Data).substr(8 * Number++, 8));
    if (Length > Data.size() - Begin)
      return Reply::None;
    Part->assign(Data, Begin, Length);
    Begin += Length;
  }
  return Begin == Data.size() ? Reply::Object : Reply::None;
}

int Server::handOver() {
  const timeval NoLimit = {0, 0};
  setsockopt(Connection, SOL_SOCKET, SO_RCVTIMEO, &NoLimit, sizeof NoLimit);
  setsockopt(Connection, SOL_SOCKET, SO_SNDTIMEO, &NoLimit, sizeof NoLimit);
  fcntl(Connection, F_SETFD, 0);
  const int Passed = Connection;
  Connection = -1;
  return Passed;
}

} // namespace codezero::driver
