#include "common/extract/extract.h"

#include <algorithm>
#include <chrono>
#include <mutex>

#include "common/base/file_time.h"
#include "common/base/log.h"
#include "common/extract/batch_builder.h"
#include "common/extract/cluster_map.h"
#include "common/extract/frozen_content.h"
#include "common/extract/profile_hives.h"
#include "common/extract/record_changes.h"
#include "common/extract/selection.h"
#include "common/extract/sides.h"

namespace roamstead::extract {
namespace {

constexpr std::size_t kMostToFollow = 200'000;  // changed records; with more the map is built anew

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

void add_journalled(const Provenance& provenance, const Mirror* mirror, RecordSet& candidates) {
  if (mirror != nullptr && mirror->continued != nullptr) {
    for (const auto id : mirror->continued->spoken_of_since())
      if (const auto item = provenance.find(id); !item->withdrawn) candidates.insert(item->identity.record);
    return;
  }
  const auto since =
      mirror != nullptr && mirror->provenance != nullptr ? mirror->provenance->valid_bytes() : 0;
  for (const auto record : provenance.spoken_of_from(since)) candidates.insert(record);
}

// What was kept for log-out: it may have changed before the snapshot below, which did not look at it.
Result<void> add_kept(const ntfs::Volume& volume, const ntfs::FileReference& root, const Selection& selection,
                      RecordSet& candidates) {
  constexpr std::size_t kMaxPathBytes = 3 * 32767;
  std::vector<std::pair<std::uint64_t, std::string>> directories{{root.record, ""}};
  std::set<std::uint64_t> seen{root.record};
  while (!directories.empty()) {
    const auto [record, path] = std::move(directories.back());
    directories.pop_back();
    const auto children = volume.list(record);
    if (!children) continue;  // named where its own record is looked at
    for (const auto& child : *children) {
      const auto below = path.empty() ? child.name : path + "/" + child.name;
      const bool leads_on = below.size() < kMaxPathBytes && selection.rules().leads_to_logout(below);
      if (!leads_on && !selection.waits(below, false)) continue;
      if (selection.waits(below, false) || selection.waits(below, true))
        candidates.insert(child.reference.record);
      if (!leads_on || !seen.insert(child.reference.record).second) continue;
      if (const auto file = volume.record(child.reference.record); file && file->directory)
        directories.emplace_back(child.reference.record, below);
    }
  }
  return {};
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
  Result<void> add_all_in_profile(const Snapshot& now, ProfileTree& tree, RecordSet& candidates,
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
                                                 RecordSet& candidates, Statistics& statistics) {
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
  Selection selection, selection_before;
  if (provenance != nullptr) {
    RS_TRY(selection, Selection::read(now.volume(), request.provenance_path, provenance->header().session));
    if (request.ended) selection = Selection(selection.rules(), true);
  }
  ProfileTree tree(now.volume(), roots, &selection);
  std::optional<Mirror> mirror;
  if (sides.before) {
    RS_TRY(auto old_roots, find_roots(*sides.before, sides, request));
    if (provenance != nullptr) {
      RS_TRY(selection_before,
             Selection::read(sides.before->volume(), request.provenance_path, provenance->header().session));
    }
    mirror.emplace(Mirror{
        sides.before->volume(), ProfileTree(sides.before->volume(), std::move(old_roots), &selection_before),
        provenance != nullptr ? sides.journals.before.get() : nullptr, sides.journals.continued});
  }
  TreeBefore before(now.volume(), roots.profile, selection, provenance, mirror ? &*mirror : nullptr);

  auto& statistics = result.statistics_;
  statistics.journal_continued = sides.journals.continued != nullptr;
  auto changed = on_volume(sides.delta.extents, now);
  statistics.delta_bytes = changed.total_bytes();
  RecordSet candidates;
  std::set<std::uint64_t> doubly_owned;
  if (mirror) {
    RS_TRY(changed, really_changed(changed, now, *sides.before));
    RS_TRY(const auto records,
           changed_records(now.volume(), sides.before->volume(), changed, statistics.candidate_records));
    RS_CHECK(prepare_map(sides, request.partition, changed, records, statistics));
    candidates.insert(records);
    RS_TRY(const auto owners, ask(map_->owners(changed)));
    candidates.insert(owners);
    if (provenance != nullptr) add_journalled(*provenance, &*mirror, candidates);
    if (!selection.waiting() && selection_before.waiting())
      RS_CHECK(add_kept(now.volume(), roots.profile, selection, candidates));
    RS_TRY(doubly_owned, ask(map_->doubly_owned(now.volume(), candidates)));
  } else {
    RS_CHECK(add_all_in_profile(now, tree, candidates, statistics));
    if (provenance != nullptr) add_journalled(*provenance, nullptr, candidates);
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
                             sides.profile_root, request.provenance_path, selection,
                             mirror && selection_before.waiting() && !selection.waiting()}));
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
