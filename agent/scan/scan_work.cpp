#include "agent/scan/scan_work.h"

#include <algorithm>
#include <chrono>
#include <map>

#include "agent/scan/content_spool.h"
#include "common/extract/base_hive.h"
#include "common/extract/frozen_content.h"
#include "common/extract/profile_hives.h"

namespace roamstead::agent {

using extract::Locator;
using extract::Origin;

namespace {

constexpr int kMostAttempts = 8;
constexpr int kPatientAttempts = 3;  // afterwards what changes all the time is put off
constexpr const char* kBeingLoaded = "being loaded";

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

const SavedStream* find_stream(const SavedItem* item, const std::string& name) {
  if (item == nullptr) return nullptr;
  for (const auto& stream : item->streams)
    if (stream.name == name) return &stream;
  return nullptr;
}

// The table's streams as the comparison wants them.
class TableStreams final : public extract::SavedStreams {
 public:
  explicit TableStreams(const SavedTree& tree) : tree_(tree) {}
  Result<const extract::SavedStream*> find(std::uint64_t record, const std::string& stream) const override {
    RS_TRY(const auto item, tree_.find(record));
    const auto* saved = find_stream(item ? &*item : nullptr, stream);
    if (saved == nullptr || !saved->sent) return nullptr;
    state_ = {};
    state_.base_limit = saved->base_limit;
    state_.edge_is_base = saved->edge_is_base;
    for (std::size_t i = 0; i < saved->blocks.size(); ++i) state_.tags[saved->blocks[i]] = saved->tags[i];
    return &state_;
  }

 private:
  const SavedTree& tree_;
  mutable extract::SavedStream state_;
};

}  // namespace

// What the builder said of each file.
class ScanWork::Remembered final : public extract::BatchObserver {
 public:
  struct Made {
    std::vector<profile::StreamContent> contents;
    bool of_base = false;               // the journal knows the file
    std::optional<std::uint64_t> base;  // record of what the streams are built on, as the tree knows it
    extract::ItemPointer published;     // or what was published
  };

  explicit Remembered(const extract::TreeBefore& before) : before_(before) {}
  void put(const ntfs::FileRecord& file, const std::vector<profile::StreamContent>& contents,
           const Origin* base) override {
    Made made;
    made.contents = contents;
    made.of_base = before_.item_of(file) != nullptr;
    if (base != nullptr && base->record) made.base = base->record->reference.record;
    if (base != nullptr && !base->record) made.published = base->item;
    puts[file.reference.record] = std::move(made);
  }
  void held_back(std::uint64_t record) override { held.insert(record); }
  void kept(const Origin& origin) override {
    const auto record = origin.record ? origin.record->reference.record : origin.item->identity.record;
    gone_and_kept.emplace(record, origin);
  }

  std::map<std::uint64_t, Made> puts;
  std::set<std::uint64_t> held;
  std::map<std::uint64_t, Origin> gone_and_kept;

