// What a user's next log-in would fetch first, as a file for a desktop's disk.
#include <algorithm>

#include "coordinator/server/session_table.h"

namespace roamstead::server {
namespace {

constexpr std::size_t kEntriesAtOnce = 512;
constexpr std::uint64_t kBytesOfAnEntry = 256;  // about, encoded, beside its name

// Collects within a bound: what does not fit is left for the log-in itself.
class Collector {
 public:
  Collector(const repository::Tree& tree, std::uint64_t most_bytes, profile::Prewarm& out)
      : tree_(tree), left_(most_bytes), out_(out) {}

  // With all above it: a log-in lists its way down.
  Result<void> directory(const profile::ProfilePath& path) {
    if (!path.is_root()) RS_CHECK(directory(path.parent()));
    if (!seen_.insert(path.text()).second) return {};
    profile::Prewarm::Directory one{path, {}};
    std::uint64_t bytes = 0;
    for (std::string after;;) {
      RS_TRY(auto entries, tree_.list(path, after, kEntriesAtOnce));
      for (auto& entry : entries) {
        bytes += entry.name.size() + kBytesOfAnEntry;
        one.entries.push_back(std::move(entry));
      }
      if (bytes > left_) return {};
      if (entries.size() < kEntriesAtOnce) break;
      after = one.entries.back().name;
    }
    left_ -= bytes;
    out_.directories.push_back(std::move(one));
    return {};
  }
  Result<void> file(const profile::ProfilePath& path) {
    RS_CHECK(directory(path.parent()));
    RS_TRY(const auto entry, tree_.lookup(path));
    if (entry.kind != profile::EntryKind::file || !seen_.insert(path.text()).second) return {};
    const auto bytes = entry.size_bytes + kBytesOfAnEntry + path.text().size();
    if (entry.size_bytes > left_ || bytes > left_) return {};
    profile::Prewarm::File one{path, entry.size_bytes, Bytes(static_cast<std::size_t>(entry.size_bytes))};
    RS_CHECK(tree_.read(path, "", 0, one.content));
    left_ -= bytes;
    out_.files.push_back(std::move(one));
    return {};
  }

 private:
  const repository::Tree& tree_;
  std::uint64_t left_;
  profile::Prewarm& out_;
  std::set<std::string> seen_;
};

}  // namespace

Result<profile::Prewarm> SessionTable::prewarm(const std::string& profile_name, std::uint64_t most_bytes) {
  RS_TRY(const auto profile, repository_.find_profile(profile_name));
  RS_TRY(const auto tree, repository_.tree(profile.id, profile.head));
  profile::Prewarm prewarm;
  prewarm.profile = profile.name;
  prewarm.version = profile.head;
  RS_TRY(prewarm.root, tree->lookup({}));
  Collector collector(*tree, most_bytes, prewarm);
  RS_CHECK(collector.directory({}));
  if (!working_sets_) return prewarm;
  for (const auto& item : working_sets_->find(profile.id)) {
    const auto path = profile::ProfilePath::parse(item.path);
    if (!path || item.kind == wire::WorkingItem::Kind::key) continue;
    const auto kept =
        item.kind == wire::WorkingItem::Kind::file ? collector.file(*path) : collector.directory(*path);
    // Gone since it was learnt.
    if (!kept && kept.error().code != ErrorCode::not_found) return fail(kept.error());
  }
  return prewarm;
}

}  // namespace roamstead::server
