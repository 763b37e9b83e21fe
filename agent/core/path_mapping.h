// One file tree under two names: as this machine sees it, and as somebody else does.
#pragma once

#include <string>

#include "common/base/result.h"

namespace roamstead::agent {

// Separators may be '/' or '\'; here they become '/', there they become what `there` has. Where `there` is a
// Windows path, case does not matter. Both empty: the names are the same.
class PathMapping {
 public:
  PathMapping() = default;
  PathMapping(std::string here, std::string there);

  // ErrorCode::invalid_argument for what is no absolute path, or lies elsewhere.
  Result<std::string> from_there(const std::string& path) const;
  Result<std::string> to_there(const std::string& path) const;

 private:
  std::string here_, there_;
  bool there_is_windows_ = false;
};

// "/a", "C:\a", "\\server\share\a"
bool is_absolute_path(const std::string& path);

}  // namespace roamstead::agent
