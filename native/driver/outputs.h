// What a driver leaves behind: files that are whole, messages, and a record.

#pragma once

#include <string>
#include <string_view>

namespace codezero::driver {

// Has signals end this process as they would, but that nothing unfinished is
// left.
void cleanUpIfStopped();

// Whether it is standard output, a device or the like, which is not to be
// replaced.
bool isSpecial(const std::string &Path);

// Writes a file in one go, so that there is never half of it. False where that
// cannot be done.
bool write(const std::string &Path, std::string_view Contents);

// Adds a line to a file of records; of no consequence where that cannot be
// done. See codezero/driver/records.py, which has the same.
void record(const std::string &Path, std::string_view Line);

// To standard error, as they are.
void printMessages(std::string_view Messages);

} // namespace codezero::driver
