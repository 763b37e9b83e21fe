#include "coordinator/server/testing/memory_repository.h"

#include "common/base/event.h"
#include "common/base/text.h"
#include "coordinator/repository/forks.h"

namespace roamstead::server {
namespace {

using repository::ProfileId;
using repository::VersionInfo;

class MemoryTree final : public repository::Tree {
 public:
  MemoryTree(std::uint64_t version, std::shared_ptr<const MemoryRepository::Nodes> nodes)
      : version_(version), nodes_(std::move(nodes)) {}

  std::uint64_t version() const override { return version_; }
  Result<profile::Entry> lookup(const profile::ProfilePath& path) const override {
    auto it = nodes_->find(path);
    if (it == nodes_->end()) return fail(ErrorCode::not_found, "no '" + path.text() + "'");
    return it->second.entry;
  }
  Result<std::vector<profile::NamedEntry>> list(const profile::ProfilePath& directory,
                                                const std::string& after, std::size_t limit) const override {
    std::vector<profile::NamedEntry> found;
    RS_TRY(auto entry, lookup(directory));
    for (const auto& [path, node] : *nodes_)
      if (!path.is_root() && path.parent() == directory &&
          (after.empty() || compare_names(path.name(), after) > 0))
        found.push_back({std::string(path.name()), node.entry});
    std::sort(found.begin(), found.end(),
              [](const auto& a, const auto& b) { return compare_names(a.name, b.name) < 0; });
    if (found.size() > limit) found.resize(limit);
    return found;
  }
  Result<void> read(const profile::ProfilePath& path, const std::string& stream, std::uint64_t offset,
                    MutableByteView out) const override {
    auto it = nodes_->find(path);
    if (it == nodes_->end() || it->second.streams.count(stream) == 0)
      return fail(ErrorCode::not_found, path.text());
    const auto& bytes = it->second.streams.at(stream);
    if (offset > bytes.size() || out.size() > bytes.size() - offset)
      return fail(ErrorCode::invalid_argument, "beyond the end");
    std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(offset), out.size(), out.begin());
    return {};
  }
  Result<profile::KeyStates> keys(const profile::ProfilePath& hive, const profile::KeyPath& key,
                                  profile::KeyScope scope, const std::string& cursor,
                                  std::size_t limit_bytes) const override {
    RS_TRY(const auto* model, hive_at(hive));
    return model->states(key, scope, cursor, limit_bytes);
  }
  Result<void> read_value(const profile::ProfilePath& hive, const profile::KeyPath& key,
                          const std::string& value, std::uint64_t offset,
                          MutableByteView out) const override {
    RS_TRY(const auto* model, hive_at(hive));
    return model->read_value(key, value, offset, out);
  }
  Result<void> diff(
      const Tree&,
      const std::function<void(Change, const profile::ProfilePath&, const profile::Entry&)>&) const override {
    return fail(ErrorCode::unsupported, "diff");
  }
  Result<void> diff_keys(const Tree&, const profile::ProfilePath&,
                         const std::function<void(const KeyDifference&)>&) const override {
    return fail(ErrorCode::unsupported, "diff_keys");
  }

 private:
  Result<const support::KeyModel*> hive_at(const profile::ProfilePath& path) const {
    auto it = nodes_->find(path);
    if (it == nodes_->end() || !it->second.keys)
      return fail(ErrorCode::not_found, "no hive '" + path.text() + "'");
    return it->second.keys.get();
  }

  std::uint64_t version_;
  std::shared_ptr<const MemoryRepository::Nodes> nodes_;
};

Result<void> put(MemoryRepository::Nodes& nodes, const MemoryRepository::Nodes& before,
                 const profile::Put& put, std::size_t record, profile::ContentSource& content) {
  MemoryRepository::Node node{put.entry, {}, {}};
  if (put.base) {
    auto base = before.find(*put.base);
    if (base == before.end()) return fail(ErrorCode::invalid_argument, "no base '" + put.base->text() + "'");
    node.streams = base->second.streams;
  }
  for (std::size_t i = 0; i < put.contents.size(); ++i) {
    auto& bytes = node.streams[put.contents[i].name];
    bytes.resize(put.contents[i].size_bytes);
    for (auto write : put.contents[i].writes)
      RS_CHECK(
          content.read(record, i, write.offset, MutableByteView(bytes).subspan(write.offset, write.length)));
  }
  if (put.entry.kind == profile::EntryKind::registry) {
    auto there = before.find(put.path);
    node.keys = there != before.end() && there->second.keys ? there->second.keys
                                                            : std::make_shared<const support::KeyModel>();
  }
  nodes[put.path] = std::move(node);
  return {};
}

// Of files and streams; these tests put no large values.
std::uint64_t bytes_of(const MemoryRepository::Nodes& nodes) {
  std::uint64_t bytes = 0;
  for (const auto& [path, node] : nodes)
    for (const auto& [name, content] : node.streams) bytes += content.size();
  return bytes;
}

std::int64_t growth_of(const MemoryRepository::Nodes& before, const profile::Batch& batch) {
  std::int64_t grown = 0;
  auto take = [&](const profile::ProfilePath& path) {
    auto there = before.find(path);
    if (there == before.end()) return;
    for (const auto& [name, content] : there->second.streams)
      grown -= static_cast<std::int64_t>(content.size());
  };
  for (const auto& record : batch.records) {
    if (const auto* gone = std::get_if<profile::Delete>(&record)) take(gone->source);
    const auto* put = std::get_if<profile::Put>(&record);
    if (put == nullptr) continue;
    take(put->path);
    grown += static_cast<std::int64_t>(put->entry.size_bytes);
    for (const auto& stream : put->entry.streams) grown += static_cast<std::int64_t>(stream.size_bytes);
  }
  return grown;
}

}  // namespace

