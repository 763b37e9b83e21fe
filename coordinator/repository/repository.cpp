#include "coordinator/repository/repository.h"

#include <chrono>
#include <filesystem>
#include <limits>

#include "common/base/event.h"
#include "common/base/file_time.h"
#include "coordinator/repository/check.h"
#include "coordinator/repository/forks.h"
#include "coordinator/repository/merge.h"
#include "coordinator/repository/recovery.h"
#include "coordinator/repository/tree_editor.h"
#include "coordinator/repository/tree_size.h"

namespace roamstead::repository {
namespace {

constexpr const char* kCatalogName = "catalog.db";
constexpr std::uint64_t kAllEpochs = std::numeric_limits<std::uint64_t>::max();

// SQLite goes past os::FileSystem: the catalog need not survive anything, so nothing of it is tested against
// power loss.
Result<void> make_state_directory(const std::string& path) {
  return os::real_file_system().make_directories(path);  // for nobody else to look into
}

// Out of the way, with its write-ahead log; the one set aside before goes.
Result<void> set_catalog_aside(const std::string& path) {
  for (const char* suffix : {"", "-wal", "-shm"}) {
    std::error_code error;
    std::filesystem::remove(path + ".old" + suffix, error);
    if (std::filesystem::exists(path + suffix))
      std::filesystem::rename(path + suffix, path + ".old" + suffix, error);
    if (error)
      return fail(ErrorCode::io, path + suffix + ": cannot set the old catalog aside: " + error.message());
  }
  return {};
}

Result<std::unique_ptr<os::File>> lock_state(os::FileSystem& files, const std::string& directory) {
  RS_CHECK(make_state_directory(directory));
  RS_CHECK(files.make_directories(directory));
  RS_TRY(auto lock, files.open(os::join_path(directory, "writer.lock"), os::OpenMode::create));
  auto locked = lock->lock(true);
  if (!locked && locked.error().code == ErrorCode::busy)
    return fail(
        ErrorCode::busy,
        directory + ": another program, probably the coordinator, has the repository open for writing");
  RS_CHECK(std::move(locked));
  return lock;
}

// A writer's catalog: made anew when there is none, when it cannot be used, or when it knows what no longer
// counts.
Result<std::unique_ptr<Catalog>> open_catalog_for_writing(const std::string& path, const Keystore& keys,
                                                          const PackStore& packs,
                                                          const PackStore::Accepted& accepted,
                                                          std::uint64_t epoch) {
  auto opened = Catalog::open(path, keys.repository(), true);
  auto unusable =
      !opened && (opened.error().code == ErrorCode::corrupt || opened.error().code == ErrorCode::unsupported);
  if (!opened && !unusable) return opened;
  auto other_history = false;
  if (opened) {
    RS_TRY(other_history, is_of_other_history(**opened, packs, accepted, epoch));
  }
  if (unusable || other_history) {
    log_event(
        Event::catalog_remade, "{}: {}; making the catalog anew from the packs", path,
        unusable ? opened.error().to_string() : std::string("holds what is not, or no longer, in the packs"));
    opened = fail(ErrorCode::internal, "closed");
    RS_CHECK(set_catalog_aside(path));
    opened = Catalog::open(path, keys.repository(), true);
  }
  return opened;
}

Result<void> add_known_profiles(const Keystore& keys, Catalog& catalog) {
  for (const auto& profile : keys.profiles()) RS_CHECK(catalog.add_profile(profile.id, profile.name));
  return {};
}

void warn(const std::vector<std::string>& problems) {
  for (const auto& problem : problems) log_event(Event::repository_damage, "repository: {}", problem);
}

// For a batch of which only the sizes are looked at.
class NoContent final : public profile::ContentSource {
 public:
  Result<void> read(std::size_t, std::size_t, std::uint64_t, MutableByteView) override {
    return fail(ErrorCode::internal, "a batch's content was read to find out its size");
  }
};

// What a batch may add at most: as if nothing it puts were there already.
std::uint64_t most_growth(const profile::Batch& batch) {
  std::uint64_t bytes = 0;
  auto add = [&](std::uint64_t more) { bytes = more > kUnknownBytes - bytes ? kUnknownBytes : bytes + more; };
  for (const auto& record : batch.records) {
    if (const auto* put = std::get_if<profile::Put>(&record)) add(content_bytes(put->entry));
    if (const auto* key = std::get_if<profile::PutKey>(&record))
      for (const auto& value : key->values) add(value.size_bytes);
  }
  return bytes;
}

class RepositoryImpl final : public Repository {
 public:
  RepositoryImpl(os::FileSystem& files, const Options& options, std::unique_ptr<Keystore> keys)
      : keys_(std::move(keys)), packs_(files, options.directory, keys_->repository()) {}

