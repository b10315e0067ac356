// What a driver leaves behind: files that are whole, messages, and records.

#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace codezero::driver {

// Has signals end this process as they would, but that nothing unfinished is
// left.
void cleanUpIfStopped();

// Removes what is not for its user to see. It can be called more than once.
void cleanUp();

// A folder of this program's own, for files that one job makes for another.
// Empty if it cannot be made.
//
// Base: where. Names: of the files that there will be in it, and that go with
// it.
std::string temporaryFolder(const std::string &Base,
                            std::vector<std::string> Names);

// Whether it is standard output, a device or the like, which is not to be
// replaced.
bool isSpecial(const std::string &Path);

// Writes a file in one go, so that there is never half of it. False where that
// cannot be done.
bool write(const std::string &Path, std::string_view Contents);

// Adds a line to a file of records, if there is one; of no consequence where
// that cannot be done. See codezero/driver/records.py, which has the same.
void record(const std::string &Path, std::string_view Line);

// To standard error, as they are.
void printMessages(std::string_view Messages);

} // namespace codezero::driver
