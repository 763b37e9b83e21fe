// What the loader asks of whoever shows programs files that are not here: Windows' Cloud Files.
#pragma once

#include <cstdint>

#include "common/base/result.h"
#include "common/profile/path.h"

namespace roamstead::agent {

using FileNumber = std::uint64_t;  // an NTFS file reference: MFT record (48 bits) and sequence number (16)

enum class CloudPin { unspecified, pinned, unpinned, excluded };

struct PlaceholderState {
  bool placeholder = false;  // false: an ordinary file, which nobody else brings anything of
  bool whole = false;        // every byte is on the volume; unless so, zeros may stand for what is not
  bool in_sync = false;      // no program has changed it since it was made, as Windows has it
  CloudPin pin = CloudPin::unspecified;
};

// Thread-safe.
class Placeholders {
 public:
  virtual ~Placeholders() = default;
  // Whether what the version has there is shown as placeholders.
  virtual bool covers(const profile::ProfilePath& base_path) const = 0;
  // Of an item that has its name, and nothing in it that counts: from now on Windows asks for its bytes, or
  // for a directory's children. Fine for what is one already. ErrorCode::not_found: it is in no root any
  // more, and stays what it is.
  virtual Result<void> convert(FileNumber file, bool directory) = 0;
  // Returns once Windows has got all of the file. ErrorCode::unsupported: it is no placeholder.
  virtual Result<void> hydrate(FileNumber file) = 0;
  virtual Result<PlaceholderState> state(FileNumber file) = 0;
};

}  // namespace roamstead::agent