  Result<void> open_for_reading(const std::string& catalog_path) {
    RS_TRY(catalog_, Catalog::open(catalog_path, keys_->repository(), false));
    store_.emplace(packs_, *keys_, *catalog_, 0, Faults(), ObjectStore::Limits());
    return {};
  }

  Result<void> open_for_writing(os::FileSystem& files, const Options& options, Faults faults) {
    RS_TRY(lock_, lock_state(files, options.state_directory));
    RS_TRY(auto epoch, packs_.claim_epoch());
    // From here on the old writer acknowledges nothing more; only now can it be told what it left.
    RS_TRY(keys_, Keystore::open(files, options.directory));
    RS_TRY(auto accepted, packs_.accepted());
    auto catalog_path = os::join_path(options.state_directory, kCatalogName);
    RS_TRY(catalog_, open_catalog_for_writing(catalog_path, *keys_, packs_, accepted, epoch));
    RS_CHECK(add_known_profiles(*keys_, *catalog_));
    // What is recorded as accepted must be durable, though its writer may have died before its sync.
    RS_CHECK(sync_packs(files, accepted.by_epoch, epoch));
    std::vector<std::string> problems;
    RS_TRY(auto lengths, catch_up(packs_, *keys_, *catalog_, accepted, epoch, problems));
    warn(problems);
    // The old writer may have appended, without a sync, what was read just now.
    RS_CHECK(sync_packs(files, accepted.by_epoch, epoch));
    RS_CHECK(packs_.record_accepted(epoch, lengths));
    RS_CHECK(keys_->take_over(epoch));
    store_.emplace(packs_, *keys_, *catalog_, epoch, std::move(faults), ObjectStore::Limits());
    return {};
  }

  Result<ProfileInfo> create_profile(const std::string& name) override {
    RS_CHECK(check_writable());
    RS_TRY(auto added, keys_->add_profile(name, now_100ns()));
    RS_TRY(auto superseded, packs_.superseded(store_->epoch()));
    if (superseded) return fail(ErrorCode::stale, "another coordinator has taken over the repository");
    RS_CHECK(catalog_->add_profile(added.id, added.name));
    return ProfileInfo{added.id, added.name, 0};
  }

  Result<std::vector<ProfileInfo>> profiles() const override { return catalog_->profiles(); }

  Result<ProfileInfo> find_profile(const std::string& name) const override {
    RS_TRY(auto found, catalog_->find_profile(name));
    if (!found) return fail(ErrorCode::not_found, "no profile '" + name + "'");
    return std::move(*found);
  }

  Result<std::vector<VersionInfo>> versions(const ProfileId& profile) const override {
    RS_CHECK(known(profile));
    return catalog_->versions(profile);
  }

  Result<std::unique_ptr<Tree>> tree(const ProfileId& profile, std::uint64_t version) const override {
    RS_TRY(auto view, open_tree(profile, version));
    return view;
  }

