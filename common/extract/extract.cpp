#include "common/extract/extract.h"

#include <algorithm>
#include <chrono>
#include <mutex>

#include "common/base/file_time.h"
#include "common/base/log.h"
#include "common/extract/batch_builder.h"
#include "common/extract/cluster_map.h"
#include "common/extract/frozen_content.h"
#include "common/extract/journals.h"
#include "common/extract/profile_hives.h"
#include "common/extract/record_changes.h"
#include "common/extract/snapshot.h"

namespace roamstead::extract {
namespace {

constexpr std::uint64_t kCompareBytes = 4096;
constexpr std::uint64_t kCompareChunkBytes = 1u << 20;
constexpr std::size_t kMostToFollow = 200'000;  // changed records; with more the map is built anew
constexpr const char* kAgentDirectory = "ProgramData/Roamstead";  // never part of a profile

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

void add_journalled(const Provenance& provenance, std::size_t since, std::set<std::uint64_t>& candidates) {
  for (const auto& [id, item] : provenance.items())
    if (!item.withdrawn && item.last_record_at >= since) candidates.insert(item.identity.record);
}

struct Sides {
  std::unique_ptr<Snapshot> now;
  std::unique_ptr<Snapshot> before;  // null: the tree before is what provenance alone tells
  Journals journals;
  std::string profile_root;
  Delta delta;
};

// The journal of the snapshot that was extracted last.
struct KnownJournal {
  MapState state;
  std::string path;
  std::unique_ptr<Provenance> provenance;  // null: none

  // Gives it away if it is that snapshot's, forgets it if not.
  std::unique_ptr<Provenance> take_for(const Snapshot& snapshot, const std::string& journal_path) {
    auto taken = std::move(provenance);
    if (taken == nullptr || path != journal_path || state.layer.is_zero()) return nullptr;
    const auto wanted = snapshot.map_state();
    return wanted && *wanted == state ? std::move(taken) : nullptr;
  }
};

Result<Sides> open_sides(os::FileSystem& files, const Request& request, KnownJournal& known) {
  Sides sides;
  RS_TRY(sides.now, Snapshot::open(files, request.frozen_path, request.partition));
  RS_TRY(sides.delta, find_delta(sides.now->disk(), request.below_id));
  // With a journal, only a snapshot that a batch of the same session was cut from mirrors what the session
  // holds.
  const bool first = request.below_id.is_zero();
  std::unique_ptr<Snapshot> before;
  const auto open_before = [&]() -> Result<void> {
    if (sides.delta.below_path.empty()) return {};
    RS_TRY(before, Snapshot::open(files, sides.delta.below_path, request.partition));
    return {};
  };
  if (!first) RS_CHECK(open_before());
  RS_TRY(sides.journals,
         read_journals(*sides.now, before.get(), request.provenance_path,
                       on_volume(sides.delta.extents, *sides.now),
                       before == nullptr ? nullptr : known.take_for(*before, request.provenance_path)));
  const auto* journal = sides.journals.now.get();
  if (const auto top = sides.now->disk().layers().front();
      journal != nullptr && top.id.is_zero() && top.format == vdisk::Format::qcow2)
    return fail(ErrorCode::unsupported,
                request.frozen_path +
                    ": qcow2 of version 2, or written to by another program: it has no id by which a batch "
                    "could name it; make it one of ours by 'roamstead disk convert'");
  sides.profile_root = !request.profile_root.empty() ? request.profile_root
                       : journal != nullptr          ? journal->header().profile_root
                                                     : "";
  if (journal == nullptr && request.profile_root.empty())
    return fail(ErrorCode::not_found, request.frozen_path + ": no provenance journal '" +
                                          request.provenance_path + "' on the volume, and no profile named");
  if (journal != nullptr && first) return sides;
  if (first) RS_CHECK(open_before());
  if (before == nullptr) return sides;
  if (journal != nullptr) {
    const auto* old = sides.journals.before.get();
    if (old == nullptr || old->header().session != journal->header().session) return sides;
  }
  if (!before->volume().lookup(sides.profile_root)) return sides;
  sides.before = std::move(before);
  return sides;
}

Result<ProfileTree::Roots> find_roots(const Snapshot& snapshot, const Sides& sides, const Request& request) {
  const auto* journal = sides.journals.now.get();
  return ProfileTree::find_roots(snapshot.volume(), sides.profile_root,
                                 journal != nullptr ? journal->header().staging_root : "",
                                 {kAgentDirectory, os::parent_directory(request.provenance_path)});
}

}  // namespace

// Cannot be copied or moved: it is what the map belongs to.
class Extractor::Work {
 public:
  Work(os::FileSystem& files, Options options)
      : files_(files), keep_journal_(options.keep_journal), place_{&files, std::move(options.map_path)} {}

