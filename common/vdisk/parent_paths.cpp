#include "common/vdisk/parent_paths.h"

#include <algorithm>
#include <filesystem>

#include "common/os/file.h"

namespace roamstead::vdisk {
namespace {

bool is_absolute(const std::string& path) {
  return path.starts_with('/') || (path.size() > 1 && path[1] == ':');
}

// "\\?\C:\a\b" and "\\?\Volume{…}\a\b" as "/a/b".
std::string without_volume(std::string path) {
  if (path.starts_with("//?/")) path.erase(0, 4);
  if (path.starts_with("Volume{") || (path.size() > 1 && path[1] == ':')) {
    auto slash = path.find('/');
    path = slash == std::string::npos ? std::string() : path.substr(slash);
  }
  return path;
}

std::string with_slashes(std::string path) {
  std::replace(path.begin(), path.end(), '\\', '/');
  return path;
}

// "d/./a" and "d/x/../a" as "d/a": so that a chain's paths stay readable however deep it is.
std::string join_relative(const std::string& directory, std::string relative) {
  auto base = directory;
  while (true) {
    if (relative.starts_with("./")) {
      relative.erase(0, 2);
    } else if (relative.starts_with("../") && base != "." && base != "/" && os::base_name(base) != "..") {
      relative.erase(0, 3);
      base = os::parent_directory(base);
    } else {
      break;
    }
  }
  return is_absolute(relative) ? relative : os::join_path(base, relative);
}

}  // namespace

ParentPaths::ParentPaths(const std::string& child_path) : directory_(os::parent_directory(child_path)) {}

void ParentPaths::add(const std::string& path) {
  if (path.empty() || path.back() == '/' || path.find('\0') != std::string::npos) return;
  if (std::find(paths_.begin(), paths_.end(), path) == paths_.end()) paths_.push_back(path);
}

void ParentPaths::add_relative(const std::string& path) {
  add(join_relative(directory_, with_slashes(path)));
}

void ParentPaths::add_absolute(const std::string& path) {
  auto slashed = with_slashes(path);
  add(slashed);
  add(without_volume(slashed));
  if (auto name = os::base_name(slashed); !name.empty()) add(os::join_path(directory_, name));
}

std::string relative_path(const std::string& from, const std::string& to) {
  namespace fs = std::filesystem;
  fs::path base(from), target(to);
  if (base.is_absolute() != target.is_absolute()) {
    base = fs::absolute(base);
    target = fs::absolute(target);
  }
  return target.lexically_normal().lexically_relative(base.lexically_normal()).generic_string();
}

}  // namespace roamstead::vdisk
