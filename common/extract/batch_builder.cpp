#include "common/extract/batch_builder.h"

#include <algorithm>

#include "common/base/sha256.h"
#include "common/extract/entry_reader.h"
#include "common/extract/live_hive.h"

namespace roamstead::extract {
namespace {

const ntfs::StreamInfo* find_stream(const ntfs::FileRecord& file, const std::string& name) {
  for (const auto& stream : file.streams)
    if (stream.name == name) return &stream;
  return nullptr;
}

bool is_plain_file(const ntfs::FileRecord& file, const ItemState* item) {
  return !file.directory && (!file.reparse_tag || is_placeholder(file, item));
}

const ItemState::StreamState* find_state(const ItemState* item, const std::string& name) {
  if (item == nullptr) return nullptr;
  auto state = item->streams.find(name);
  return state == item->streams.end() ? nullptr : &state->second;
}

bool has_content(const profile::Entry& entry) { return entry.kind == profile::EntryKind::file; }

bool has_streams(const profile::Entry& entry) { return has_content(entry) || !entry.streams.empty(); }

// Then the base gives nothing, not even a stream that is left as it was.
bool all_bytes_travel(const std::vector<profile::StreamContent>& streams, const profile::Entry& entry) {
  if (streams.size() != entry.streams.size() + 1) return false;
  return std::all_of(streams.begin(), streams.end(), [](const auto& stream) {
    return stream.size_bytes == 0 ||
           (stream.writes.size() == 1 && stream.writes.front() == ByteRange{0, stream.size_bytes});
  });
}

}  // namespace

BatchBuilder::BatchBuilder(Comparison comparison) : comparison_(std::move(comparison)) {
  if (auto* mirror = comparison_.before.mirror()) former_names_.emplace(comparison_.volume, mirror->volume);
}

Result<void> BatchBuilder::examine(std::uint64_t record) {
  queue_.push_back(record);
  while (!queue_.empty()) {
    const auto next = queue_.back();
    queue_.pop_back();
    if (examined_.insert(next)) RS_CHECK(examine_record(next));
  }
  return {};
}

Result<void> BatchBuilder::examine_record(std::uint64_t number) {
  auto now = comparison_.volume.record(number);
  Result<ntfs::FileRecord> old = fail(ErrorCode::not_found, "no snapshot before");
  if (auto* mirror = comparison_.before.mirror()) old = mirror->volume.record(number);
  if (!now && now.error().code != ErrorCode::not_found) {
    std::string path = "MFT record " + std::to_string(number);
    if (old) {
      const auto placement = comparison_.before.mirror()->tree.place(*old);
      if (placement.place != Place::inside) return {};
      path = placement.names.front().path;
    }
    return blame(path, std::move(now).error());
  }
  if (old && (!now || now->reference != old->reference)) gone(comparison_.before.origin_in_mirror(*old));
  return now ? present(*now) : Result<void>{};
}

Placement BatchBuilder::place(const ntfs::FileRecord& file) {
  auto placement = comparison_.tree.place(file);
  const auto before = placement.names.size();
  std::erase_if(placement.names, [&](const Location& name) {
    if (!is_hive_file(file, name.path)) return false;
    if (profile::classify_hive_file(name.path) == profile::HiveFile::hive &&
        comparison_.hives.count(file.reference.record) == 0)
      hold_back(name.path, "another file is this hive: their names differ in case alone");
    return true;
  });
  if (before != 0 && placement.names.empty()) placement.place = Place::outside;
  return placement;
}

Result<void> BatchBuilder::present(const ntfs::FileRecord& file) {
  const auto placement = place(file);
  RS_TRY(const auto origin, comparison_.before.origin_of(file));
  switch (placement.place) {
    case Place::inside:
      return inside(file, placement, origin);
    case Place::broken:
      hold_back(origin.exists ? origin.names.front().path : describe(file, placement), placement.problem);
      return {};
    case Place::staging:
      if (origin.exists && origin.record) gone(origin);  // a published one only waits there to be named
      return {};
    case Place::outside:
      if (origin.exists) gone(origin);
      return {};
  }
  return {};
}

void BatchBuilder::gone(const Origin& origin) {
  if (!origin.exists) return;
  for (const auto& name : origin.names) {
    if (name.path.empty()) continue;
    vacated_.emplace(name.path, origin);
    if (still_inside(name.parent)) add_delete(name);
  }
}

Result<void> BatchBuilder::inside(const ntfs::FileRecord& file, const Placement& placement,
                                  const Origin& origin) {
  const auto& path = placement.names.front().path;
  if (!comparison_.quiesced)
    for (const auto& name : placement.names)
      if (auto problem = missing_from_index(name, file.reference)) {
        hold_back(name.path, *problem);
        return {};
      }
  if (path.empty() && !origin.exists)
    return {};  // the root is the session's own; it is there before anything is
  const auto item = comparison_.before.item_of(file);
  if (!origin.exists) {
    if (auto* mirror = comparison_.before.mirror(); mirror != nullptr && file.directory)
      if (auto old = mirror->volume.record(file.reference.record); old && old->reference == file.reference)
        RS_CHECK(queue_descendants(
            file.reference.record));  // moved in from outside; its children need not have changed
    new_.push_back(file.reference.record);
    return {};
  }
  const auto names = compare_names_of(origin.names, placement.names);
  for (const auto& [from, to] : names.moved) {
    add_move(from, to);
    vacated_.emplace(from.path, origin);
  }
  for (const auto& name : names.gone)
    if (still_inside(name.parent)) add_delete(name);
  // A folder that was renamed may have come to where the rules judge what is in it otherwise.
  if (file.directory && origin.record &&
      !comparison_.tree.selection().rules().same_below(origin.names.front().path, path))
    RS_CHECK(queue_descendants(file.reference.record));
  auto done = put(file, item.get(), placement, origin, nullptr, names.changed());
  if (!done && comparison_.observer != nullptr) comparison_.observer->held_back(file.reference.record);
  return done ? done : blame(path, std::move(done).error());
}

BatchBuilder::Names BatchBuilder::compare_names_of(const std::vector<Location>& before,
                                                   const std::vector<Location>& now) const {
  const auto same = [](const Location& a, const Location& b) {
    // A directory that provenance does not know has no reference: then only the paths can be compared.
    const bool known = (a.parent.record >> 63) == 0;
    return a.name == b.name && (known ? a.parent == b.parent : a.path == b.path);
  };
  Names names;
  if (before.front().path.empty() || now.front().path.empty()) return names;  // the root has no name here
  std::vector<Location> left;
  for (const auto& old : before)
    if (std::none_of(now.begin(), now.end(), [&](const auto& name) { return same(old, name); }))
      left.push_back(old);
  std::size_t used = 0;
  for (const auto& name : now) {
    if (std::any_of(before.begin(), before.end(), [&](const auto& old) { return same(old, name); })) continue;
    if (used < left.size())
      names.moved.emplace_back(left[used++], name);
    else
      names.added.push_back(name);
  }
  names.gone.assign(left.begin() + static_cast<std::ptrdiff_t>(used), left.end());
  return names;
}

Result<void> BatchBuilder::put(const ntfs::FileRecord& file, const ItemState* item,
                               const Placement& placement, const Origin& origin, const Origin* alike,
                               bool names_changed) {
  auto reason = blocked_reason(file);
  if (!reason && comparison_.put_off) reason = comparison_.put_off(file.reference.record);
  if (!reason && comparison_.doubly_owned) {
    RS_TRY(const bool doubly_owned, comparison_.doubly_owned(file.reference.record));
    if (doubly_owned) reason = "damaged: one of its clusters belongs to another file too";
  }
  if (reason) {
    hold_back(file, placement.names.front().path, *reason);
    return {};
  }
  RS_TRY(auto entry,
         read_entry(comparison_.volume, file, comparison_.profile_root, placement.names.front().path, item));
  entry.link_group = placement.names.size() > 1 ? link_group(file)
                     : item != nullptr          ? item->entry.link_group
                                                : 0;

  std::optional<profile::Entry> old_entry;
  bool old_readable = true;
  if (origin.exists && !origin.record) old_entry = origin.item->entry;
  if (origin.exists && origin.record) {
    old_readable =
        comparison_.before.mirror()->saved != nullptr ||  // holds nothing but what was sent
        (!blocked_reason(*origin.record) &&
         !comparison_.before.mirror()->tree.selection().too_large(*origin.record, origin.names.front().path));
    auto read = read_entry(comparison_.before.mirror()->volume, *origin.record, comparison_.profile_root,
                           origin.names.front().path, origin.item.get());
    if (read && old_readable) {
      old_entry = std::move(*read);
      old_entry->link_group = origin.names.size() > 1  ? link_group(*origin.record)
                              : origin.item != nullptr ? origin.item->entry.link_group
                                                       : 0;
    }
  }
  // What the new streams can build on: the same file, or (new ones) the one that was in its place.
  const Origin* base = origin.exists ? &origin : alike;
  const bool same_kind = base == alike || !old_readable || (old_entry && old_entry->kind == entry.kind);
  if (!same_kind || !has_streams(entry)) base = nullptr;
  RS_TRY(auto streams, contents(file, entry, item, base, old_readable, base == &origin));
  const bool needed = !old_entry || !same_entry(*old_entry, entry) || !streams.empty() ||
                      (names_changed && (placement.names.size() > 1 || origin.names.size() > 1));
  if (!needed) return {};
  for (const auto& name : placement.names)
    if (auto too_large = comparison_.tree.selection().too_large(file, name.path)) {
      hold_back(file, name.path, *too_large);
      return {};
    }
  if (base == alike && all_bytes_travel(streams, entry)) base = nullptr;
  if (comparison_.observer != nullptr) comparison_.observer->put(file, streams, base);
  for (const auto& name : placement.names) {
    RS_TRY(auto path, profile::ProfilePath::parse(name.path));
    PlannedPut planned;
    planned.put.path = path;
    planned.put.entry = entry;
    if (base != nullptr) {
      RS_TRY(planned.put.base, profile::ProfilePath::parse(base->names.front().path));
    }
    planned.put.contents = streams;
    planned.locator = {file.reference.record, file.reference.sequence};
    if (!puts_.emplace(name.path, std::move(planned)).second)
      hold_back(name.path, "damaged: two files have this name");
  }
  return {};
}

Result<StreamBefore> BatchBuilder::stream_before(const std::string& name, const Origin& base, bool readable,
                                                 bool same_file, const ItemState* item) const {
  StreamBefore before;
  before.same_file = same_file;
  if (!readable) {
    before.kind = StreamBefore::Kind::unknown;
    before.size_bytes = ~std::uint64_t{0};
    return before;
  }
  if (base.record) {
    const auto* stream = find_stream(*base.record, name);
    if (stream == nullptr) return before;
    before.kind = StreamBefore::Kind::volume;
    before.size_bytes = stream->size_bytes;
    if (const auto* saved = comparison_.before.mirror()->saved; saved != nullptr) {
      before.kind = StreamBefore::Kind::saved;
      RS_TRY(before.saved, saved->find(base.record->reference.record, name));
    }
    before.side = {&comparison_.before.mirror()->volume, stream, find_state(base.item.get(), name),
                   name.empty() && is_dehydrated(*base.record, base.item.get())};
    // The journal of today knows more tags of the same base bytes.
    if (same_file && item != nullptr) {
      before.base_tags = find_state(item, name);
    } else if (base.item != nullptr && comparison_.provenance != nullptr) {
      before.latest = comparison_.provenance->find(base.item->id);
      before.base_tags = find_state(before.latest.get(), name);
    }
    return before;
  }
  const auto& entry = base.item->entry;
  if (name.empty()) {
    before.kind = StreamBefore::Kind::published;
    before.size_bytes = entry.size_bytes;
  }
  for (const auto& stream : entry.streams)
    if (stream.name == name) {
      before.kind = StreamBefore::Kind::published;
      before.size_bytes = stream.size_bytes;
    }
  before.base_tags = find_state(base.item.get(), name);
  return before;
}

Result<std::vector<profile::StreamContent>> BatchBuilder::contents(const ntfs::FileRecord& file,
                                                                   const profile::Entry& entry,
                                                                   const ItemState* item, const Origin* base,
                                                                   bool base_readable, bool same_file) {
  // What no honest volume needs to have read: sparse files of absurd sizes are held back instead of read for
  // hours.
  const auto most = comparison_.volume.info().volume_bytes + (std::uint64_t{16} << 30);
  static const ntfs::StreamInfo kEmpty = [] {
    ntfs::StreamInfo stream;
    stream.resident = true;
    return stream;
  }();
  std::vector<std::string> names;
  if (has_content(entry)) names.emplace_back();
  for (const auto& stream : entry.streams) names.push_back(stream.name);
  std::vector<profile::StreamContent> result;
  for (const auto& name : names) {
    const auto* stream = find_stream(file, name);
    if (stream == nullptr) stream = &kEmpty;
    const StreamSide now{&comparison_.volume, stream, find_state(item, name),
                         name.empty() && is_dehydrated(file, item)};
    StreamBefore before;
    if (base != nullptr) {
      RS_TRY(before, stream_before(name, *base, base_readable, same_file, item));
    }
    const auto examine = ranges_to_examine(now, before, comparison_.changed);
    if (examine.total_bytes() > most)
      return fail(ErrorCode::unsupported, "stream '" + name + "': " + std::to_string(examine.total_bytes()) +
                                              " bytes to look at, more than the volume could hold");
    StreamWrites found;
    if (now.state == nullptr && before.kind == StreamBefore::Kind::none) {
      found.writes = examine.ranges();  // all of it is new
    } else {
      RS_TRY(found, find_writes(now, before, examine));
    }
    if (found.missing_at)
      return fail(ErrorCode::corrupt,
                  "stream '" + name + "': the bytes at " + std::to_string(*found.missing_at) +
                      " were never loaded, and the file they belong to is no longer in the profile");
    if (before.kind == StreamBefore::Kind::none || before.size_bytes != stream->size_bytes ||
        !found.writes.empty())
      result.push_back({name, stream->size_bytes, std::move(found.writes)});
  }
  return result;
}

Result<void> BatchBuilder::finish(profile::Batch& batch, std::vector<Locator>& locators) {
  RS_CHECK(vanished_items());
  RS_CHECK(new_files());
  const auto add = [&](profile::ChangeRecord record, const Locator& locator) {
    batch.records.push_back(std::move(record));
    locators.push_back(locator);
  };
  for (auto& [path, record] : deletes_) add(std::move(record), {});
  for (auto& [path, record] : moves_) add(std::move(record), {});
  for (auto& [path, planned] : puts_) add(std::move(planned.put), planned.locator);
  for (auto& [path, reason] : held_back_) batch.held_back.push_back({path, reason});
  return {};
}

const Origin* BatchBuilder::lost_where_it_was(const ntfs::FileRecord& file, const std::string& path) {
  if (const auto lost = vacated_.find(path); lost != vacated_.end()) return &lost->second;
  if (vacated_.empty() || !former_names_) return nullptr;
  // Saved by renaming over the old one, and then named otherwise: only the change journal tells.
  for (const auto& former : former_names_->of(file.reference)) {
    const auto& directory = comparison_.before.mirror()->tree.directory(former.parent);
    if (directory.place != Place::inside) continue;
    const auto lost =
        vacated_.find(directory.path.empty() ? former.name : directory.path + "/" + former.name);
    if (lost != vacated_.end()) return &lost->second;
  }
  return nullptr;
}

Result<void> BatchBuilder::new_files() {
  for (auto number : new_) {
    RS_TRY(const auto file, comparison_.volume.record(number));
    const auto placement = place(file);
    const auto item = comparison_.before.item_of(file);
    // Saved by writing a new file and renaming it over the old one: most of it may be what the old one had.
    const Origin* alike = nullptr;
    Origin kept;  // brought here from among what is kept for log-out: the tree has it there until then
    if (item != nullptr && comparison_.before.is_kept(*item)) {
      kept = comparison_.before.origin_of_published(item);
      if (kept.exists) alike = &kept;
    }
    if (item == nullptr && !file.directory && placement.names.size() == 1)
      alike = lost_where_it_was(file, placement.names.front().path);
    if (alike != nullptr) {
      const bool is_file =
          alike->record ? is_plain_file(*alike->record, alike->item.get()) && !blocked_reason(*alike->record)
                        : has_content(alike->item->entry);
      if (!is_file) alike = nullptr;  // its bytes are not there to build on
    }
    auto done = put(file, item.get(), placement, {}, alike, true);
    if (!done && comparison_.observer != nullptr) comparison_.observer->held_back(number);
    if (comparison_.observer != nullptr && puts_.count(placement.names.front().path) == 0)
      keep_predecessor(placement.names.front());
    if (!done) RS_CHECK(blame(placement.names.front().path, std::move(done).error()));
  }
  return {};
}

// Saved by renaming over the old one, and held back: until it can be saved the profile has the old one.
void BatchBuilder::keep_predecessor(const Location& name) {
  const auto lost = vacated_.find(name.path);
  if (lost == vacated_.end()) return;
  const bool is_file = lost->second.record ? is_plain_file(*lost->second.record, lost->second.item.get())
                                           : has_content(lost->second.item->entry);
  if (!is_file) return;
  // In the same folder, that is: another one may have come to where it was. And only as long as it can be
  // told from others by its record.
  const auto& names = lost->second.names;
  const bool same = std::any_of(names.begin(), names.end(), [&](const auto& other) {
    return other.path == name.path && other.parent == name.parent;
  });
  const auto record =
      lost->second.record ? lost->second.record->reference.record : lost->second.item->identity.record;
  if (!same || names.size() != 1 || comparison_.volume.record(record) || deletes_.erase(name.path) == 0)
    return;
  comparison_.observer->kept(lost->second);
}

Result<void> BatchBuilder::vanished_items() {
  const auto* provenance = comparison_.provenance;
  if (provenance == nullptr) return {};
  // In a snapshot that was not prepared, files may be in staging of which its index does not know.
  const auto few = comparison_.quiesced ? comparison_.before.maybe_unaccounted() : std::nullopt;
  if (!few) {
    return provenance->for_each([this](const ItemState& item) { return vanished(item); });
  }
  for (const auto id : *few)
    if (const auto item = provenance->find(id)) RS_CHECK(vanished(*item));
  return {};
}

Result<void> BatchBuilder::vanished(const ItemState& item) {
  const auto& provenance = *comparison_.provenance;
  if (item.withdrawn || item.base_path.is_root() || comparison_.before.accounted_for(item)) return {};
  if (is_hive_item(item) || comparison_.before.is_kept(item)) return {};
  if (const auto latest = provenance.find_by_base(item.base_path); latest == nullptr || latest->id != item.id)
    return {};  // published anew
  // Whoever is killed between recording an item and naming it leaves a record without a file. Only once its
  // directory was populated is it certain that the item had its name.
  const auto parent = provenance.find_by_base(item.base_path.parent());
  if (parent == nullptr || !parent->populated) return {};
  auto file = comparison_.volume.record(item.identity.record);
  if (file)
    if (const auto there = comparison_.before.item_of(*file); there != nullptr && there->id == item.id) {
      // Brought elsewhere while it was kept for log-out, it was sent as new there, or is left out there; and
      // where it was it goes now.
      if (comparison_.before.has_waited(item)) {
        RS_TRY(const auto origin, comparison_.before.origin_of(*file));
        if (origin.record || place(*file).place == Place::outside)
          gone(comparison_.before.origin_of_published(std::make_shared<const ItemState>(item)));
      }
      return {};  // looked at
    }
  if (!file && file.error().code != ErrorCode::not_found)
    return blame(item.base_path.text(), std::move(file).error());
  gone(comparison_.before.origin_of_published(std::make_shared<const ItemState>(item)));
  return {};
}

Result<void> BatchBuilder::queue_descendants(std::uint64_t directory) {
  auto children = comparison_.volume.list(directory);
  if (!children) {
    auto record = comparison_.volume.record(directory);
    return blame(record ? describe(*record, comparison_.tree.place(*record)) : std::to_string(directory),
                 std::move(children).error());
  }
  for (const auto& child : *children) {
    if (examined_.count(child.reference.record) != 0) continue;
    queue_.push_back(child.reference.record);
  }
  return {};
}

bool BatchBuilder::still_inside(const ntfs::FileReference& directory) {
  return (directory.record >> 63) == 0 && comparison_.tree.directory(directory).place == Place::inside;
}

std::optional<std::string> BatchBuilder::missing_from_index(const Location& name,
                                                            const ntfs::FileReference& file) {
  if (name.path.empty()) return std::nullopt;
  auto known = indexes_.find(name.parent.record);
  if (known == indexes_.end()) {
    Result<Index> index = Index{};
    auto entries = comparison_.volume.list(name.parent.record);
    if (entries) {
      for (auto& entry : *entries) index->emplace(std::move(entry.name), entry.reference);
    } else {
      index = fail(std::move(entries).error());
    }
    known = indexes_.emplace(name.parent.record, std::move(index)).first;
  }
  if (!known->second) return "damaged: its directory cannot be read: " + known->second.error().to_string();
  if (known->second->count({name.name, file}) != 0) return std::nullopt;
  return "damaged: its MFT record names it, its directory does not";
}

std::uint64_t BatchBuilder::link_group(const ntfs::FileRecord& file) const {
  // Unique beyond this volume, for groups of other sessions live on in the same profile.
  ByteWriter seed;
  if (comparison_.provenance != nullptr) seed.bytes(comparison_.provenance->header().session.bytes);
  seed.le<std::uint64_t>(file.reference.record);
  seed.le<std::uint16_t>(file.reference.sequence);
  const auto group = load_le<std::uint64_t>(sha256(seed.view()));
  return group == 0 ? 1 : group;
}

void BatchBuilder::add_delete(const Location& name) {
  auto path = profile::ProfilePath::parse(name.path);
  if (!path) return hold_back(name.path, path.error().to_string());
  if (moves_.count(name.path) == 0) deletes_.emplace(name.path, profile::Delete{std::move(*path)});
}

void BatchBuilder::add_move(const Location& from, const Location& to) {
  auto source = profile::ProfilePath::parse(from.path);
  auto target = profile::ProfilePath::parse(to.path);
  if (!source || !target) return hold_back(to.path, "its path is not one a profile can have");
  if (!move_targets_.insert(to.path).second) return hold_back(to.path, "damaged: two files have this name");
  deletes_.erase(from.path);
  if (!moves_.emplace(from.path, profile::Move{std::move(*source), std::move(*target)}).second)
    hold_back(to.path, "damaged: two files were published as '" + from.path + "'");
}

void BatchBuilder::hold_back(const std::string& path, const std::string& reason) {
  held_back_.emplace(path, reason);
}

void BatchBuilder::hold_back(const ntfs::FileRecord& file, const std::string& path,
                             const std::string& reason) {
  hold_back(path, reason);
  if (comparison_.observer != nullptr) comparison_.observer->held_back(file.reference.record);
}

Result<void> BatchBuilder::blame(const std::string& path, Error error) {
  switch (error.code) {
    case ErrorCode::corrupt:
    case ErrorCode::unsupported:
    case ErrorCode::not_found:
    case ErrorCode::invalid_argument:
      hold_back(path, error.to_string());
      return {};
    default:
      return fail(std::move(error).with(path));
  }
}

std::string BatchBuilder::describe(const ntfs::FileRecord& file, const Placement& placement) const {
  if (!placement.names.empty()) return placement.names.front().path;
  const auto number = "MFT record " + std::to_string(file.reference.record);
  return file.names.empty() ? number : file.names.front().name + " (" + number + ")";
}

}  // namespace roamstead::extract