  Result<std::unique_ptr<Extraction>> extract(const Request& request);

 private:
  Result<std::unique_ptr<Extraction>> attempt(const Request& request);
  Result<void> compare(const Sides& sides, const Request& request, ExtractionResult& result);
  // Files of the profile, wherever they are from; the map is built on the way.
  Result<void> add_all_in_profile(const Snapshot& now, ProfileTree& tree, std::set<std::uint64_t>& candidates,
                                  Statistics& statistics);
  // Brings the map to `now`. `changed` and `records` are what differs from `before`, `records` without what
  // the map knows better.
  Result<void> follow(const Snapshot& now, const Snapshot& before, const RangeSet& changed,
                      std::set<std::uint64_t> records, const MapState& next);
  Result<void> prepare_map(const Sides& sides, std::uint32_t partition, const RangeSet& changed,
                           const std::set<std::uint64_t>& records, Statistics& statistics);
  Result<bool> follow_chain(const Snapshot& now, std::uint32_t partition, const MapState& next);
  Result<void> build_map(const Snapshot& now, const MapState& state, const MapPlace& place,
                         const std::function<void(std::uint64_t, const Result<ntfs::FileRecord>&)>& see);
  Result<void> build_map(const Snapshot& now, const MapState& state, Statistics& statistics,
                         const std::function<void(std::uint64_t, const Result<ntfs::FileRecord>&)>& see);
  void open_kept_map();
  // What the map says. Its trouble is not the volume's: then another attempt is made without it.
  template <class T>
  Result<T> ask(Result<T> answer) {
    if (!answer) map_failed_ = true;
    return answer;
  }

