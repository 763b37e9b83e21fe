#include "agent/core/session_rules.h"

#include "common/extract/selection.h"

namespace roamstead::agent {
namespace {

std::string native(ProfileVolume& volume, const std::string& agent_root, const char* name) {
  return volume.native_path(agent_root + "/" + name);
}

ByteView view(const std::string& text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

}  // namespace

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
