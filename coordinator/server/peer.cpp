#include "coordinator/server/peer.h"

#include <grp.h>
#include <pwd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <vector>

namespace roamstead::server {
namespace {

constexpr std::size_t kEntryBytes = 64u << 10;  // of the user and group databases
constexpr int kMaxGroups = 4096;

struct User {
  std::string name;  // the number where it has none
  bool known = false;
};

User user_of(uid_t uid) {
  passwd entry{};
  passwd* found = nullptr;
  std::vector<char> buffer(kEntryBytes);
  if (::getpwuid_r(uid, &entry, buffer.data(), buffer.size(), &found) == 0 && found != nullptr)
    return {entry.pw_name, true};
  return {std::to_string(uid), false};
}

// Now, not when the peer logged in: who was taken out of a group has lost its role.
std::vector<gid_t> groups_of(const User& user, gid_t primary) {
  int count = 64;
  std::vector<gid_t> groups(static_cast<std::size_t>(count));
  if (!user.known) return {primary};
  while (::getgrouplist(user.name.c_str(), primary, groups.data(), &count) < 0) {
    if (count > kMaxGroups) return {primary};
    count = std::max(count, static_cast<int>(groups.size()) * 2);
    groups.resize(static_cast<std::size_t>(count));
  }
  groups.resize(static_cast<std::size_t>(count));
  return groups;
}

bool is_member(const std::vector<gid_t>& groups, const std::string& name) {
  if (name.empty()) return false;
  group entry{};
  group* found = nullptr;
  std::vector<char> buffer(kEntryBytes);
  if (::getgrnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found) != 0 || found == nullptr)
    return false;
  return std::find(groups.begin(), groups.end(), entry.gr_gid) != groups.end();
}

std::optional<Role> role_of(const std::vector<gid_t>& groups, const RoleGroups& roles) {
  if (is_member(groups, roles.administrators)) return Role::administrator;
  if (is_member(groups, roles.operators)) return Role::operator_;
  if (is_member(groups, roles.viewers)) return Role::viewer;
  return std::nullopt;
}

}  // namespace

Result<Caller> caller_at(int socket, const RoleGroups& groups) {
  ucred peer{};
  socklen_t length = sizeof peer;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0 || length != sizeof peer)
    return fail(ErrorCode::internal, std::string("cannot tell who asks: ") + std::strerror(errno));
  auto user = user_of(peer.uid);
  Caller caller{user.name, Role::administrator, "unix:uid=" + std::to_string(peer.uid)};
  if (peer.uid == 0 || peer.uid == ::geteuid()) return caller;
  auto role = role_of(groups_of(user, peer.gid), groups);
  if (role) {
    caller.role = *role;
    return caller;
  }
  std::string allowed;
  for (const auto& name : {groups.viewers, groups.operators, groups.administrators})
    if (!name.empty()) allowed += (allowed.empty() ? "" : ", ") + name;
  return fail(ErrorCode::denied, "user '" + user.name + "' has no role here; members of these groups have: " +
                                     (allowed.empty() ? "(none is configured)" : allowed));
}

Caller local_caller() { return {user_of(::geteuid()).name, Role::administrator, "local"}; }

}  // namespace roamstead::server
