#include "common/extract/extract.h"

#include <algorithm>
#include <chrono>

#include "common/extract/batch_builder.h"
#include "common/extract/cluster_map.h"
#include "common/extract/frozen_content.h"
#include "common/extract/snapshot.h"

namespace roamstead::extract {
namespace {

constexpr std::uint64_t kCompareBytes = 4096;
constexpr std::uint64_t kCompareChunkBytes = 1u << 20;
constexpr const char* kAgentDirectory = "ProgramData/Roamstead";  // never part of a profile

std::uint64_t now_100ns() {
  constexpr std::uint64_t kUnixEpoch = 116'444'736'000'000'000;  // 1970 since 1601
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return kUnixEpoch +
         static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(now).count() / 100);
}

class ExtractionResult final : public Extraction {
 public:
  const profile::Batch& batch() const override { return batch_; }
  const std::vector<Locator>& locators() const override { return locators_; }
  profile::ContentSource& content() override { return *content_; }
  const Statistics& statistics() const override { return statistics_; }
  const std::optional<JournalHeader>& journal() const override { return journal_; }

  profile::Batch batch_;
  std::vector<Locator> locators_;
  std::unique_ptr<profile::ContentSource> content_;
  Statistics statistics_;
  std::optional<JournalHeader> journal_;
};

// What lies above the layer `below_id` in the chain, and that layer's path.
struct Delta {
  RangeSet extents;        // of the disk
  std::string below_path;  // empty: nothing below
};

Result<Delta> find_delta(const vdisk::Disk& disk, const Guid& below_id) {
  const auto layers = disk.layers();
  std::size_t below = 1;
  if (!below_id.is_zero()) {
    const auto found =
        std::find_if(layers.begin(), layers.end(), [&](const auto& layer) { return layer.id == below_id; });
    if (found == layers.end())
      return fail(ErrorCode::not_found,
                  disk.name() + ": no layer of the chain has the id " + below_id.to_string() +
                      ", where the previous batch ended; extract from the session's beginning instead");
    below = static_cast<std::size_t>(found - layers.begin());
  }
  Delta delta;
  for (std::size_t i = 0; i < below && i < layers.size(); ++i) {
    RS_TRY(const auto extents, disk.extents(i));
    delta.extents.add(extents);
  }
  if (below < layers.size()) delta.below_path = layers[below].path;
  return delta;
}

// The part of `extents` that is the volume's, in the volume's own offsets.
RangeSet on_volume(const RangeSet& extents, const Snapshot& snapshot) {
  RangeSet result;
  for (auto range : extents.covered({snapshot.volume_offset(), snapshot.device().size_bytes()}))
    result.add({range.offset - snapshot.volume_offset(), range.length});
  return result;
}

// Of `ranges`, in whole pages, what really differs.
Result<RangeSet> really_changed(const RangeSet& ranges, const Snapshot& now, const Snapshot& before) {
  RangeSet pages, changed;
  const auto end = now.device().size_bytes();
  for (auto range : ranges.ranges()) {
    const auto begin = range.offset - range.offset % kCompareBytes;
    pages.add(
        {begin, std::min(end, (range.end() + kCompareBytes - 1) / kCompareBytes * kCompareBytes) - begin});
  }
  Bytes a, b;
  for (auto range : pages.ranges()) {
    for (auto at = range.offset; at < range.end();) {
      const auto length = std::min(kCompareChunkBytes, range.end() - at);
      const auto comparable =
          at >= before.device().size_bytes() ? 0 : std::min(length, before.device().size_bytes() - at);
      a.assign(length, std::byte{0});
      b.assign(length, std::byte{0});
      RS_CHECK(now.device().read(at, a));
      if (comparable != 0) RS_CHECK(before.device().read(at, MutableByteView(b).first(comparable)));
      for (std::uint64_t in = 0; in < length; in += kCompareBytes) {
        const auto part = std::min(kCompareBytes, length - in);
        if (in + part > comparable || std::memcmp(a.data() + in, b.data() + in, part) != 0)
          changed.add({at + in, part});
      }
      at += length;
    }
  }
  return changed;
}

// Base records (on either side) whose MFT records differ.
Result<void> add_changed_records(const RangeSet& changed, const Snapshot& now, const Snapshot& before,
                                 std::set<std::uint64_t>& candidates, Statistics& statistics) {
  std::set<std::uint64_t> numbers;
  for (auto range : changed.ranges())
    for (const auto* volume : {&now.volume(), &before.volume()})
      for (const auto& span : volume->records_in(range))
        for (std::uint64_t i = 0; i < span.count; ++i) numbers.insert(span.first + i);
  statistics.candidate_records = numbers.size();
  for (auto number : numbers) {
    auto a = now.volume().raw_record(number);
    auto b = before.volume().raw_record(number);
    if (a && b && *a == *b) continue;
    for (const auto* error : {a ? nullptr : &a.error(), b ? nullptr : &b.error()})
      if (error != nullptr && error->code == ErrorCode::io) return fail(*error);
    candidates.insert(number);
    if (auto base = now.volume().base_record(number)) candidates.insert(*base);
    if (auto base = before.volume().base_record(number)) candidates.insert(*base);
  }
  return {};
}

// Files of the profile, wherever they are from.
Result<void> add_all_in_profile(const Snapshot& now, ProfileTree& tree, std::set<std::uint64_t>& candidates,
                                Statistics& statistics) {
  return now.volume().scan([&](std::uint64_t number, Result<ntfs::FileRecord> file) {
    ++statistics.candidate_records;
    // A damaged record may be anybody's. It is named if the journal knows it.
    if (file && tree.place(*file).place == Place::inside) candidates.insert(number);
    return true;
  });
}

void add_journalled(const Provenance& provenance, std::size_t since, std::set<std::uint64_t>& candidates) {
  for (const auto& [id, item] : provenance.items())
    if (!item.withdrawn && item.last_record_at >= since) candidates.insert(item.identity.record);
}

struct Sides {
  std::unique_ptr<Snapshot> now;
  std::unique_ptr<Snapshot> before;  // null: the tree before is what provenance alone tells
  std::string profile_root;
  Delta delta;
};

Result<Sides> open_sides(os::FileSystem& files, const Request& request) {
  Sides sides;
  RS_TRY(sides.now, Snapshot::open(files, request.frozen_path, request.partition));
  if (!request.provenance_path.empty()) RS_CHECK(sides.now->load_provenance(request.provenance_path));
  const auto& journal = sides.now->provenance();
  sides.profile_root = !request.profile_root.empty() ? request.profile_root
                       : journal                     ? journal->header().profile_root
                                                     : "";
  if (!journal && request.profile_root.empty())
    return fail(ErrorCode::not_found, request.frozen_path + ": no provenance journal '" +
                                          request.provenance_path + "' on the volume, and no profile named");
  RS_TRY(sides.delta, find_delta(sides.now->disk(), request.below_id));
  // With a journal, only a snapshot that a batch of the same session was cut from mirrors what the session
  // holds.
  if (sides.delta.below_path.empty() || (journal && request.below_id.is_zero())) return sides;
  RS_TRY(auto before, Snapshot::open(files, sides.delta.below_path, request.partition));
  if (journal) {
    RS_CHECK(before->load_provenance(request.provenance_path));
    const auto& old = before->provenance();
    if (!old || old->header().session != journal->header().session) return sides;
  }
  if (!before->volume().lookup(sides.profile_root)) return sides;
  sides.before = std::move(before);
  return sides;
}

Result<ProfileTree::Roots> find_roots(const Snapshot& snapshot, const Sides& sides, const Request& request) {
  const auto& journal = sides.now->provenance();
  return ProfileTree::find_roots(snapshot.volume(), sides.profile_root,
                                 journal ? journal->header().staging_root : "",
                                 {kAgentDirectory, os::parent_directory(request.provenance_path)});
}

Result<void> compare(const Sides& sides, const Request& request, ExtractionResult& result) {
  const auto& now = *sides.now;
  const auto* provenance = now.provenance() ? &*now.provenance() : nullptr;
  RS_TRY(auto roots, find_roots(now, sides, request));
  ProfileTree tree(now.volume(), roots);
  std::optional<Mirror> mirror;
  if (sides.before) {
    RS_TRY(auto old_roots, find_roots(*sides.before, sides, request));
    const auto& old = sides.before->provenance();
    mirror.emplace(Mirror{sides.before->volume(), ProfileTree(sides.before->volume(), std::move(old_roots)),
                          provenance != nullptr && old ? &*old : nullptr});
  }
  TreeBefore before(now.volume(), roots.profile, provenance, mirror ? &*mirror : nullptr);

  auto& statistics = result.statistics_;
  auto changed = on_volume(sides.delta.extents, now);
  statistics.delta_bytes = changed.total_bytes();
  std::set<std::uint64_t> candidates;
  RS_TRY(const auto map, ClusterMap::build(now.volume()));
  if (mirror) {
    RS_TRY(changed, really_changed(changed, now, *sides.before));
    RS_CHECK(add_changed_records(changed, now, *sides.before, candidates, statistics));
    candidates.merge(map.owners(changed.ranges()));
    if (provenance != nullptr)
      add_journalled(*provenance, mirror->provenance != nullptr ? mirror->provenance->valid_bytes() : 0,
                     candidates);
  } else {
    RS_CHECK(add_all_in_profile(now, tree, candidates, statistics));
    if (provenance != nullptr) add_journalled(*provenance, 0, candidates);
  }
  statistics.changed_bytes = changed.total_bytes();

  BatchBuilder builder({now.volume(), tree, before, provenance, mirror ? &changed : nullptr,
                        &map.doubly_owned(), sides.profile_root, request.quiesced});
  for (auto record : candidates) RS_CHECK(builder.examine(record));
  RS_CHECK(builder.finish(result.batch_, result.locators_));
  statistics.files_examined = builder.files_examined();
  return {};
}

}  // namespace

