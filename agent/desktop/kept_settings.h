// The settings that the coordinator sent last, kept in the agent's state directory: they hold from its start
// on, before there is a connection.
#pragma once

#include <string>

#include "common/os/file.h"
#include "common/settings/sent_settings.h"

namespace roamstead::agent {

inline constexpr const char* kKeptSettings = "sent.settings";  // the file's name

// None where nothing was kept. ErrorCode::corrupt.
Result<settings::SentSettings> read_kept_settings(os::FileSystem& files, const std::string& state_directory);
// Durable when it returns. Only what a coordinator may send.
Result<void> keep_settings(os::FileSystem& files, const std::string& state_directory,
                           const settings::SentSettings& sent);

}  // namespace roamstead::agent
