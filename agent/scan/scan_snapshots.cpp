#include "agent/scan/scan_snapshots.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "agent/scan/content_spool.h"
#include "agent/scan/scan_work.h"
#include "common/base/file_time.h"
#include "common/base/log.h"
#include "common/extract/base_hive.h"

namespace roamstead::agent {
namespace {

constexpr const char* kTable = "saved.tree";
constexpr const char* kCopyPrefix = "copy-";
constexpr const char* kContentSuffix = ".content";
constexpr std::uint64_t kHeaderBytes = 64 << 10;
constexpr std::uint64_t kMostCopiedBytes = 512u << 20;
constexpr std::uint64_t kCopyBytes = 1u << 20;
constexpr int kMostNarrowed = 15;                 // scans in a row
constexpr std::size_t kMostKeptFolders = 20'000;  // in memory, with what they list
constexpr std::size_t kMostKeptItems = 100'000;

std::string content_name(const Guid& id) { return id.to_string() + kContentSuffix; }

Result<void> read_exactly(VolumeHandle& handle, std::uint64_t offset, MutableByteView out) {
  RS_TRY(const auto count, handle.read(offset, out));
  if (count == out.size()) return {};
  return fail(ErrorCode::corrupt, "the provenance journal ends at " + std::to_string(offset + count));
}

// Whether what is listed at all, and what not, is what it was.
bool same_rules(const CutFacts& known, const std::vector<CopiedFile>& now,
                const std::string& provenance_path) {
  const auto copy_in = [](const std::vector<CopiedFile>& copies, const std::string& path) {
    const auto found =
        std::find_if(copies.begin(), copies.end(), [&](const auto& copy) { return copy.path == path; });
    return found == copies.end() ? std::string() : found->copy;
  };
  for (const auto& path : {extract::rules_path(provenance_path), extract::logout_path(provenance_path)})
    if (copy_in(known.hives, path) != copy_in(now, path)) return false;
  return true;
}

class CopiedCut final : public Cut {
 public:
  CopiedCut(profile::Batch batch, std::unique_ptr<profile::ContentSource> content)
      : batch_(std::move(batch)), content_(std::move(content)) {}
  const profile::Batch& batch() const override { return batch_; }
  profile::ContentSource& content() override { return *content_; }
  Bytes locators() const override { return {}; }  // the batch says where its bytes lie