Result<std::unique_ptr<Extraction>> extract(os::FileSystem& files, const Request& request) {
  const auto start = std::chrono::steady_clock::now();
  auto result = std::make_unique<ExtractionResult>();
  RS_TRY(auto sides, open_sides(files, request));
  RS_CHECK_CTX("extraction from " + request.frozen_path, compare(sides, request, *result));
  auto& batch = result->batch_;
  batch.quiesced = request.quiesced;
  batch.taken_100ns = request.taken_100ns != 0 ? request.taken_100ns : now_100ns();
  batch.snapshot = sides.now->disk().layers().front().id;
  RS_CHECK(profile::check_batch(batch));
  if (batch.records.size() > profile::kMaxBatchRecords)
    return fail(ErrorCode::unsupported, request.frozen_path + ": " + std::to_string(batch.records.size()) +
                                            " changes, more than a batch can hold");
  if (sides.now->provenance()) result->journal_ = sides.now->provenance()->header();
  result->content_ = std::make_unique<FrozenContent>(std::move(sides.now), result->locators_, batch);
  result->statistics_.seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return std::unique_ptr<Extraction>(std::move(result));
}

Result<std::unique_ptr<profile::ContentSource>> open_content(os::FileSystem& files,
                                                             const std::string& frozen_path,
                                                             std::uint32_t partition,
                                                             const std::vector<Locator>& locators,
                                                             const profile::Batch& batch) {
  if (locators.size() != batch.records.size())
    return fail(ErrorCode::corrupt, "a batch of " + std::to_string(batch.records.size()) + " records with " +
                                        std::to_string(locators.size()) + " locators");
  RS_TRY(auto snapshot, Snapshot::open(files, frozen_path, partition));
  if (const auto id = snapshot->disk().layers().front().id; id != batch.snapshot)
    return fail(ErrorCode::stale, frozen_path + ": has the id " + id.to_string() +
                                      ", the batch was cut from " + batch.snapshot.to_string());
  return std::unique_ptr<profile::ContentSource>(
      std::make_unique<FrozenContent>(std::move(snapshot), locators, batch));
}

}  // namespace roamstead::extract
