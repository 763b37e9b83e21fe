// Who asks the coordinator for something, and what that entitles them to.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace roamstead::server {

// Each may do what those before it may.
enum class Role : std::uint8_t {
  viewer,         // looks: desktops, sessions, profiles, the audit log
  operator_,      // day-to-day work: assignments, sessions, forks, restoring a version
  administrator,  // who may get in: enrolment, tokens, revocation, pools; whatever names files on the host
};

constexpr std::string_view to_string(Role role) {
  switch (role) {
    case Role::viewer:
      return "viewer";
    case Role::operator_:
      return "operator";
    case Role::administrator:
      break;
  }
  return "administrator";
}

// Nothing for a word that is no role.
constexpr std::optional<Role> parse_role(std::string_view text) {
  for (auto role : {Role::viewer, Role::operator_, Role::administrator})
    if (to_string(role) == text) return role;
  return std::nullopt;
}

struct Caller {
  std::string name;  // for the audit log: "root"
  Role role = Role::viewer;
  std::string origin;  // by which way: "unix:uid=0", "tls:192.0.2.7", "local" (a command of its own process),
                       // "internal"
};

}  // namespace roamstead::server
