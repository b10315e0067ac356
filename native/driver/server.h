// The server of codezero/driver/server.py, asked whether a compilation has been
// done before.

#pragma once

#include "command_line.h"

#include <string>
#include <utility>

namespace codezero::driver {

// Where the server of this installation, this user and this view of the files
// listens.
//
// Installation: a path of a file that every installation has its own of.
std::string socketPath(const std::string &Installation);

// What a compilation depends on but the contents of files.
struct Question {
  std::string Directory;
  std::string Compiler; // its path
  Words Terminal;       // flags that the terminal asks for
  Words Arguments;
};

// What the server knows: what there is to write, and where.
struct Known {
  std::string Output;
  std::string Object;
  std::string DependencyFile; // empty: none
  std::string Dependencies;
  std::string Messages;
  std::string Records; // the file; empty: none
  std::string Record;  // a line
};

enum class Reply {
  Object,  // it is known
  Unknown, // it is not, and the conversation may go on
  None,    // there is no server, or none that answers as it should
  Stuck,   // it does not answer
};

// One conversation, from its beginning (codezero/driver/messages.py).
class Server {
public:
  ~Server();

  Reply ask(const std::string &Path, const Question &Asked);
  const Known &known() const { return Answer; }

  // The connection, for a process that takes the place of this one to go on
  // with.
  int handOver();
  void hangUp();

private:
  Reply receive();

  int Connection = -1;
  Known Answer;
};

} // namespace codezero::driver
