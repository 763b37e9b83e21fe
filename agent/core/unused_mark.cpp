#include "agent/core/unused_mark.h"

#include "common/base/text.h"

namespace roamstead::agent {
namespace {

std::string mark_of(ProfileVolume& volume, const std::string& agent_root) {
  return volume.native_path(agent_root + "/unused");
}

Result<void> write(ProfileVolume& volume, const std::string& agent_root, const Guid& session) {
  return os::write_file_durably(volume.files(), mark_of(volume, agent_root), as_bytes(session.to_string()));
}

}  // namespace

Result<void> mark_unused(ProfileVolume& volume, const std::string& agent_root, const Guid& session) {
  return write(volume, agent_root, session);
}

// Written over, not removed: a removal that a crash undoes would make a used session look unused.
Result<void> mark_used(ProfileVolume& volume, const std::string& agent_root) {
  return write(volume, agent_root, Guid());
}

Result<bool> is_marked_unused(ProfileVolume& volume, const std::string& agent_root, const Guid& session) {
  constexpr std::uint64_t kMostBytes = 256;
  const auto path = mark_of(volume, agent_root);
  RS_TRY(const bool there, volume.files().exists(path));
  if (!there || session.is_zero()) return false;
  const auto bytes = os::read_file(volume.files(), path, kMostBytes);
  return bytes && as_text(*bytes) == session.to_string();
}

}  // namespace roamstead::agent
