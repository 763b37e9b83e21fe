#include "agent/core/session_rules.h"

#include <functional>

#include "common/base/sha256.h"
#include "common/base/text.h"
#include "common/extract/selection.h"

namespace roamstead::agent {
namespace {

std::string native(ProfileVolume& volume, const std::string& agent_root, const char* name) {
  return volume.native_path(agent_root + "/" + name);
}

ByteView view(const std::string& text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

// Where a profile's local items wait for its next session, one folder for each rule's pattern.
std::string waiting_place(const std::string& agent_root, const std::string& profile,
                          const std::string& item) {
  const auto name = [](const std::string& text) {
    std::string digits;
    constexpr std::string_view kDigits = "0123456789abcdef";
    const auto digest = sha256(view(text));
    for (std::size_t i = 0; i < 8; ++i) {
      digits += kDigits[static_cast<std::size_t>(digest[i]) >> 4];
      digits += kDigits[static_cast<std::size_t>(digest[i]) & 15];
    }
    return digits;
  };
  return agent_root + "/local/" + name(profile) + "/" + name(to_wtf8(upcase_key(item)));
}

// Calls with each path that rules keep local and name without wildcards.
Result<void> for_each_local(const profile::Rules& rules,
                            const std::function<Result<void>(const profile::ProfilePath&)>& see) {
  for (const auto& rule : rules.all()) {
    if (rule.action != profile::RuleAction::local_only || rule.is_registry()) continue;
    if (profile::literal_folder(rule.pattern) != rule.pattern) continue;
    const auto path = profile::ProfilePath::parse(rule.pattern);
    if (path && rules.file(path->text()).saving == profile::Saving::local_only) RS_CHECK(see(*path));
  }
  return {};
}

}  // namespace

Result<void> put_local_aside(ProfileVolume& volume, const std::string& agent_root, const std::string& profile,
                             const std::string& profile_root, const profile::Rules& rules) {
  return for_each_local(rules, [&](const profile::ProfilePath& path) -> Result<void> {
    const auto from = profile_root + "/" + path.text();
    const auto there = volume.stat(from);
    if (!there) return there.error().code == ErrorCode::not_found ? Result<void>() : fail(there.error());
    const auto to = waiting_place(agent_root, profile, path.text());
    if (volume.stat(to)) RS_CHECK(volume.remove_tree(to));  // of a session before
    RS_CHECK(volume.make_directories(os::parent_directory(to)));
    return volume.rename(from, to);
  });
}

Result<void> bring_local_back(Loader& loader, ProfileVolume& volume, const std::string& agent_root,
                              const std::string& profile, const std::string& profile_root,
                              const profile::Rules& rules) {
  return for_each_local(rules, [&](const profile::ProfilePath& path) -> Result<void> {
    const auto from = waiting_place(agent_root, profile, path.text());
    const auto to = profile_root + "/" + path.text();
    if (!volume.stat(from) || volume.stat(to)) return {};
    RS_CHECK(loader.populate_above(path, Priority::foreground));
    // The folder that it was in may not be in this version.
    RS_CHECK(volume.make_directories(os::parent_directory(to)));
    return volume.rename(from, to);
  });
}

Result<void> keep_rules(ProfileVolume& volume, const std::string& agent_root, const std::string& canonical) {
  if (canonical.empty()) return {};
  if (auto rules = profile::Rules::parse(canonical); !rules)
    return fail(ErrorCode::protocol, "the coordinator's " + rules.error().to_string());
  return os::write_file_durably(volume.files(), native(volume, agent_root, extract::kRulesFile),
                                view(canonical));
}

Result<profile::Rules> kept_rules(ProfileVolume& volume, const std::string& agent_root) {
  const auto path = native(volume, agent_root, extract::kRulesFile);
  RS_TRY(const bool there, volume.files().exists(path));
  if (!there) return profile::Rules();
  RS_TRY(const auto bytes, os::read_file(volume.files(), path, profile::kMostRulesBytes));
  auto rules = profile::Rules::parse({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  if (!rules) return fail(std::move(rules).error().with(path));
  return rules;
}

Result<void> note_log_out(ProfileVolume& volume, const std::string& agent_root, const Guid& session,
                          const profile::Rules& rules) {
  if (!rules.has(profile::RuleAction::at_logout)) return {};
  return os::write_file_durably(volume.files(), native(volume, agent_root, extract::kLogoutFile),
                                view(extract::logout_marker(session)));
}

Result<void> forget_rules(ProfileVolume& volume, const std::string& agent_root) {
  for (const auto* name : {extract::kRulesFile, extract::kLogoutFile}) {
    auto removed = volume.files().remove(native(volume, agent_root, name));
    if (!removed && removed.error().code != ErrorCode::not_found) return removed;
  }
  return {};
}

}  // namespace roamstead::agent
