// Files in one archive (POSIX ustar, compressed by Zstandard), to be sent to who helps.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "common/base/bytes.h"
#include "common/base/result.h"

namespace roamstead::doctor {

// Names of at most 100 bytes, with their contents.
using BundleFiles = std::vector<std::pair<std::string, std::string>>;

Result<Bytes> make_bundle(const BundleFiles& files);
// Readable by its owner alone; ErrorCode::exists when something is at `path` already.
Result<void> write_bundle(const std::string& path, const BundleFiles& files);

}  // namespace roamstead::doctor
