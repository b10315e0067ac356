// The server of codezero/driver/server.py: found, or started, and talked to.

#pragma once

#include "command_line.h"

#include <cstdint>
#include <string>

namespace codezero::driver {

// A connection to the server, and messages as codezero/driver/messages.py has
// them.
class Connection {
public:
  explicit Connection(int Number) : Number(Number) {}
  Connection(Connection &&Other) : Number(Other.Number) { Other.Number = -1; }
  ~Connection();

  bool isOpen() const { return Number >= 0; }

  // Seconds that the other side may take, from now on.
  void setPatience(int Seconds);

  // False where the other side has gone, or is out of time.
  bool send(const Words &Parts);
  bool receive(Words &Parts);
  bool isOutOfTime() const { return OutOfTime; }

private:
  bool receiveAll(char *To, size_t Length);
  // Moves so many bytes, by calls of the system that may move some.
  template <typename MoveSome> bool moveAll(size_t Length, MoveSome Move);

  int Number;
  bool OutOfTime = false;
};

// The server of this installation, this user and this view of the files, which
// is started if need be.
//
// It holds a lock for as long as it lives, which whoever starts it passes on:
// of many drivers that find none, one starts it, and the others wait.
//
// Program: that starts it. Failure: why there is no connection.
Connection connectToServer(const std::string &Program, std::string &Failure);

// Tells a program from others that have been at the same path.
std::string identity(const std::string &Path);

} // namespace codezero::driver