  Result<VersionInfo> commit(const ProfileId& profile, std::uint64_t parent, const profile::Batch& batch,
                             profile::ContentSource& content, const CommitOrigin& origin) override {
    RS_CHECK(check_writable());
    RS_CHECK(profile::check_batch(batch));
    auto& mutex = commit_mutex(profile);
    std::lock_guard guard(mutex);
    if (!batch.incarnation.is_zero()) {
      RS_TRY(auto committed, catalog_->find_batch(profile, batch.incarnation, batch.ordinal));
      if (committed) return std::move(committed->info);
    }
    RS_CHECK(check_parent(profile, parent, origin));
    RS_TRY(auto before, open_tree(profile, parent));
    if (batch.records.empty() && batch.held_back.empty() && !batch.final)
      return version_info(profile, parent);

    if (origin.quota_bytes != 0) RS_CHECK(check_quota(profile, *before, batch, origin));

    VersionInfo info;
    info.parent = parent;
    info.incarnation = batch.incarnation;
    info.ordinal = batch.ordinal;
    info.snapshot = batch.snapshot;
    info.final = batch.final;
    info.held_back = batch.held_back;
    return apply(profile, *before, batch, content, std::move(info), origin);
  }

  Result<std::uint64_t> logical_bytes(const ProfileId& profile, std::uint64_t version) const override {
    if (version == 0) return known(profile).map([](const ProfileInfo&) { return std::uint64_t{0}; });
    RS_TRY(auto found, catalog_->version(profile, version));
    if (found && found->info.logical_bytes != kUnknownBytes) return found->info.logical_bytes;
    {
      std::lock_guard guard(mutexes_mutex_);
      if (auto measured = measured_.find({profile, version}); measured != measured_.end())
        return measured->second;
    }
    RS_TRY(auto tree, open_tree(profile, version));
    RS_TRY(auto bytes, tree_bytes(tree->objects(), tree->root()));
    std::lock_guard guard(mutexes_mutex_);
    measured_.clear();  // only what goes on is asked for again
    measured_[{profile, version}] = bytes;
    return bytes;
  }

  Result<std::int64_t> growth(const ProfileId& profile, std::uint64_t parent,
                              const profile::Batch& batch) const override {
    RS_CHECK(profile::check_batch(batch));
    RS_TRY(auto before, open_tree(profile, parent));
    return growth_of(*before, batch);
  }

  Result<VersionInfo> restore(const ProfileId& profile, std::uint64_t from,
                              const CommitOrigin& origin) override {
    RS_CHECK(check_writable());
    auto& mutex = commit_mutex(profile);
    std::lock_guard guard(mutex);
    RS_TRY(auto head, known(profile));
    RS_TRY(auto source, catalog_->version(profile, from));
    if (!source)
      return fail(ErrorCode::not_found, "profile '" + head.name + "' has no version " + std::to_string(from));
    VersionInfo info;
    info.parent = head.head;
    info.logical_bytes = source->info.logical_bytes;
    auto kind = origin;
    kind.kind = VersionKind::restore;
    return add_version(profile, std::move(info), std::move(source->root), kind);
  }

  Result<MergeResult> merge(const ProfileId& profile, std::uint64_t version, bool dry_run,
                            const CommitOrigin& origin) override {
    if (!dry_run) RS_CHECK(check_writable());
    auto& mutex = commit_mutex(profile);
    std::lock_guard guard(mutex);
    RS_TRY(auto info, known(profile));
    RS_TRY(auto versions, catalog_->versions(profile));
    RS_TRY_CTX(auto fork, "profile '" + info.name + "'", find_fork(versions, version));
    RS_TRY(auto base, open_tree(profile, fork.base));
    RS_TRY(auto ours, open_tree(profile, info.head));
    RS_TRY(auto theirs, open_tree(profile, version));
    auto label = (fork.desktop.empty() ? "" : fork.desktop + ", ") + "version " + std::to_string(version);
    RS_TRY_CTX(auto plan, "merging version " + std::to_string(version) + " of '" + info.name + "'",
               plan_merge(*base, *ours, *theirs, label));
    MergeResult result{{}, fork.base, info.head, version, plan.batch.records.size(), {}};
    if (!dry_run) {
      VersionInfo merged;
      merged.parent = info.head;
      merged.merged = version;
      merged.held_back = describe(plan.conflicts);
      auto kind = origin;
      kind.kind = VersionKind::merge;
      RS_TRY(result.version, apply(profile, *ours, plan.batch, *plan.content, std::move(merged), kind));
    }
    result.conflicts = std::move(plan.conflicts);
    return result;
  }