  os::FileSystem& files_;
  const bool keep_journal_;
  std::mutex mutex_;  // all below
  KnownJournal known_;
  MapPlace place_;
  bool tried_to_open_ = false;
  bool map_failed_ = false;
  std::unique_ptr<ClusterMap> map_;  // null: none yet
};

void Extractor::Work::open_kept_map() {
  if (tried_to_open_ || map_ != nullptr || !place_.kept()) return;
  tried_to_open_ = true;
  auto map = ClusterMap::open(place_);
  if (map) {
    map_ = std::move(*map);
  } else if (map.error().code == ErrorCode::busy) {
    log_warning("{}; working without", map.error().to_string());
    place_ = {};
  } else if (map.error().code != ErrorCode::not_found) {
    log_info("a cluster map is built anew: {}", map.error().to_string());
  }
}

Result<void> Extractor::Work::build_map(
    const Snapshot& now, const MapState& state, const MapPlace& place,
    const std::function<void(std::uint64_t, const Result<ntfs::FileRecord>&)>& see) {
  ClusterMap::Builder builder(now.volume().info(), place);
  Result<void> added;
  RS_CHECK(now.volume().scan([&](std::uint64_t number, Result<ntfs::FileRecord> file) {
    if (see) see(number, file);
    added = builder.add(number, file);
    return added.has_value();
  }));
  RS_CHECK(std::move(added));
  RS_TRY(map_, builder.finish(state));
  return {};
}

Result<void> Extractor::Work::build_map(
    const Snapshot& now, const MapState& state, Statistics& statistics,
    const std::function<void(std::uint64_t, const Result<ntfs::FileRecord>&)>& see) {
  map_.reset();
  statistics.map_built = true;
  // Without an id nothing tells whether a layer is still the same: no map of it is kept.
  const bool keep = place_.kept() && !state.layer.is_zero();
  if (keep) {
    auto built = build_map(now, state, place_, see);
    if (built) return {};
    log_warning("the cluster map is not kept: {}", built.error().to_string());
    place_ = {};
  }
  return build_map(now, state, {}, see);
}

Result<void> Extractor::Work::follow(const Snapshot& now, const Snapshot& before, const RangeSet& changed,
                                     std::set<std::uint64_t> records, const MapState& next) {
  RS_TRY(auto unsettled, map_->unsettled(changed));
  records.merge(unsettled);
  return map_->update(before.volume(), now.volume(), records, next);
}

// From any other layer of the chain. False: the map is of no layer of it.
Result<bool> Extractor::Work::follow_chain(const Snapshot& now, std::uint32_t partition,
                                           const MapState& next) {
  const auto layers = now.disk().layers();
  const auto found = std::find_if(layers.begin(), layers.end(),
                                  [&](const auto& layer) { return layer.id == map_->state().layer; });
  if (found == layers.begin() || found == layers.end()) return false;
  RS_TRY(const auto before, Snapshot::open(files_, found->path, partition));
  RS_TRY(const auto state, before->map_state());
  if (state != map_->state()) return false;
  RS_TRY(const auto delta, find_delta(now.disk(), found->id));
  RS_TRY(const auto changed, really_changed(on_volume(delta.extents, now), now, *before));
  std::uint64_t looked_at = 0;
  RS_TRY(auto records, changed_records(now.volume(), before->volume(), changed, looked_at));
  if (records.size() > kMostToFollow) return false;
  RS_CHECK(follow(now, *before, changed, std::move(records), next));
  return true;
}

Result<void> Extractor::Work::prepare_map(const Sides& sides, std::uint32_t partition,
                                          const RangeSet& changed, const std::set<std::uint64_t>& records,
                                          Statistics& statistics) {
  open_kept_map();
  RS_TRY(const auto next, sides.now->map_state());
  if (map_ != nullptr && !next.layer.is_zero() && next.same_volume(map_->state())) {
    if (map_->state() == next) return {};
    RS_TRY(const auto below, sides.before->map_state());
    if (map_->state() == below && records.size() <= kMostToFollow)
      return ask(follow(*sides.now, *sides.before, changed, records, next));
    if (map_->state() != below) {
      RS_TRY(const bool followed, ask(follow_chain(*sides.now, partition, next)));
      if (followed) return {};
    }
  }
  return build_map(*sides.now, next, statistics, {});
}

Result<void> Extractor::Work::add_all_in_profile(const Snapshot& now, ProfileTree& tree,
                                                 std::set<std::uint64_t>& candidates,
                                                 Statistics& statistics) {
  RS_TRY(const auto state, now.map_state());
  return build_map(now, state, statistics, [&](std::uint64_t number, const Result<ntfs::FileRecord>& file) {
    ++statistics.candidate_records;
    // A damaged record may be anybody's. It is named if the journal knows it.
    if (file && tree.place(*file).place == Place::inside) candidates.insert(number);
  });
}

Result<void> Extractor::Work::compare(const Sides& sides, const Request& request, ExtractionResult& result) {
  const auto& now = *sides.now;
  const auto* provenance = sides.journals.now.get();
  RS_TRY(auto roots, find_roots(now, sides, request));
  ProfileTree tree(now.volume(), roots);
  std::optional<Mirror> mirror;
  if (sides.before) {
    RS_TRY(auto old_roots, find_roots(*sides.before, sides, request));
    mirror.emplace(Mirror{sides.before->volume(), ProfileTree(sides.before->volume(), std::move(old_roots)),
                          provenance != nullptr ? sides.journals.before.get() : nullptr});
  }
  TreeBefore before(now.volume(), roots.profile, provenance, mirror ? &*mirror : nullptr);

  auto& statistics = result.statistics_;
  auto changed = on_volume(sides.delta.extents, now);
  statistics.delta_bytes = changed.total_bytes();
  std::set<std::uint64_t> candidates, doubly_owned;
  if (mirror) {
    RS_TRY(changed, really_changed(changed, now, *sides.before));
    RS_TRY(candidates,
           changed_records(now.volume(), sides.before->volume(), changed, statistics.candidate_records));
    RS_CHECK(prepare_map(sides, request.partition, changed, candidates, statistics));
    RS_TRY(auto owners, ask(map_->owners(changed)));
    candidates.merge(owners);
    if (provenance != nullptr)
      add_journalled(*provenance, mirror->provenance != nullptr ? mirror->provenance->valid_bytes() : 0,
                     candidates);
    RS_TRY(doubly_owned, ask(map_->doubly_owned(now.volume(), candidates)));
  } else {
    RS_CHECK(add_all_in_profile(now, tree, candidates, statistics));
    if (provenance != nullptr) add_journalled(*provenance, 0, candidates);
    RS_TRY(doubly_owned, ask(map_->doubly_owned()));
  }
  statistics.changed_bytes = changed.total_bytes();

  bool all_known = !mirror;
  const auto is_doubly_owned = [&](std::uint64_t record) -> Result<bool> {
    // Below a directory that came from elsewhere are files that were no candidates.
    if (!all_known && candidates.count(record) == 0) {
      RS_TRY(doubly_owned, ask(map_->doubly_owned()));
      all_known = true;
    }
    return doubly_owned.count(record) != 0;
  };
  RS_TRY(auto hives,
         ProfileHives::find({now.volume(), tree, before, provenance, mirror ? &candidates : nullptr,
                             sides.profile_root, request.provenance_path}));
  BatchBuilder builder({now.volume(), tree, before, provenance, mirror ? &changed : nullptr, is_doubly_owned,
                        sides.profile_root, request.quiesced, hives.files()});
  for (auto record : candidates) RS_CHECK(builder.examine(record));
  for (auto record : hives.displaced()) RS_CHECK(builder.examine(record));
  RS_CHECK(builder.finish(result.batch_, result.locators_));
  RS_CHECK(hives.finish(result.batch_, result.locators_));
  statistics.files_examined = builder.files_examined();
  return {};
}

Result<std::unique_ptr<Extraction>> Extractor::Work::attempt(const Request& request) {
  const auto start = std::chrono::steady_clock::now();
  auto result = std::make_unique<ExtractionResult>();
  RS_TRY(auto sides, open_sides(files_, request, known_));
  RS_CHECK_CTX("extraction from " + request.frozen_path, compare(sides, request, *result));
  auto& batch = result->batch_;
  batch.quiesced = request.quiesced;
  batch.taken_100ns = request.taken_100ns != 0 ? request.taken_100ns : now_100ns();
  batch.snapshot = sides.now->disk().layers().front().id;
  RS_CHECK(profile::check_batch(batch));
  if (batch.records.size() > profile::kMaxBatchRecords)
    return fail(ErrorCode::unsupported, request.frozen_path + ": " + std::to_string(batch.records.size()) +
                                            " changes, more than a batch can hold");
  if (sides.journals.now != nullptr) result->journal_ = sides.journals.now->header();
  if (keep_journal_ && sides.journals.now != nullptr) {
    RS_TRY(known_.state, sides.now->map_state());
    known_.path = request.provenance_path;
    sides.journals.before.reset();
    known_.provenance = std::move(sides.journals.now);
  }
  result->content_ = std::make_unique<FrozenContent>(std::move(sides.now), result->locators_, batch);
  result->statistics_.seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return std::unique_ptr<Extraction>(std::move(result));
}

Result<std::unique_ptr<Extraction>> Extractor::Work::extract(const Request& request) {
  std::lock_guard lock(mutex_);
  map_failed_ = false;
  auto result = attempt(request);
  if (map_failed_) {  // also where an answer was taken for a damaged file's fault and held back
    if (!result) log_warning("a cluster map is built anew: {}", result.error().to_string());
    map_.reset();
    tried_to_open_ = true;
    result = attempt(request);
  }
  // After an error nothing is certain of the map in memory; the kept one is as good as it was.
  if (!result || (map_ != nullptr && map_->state().layer.is_zero())) {
    map_.reset();
    tried_to_open_ = false;
  }
  return result;
}

Extractor::Extractor(os::FileSystem& files, Options options)
    : work_(std::make_unique<Work>(files, std::move(options))) {}

Extractor::~Extractor() = default;

Result<std::unique_ptr<Extraction>> Extractor::extract(const Request& request) {
  return work_->extract(request);
}

Result<std::unique_ptr<Extraction>> extract(os::FileSystem& files, const Request& request) {
  return Extractor(files).extract(request);
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
