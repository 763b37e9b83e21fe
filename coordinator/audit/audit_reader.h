// Reads audit logs: for people (`audit show`), and to find out whether what was written is still there as it
// was (`audit verify`).
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/audit/audit_log.h"

namespace roamstead::audit {

// Where the chain ends to be one.
struct Break {
  std::string file;
  std::uint64_t line = 0;    // from 1; 0: the file as a whole
  std::uint64_t offset = 0;  // bytes
  std::string reason;
};

struct Verification {
  std::uint64_t files = 0;
  std::uint64_t records = 0;  // of the chain
  Head last;
  std::vector<std::string> notes;  // what is no break but worth knowing: writes cut by a crash
  std::optional<Break> first_break;
};

// `head`: the one that was noted elsewhere; without it, records missing at the end cannot be noticed.
// `earlier_archived`: that the oldest files are not there is right. Errors only where files cannot be read.
Result<Verification> verify(os::FileSystem& files, const std::string& directory,
                            const std::optional<Head>& head, bool earlier_archived);

struct Filter {
  std::string since;        // ISO 8601, UTC, or a beginning of it ("2026-01-31"); "": all
  std::string desktop;      // records that this desktop did or that are about it; "": all
  std::size_t limit = 200;  // the latest so many
};
// The records' JSON, oldest first. Lines that are none are left out; verify() tells about them.
Result<std::vector<std::string>> read(os::FileSystem& files, const std::string& directory,
                                      const Filter& filter);

}  // namespace roamstead::audit