  Result<VersionInfo> discard(const ProfileId& profile, std::uint64_t version,
                              const CommitOrigin& origin) override {
    RS_CHECK(check_writable());
    auto& mutex = commit_mutex(profile);
    std::lock_guard guard(mutex);
    RS_TRY(auto info, known(profile));
    RS_TRY(auto versions, catalog_->versions(profile));
    RS_CHECK_CTX("profile '" + info.name + "'", find_fork(versions, version).map([](const Fork&) {}));
    RS_TRY(auto marked, catalog_->version(profile, version));
    VersionInfo mark;
    mark.parent = version;
    mark.logical_bytes = marked->info.logical_bytes;
    auto kind = origin;
    kind.kind = VersionKind::discard;
    return add_version(profile, std::move(mark), std::move(marked->root), kind);
  }

  Result<Statistics> statistics() const override {
    Statistics sums;
    RS_TRY(auto totals, catalog_->totals());
    RS_TRY(auto all, catalog_->profiles());
    sums.profiles = all.size();
    sums.versions = totals.versions;
    sums.objects = totals.objects;
    sums.logical_bytes = totals.logical_bytes;
    RS_TRY(auto epochs, packs_.epochs());
    for (auto epoch : epochs) {
      RS_TRY(auto numbers, packs_.packs_of(epoch));
      for (auto pack : numbers) {
        RS_TRY(auto file, packs_.open_pack(pack));
        RS_TRY(auto size, file->size());
        ++sums.packs;
        sums.pack_bytes += size;
      }
    }
    return sums;
  }

  Result<CheckReport> check(
      const std::function<void(std::uint64_t, std::uint64_t)>& progress) const override {
    return check_repository(packs_, *catalog_, *store_, progress);
  }

 private:
  Result<void> check_writable() const {
    if (store_->epoch() == 0) return fail(ErrorCode::denied, "the repository is open for reading only");
    return {};
  }

  // ErrorCode::not_found when there is no such profile.
  Result<ProfileInfo> known(const ProfileId& profile) const {
    RS_TRY(auto found, catalog_->find_profile(profile));
    if (!found) return fail(ErrorCode::not_found, "no profile " + profile.to_string());
    return std::move(*found);
  }

  Result<void> check_parent(const ProfileId& profile, std::uint64_t parent,
                            const CommitOrigin& origin) const {
    RS_TRY(auto info, known(profile));
    if (!is_beside_head(origin.kind) && parent != info.head)
      return fail(ErrorCode::stale, "profile '" + info.name + "' is at version " + std::to_string(info.head) +
                                        ", not at " + std::to_string(parent));
    return {};
  }

  Result<std::unique_ptr<TreeView>> open_tree(const ProfileId& profile, std::uint64_t version) const {
    RS_TRY(auto info, known(profile));
    if (version == 0) return std::make_unique<TreeView>(*store_, profile, 0, TreeView::empty_root());
    RS_TRY(auto found, catalog_->version(profile, version));
    if (!found)
      return fail(ErrorCode::not_found,
                  "profile '" + info.name + "' has no version " + std::to_string(version));
    RS_TRY_CTX(auto view, info.name + "@" + std::to_string(version),
               TreeView::open(*store_, profile, version, found->root));
    return view;
  }

  Result<VersionInfo> version_info(const ProfileId& profile, std::uint64_t number) const {
    RS_TRY(auto found, catalog_->version(profile, number));
    return found ? std::move(found->info) : VersionInfo{};
  }

