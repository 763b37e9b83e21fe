// The bytes of a batch, copied before programs change them again: a file per cut, in the order of the batch's
// records. Nothing but the batch is needed to find them.
#pragma once

#include <memory>

#include "common/os/file.h"
#include "common/profile/batch.h"

namespace roamstead::agent {

// Copies everything that travels with the batch into a new file; what is there is replaced. On stable storage
// when this returns, but for the file's name.
Result<void> copy_content(os::FileSystem& files, const std::string& path, const profile::Batch& batch,
                          profile::ContentSource& content);

// The copied bytes; thread-safe. ErrorCode::not_found when the file is not there, ErrorCode::corrupt when it
// is not as long as the batch needs.
Result<std::unique_ptr<profile::ContentSource>> open_copied_content(os::FileSystem& files,
                                                                    const std::string& path,
                                                                    const profile::Batch& batch);

}  // namespace roamstead::agent
