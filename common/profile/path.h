// A path inside a profile: "AppData/Roaming/x", relative to the profile's root, separated by '/'. The root is
// "".
#pragma once

#include <compare>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"

namespace roamstead::profile {

// A name that NTFS can hold: well-formed WTF-8, 1 to 255 UTF-16 units, no '/', '\', NUL, ':' and not "." or
// "..".
Result<void> check_name(std::string_view name);

class ProfilePath {
 public:
  ProfilePath() = default;  // the root
  // Checks every component; at most 32,767 UTF-16 units in all (what Windows takes).
  static Result<ProfilePath> parse(std::string_view text);

  bool is_root() const { return text_.empty(); }
  const std::string& text() const { return text_; }
  std::string_view name() const;                     // the last component; "" for the root
  ProfilePath parent() const;                        // the root's parent is the root
  ProfilePath child(std::string_view name) const;    // the name must be checked
  std::vector<std::string_view> components() const;  // views into this object
  std::size_t depth() const;
  // Whether this is `other` or lies below it.
  bool is_within(const ProfilePath& other) const;

  bool operator==(const ProfilePath&) const = default;
  auto operator<=>(const ProfilePath&) const = default;

  template <class Archive>
  std::string save_minimal(const Archive&) const {
    return text_;
  }
  // Throws on a path that parse() refuses: foreign archives cannot smuggle one in.
  template <class Archive>
  void load_minimal(const Archive&, const std::string& text) {
    assign_checked(text);
  }

 private:
  void assign_checked(const std::string& text);
  std::string text_;
};

}  // namespace roamstead::profile