  static Result<std::int64_t> growth_of(const TreeView& before, const profile::Batch& batch) {
    NoContent content;
    TreeEditor editor(before, before.objects(), false);
    RS_CHECK(editor.apply(batch, content));
    return editor.grown_bytes();
  }

  Result<void> check_quota(const ProfileId& profile, const TreeView& before, const profile::Batch& batch,
                           const CommitOrigin& origin) const {
    RS_TRY(auto info, known(profile));
    RS_TRY(auto held,
           logical_bytes(profile, origin.kind == VersionKind::fork ? before.version() : info.head));
    // Most batches are far from it: then what they replace and delete is not looked up.
    if (held <= origin.quota_bytes && most_growth(batch) <= origin.quota_bytes - held) return {};
    RS_TRY(auto grown, growth_of(before, batch));
    if (grown <= 0) return {};
    auto more = static_cast<std::uint64_t>(grown);
    if (held <= origin.quota_bytes && more <= origin.quota_bytes - held) return {};
    return fail(ErrorCode::full, Event::over_quota, quota_text(info.name, held, more, origin.quota_bytes));
  }

  // Called with the profile's commit mutex, as is add_version.
  Result<VersionInfo> apply(const ProfileId& profile, const TreeView& before, const profile::Batch& batch,
                            profile::ContentSource& content, VersionInfo info, const CommitOrigin& origin) {
    ProfileObjects objects(*store_, profile);
    TreeEditor editor(before, objects);
    RS_CHECK(editor.apply(batch, content));
    RS_TRY(auto root, editor.finish());
    RS_TRY(auto stored_root, objects.store_node(root));
    RS_TRY(auto bytes_before, logical_bytes(profile, before.version()));
    info.logical_bytes = bytes_before + static_cast<std::uint64_t>(editor.grown_bytes());  // modulo 2^64
    info.records = batch.records.size();
    info.new_bytes = objects.new_bytes();
    return add_version(profile, std::move(info), std::move(stored_root), origin);
  }

  static std::vector<profile::HeldBack> describe(const std::vector<MergeConflict>& conflicts) {
    std::vector<profile::HeldBack> held_back;
    for (const auto& conflict : conflicts) held_back.push_back({conflict.path, to_string(conflict)});
    return held_back;
  }

  Result<VersionInfo> add_version(const ProfileId& profile, VersionInfo info, Bytes root,
                                  const CommitOrigin& origin) {
    RS_TRY(auto highest, catalog_->highest_version(profile));
    info.number = highest + 1;
    info.kind = origin.kind;
    info.on_head_line = !is_beside_head(origin.kind);
    info.desktop = origin.desktop;
    info.session = origin.session;
    info.epoch = origin.epoch;
    info.committed_100ns = now_100ns();
    CommitRecord record;
    record.profile = profile;
    record.info = info;
    record.root = std::move(root);
    RS_CHECK(store_->commit(std::move(record)));
    return info;
  }

  Result<void> sync_packs(os::FileSystem& files, std::uint64_t from_epoch, std::uint64_t below_epoch) {
    RS_TRY(auto epochs, packs_.epochs());
    for (auto epoch : epochs) {
      if (epoch < from_epoch || epoch >= below_epoch) continue;
      RS_TRY(auto numbers, packs_.packs_of(epoch));
      for (auto pack : numbers) {
        RS_TRY(auto file, files.open(packs_.pack_path(pack), os::OpenMode::read_write));
        RS_CHECK(file->sync());
      }
      if (!numbers.empty()) RS_CHECK(files.sync_directory(packs_.epoch_directory(epoch)));
    }
    return {};
  }

  std::mutex& commit_mutex(const ProfileId& profile) {
    std::lock_guard guard(mutexes_mutex_);
    return mutexes_[profile];
  }