repository::ProfileInfo MemoryRepository::add_profile(const std::string& name,
                                                      const std::map<std::string, std::string>& files) {
  auto nodes = std::make_shared<Nodes>();
  profile::Entry directory;
  directory.kind = profile::EntryKind::directory;
  (*nodes)[{}] = {directory, {}, {}};
  for (const auto& [text, content] : files) {
    auto path = profile::ProfilePath::parse(text).value();
    for (auto parent = path.parent(); !parent.is_root(); parent = parent.parent())
      (*nodes)[parent] = {directory, {}, {}};
    profile::Entry file;
    file.size_bytes = content.size();
    (*nodes)[path] = {file, {{"", to_bytes(content)}}, {}};
  }
  std::lock_guard guard(mutex_);
  auto id = Guid::random();
  auto& profile = profiles_[id];
  profile.info = {id, name, 0};
  VersionInfo info;
  info.kind = repository::VersionKind::import;
  add_version(profile, 0, nodes, info);
  return profile.info;
}

VersionInfo MemoryRepository::add_version(Profile& profile, std::uint64_t parent,
                                          std::shared_ptr<const Nodes> nodes, VersionInfo info) {
  info.number = profile.versions.size() + 1;
  info.parent = parent;
  info.on_head_line = !repository::is_beside_head(info.kind);
  if (info.on_head_line) profile.info.head = info.number;
  profile.versions.push_back(info);
  profile.trees[info.number] = std::move(nodes);
  return info;
}

Result<repository::ProfileInfo> MemoryRepository::create_profile(const std::string& name) {
  return add_profile(name, {});
}

Result<std::vector<repository::ProfileInfo>> MemoryRepository::profiles() const {
  std::lock_guard guard(mutex_);
  std::vector<repository::ProfileInfo> found;
  for (const auto& [id, profile] : profiles_) found.push_back(profile.info);
  return found;
}

Result<repository::ProfileInfo> MemoryRepository::find_profile(const std::string& name) const {
  std::lock_guard guard(mutex_);
  for (const auto& [id, profile] : profiles_)
    if (profile.info.name == name) return profile.info;
  return fail(ErrorCode::not_found, "no profile '" + name + "'");
}

Result<std::vector<VersionInfo>> MemoryRepository::versions(const ProfileId& profile) const {
  std::lock_guard guard(mutex_);
  return profiles_.at(profile).versions;
}

Result<std::unique_ptr<repository::Tree>> MemoryRepository::tree(const ProfileId& profile,
                                                                 std::uint64_t version) const {
  std::lock_guard guard(mutex_);
  return std::make_unique<MemoryTree>(version, profiles_.at(profile).trees.at(version));
}

