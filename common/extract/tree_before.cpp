#include "common/extract/tree_before.h"

#include "common/extract/entry_reader.h"
#include "common/extract/live_hive.h"

namespace roamstead::extract {
namespace {

// A reference that no file has: for directories that are not on the volume. Record numbers have 48 bits.
ntfs::FileReference absent_reference(std::uint64_t number) { return {number | std::uint64_t{1} << 63, 0}; }

std::string join(const std::string& directory, std::string_view name) {
  return directory.empty() ? std::string(name) : directory + "/" + std::string(name);
}

}  // namespace

bool is_hive_item(const ItemState& item) {
  return !item.entry.is_directory() && is_hive_path(item.base_path.text());
}

ItemPointer find_item(const ProvenanceView* provenance, const ntfs::FileRecord& file) {
  if (provenance == nullptr) return nullptr;
  auto item = provenance->find_by_record(file.reference.record);
  if (item == nullptr) return nullptr;
  const auto is = [&](const ItemIdentity& identity) {
    if (identity.record != file.reference.record) return false;
    return identity.sequence != 0 ? identity.sequence == file.reference.sequence
                                  : identity.created_100ns == file.created_100ns;
  };
  if (is_hive_item(*item)) return nullptr;
  return is(item->identity) || is(item->previous_identity) ? item : nullptr;
}

TreeBefore::TreeBefore(const ntfs::Volume& volume, const ntfs::FileReference& root,
                       const Selection& selection, const Provenance* provenance, Mirror* mirror)
    : volume_(volume), root_(root), selection_(selection), provenance_(provenance), mirror_(mirror) {}

bool TreeBefore::has_waited(const ItemState& item) const {
  return !selection_.waiting() && mirror_ != nullptr && mirror_->tree.selection().waiting() &&
         selection_.waits(item.base_path.text(), item.entry.is_directory());
}

bool TreeBefore::is_kept(const ItemState& item) const {
  return selection_.leaves_out(item.base_path.text(), item.entry.is_directory());
}

ItemPointer TreeBefore::item_of(const ntfs::FileRecord& file) const {
  if (provenance_ == nullptr) return nullptr;
  if (auto item = find_item(provenance_, file)) return item;
  if (mirror_ == nullptr) return nullptr;
  // The creation time may have been changed since; the sequence number says that it is still the same file.
  auto before = mirror_->volume.record(file.reference.record);
  if (!before || before->reference != file.reference) return nullptr;
  const auto known = find_item(mirror_->provenance, *before);
  if (known == nullptr) return nullptr;
  auto item = provenance_->find_by_record(file.reference.record);
  return item != nullptr && item->id == known->id ? item : nullptr;
}

Result<Origin> TreeBefore::origin_of(const ntfs::FileRecord& file) {
  const auto item = item_of(file);
  if (mirror_ != nullptr) {
    auto before = mirror_->volume.record(file.reference.record);
    if (before && before->reference == file.reference) {
      const auto place = mirror_->tree.place(*before).place;
      if (place == Place::inside) return origin_in_mirror(*before);
      // Outside, it was not (or no longer) part of the tree, whatever it once was.
      if (place == Place::outside)
        return item != nullptr && has_waited(*item) ? origin_of_published(item) : Origin{};
    } else if (!before && before.error().code == ErrorCode::io) {
      return fail(std::move(before).error());
    }
  }
  return item != nullptr && !is_kept(*item) ? origin_of_published(item) : Origin{};
}

Origin TreeBefore::origin_in_mirror(const ntfs::FileRecord& file) {
  Origin origin;
  auto placement = mirror_->tree.place(file);
  if (placement.place != Place::inside) return origin;
  std::erase_if(placement.names, [&](const Location& name) { return is_hive_file(file, name.path); });
  if (placement.names.empty()) return origin;
  origin.item = find_item(mirror_->provenance, file);
  // What could not be saved then is not in the tree, unless it came from there.
  if (origin.item == nullptr &&
      (blocked_reason(file) || mirror_->tree.selection().too_large(file, placement.names.front().path)))
    return origin;
  origin.exists = true;
  origin.names = std::move(placement.names);
  origin.record = file;
  return origin;
}

Origin TreeBefore::origin_of_published(const ItemPointer& item) {
  Origin origin;
  origin.exists = true;
  origin.item = item;
  if (item->base_path.is_root()) {
    origin.names.push_back({});
    return origin;
  }
  const auto directory = base_directory(item->base_path.parent());
  if (directory.gone) return {};
  const std::string name(item->base_path.name());
  origin.names.push_back({directory.reference, name, join(directory.path, name)});
  return origin;
}

std::optional<ntfs::FileRecord> TreeBefore::in_mirror(const ItemState& item) const {
  if (mirror_ == nullptr) return std::nullopt;
  auto file = mirror_->volume.record(item.identity.record);
  if (!file) return std::nullopt;
  const auto known = find_item(mirror_->provenance, *file);
  if (known == nullptr || known->id != item.id) return std::nullopt;
  return std::move(*file);
}

// Whether a batch deleted the directory, as it was not left out and lies outside by now, or nowhere.
bool TreeBefore::was_taken_away(const ItemState& item, Place place) const {
  if (selection_.rules().empty() || mirror_ == nullptr || mirror_->provenance == nullptr) return false;
  const auto known = mirror_->provenance->find(item.id);
  return place == Place::outside && known != nullptr && known->base_path == item.base_path &&
         !mirror_->tree.selection().leaves_out(item.base_path.text(), true);
}

TreeBefore::BaseDirectory TreeBefore::base_directory(const profile::ProfilePath& path) {
  if (path.is_root()) return {root_, "", false};
  if (auto known = base_directories_.find(path.text()); known != base_directories_.end())
    return known->second;
  BaseDirectory result;
  const auto item = provenance_ == nullptr ? nullptr : provenance_->find_by_base(path);
  auto before = item == nullptr ? std::nullopt : in_mirror(*item);
  auto placement = before ? mirror_->tree.place(*before) : Placement{};
  if (placement.place == Place::inside) {
    result = {before->reference, placement.names.front().path};
  } else {
    // Not moved since it was published, for the tree before has it where the base version has it.
    const auto up = base_directory(path.parent());
    result.path = join(up.path, path.name());
    result.gone =
        up.gone || (item != nullptr && was_taken_away(*item, before ? placement.place : Place::outside));
    result.reference = absent_reference(item == nullptr ? 0 : item->identity.record);
    if (item != nullptr)
      if (auto file = volume_.record(item->identity.record)) {
        const auto there = item_of(*file);
        if (there != nullptr && there->id == item->id) result.reference = file->reference;
      }
  }
  base_directories_.emplace(path.text(), result);
  return result;
}

bool TreeBefore::accounted_for(const ItemState& item) const {
  if (has_waited(item)) return false;
  if (mirror_ == nullptr || mirror_->provenance == nullptr) return false;
  const auto known = mirror_->provenance->find(item.id);
  if (known == nullptr || known->base_path != item.base_path) return false;
  auto file = in_mirror(item);
  return !file || mirror_->tree.place(*file).place != Place::staging;  // there it had yet to be named
}

// Those spoken of since, and those whose files had yet to be named.
std::optional<std::set<ItemId>> TreeBefore::maybe_unaccounted() const {
  if (mirror_ == nullptr || mirror_->continued == nullptr) return std::nullopt;
  if (!selection_.waiting() && mirror_->tree.selection().waiting()) return std::nullopt;
  auto ids = mirror_->continued->spoken_of_since();
  const auto staging = mirror_->tree.roots().staging;
  if (!staging) return ids;
  std::vector<std::uint64_t> directories{*staging};
  std::set<std::uint64_t> seen{*staging};
  for (std::size_t i = 0; i < directories.size(); ++i) {
    const auto children = mirror_->volume.list(directories[i]);
    if (!children) return std::nullopt;
    for (const auto& child : *children) {
      const auto record = child.reference.record;
      if (!seen.insert(record).second) continue;
      if (const auto item = mirror_->provenance->find_by_record(record)) ids.insert(item->id);
      const auto file = mirror_->volume.record(record);
      if (!file) return std::nullopt;
      if (file->directory) directories.push_back(record);
    }
  }
  return ids;
}

}  // namespace roamstead::extract
