// What of a profile a snapshot's batch is about, by the rules of its session (common/profile/rules.h).
//
// Rules and journal lie beside each other on the volume, so every snapshot says by which rules it is to be
// cut, whoever cuts it. A session's rules never change: a snapshot is compared with the one before, and both
// must mean the same. What is left out counts as lying outside the profile, so that it is neither saved nor,
// where the version has it, ever deleted.
//
// What is kept for log-out is left out until a snapshot holds the log-out marker. In the first one that does,
// it is compared with what was published, for nothing of it was sent before; from then on it is as everything
// else.
#pragma once

#include <optional>
#include <string>

#include "common/base/guid.h"
#include "common/ntfs/volume.h"
#include "common/profile/rules.h"

namespace roamstead::extract {

// Beside the journal: the session's rules in canonical form (none: no rules); and, once the session ends, its
// id.
inline constexpr const char* kRulesFile = "rules";
inline constexpr const char* kLogoutFile = "log-out";
std::string rules_path(const std::string& provenance_path);
std::string logout_path(const std::string& provenance_path);
std::string logout_marker(const Guid& session);

// Immutable; const access is thread-safe.
class Selection {
 public:
  Selection() = default;  // everything
  Selection(profile::Rules rules, bool logged_out);
  // As the volume of a snapshot says it. ErrorCode::corrupt when its rules cannot be understood.
  static Result<Selection> read(const ntfs::Volume& volume, const std::string& provenance_path,
                                const Guid& session);

  const profile::Rules& rules() const { return rules_; }
  // Whether what is kept for log-out is not part of this snapshot.
  bool waiting() const { return waiting_; }

  bool leaves_out(std::string_view path, bool directory) const {
    return leaves_out(path, directory, waiting_);
  }
  // Whether it is left out until log-out, be that over or to come.
  bool waits(std::string_view path, bool directory) const;
  // Why a file is too large to be saved; nothing when it is not.
  std::optional<std::string> too_large(const ntfs::FileRecord& file, std::string_view path) const;

  bool leaves_out(const profile::ProfilePath& hive, const profile::KeyPath& key) const {
    return leaves_out(hive, key, waiting_);
  }
  bool leaves_out(const profile::ProfilePath& hive, const profile::KeyPath& key,
                  const std::string& value) const;
  bool waits(const profile::ProfilePath& hive, const profile::KeyPath& key) const;

 private:
  bool leaves_out(std::string_view path, bool directory, bool waiting) const;
  bool leaves_out(const profile::ProfilePath& hive, const profile::KeyPath& key, bool waiting) const;

  profile::Rules rules_;
  bool any_wait_ = false;  // a rule keeps something for log-out
  bool waiting_ = false;
};

}  // namespace roamstead::extract
