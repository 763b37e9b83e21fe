#include "agent/desktop/kept_settings.h"

namespace roamstead::agent {

Result<settings::SentSettings> read_kept_settings(os::FileSystem& files, const std::string& state_directory) {
  const auto path = os::join_path(state_directory, kKeptSettings);
  RS_TRY(const bool there, files.exists(path));
  if (!there) return settings::SentSettings();
  RS_TRY(const auto file, os::read_file(files, path, settings::kMostSentFileBytes));
  RS_TRY_CTX(auto sent, path, settings::decode_sent(file));
  return sent;
}

Result<void> keep_settings(os::FileSystem& files, const std::string& state_directory,
                           const settings::SentSettings& sent) {
  RS_CHECK(files.make_directories(state_directory));
  return os::write_file_durably(files, os::join_path(state_directory, kKeptSettings),
                                settings::encode_sent(sent));
}

}  // namespace roamstead::agent
