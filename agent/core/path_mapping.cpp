#include "agent/core/path_mapping.h"

#include <algorithm>

#include "common/base/text.h"

namespace roamstead::agent {
namespace {

bool is_windows_path(const std::string& path) {
  return path.starts_with("\\\\") || (path.size() > 1 && path[1] == ':');
}

// A backslash is a separator on Windows alone.
std::string with_slashes(std::string path) {
  if (is_windows_path(path)) std::replace(path.begin(), path.end(), '\\', '/');
  return path;
}

std::string without_last_slashes(std::string path) {
  while (!path.empty() && path.back() == '/') path.pop_back();
  return path;
}

// What follows the prefix, beginning with '/'; nothing where it is no prefix.
std::optional<std::string> below(const std::string& path, const std::string& prefix, bool any_case) {
  if (path.size() <= prefix.size() || path[prefix.size()] != '/') return {};
  const auto beginning = path.substr(0, prefix.size());
  if (beginning != prefix && !(any_case && same_name(beginning, prefix))) return {};
  return path.substr(prefix.size());
}

Result<std::string> mapped(const std::string& path, const std::string& from, bool any_case,
                           const std::string& to) {
  if (!is_absolute_path(path)) return fail(ErrorCode::invalid_argument, "'" + path + "' is no absolute path");
  auto slashed = with_slashes(path);
  if (from.empty() && to.empty()) return slashed;
  const auto rest = below(slashed, from, any_case);
  if (!rest)
    return fail(ErrorCode::invalid_argument,
                "'" + path + "' is not in '" + from + "', which is what is seen as '" + to + "' elsewhere");
  return to + *rest;
}

}  // namespace

bool is_absolute_path(const std::string& path) {
  if (path.starts_with('/') || path.starts_with("\\\\")) return true;
  return path.size() > 2 && path[1] == ':' && (path[2] == '/' || path[2] == '\\');
}

PathMapping::PathMapping(std::string here, std::string there)
    : here_(without_last_slashes(with_slashes(std::move(here)))), there_is_windows_(is_windows_path(there)) {
  there_ = without_last_slashes(with_slashes(std::move(there)));
}

Result<std::string> PathMapping::from_there(const std::string& path) const {
  return mapped(path, there_, there_is_windows_, here_);
}

Result<std::string> PathMapping::to_there(const std::string& path) const {
  RS_TRY(auto result, mapped(path, here_, is_windows_path(here_), there_));
  if (there_is_windows_ || (there_.empty() && is_windows_path(result)))
    std::replace(result.begin(), result.end(), '/', '\\');
  return result;
}

}  // namespace roamstead::agent