 private:
  const extract::TreeBefore& before_;
};

Result<void> ScanWork::run(ScanStatistics& statistics) {
  for (int attempt_number = 1; attempt_number <= kMostAttempts; ++attempt_number) {
    statistics.attempts = attempt_number;
    RS_TRY(const bool done, attempt(attempt_number == 1, attempt_number > kPatientAttempts, statistics));
    if (done) return {};
  }
  return fail(ErrorCode::busy, header_.profile_root + ": files were moved all the time while it was scanned");
}

Result<TreeListing> ScanWork::list(const extract::Selection& selection, bool first) {
  const ListingScope scope{header_.profile_root, header_.staging_root,
                           [&](const std::string& path) { return selection.leaves_out(path, true); }};
  was_whole_ = false;
  if (first && place_.changed && earlier_ != nullptr) {
    auto changed = *place_.changed;
    // What the agent itself brought since, wherever that was heard of.
    for (const auto id : earlier_->spoken_of_since()) {
      const auto item = provenance_.find(id);
      const auto up =
          item->base_path.is_root() ? nullptr : provenance_.find_by_base(item->base_path.parent());
      if (up != nullptr) changed.insert(up->identity.record);
    }
    RS_TRY(auto listing, list_changed(place_.source, scope, place_.folders, std::move(changed)));
    if (listing) return std::move(*listing);
  }
  was_whole_ = true;
  return list_tree(place_.source, scope, place_.folders);
}

bool ScanWork::met_all(const LiveVolume& live) const {
  for (const auto record : live.changed())
    if (!live.has(record)) return false;
  const auto spoken = earlier_->spoken_of_since();
  return std::all_of(spoken.begin(), spoken.end(), [&](auto id) {
    const auto item = provenance_.find(id);
    return item->withdrawn || live.has(item->identity.record);
  });
}

Result<bool> ScanWork::attempt(bool first, bool final_try, ScanStatistics& statistics) {
  batch_ = {};
  changes_.clear();
  candidates_ = {};
  const auto start = std::chrono::steady_clock::now();
  // Without rules nothing is left out; the copies hold them.
  const LiveVolume::Sources sources{place_.source, place_.tree, place_.files, &provenance_, earlier_};
  extract::Selection selection;
  {
    TreeListing nothing;
    nothing.items[0] = {};
    RS_TRY(const auto rules,
           LiveVolume::make(sources, place_.spool, header_.profile_root, "", nothing, copies_));
    RS_TRY(selection, extract::Selection::read(*rules, place_.provenance_path, header_.session));
  }
  RS_TRY(auto listing, list(selection, first));
  const auto staging = listing.staging;
  RS_TRY(const auto live, LiveVolume::make(sources, place_.spool, header_.profile_root, header_.staging_root,
                                           std::move(listing), copies_));
  if (!was_whole_ && !met_all(*live)) return false;
  RS_CHECK(drop_newly_published(*live));
  statistics.list_seconds = seconds_since(start);
  statistics.listed = live->all().size();

  const auto root = live->root();
  extract::ProfileTree tree(*live, {root, staging, {}}, &selection);
  std::optional<SavedVolume> saved;
  std::optional<extract::Mirror> mirror;
  TableStreams streams(place_.tree);
  extract::Selection selection_before;
  if (earlier_ != nullptr) {
    saved.emplace(place_.tree, place_.files, place_.spool, header_.profile_root, root);
    RS_TRY(selection_before, extract::Selection::read(*saved, place_.provenance_path, header_.session));
    mirror.emplace(extract::Mirror{*saved,
                                   extract::ProfileTree(*saved, {root, staging, {}}, &selection_before),
                                   earlier_, earlier_, &streams});
  }
  extract::TreeBefore before(*live, root, selection, &provenance_, mirror ? &*mirror : nullptr);
  Remembered remembered(before);

  const bool waited = mirror && selection_before.waiting() && !selection.waiting();
  for (const auto record : live->changed()) candidates_.insert(record);
  const auto renamed = live->in_replaced_folders();
  if (!renamed && live->disturbed()) return false;
  if (!renamed) return fail(renamed.error());
  for (const auto record : *renamed) candidates_.insert(record);
  if (!mirror || waited)
    for (const auto record : live->all()) candidates_.insert(record);
  if (mirror) {
    for (const auto id : earlier_->spoken_of_since())
      if (const auto item = provenance_.find(id); !item->withdrawn) candidates_.insert(item->identity.record);
  } else {
    for (const auto record : provenance_.spoken_of_from(0)) candidates_.insert(record);
  }
  for (const auto& copy : copies_) {
    const auto& known = place_.tree.facts();
    const auto same = [&](const CopiedFile& other) {
      return other.path == copy.path && other.copy == copy.copy;
    };
    if (!known || std::none_of(known->hives.begin(), known->hives.end(), same))
      candidates_.insert(copy.record);
  }
  statistics.examined = candidates_.size();

  std::vector<Locator> locators;
  RS_TRY(auto hives,
         extract::ProfileHives::find({*live, tree, before, &provenance_, mirror ? &candidates_ : nullptr,
                                      header_.profile_root, place_.provenance_path, selection, waited}));
  extract::Comparison comparison{*live, tree,         before, &provenance_, nullptr, {}, header_.profile_root,
                                 true,  hives.files()};
  comparison.put_off = [&](std::uint64_t record) -> std::optional<std::string> {
    if (auto reason = live->blocked(record)) return reason;
    const auto found = put_off_.find(record);
    return found == put_off_.end() ? std::nullopt : std::optional(found->second);
  };
  comparison.observer = &remembered;
  extract::BatchBuilder builder(std::move(comparison));
  for (const auto record : candidates_) RS_CHECK(builder.examine(record));
  for (const auto record : hives.displaced()) RS_CHECK(builder.examine(record));
  RS_CHECK(builder.finish(batch_, locators));
  RS_CHECK(hives.finish(batch_, locators));
  met_open_files_ = met_open_files_ || live->met_open_files();
  if (live->disturbed()) return false;
  if (put_off_what_is_too_much(locators)) return false;
  RS_TRY(const bool opened, put_off_what_is_open(*live, locators));
  if (opened) return false;

  extract::FrozenContent content(*live, header_.profile_root, locators, batch_);
  auto copied = copy_content(place_.files, place_.content_path, batch_, content);
  if (copied) copied = note_changes(*live, remembered);
  // Torn by a program, most likely: then the next look says so.
  if (!copied && !live->disturbed()) return fail(std::move(copied).error());
  statistics.copied_bytes = batch_.content_bytes();
  if (live->disturbed()) return false;
  RS_TRY(const bool settled, is_settled(*live, remembered, final_try));
  if (!settled) return false;
  left_something_ = left_something_ || !put_off_.empty() || met_open_files_;
  std::erase_if(batch_.held_back, [](const auto& held) { return held.reason == kBeingLoaded; });
  return true;
}

// What the agent has published since the freeze is known to a later journal only, and would pass for new.
Result<void> ScanWork::drop_newly_published(LiveVolume& live) {
  if (!loaded_since_) return {};
  RS_TRY(const auto records, loaded_since_(journal_bytes_));
  for (const auto record : records) {
    if (!live.has(record)) continue;
    const auto item = provenance_.find_by_record(record);
    bool known = item != nullptr;
    if (known && item->identity.sequence == 0 && live.changed().count(record) != 0) {
      const auto file = live.record(record);  // gone meanwhile: then this is tried again
      known = file && (file->created_100ns == item->identity.created_100ns ||
                       file->created_100ns == item->previous_identity.created_100ns || live.disturbed());
    }
    if (!known) live.forget(record);
  }
  return {};
}

bool ScanWork::put_off_what_is_too_much(const std::vector<Locator>& locators) {
  if (limits_.most_bytes == 0) return false;
  std::uint64_t total = 0;
  bool more = false;
  for (std::size_t i = 0; i < batch_.records.size(); ++i) {
    if (!std::holds_alternative<profile::Put>(batch_.records[i])) continue;
    std::uint64_t bytes = 0;
    profile::visit_content(batch_.records[i], [&](std::size_t, ByteRange range) { bytes += range.length; });
    if (bytes != 0 && total != 0 && bytes > limits_.most_bytes - std::min(total, limits_.most_bytes)) {
      more =
          put_off_.emplace(locators[i].record, "more than a batch takes: it goes with the next one").second ||
          more;
      continue;
    }
    total += bytes;
  }
  left_something_ = left_something_ || more;
  return more;
}

// Of a file that is new nothing was read to find out that it is: only now does it show whether it can be.
Result<bool> ScanWork::put_off_what_is_open(const LiveVolume& live, const std::vector<Locator>& locators) {
  bool any = false;
  for (std::size_t i = 0; i < batch_.records.size(); ++i) {
    const auto* put = std::get_if<profile::Put>(&batch_.records[i]);
    if (put == nullptr) continue;
    for (const auto& stream : put->contents) {
      if (stream.writes.empty()) continue;
      const auto record = locators[i].record;
      const auto opened = live.read(scanned_stream(record, stream.name, stream.size_bytes, true), 0, {});
      if (opened || live.disturbed()) continue;
      if (opened.error().code != ErrorCode::unsupported) return fail(opened.error());
      any = put_off_.emplace(record, opened.error().to_string()).second || any;
    }
  }
  return any || live.disturbed();
}

// Whether what was copied is what was compared, and what the journal says is of the same time.
Result<bool> ScanWork::is_settled(const LiveVolume& live, const Remembered& remembered, bool final_try) {
  bool settled = true;
  if (loaded_since_) {
    RS_TRY(const auto records, loaded_since_(journal_bytes_));
    for (const auto record : records)
      if (const auto made = remembered.puts.find(record);
          made != remembered.puts.end() && !made->second.contents.empty()) {
        put_off_[record] = kBeingLoaded;
        settled = false;
      }
  }
  for (const auto& [record, made] : remembered.puts) {
    RS_TRY(const bool unchanged, live.is_unchanged(record));
    if (unchanged) continue;
    settled = false;
    if (final_try) put_off_[record] = "changed all the time while it was copied: the next snapshot saves it";
  }
  return settled && !live.disturbed();
}

Result<void> ScanWork::note_changes(const LiveVolume& live, const Remembered& remembered) {
  std::set<std::uint64_t> spoken;
  if (loaded_since_) {
    RS_TRY(const auto records, loaded_since_(journal_bytes_));
    spoken.insert(records.begin(), records.end());
  }
  std::set<std::uint64_t> records;
  for (const auto record : candidates_) records.insert(record);
  for (const auto& [record, made] : remembered.puts) records.insert(record);
  records.insert(remembered.held.begin(), remembered.held.end());
  for (const auto record : records) {
    const bool held = remembered.held.count(record) != 0;
    RS_TRY(const auto before, place_.tree.find(record));
    if (!live.has(record)) {
      if (before && !held && remembered.gone_and_kept.count(record) == 0)
        changes_.push_back({record, std::nullopt, 0});
      continue;
    }
    SavedTree::Change change{record, std::nullopt, 0};
    if (held) {
      RS_TRY(change.item, held_item(live, record));
      if (!change.item && !before) continue;
    } else {
      RS_TRY(const auto file, live.record(record));
      change.item = SavedItem::from_record(file);
      RS_CHECK(fill_streams(live, remembered, *change.item));
      if (spoken.count(record) == 0) {
        RS_TRY(change.fingerprint, live.fingerprint(record));
      }
    }
    changes_.push_back(std::move(change));
  }
  for (const auto& [record, origin] : remembered.gone_and_kept) {
    if (origin.record || origin.item == nullptr) continue;  // the tree has it
    // What the tree has of this record is another file, gone before this one came.
    RS_TRY(const auto before, place_.tree.find(record));
    auto sequence = origin.item->identity.sequence;
    if (sequence == 0) sequence = before && before->sequence != 0xFFFF ? before->sequence + 1 : 1;
    RS_TRY(auto item, published_item(*origin.item, record, sequence));
    const auto& name = origin.names.front();
    item.names.push_back({name.parent.record, name.parent.sequence, name.name});
    changes_.push_back({record, std::move(item), 0});
  }
  return {};
}

// As it was published, without names.
Result<SavedItem> ScanWork::published_item(const extract::ItemState& item, std::uint64_t record,
                                           std::uint16_t sequence) const {
  SavedItem published;
  published.record = record;
  published.sequence = sequence;
  published.attributes = item.entry.metadata.attributes;
  published.created_100ns = item.entry.metadata.created_100ns;
  published.written_100ns = item.entry.metadata.written_100ns;
  RS_TRY(published.security, place_.tree.number_of(item.entry.metadata.security));
  published.streams.push_back({"", item.entry.size_bytes, true, false, false, 0, {}, {}});
  for (const auto& stream : item.entry.streams)
    published.streams.push_back({stream.name, stream.size_bytes, true, false, false, 0, {}, {}});
  return published;
}

Result<void> ScanWork::fill_streams(const LiveVolume& live, const Remembered& remembered,
                                    SavedItem& item) const {
  constexpr auto kBlock = std::uint64_t{extract::kTagBlockBytes};
  const auto made = remembered.puts.find(item.record);
  const bool put = made != remembered.puts.end();
  std::optional<SavedItem> base;
  if (!put || made->second.base) {
    RS_TRY(base, place_.tree.find(put ? *made->second.base : item.record));
    // A record used again: what was sent of the file before says nothing of this one.
    if (!put && base && base->sequence != item.sequence) base.reset();
  }
  for (auto& stream : item.streams) {
    const auto* old = find_stream(base ? &*base : nullptr, stream.name);
    const profile::StreamContent* content = nullptr;
    if (put)
      for (const auto& sent : made->second.contents)
        if (sent.name == stream.name) content = &sent;
    RangeSet blocks;  // whose tags are to be made
    if (put && !made->second.of_base) {
      stream.sent = true;
      if (stream.stored) blocks.add({0, stream.size_bytes});
    } else {
      if (old != nullptr) {
        stream.sent = old->sent;
        stream.base_limit = old->base_limit;
        stream.edge_is_base = old->edge_is_base;
        stream.blocks = old->blocks;
        stream.tags = old->tags;
      }
      if (content == nullptr) continue;
      std::uint64_t old_size = old != nullptr ? old->size_bytes : 0;
      if (made->second.published != nullptr) {
        const auto& entry = made->second.published->entry;
        if (stream.name.empty()) old_size = entry.size_bytes;
        for (const auto& other : entry.streams)
          if (other.name == stream.name) old_size = other.size_bytes;
      }
      if (!stream.sent) stream.base_limit = old_size;
      stream.sent = true;
      stream.base_limit = std::min(stream.base_limit, stream.size_bytes);
      const auto edge = std::min(old_size, stream.size_bytes) / kBlock * kBlock;
      if (std::binary_search(stream.blocks.begin(), stream.blocks.end(), edge / kBlock) &&
          edge < stream.size_bytes)
        blocks.add({edge, 1});
      for (const auto& range : content->writes) blocks.add(range);
    }
    const auto edge_block = stream.base_limit / kBlock;
    const bool edge_was_content = old != nullptr &&
                                  std::binary_search(old->blocks.begin(), old->blocks.end(), edge_block) &&
                                  !(old->edge_is_base && old->base_limit / kBlock == edge_block);
    stream.edge_is_base = stream.base_limit % kBlock != 0 && !edge_was_content &&
                          !blocks.contains({edge_block * kBlock, stream.base_limit % kBlock});
    std::map<std::uint64_t, std::uint64_t> tags;
    for (std::size_t i = 0; i < stream.blocks.size(); ++i)
      if (stream.blocks[i] * kBlock < stream.size_bytes) tags[stream.blocks[i]] = stream.tags[i];
    const auto shown = scanned_stream(item.record, stream.name, stream.size_bytes, true);
    Bytes bytes;
    for (const auto& range : blocks.ranges())
      for (auto block = range.offset / kBlock; block * kBlock < std::min(range.end(), stream.size_bytes);
           ++block) {
        bytes.resize(static_cast<std::size_t>(std::min(kBlock, stream.size_bytes - block * kBlock)));
        RS_CHECK(live.read(shown, block * kBlock, bytes));
        // Zeros beyond the base need no tag.
        if (block * kBlock >= stream.base_limit && all_zero(bytes)) {
          tags.erase(block);
        } else {
          tags[block] = extract::block_tag(bytes);
        }
      }
    stream.blocks.clear();
    stream.tags.clear();
    for (const auto& [block, tag] : tags) {
      stream.blocks.push_back(block);
      stream.tags.push_back(tag);
    }
  }
  return {};
}

// What the tree has of a file of which only the names followed.
Result<std::optional<SavedItem>> ScanWork::held_item(const LiveVolume& live, std::uint64_t record) const {
  auto now = live.record(record);
  if (!now)
    return now.error().code == ErrorCode::not_found ? Result<std::optional<SavedItem>>(std::nullopt)
                                                    : fail(std::move(now).error());
  const auto names = SavedItem::from_record(*now).names;
  RS_TRY(auto before, place_.tree.find(record));
  if (before && before->sequence != now->reference.sequence) before.reset();
  std::string published_path;
  if (!before) {
    const auto item = extract::find_item(&provenance_, *now);
    if (item == nullptr || item->entry.kind != profile::EntryKind::file) return std::optional<SavedItem>();
    published_path = item->base_path.text();
    RS_TRY(before, published_item(*item, record, now->reference.sequence));
  }
  // As the builder pairs them: what is there still, then the first of the others by path, as far as there
  // were names before.
  std::vector<SavedName> kept;
  std::map<std::string, SavedName> others;
  for (const auto& name : names) {
    RS_TRY(const auto path, live.path_of(ntfs::NameInfo{
                                {name.parent, name.parent_sequence}, name.name, ntfs::NameSpace::win32}));
    const bool same = published_path.empty()
                          ? std::find(before->names.begin(), before->names.end(), name) != before->names.end()
                          : path == header_.profile_root + "/" + published_path;
    if (same) {
      kept.push_back(name);
    } else {
      others.emplace(path, name);
    }
  }
  const auto had = published_path.empty() ? before->names.size() : 1;
  for (const auto& [path, name] : others)
    if (kept.size() < had) kept.push_back(name);
  before->names = std::move(kept);
  return before;
}

}  // namespace roamstead::agent