  std::unique_ptr<os::File> lock_;
  std::unique_ptr<Keystore> keys_;
  PackStore packs_;
  std::unique_ptr<Catalog> catalog_;
  mutable std::optional<ObjectStore> store_;
  mutable std::mutex mutexes_mutex_;
  std::map<ProfileId, std::mutex> mutexes_;  // one profile's commits come one after the other
  // The version that was measured last, of those that were made before sizes were noted.
  mutable std::map<std::pair<ProfileId, std::uint64_t>, std::uint64_t> measured_;
};

Result<void> check_options(const Options& options) {
  if (options.directory.empty() || options.state_directory.empty())
    return fail(ErrorCode::invalid_argument, "a repository needs a directory and a state directory");
  return {};
}

}  // namespace

std::string to_string(const MergeConflict& conflict) {
  switch (conflict.kind) {
    case MergeConflict::Kind::both_changed:
      return "both sides changed it; the fork's is " +
             (conflict.kept_as.empty() ? "in the fork alone" : "kept as '" + conflict.kept_as + "'");
    case MergeConflict::Kind::deleted_ours:
      return "deleted at the head and changed in the fork: there again";
    case MergeConflict::Kind::deleted_theirs:
      return "changed at the head and deleted in the fork: still there";
  }
  return "in conflict";
}

std::string quota_text(const std::string& profile, std::uint64_t held, std::uint64_t more,
                       std::uint64_t quota_bytes) {
  auto mebibytes = [](std::uint64_t bytes) {
    auto tenths = bytes / (1u << 20) * 10 + bytes % (1u << 20) * 10 / (1u << 20);
    return std::to_string(tenths / 10) + "." + std::to_string(tenths % 10) + " MiB";
  };
  return "profile '" + profile + "' is over its quota: it holds " + mebibytes(held) + " of " +
         mebibytes(quota_bytes) + ", and what was changed would add " + mebibytes(more) +
         "; delete files, or ask an administrator for more";
}

Result<void> Repository::init(os::FileSystem& files, const Options& options) {
  RS_CHECK(check_options(options));
  RS_CHECK(files.make_directories(options.directory));
  RS_CHECK(files.make_directories(os::join_path(options.directory, "packs")));
  RS_CHECK(Keystore::create(files, options.directory));
  RS_CHECK(make_state_directory(options.state_directory));
  RS_TRY(auto keys, Keystore::open(files, options.directory));
  return Catalog::open(os::join_path(options.state_directory, kCatalogName), keys->repository(), true)
      .map([](const std::unique_ptr<Catalog>&) {});
}

Result<std::unique_ptr<Repository>> Repository::open(os::FileSystem& files, const Options& options,
                                                     Faults faults) {
  RS_CHECK(check_options(options));
  RS_TRY(auto keys, Keystore::open(files, options.directory));
  auto repository = std::make_unique<RepositoryImpl>(files, options, std::move(keys));
  if (options.read_only)
    RS_CHECK(repository->open_for_reading(os::join_path(options.state_directory, kCatalogName)));
  else
    RS_CHECK(repository->open_for_writing(files, options, std::move(faults)));
  return repository;
}

Result<void> Repository::rebuild_catalog(os::FileSystem& files, const Options& options) {
  RS_CHECK(check_options(options));
  RS_TRY(auto keys, Keystore::open(files, options.directory));
  RS_TRY(auto lock, lock_state(files, options.state_directory));
  auto path = os::join_path(options.state_directory, kCatalogName);
  RS_CHECK(set_catalog_aside(path));
  RS_TRY(auto catalog, Catalog::open(path, keys->repository(), true));
  RS_CHECK(add_known_profiles(*keys, *catalog));
  PackStore packs(files, options.directory, keys->repository());
  RS_TRY(auto accepted, packs.accepted());
  std::vector<std::string> problems;
  RS_CHECK(
      catch_up(packs, *keys, *catalog, accepted, kAllEpochs, problems).map([](const AcceptedLengths&) {}));
  warn(problems);
  return {};
}

}  // namespace roamstead::repository