 private:
  const profile::Batch batch_;
  const std::unique_ptr<profile::ContentSource> content_;
};

}  // namespace

Result<std::unique_ptr<ScanSnapshots>> ScanSnapshots::open(ScanSource& source, os::FileSystem& files,
                                                           Options options) {
  RS_CHECK(files.make_directories(options.directory));
  RS_TRY(auto tree, SavedTree::open(files, os::join_path(options.directory, kTable)));
  return std::unique_ptr<ScanSnapshots>(
      new ScanSnapshots(source, files, std::move(options), std::move(tree)));
}

ScanSnapshots::ScanSnapshots(ScanSource& source, os::FileSystem& files, Options options,
                             std::unique_ptr<SavedTree> tree)
    : source_(source), files_(files), options_(std::move(options)), tree_(std::move(tree)) {}

void ScanSnapshots::watch_loading(LoadedSince loaded_since) {
  std::lock_guard lock(mutex_);
  loaded_since_ = std::move(loaded_since);
}

void ScanSnapshots::expect_last() {
  std::lock_guard lock(mutex_);
  expect_last_ = true;
}

void ScanSnapshots::expect_whole() {
  std::lock_guard lock(mutex_);
  expect_whole_ = true;
}

bool ScanSnapshots::left_something() {
  std::lock_guard lock(mutex_);
  return left_something_;
}

ScanStatistics ScanSnapshots::statistics() const {
  std::lock_guard lock(mutex_);
  return statistics_;
}

// Programs are held: only what must be of one instant is copied, and of that only what changed.
Result<FrozenLayer> ScanSnapshots::freeze() {
  std::lock_guard lock(mutex_);
  Frozen frozen;
  frozen.last = std::exchange(expect_last_, false);
  frozen.whole = std::exchange(expect_whole_, false) || frozen.last;
  frozen.layer.id = Guid::random();
  frozen.layer.path = in_spool(content_name(frozen.layer.id));
  frozen.taken_100ns = now_100ns();
  RS_TRY_CTX(const auto journal, options_.provenance_path,
             source_.open_to_read(options_.provenance_path, ""));
  RS_TRY(frozen.journal_bytes, journal->size());
  Bytes head(static_cast<std::size_t>(std::min(frozen.journal_bytes, kHeaderBytes)));
  RS_CHECK(read_exactly(*journal, 0, head));
  RS_TRY_CTX(const auto beginning, options_.provenance_path, extract::Provenance::parse(head));
  frozen.header = beginning.header();
  const auto before = tree_->facts() ? tree_->facts()->hives : std::vector<CopiedFile>();
  const auto add = [&](const std::string& path, bool hive) -> Result<void> {
    RS_TRY_CTX(auto copied, "copying " + path, copy(path, hive, before));
    if (copied) frozen.copies.push_back(std::move(*copied));
    return {};
  };
  for (const auto& hive : profile::hive_paths()) {
    const auto path = frozen.header.profile_root + "/" + hive.text();
    for (const char* ending : {"", ".LOG", ".LOG1", ".LOG2"}) RS_CHECK(add(path + ending, *ending == 0));
    RS_CHECK(add(extract::base_hive_path(options_.provenance_path, frozen.header.session, hive), false));
  }
  RS_CHECK(add(extract::rules_path(options_.provenance_path), false));
  RS_CHECK(add(extract::logout_path(options_.provenance_path), false));
  frozen_ = std::move(frozen);
  return frozen_->layer;
}

// Nothing: there is no such file.
Result<std::optional<CopiedFile>> ScanSnapshots::copy(const std::string& path, bool hive,
                                                      const std::vector<CopiedFile>& before) {
  const auto there = source_.look(path);
  if (!there && there.error().code == ErrorCode::not_found) return std::optional<CopiedFile>();
  if (!there) return fail(there.error());
  if (there->directory) return std::optional<CopiedFile>();
  CopiedFile copied{path,
                    there->record,
                    there->sequence != 0 ? there->sequence : std::uint16_t{1},
                    there->stamp.size_bytes,
                    there->stamp.written_100ns,
                    there->stamp.changed_100ns,
                    kCopyPrefix + Guid::random().to_string()};
  for (const auto& known : before)
    if (known.path == path && known.record == copied.record && known.size_bytes == copied.size_bytes &&
        known.written_100ns == copied.written_100ns && known.changed_100ns == copied.changed_100ns)
      return std::optional(known);
  if (std::max(copied.written_100ns, copied.changed_100ns) + kTick_100ns >= now_100ns())
    copied.changed_100ns = 0;  // a change within the same tick would not show: copied anew the next time
  const auto target = in_spool(copied.copy);
  auto handle = source_.open_to_read(path, "");
  const bool in_use =
      !handle && (handle.error().code == ErrorCode::busy || handle.error().code == ErrorCode::denied);
  if (in_use && hive && options_.save_hive) {
    RS_CHECK(options_.save_hive(path, target));
    RS_TRY(const auto saved, files_.open(target, os::OpenMode::read));
    RS_TRY(copied.size_bytes, saved->size());
    copied.changed_100ns = 0;
    return std::optional(std::move(copied));
  }
  if (in_use && !hive) return std::optional<CopiedFile>();  // a log of a hive that was saved whole
  if (!handle) return fail(std::move(handle).error());
  if ((*handle)->record() != there->record) return fail(ErrorCode::busy, path + " was replaced just now");
  RS_TRY(const auto size, (*handle)->size());
  if (size > kMostCopiedBytes)
    return fail(ErrorCode::unsupported, path + ": " + std::to_string(size) + " bytes, more than a hive has");
  copied.size_bytes = size;
  RS_TRY(const auto file, files_.open(target, os::OpenMode::create_new));
  Bytes bytes;
  for (std::uint64_t at = 0; at < size; at += bytes.size()) {
    bytes.resize(static_cast<std::size_t>(std::min(kCopyBytes, size - at)));
    RS_TRY(const auto count, (*handle)->read(at, bytes));
    if (count != bytes.size()) return fail(ErrorCode::busy, path + " was shrunk just now");
    RS_CHECK(file->write_at(at, bytes));
  }
  return std::optional(std::move(copied));
}

Result<std::unique_ptr<Cut>> ScanSnapshots::cut(const FrozenLayer& frozen, const Guid& below) {
  std::lock_guard lock(mutex_);
  const auto start = std::chrono::steady_clock::now();
  if (!frozen_ || frozen_->layer.id != frozen.id)
    return fail(ErrorCode::not_found, "the scan " + frozen.id.to_string() + " was begun by another process");
  RS_CHECK(tree_->go_to(below));
  const auto known = tree_->facts();
  if (known && known->session != frozen_->header.session)
    return fail(ErrorCode::conflict, "the scan's table is of another session, " + known->session.to_string());

  RS_TRY(const auto journal, source_.open_to_read(options_.provenance_path, ""));
  const extract::JournalSource journal_source = [&](std::uint64_t offset, MutableByteView out) {
    return read_exactly(*journal, offset, out);
  };
  const auto first_bytes = known ? known->journal_bytes : frozen_->journal_bytes;
  if (first_bytes > frozen_->journal_bytes)
    return fail(ErrorCode::conflict, "the provenance journal is shorter than when the last batch was cut");
  RS_TRY(auto provenance, extract::Provenance::parse(journal_source, first_bytes));
  std::optional<extract::EarlierProvenance> earlier;
  if (known) {
    earlier.emplace(provenance);
    RS_CHECK(provenance.extend(journal_source, frozen_->journal_bytes, *earlier));
  }

  auto changed = source_.changed_folders();  // from here on it is heard of the next time
  if (changed && known && !frozen_->whole && known->id == listed_.cut && known->id == below &&
      listed_.since_whole < kMostNarrowed && same_rules(*known, frozen_->copies, options_.provenance_path)) {
    ++listed_.since_whole;
  } else {
    changed.reset();
  }
  auto listed = std::exchange(listed_, Listed());  // of use again only when all of this succeeds
  const auto until = start + options_.last_patience;
  statistics_ = {};
  std::optional<ScanWork> work;
  for (;;) {
    ScanWork::Place place{source_,
                          *tree_,
                          files_,
                          options_.directory,
                          frozen_->layer.path,
                          options_.provenance_path,
                          listed.folders,
                          std::exchange(changed, std::nullopt)};
    work.emplace(std::move(place), frozen_->header, frozen_->copies, provenance,
                 earlier ? &*earlier : nullptr, frozen_->journal_bytes, loaded_since_,
                 ScanWork::Limits{frozen_->last ? 0 : options_.most_bytes});
    RS_CHECK_CTX("scan", work->run(statistics_));
    if (!frozen_->last || !work->met_open_files() || std::chrono::steady_clock::now() >= until) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
  }
  auto& batch = work->batch();
  batch.quiesced = true;
  batch.taken_100ns = frozen_->taken_100ns;
  batch.snapshot = frozen.id;
  RS_CHECK(profile::check_batch(batch));
  if (batch.records.size() > profile::kMaxBatchRecords)
    return fail(ErrorCode::unsupported,
                std::to_string(batch.records.size()) + " changes, more than a batch can hold");
  // Copies and their names first, then the table: what that names is there.
  for (const auto& copied : frozen_->copies) {
    RS_TRY(const auto file, files_.open(in_spool(copied.copy), os::OpenMode::read_write));
    RS_CHECK(file->sync());
  }
  RS_CHECK(files_.sync_directory(options_.directory));
  CutFacts facts{frozen.id, frozen_->header.session, frozen_->journal_bytes, frozen_->copies};
  RS_CHECK(tree_->add_cut(facts, work->changes()));
  left_something_ = work->left_something();
  statistics_.whole = work->was_whole();
  if (listed.folders.by_record.size() <= kMostKeptFolders && statistics_.listed <= kMostKeptItems) {
    listed_ = std::move(listed);
    listed_.cut = frozen.id;
    if (statistics_.whole) listed_.since_whole = 0;
  }
  statistics_.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  log_info("{} in {:.0f} ms ({:.0f} ms of it names): {} items, {} looked at, {} KiB copied{}",
           statistics_.whole ? "scanned" : "scanned what changed", statistics_.seconds * 1e3,
           statistics_.list_seconds * 1e3, statistics_.listed, statistics_.examined,
           statistics_.copied_bytes >> 10, left_something_ ? ", something is left to the next one" : "");
  RS_TRY(auto content, open_copied_content(files_, frozen_->layer.path, batch));
  return std::unique_ptr<Cut>(std::make_unique<CopiedCut>(std::move(batch), std::move(content)));
}

Result<std::unique_ptr<profile::ContentSource>> ScanSnapshots::open_content(const FrozenLayer& frozen,
                                                                            const profile::Batch& batch,
                                                                            ByteView) {
  return open_copied_content(files_, in_spool(content_name(frozen.id)), batch);
}

Result<std::size_t> ScanSnapshots::frozen_layers() {
  std::lock_guard lock(mutex_);
  RS_TRY(const auto cuts, tree_->cuts());
  return cuts.size();
}

Result<void> ScanSnapshots::tidy(const Guid& keep) {
  std::lock_guard lock(mutex_);
  if (keep.is_zero()) return {};
  RS_CHECK(tree_->settle(keep));
  RS_TRY(const auto cuts, tree_->cuts());
  return !cuts.empty() && cuts.front().id == keep ? remove_unused(cuts) : Result<void>{};
}

// What no cut that is known refers to.
Result<void> ScanSnapshots::remove_unused(const std::vector<CutFacts>& cuts) {
  std::set<std::string> wanted;
  for (std::size_t i = 0; i < cuts.size(); ++i) {
    if (i != 0) wanted.insert(content_name(cuts[i].id));  // the first one's batch has been acknowledged
    for (const auto& copied : cuts[i].hives) wanted.insert(copied.copy);
  }
  if (frozen_)
    for (const auto& copied : frozen_->copies) wanted.insert(copied.copy);
  RS_TRY(const auto names, files_.list_directory(options_.directory));
  for (const auto& name : names) {
    const bool ours = name.starts_with(kCopyPrefix) || name.ends_with(kContentSuffix);
    if (ours && wanted.count(name) == 0) RS_CHECK(files_.remove(in_spool(name)));
  }
  return {};
}

}  // namespace roamstead::agent
