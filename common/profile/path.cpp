#include "common/profile/path.h"

#include <algorithm>
#include <stdexcept>

#include "common/base/text.h"

namespace roamstead::profile {

Result<void> check_name(std::string_view name) {
  auto refuse = [&](std::string why) {
    return fail(ErrorCode::invalid_argument, "the name '" + std::string(name) + "' " + why);
  };
  if (name.empty()) return refuse("is empty");
  if (name == "." || name == "..") return refuse("is a directory reference");
  for (char c : name)
    if (c == '/' || c == '\\' || c == '\0' || c == ':')
      return refuse("holds a character that no profile name has");
  auto units = to_utf16(name);
  if (!units) return fail(std::move(units).error());
  if (units->size() > 255) return refuse("is longer than 255 UTF-16 units");
  return {};
}

Result<ProfilePath> ProfilePath::parse(std::string_view text) {
  ProfilePath path;
  path.text_ = std::string(text);
  if (text.empty()) return path;
  if (text.size() > 3 * 32767)
    return fail(ErrorCode::invalid_argument, "a path of " + std::to_string(text.size()) + " bytes");
  std::size_t start = 0;
  for (;;) {
    auto slash = text.find('/', start);
    auto part = text.substr(start, slash == std::string_view::npos ? std::string_view::npos : slash - start);
    RS_CHECK_CTX("path '" + path.text_ + "'", check_name(part));
    if (slash == std::string_view::npos) return path;
    start = slash + 1;
  }
}

void ProfilePath::assign_checked(const std::string& text) {
  auto path = parse(text);
  if (!path) throw std::invalid_argument(path.error().to_string());
  *this = std::move(*path);
}

std::string_view ProfilePath::name() const {
  auto slash = text_.rfind('/');
  return slash == std::string::npos ? std::string_view(text_) : std::string_view(text_).substr(slash + 1);
}

ProfilePath ProfilePath::parent() const {
  ProfilePath up;
  auto slash = text_.rfind('/');
  if (slash != std::string::npos) up.text_ = text_.substr(0, slash);
  return up;
}

ProfilePath ProfilePath::child(std::string_view name) const {
  ProfilePath down;
  down.text_ = text_.empty() ? std::string(name) : text_ + "/" + std::string(name);
  return down;
}

std::vector<std::string_view> ProfilePath::components() const {
  std::vector<std::string_view> parts;
  std::string_view rest = text_;
  while (!rest.empty()) {
    auto slash = rest.find('/');
    parts.push_back(rest.substr(0, slash));
    if (slash == std::string_view::npos) break;
    rest.remove_prefix(slash + 1);
  }
  return parts;
}

std::size_t ProfilePath::depth() const {
  return text_.empty() ? 0 : 1 + static_cast<std::size_t>(std::count(text_.begin(), text_.end(), '/'));
}

bool ProfilePath::is_within(const ProfilePath& other) const {
  if (other.text_.empty()) return true;
  return text_.rfind(other.text_, 0) == 0 &&
         (text_.size() == other.text_.size() || text_[other.text_.size()] == '/');
}

}  // namespace roamstead::profile
