#include "common/extract/selection.h"

#include "common/os/file.h"

namespace roamstead::extract {
namespace {

using profile::Saving;

// The content of a small file; "" when it is not there.
Result<std::string> read_small(const ntfs::Volume& volume, const std::string& path) {
  const auto reference = volume.lookup(path);
  if (!reference) {
    if (reference.error().code == ErrorCode::not_found) return std::string();
    return fail(reference.error());
  }
  RS_TRY(const auto file, volume.record(reference->record));
  for (const auto& stream : file.streams) {
    if (!stream.name.empty()) continue;
    if (stream.size_bytes > profile::kMostRulesBytes)
      return fail(ErrorCode::corrupt,
                  path + ": " + std::to_string(stream.size_bytes) + " bytes, more than it can have");
    std::string text(static_cast<std::size_t>(stream.size_bytes), '\0');
    RS_CHECK_CTX(path, volume.read(stream, 0, {reinterpret_cast<std::byte*>(text.data()), text.size()}));
    return text;
  }
  return fail(ErrorCode::corrupt, path + ": not a file with data");
}

std::string beside(const std::string& provenance_path, const char* name) {
  return os::parent_directory(provenance_path) + "/" + name;
}

}  // namespace

std::string rules_path(const std::string& provenance_path) { return beside(provenance_path, kRulesFile); }
std::string logout_path(const std::string& provenance_path) { return beside(provenance_path, kLogoutFile); }
std::string logout_marker(const Guid& session) { return session.to_string() + "\n"; }

Selection::Selection(profile::Rules rules, bool logged_out) : rules_(std::move(rules)) {
  any_wait_ = rules_.has(profile::RuleAction::at_logout);
  waiting_ = any_wait_ && !logged_out;
}

Result<Selection> Selection::read(const ntfs::Volume& volume, const std::string& provenance_path,
                                  const Guid& session) {
  RS_TRY(const auto text, read_small(volume, rules_path(provenance_path)));
  RS_TRY_CTX(auto rules, rules_path(provenance_path), profile::Rules::parse(text));
  if (!rules.has(profile::RuleAction::at_logout)) return Selection(std::move(rules), true);
  RS_TRY(const auto marker, read_small(volume, logout_path(provenance_path)));
  return Selection(std::move(rules), marker == logout_marker(session));
}

bool Selection::leaves_out(std::string_view path, bool directory, bool waiting) const {
  if (rules_.empty() || path.empty()) return false;
  const auto verdict = rules_.file(path);
  if (!verdict.is_left_out() && !(waiting && verdict.saving == Saving::at_logout)) return false;
  return !directory || !rules_.leads_to_saved(path);
}

bool Selection::waits(std::string_view path, bool directory) const {
  return any_wait_ && leaves_out(path, directory, true) && !leaves_out(path, directory, false);
}

std::optional<std::string> Selection::too_large(const ntfs::FileRecord& file, std::string_view path) const {
  if (rules_.empty() || file.directory) return std::nullopt;
  const auto verdict = rules_.file(path);
  if (verdict.size_rule == profile::kNoRule) return std::nullopt;
  std::uint64_t bytes = 0;
  for (const auto& stream : file.streams) bytes = std::max(bytes, stream.size_bytes);
  if (bytes <= verdict.most_bytes) return std::nullopt;
  return "too large: " + std::to_string(bytes) + " bytes, and " + rules_.describe(verdict.size_rule) +
         ", allows " + std::to_string(verdict.most_bytes) + "; the profile keeps what it had";
}

bool Selection::leaves_out(const profile::ProfilePath& hive, const profile::KeyPath& key,
                           bool waiting) const {
  if (!rules_.has_registry_rules() || key.is_root()) return false;
  const auto verdict = rules_.key(hive, key);
  if (!verdict.is_left_out() && !(waiting && verdict.saving == Saving::at_logout)) return false;
  return !rules_.leads_to_saved(hive, key);
}

bool Selection::leaves_out(const profile::ProfilePath& hive, const profile::KeyPath& key,
                           const std::string& value) const {
  if (!rules_.has_registry_rules()) return false;
  const auto verdict = rules_.value(hive, key, value);
  return verdict.is_left_out() || (waiting_ && verdict.saving == Saving::at_logout);
}

bool Selection::waits(const profile::ProfilePath& hive, const profile::KeyPath& key) const {
  return any_wait_ && leaves_out(hive, key, true) && !leaves_out(hive, key, false);
}

}  // namespace roamstead::extract