Result<VersionInfo> MemoryRepository::commit(const ProfileId& id, std::uint64_t parent,
                                             const profile::Batch& batch, profile::ContentSource& content,
                                             const repository::CommitOrigin& origin) {
  if (before_commit) RS_CHECK(before_commit());
  std::lock_guard guard(mutex_);
  auto& profile = profiles_.at(id);
  for (const auto& version : profile.versions)
    if (version.incarnation == batch.incarnation && version.ordinal == batch.ordinal) return version;
  if (!repository::is_beside_head(origin.kind) && parent != profile.info.head)
    return fail(ErrorCode::stale, "not the head");
  const auto& before = *profile.trees.at(parent);
  if (origin.quota_bytes != 0) {
    auto from = origin.kind == repository::VersionKind::fork ? parent : profile.info.head;
    auto held = bytes_of(*profile.trees.at(from));
    auto more = growth_of(before, batch);
    if (more > 0 && held + static_cast<std::uint64_t>(more) > origin.quota_bytes)
      return fail(ErrorCode::full, Event::over_quota,
                  repository::quota_text(profile.info.name, held, static_cast<std::uint64_t>(more),
                                         origin.quota_bytes));
  }
  auto nodes = std::make_shared<Nodes>(before);
  for (std::size_t record = 0; record < batch.records.size(); ++record) {
    if (const auto* gone = std::get_if<profile::Delete>(&batch.records[record])) nodes->erase(gone->source);
    if (const auto* wanted = std::get_if<profile::Put>(&batch.records[record]))
      RS_CHECK(put(*nodes, before, *wanted, record, content));
  }
  for (auto& [path, node] : *nodes) {
    if (!node.keys) continue;
    auto changed = std::make_shared<support::KeyModel>(*node.keys);
    RS_CHECK(changed->apply(batch, path, content));
    node.keys = std::move(changed);
  }
  VersionInfo info;
  info.kind = origin.kind;
  info.desktop = origin.desktop;
  info.session = origin.session;
  info.epoch = origin.epoch;
  info.incarnation = batch.incarnation;
  info.ordinal = batch.ordinal;
  info.snapshot = batch.snapshot;
  info.final = batch.final;
  info.records = batch.records.size();
  info.held_back = batch.held_back;
  return add_version(profile, parent, nodes, info);
}

Result<std::uint64_t> MemoryRepository::logical_bytes(const ProfileId& id, std::uint64_t version) const {
  std::lock_guard guard(mutex_);
  return version == 0 ? 0 : bytes_of(*profiles_.at(id).trees.at(version));
}

Result<std::int64_t> MemoryRepository::growth(const ProfileId& id, std::uint64_t parent,
                                              const profile::Batch& batch) const {
  std::lock_guard guard(mutex_);
  return growth_of(*profiles_.at(id).trees.at(parent), batch);
}

Result<VersionInfo> MemoryRepository::restore(const ProfileId& id, std::uint64_t from,
                                              const repository::CommitOrigin& origin) {
  std::lock_guard guard(mutex_);
  auto& profile = profiles_.at(id);
  VersionInfo info;
  info.kind = repository::VersionKind::restore;
  info.desktop = origin.desktop;
  return add_version(profile, profile.info.head, profile.trees.at(from), info);
}

Result<repository::MergeResult> MemoryRepository::merge(const ProfileId& id, std::uint64_t version,
                                                        bool dry_run,
                                                        const repository::CommitOrigin& origin) {
  if (before_commit) RS_CHECK(before_commit());
  std::lock_guard guard(mutex_);
  auto& profile = profiles_.at(id);
  RS_TRY(auto fork, repository::find_fork(profile.versions, version));
  repository::MergeResult result{{}, fork.base, profile.info.head, version, 0, {}};
  const auto& base = *profile.trees.at(fork.base);
  const auto& ours = *profile.trees.at(profile.info.head);
  const auto& theirs = *profile.trees.at(version);
  const auto bytes_in = [](const Nodes& nodes, const profile::ProfilePath& path) {
    auto found = nodes.find(path);
    return found == nodes.end() ? std::map<std::string, Bytes>() : found->second.streams;
  };
  auto nodes = std::make_shared<Nodes>(ours);
  for (const auto& [path, node] : theirs) {
    auto was = bytes_in(base, path), mine = bytes_in(ours, path);
    if (node.streams == was || node.streams == mine) continue;
    if (mine == was) {
      (*nodes)[path] = node;
      continue;
    }
    auto copy = path.parent().child(std::string(path.name()) + ".conflict");
    (*nodes)[copy] = node;
    result.conflicts.push_back({repository::MergeConflict::Kind::both_changed, path.text(), copy.text()});
  }
  if (dry_run) return result;
  VersionInfo info;
  info.kind = repository::VersionKind::merge;
  info.desktop = origin.desktop;
  info.merged = version;
  result.version = add_version(profile, profile.info.head, nodes, info);
  return result;
}

Result<VersionInfo> MemoryRepository::discard(const ProfileId& id, std::uint64_t version,
                                              const repository::CommitOrigin& origin) {
  std::lock_guard guard(mutex_);
  auto& profile = profiles_.at(id);
  RS_CHECK(repository::find_fork(profile.versions, version).map([](const repository::Fork&) {}));
  VersionInfo info;
  info.kind = repository::VersionKind::discard;
  info.desktop = origin.desktop;
  return add_version(profile, version, profile.trees.at(version), info);
}

}  // namespace roamstead::server
