#include "common/extract/profile_hives.h"

#include <algorithm>

#include "common/base/text.h"
#include "common/extract/base_hive.h"
#include "common/extract/entry_reader.h"

namespace roamstead::extract {
namespace {

constexpr std::size_t kMaxDirectoryDepth = 2048;

// Whether the volume is at fault, and not the disk below it.
bool is_damage(const Error& error) {
  switch (error.code) {
    case ErrorCode::corrupt:
    case ErrorCode::unsupported:
    case ErrorCode::not_found:
    case ErrorCode::invalid_argument:
    case ErrorCode::conflict:
      return true;
    default:
      return false;
  }
}

void hold_back(profile::Batch& batch, const std::string& path, const std::string& reason) {
  for (const auto& held : batch.held_back)
    if (held.path == path) return;
  batch.held_back.push_back({path, reason});
}

// The name by which a file is this hive.
std::optional<Location> location_of(ProfileTree& tree, const ntfs::FileRecord& file,
                                    const profile::ProfilePath& hive) {
  for (auto& name : tree.place(file).names)
    if (same_name(name.path, hive.text())) return std::move(name);
  return std::nullopt;
}

}  // namespace

std::string ProfileHives::on_volume(const profile::ProfilePath& path) const {
  return context_.profile_root + "/" + path.text();
}

Result<ProfileHives> ProfileHives::find(HiveContext context) {
  ProfileHives hives(std::move(context));
  for (const auto& path : profile::hive_paths()) {
    RS_TRY(auto hive, hives.find_hive(path));
    if (hive.now.hive) hives.files_.insert(hive.now.hive->reference.record);
    hives.hives_.push_back(std::move(hive));
    RS_CHECK(hives.find_displaced(path));
  }
  return hives;
}

Result<ProfileHives::Hive> ProfileHives::find_hive(const profile::ProfilePath& path) {
  Hive hive;
  hive.path = path;
  hive.item = published(path);
  const auto find = [&](const ntfs::Volume& volume, const std::string& at, HiveFiles& files) -> Result<void> {
    auto found = find_hive_files(volume, at);
    if (found) {
      files = std::move(*found);
    } else if (!is_damage(found.error())) {
      return fail(std::move(found).error());
    } else if (&volume == &context_.volume) {
      hive.damage = found.error().to_string();
    } else {
      hive.unsure = true;
    }
    return {};
  };
  RS_CHECK(find(context_.volume, on_volume(path), hive.now));
  std::string base;
  if (context_.provenance != nullptr)
    base = base_hive_path(context_.provenance_path, context_.provenance->header().session, path);
  if (!base.empty()) RS_CHECK(find(context_.volume, base, hive.base));
  if (const auto* mirror = context_.before.mirror()) {
    RS_CHECK(find(mirror->volume, on_volume(path), hive.before));
    if (!base.empty()) RS_CHECK(find(mirror->volume, base, hive.base_before));
  }
  return hive;
}

Result<void> ProfileHives::find_displaced(const profile::ProfilePath& path) {
  const auto* mirror = context_.before.mirror();
  if (mirror == nullptr) return {};
  const auto directory = on_volume(path.parent());
  const auto now = context_.volume.lookup(directory);
  const auto before = mirror->volume.lookup(directory);
  if (now && before && *now == *before) return {};
  const auto add = [&](const ntfs::Volume& volume,
                       const Result<ntfs::FileReference>& reference) -> Result<void> {
    if (!reference) return {};
    auto children = volume.list(reference->record);
    if (!children) return is_damage(children.error()) ? Result<void>{} : fail(std::move(children).error());
    for (const auto& child : *children)
      if (is_hive_path(path.parent().child(child.name).text())) displaced_.insert(child.reference.record);
    return {};
  };
  RS_CHECK(add(context_.volume, now));
  return add(mirror->volume, before);
}

ItemPointer ProfileHives::published(const profile::ProfilePath& path) const {
  const auto* provenance = context_.provenance;
  if (provenance == nullptr) return nullptr;
  auto item = provenance->find_by_base(path);
  if (item == nullptr)  // its name may be written otherwise
    for (const auto id : provenance->hive_items()) {
      auto other = provenance->find(id);
      if (other->withdrawn || !same_name(other->base_path.text(), path.text())) continue;
      if (const auto latest = provenance->find_by_base(other->base_path);
          latest != nullptr && latest->id == id)
        item = std::move(other);
    }
  return item == nullptr || item->entry.is_directory() ? nullptr : item;
}

Result<void> ProfileHives::finish(profile::Batch& batch, std::vector<Locator>& locators) {
  for (auto& hive : hives_) {
    auto added = add(hive, batch, locators);
    // Their bytes are needed no longer, and the next hive's are to come.
    hive.live = hive.live_before = hive.loaded = hive.loaded_before = nullptr;
    if (added) continue;
    if (!is_damage(added.error())) return fail(std::move(added).error().with(hive.path.text()));
    hold_back(batch, hive.path.text(), added.error().to_string());
  }
  return {};
}

Result<void> ProfileHives::add(Hive& hive, profile::Batch& batch, std::vector<Locator>& locators) {
  if (!touched(hive)) return {};
  if (!hive.damage.empty()) return fail(ErrorCode::corrupt, hive.damage);
  const bool in_tree = in_tree_before(hive);
  if (!hive.now.hive) {
    // Windows keeps a loaded hive from being deleted. A crash may have come between the removal of the old
    // file and the name of the new one; a whole registry is not given up for that.
    if (in_tree && hive.base.hive)
      return fail(ErrorCode::corrupt,
                  "the file is missing, though what was loaded of it is there; the profile keeps it");
    if (in_tree) add_delete(hive, batch, locators);
    return {};
  }
  if (hive.item != nullptr && hive.item->entry.kind != profile::EntryKind::registry)
    return fail(ErrorCode::unsupported,
                "the profile has it as a plain file, from before registries were part of it; import it anew");
  RS_TRY(const auto path, path_after(hive));
  RS_CHECK(load(hive));
  RS_TRY(auto records, compare(hive, path, in_tree));
  const bool known = hive.item != nullptr || hive.base.hive;
  if (!in_tree || (!known && hive.unsure)) RS_CHECK(add_entry(hive, path, batch, locators));
  const Locator locator{hive.now.hive->reference.record, hive.now.hive->reference.sequence};
  for (auto& record : records.deletes) {
    batch.records.push_back(std::move(record));
    locators.push_back({});
  }
  for (auto& record : records.puts) {
    const bool has_content = std::any_of(record.values.begin(), record.values.end(),
                                         [](const auto& value) { return !value.is_inline(); });
    batch.records.push_back(std::move(record));
    locators.push_back(has_content ? locator : Locator{});
  }
  for (const auto& held : records.held_back) hold_back(batch, held.path, held.reason);
  return {};
}

bool ProfileHives::touched(const Hive& hive) const {
  if (context_.candidates == nullptr || context_.before.mirror() == nullptr) return true;
  if (context_.waited && context_.selection.rules().has_registry_rules()) return true;
  if (!hive.now.same_files(hive.before) || !hive.base.same_files(hive.base_before)) return true;
  if (hive.item != nullptr && !hive.now.hive) return true;
  const auto changed = [&](std::uint64_t record) { return context_.candidates->count(record) != 0; };
  return !hive.damage.empty() || hive.now.any_record(changed) || hive.base.any_record(changed);
}

bool ProfileHives::in_tree_before(const Hive& hive) const {
  const auto* mirror = context_.before.mirror();
  if (mirror == nullptr) return hive.item != nullptr || hive.base.hive;
  if (hive.before.hive || hive.unsure || hive.base_before.hive) return true;
  if (hive.item == nullptr) return hive.base.hive && !hive.base_before.hive;
  if (mirror->provenance == nullptr) return true;
  const auto known = mirror->provenance->find(hive.item->id);
  if (known == nullptr || known->base_path != hive.item->base_path) return true;  // published since
  // Only in a populated directory had it its name for certain.
  const auto directory = mirror->provenance->find_by_base(hive.item->base_path.parent());
  return directory == nullptr || !directory->populated;
}

void ProfileHives::add_delete(const Hive& hive, profile::Batch& batch, std::vector<Locator>& locators) {
  std::optional<Location> place;
  if (hive.before.hive) {
    place = location_of(context_.before.mirror()->tree, *hive.before.hive, hive.path);
    if (place && hive.item != nullptr)
      place->path =
          profile::ProfilePath::parse(place->path).value().parent().child(hive.item->base_path.name()).text();
  } else if (hive.item != nullptr) {
    const auto directory = context_.provenance->find_by_base(hive.item->base_path.parent());
    if (directory == nullptr || !directory->populated) return;  // it may never have had its name
    place = context_.before.origin_of_published(hive.item).names.front();
  }
  if (!place || place->parent.record >> 63 != 0 ||
      context_.tree.directory(place->parent).place != Place::inside)
    return;
  auto path = profile::ProfilePath::parse(place->path);
  if (!path) return;
  batch.records.push_back(profile::Delete{std::move(*path)});
  locators.push_back({});
}

Result<profile::ProfilePath> ProfileHives::path_after(const Hive& hive) {
  const auto place = location_of(context_.tree, *hive.now.hive, hive.path);
  if (!place)
    return fail(ErrorCode::corrupt, "MFT record " + std::to_string(hive.now.hive->reference.record) +
                                        " does not have the name that its directory gives it");
  RS_TRY(const auto path, profile::ProfilePath::parse(place->path));
  return path.parent().child(hive.item != nullptr ? hive.item->base_path.name() : hive.path.name());
}

Result<void> ProfileHives::load(Hive& hive) {
  const auto& name = hive.path.text();
  RS_TRY(hive.live, LoadedHive::load(context_.volume, hive.now, name));
  if (hive.base.hive) {
    RS_TRY(hive.loaded, LoadedHive::load_base(context_.volume, hive.base, "what is loaded of " + name));
  }
  const auto* mirror = context_.before.mirror();
  const auto take = [](Result<std::shared_ptr<const LoadedHive>> loaded,
                       std::shared_ptr<const LoadedHive>& into) -> Result<void> {
    if (loaded) {
      into = std::move(*loaded);
      return {};
    }
    return is_damage(loaded.error()) ? Result<void>{} : fail(std::move(loaded).error());
  };
  // What could not be put into a batch then was not sent.
  if (hive.before.hive && location_of(context_.before.mirror()->tree, *hive.before.hive, hive.path))
    RS_CHECK(take(LoadedHive::load(mirror->volume, hive.before, name), hive.live_before));
  if (hive.before.hive && (!hive.live_before || !hive.live_before->keys_sound())) hive.unsure = true;
  if (!hive.base_before.hive) return {};
  hive.unsure = hive.unsure || !hive.before.hive;  // it was held back
  const bool same =
      context_.candidates != nullptr && hive.base.same_files(hive.base_before) &&
      !hive.base.any_record([&](std::uint64_t record) { return context_.candidates->count(record) != 0; });
  if (same) {
    hive.loaded_before = hive.loaded;
    return {};
  }
  RS_CHECK(take(LoadedHive::load_base(mirror->volume, hive.base_before, name), hive.loaded_before));
  hive.unsure = hive.unsure || !hive.loaded_before;
  return {};
}

Result<HiveRecords> ProfileHives::compare(const Hive& hive, const profile::ProfilePath& path, bool in_tree) {
  const auto view = [](const std::shared_ptr<const LoadedHive>& loaded) {
    return loaded == nullptr ? nullptr : &loaded->hive();
  };
  HiveComparison comparison;
  comparison.hive = path;
  comparison.now = view(hive.live);
  comparison.selection = &context_.selection;
  comparison.waited = context_.waited;
  const bool known = hive.item != nullptr || hive.base.hive;
  comparison.above_root =
      (in_tree && known) || unpopulated_directory(hive) ? Knowledge::partial : Knowledge::exact;
  if (!in_tree) return changes_of(comparison);
  comparison.base = view(hive.loaded);
  if (hive.unsure) {
    comparison.send_all = true;
  } else {
    comparison.before = view(hive.live_before);
    comparison.base_before = view(hive.loaded_before);
  }
  return changes_of(comparison);
}

// Whether the version may have a hive there that was not published yet.
bool ProfileHives::unpopulated_directory(const Hive& hive) const {
  if (context_.provenance == nullptr || hive.item != nullptr) return false;
  const auto place = location_of(context_.tree, *hive.now.hive, hive.path);
  auto reference = place ? place->parent : context_.tree.roots().profile;
  for (std::size_t depth = 0; depth < kMaxDirectoryDepth; ++depth) {
    const auto directory = context_.volume.record(reference.record);
    if (!directory) return true;
    if (const auto item = context_.before.item_of(*directory); item != nullptr && !item->populated)
      return true;
    if (reference == context_.tree.roots().profile || directory->names.empty()) return false;
    reference = directory->names.front().parent;
  }
  return true;
}

Result<void> ProfileHives::add_entry(const Hive& hive, const profile::ProfilePath& path,
                                     profile::Batch& batch, std::vector<Locator>& locators) {
  profile::Put put;
  put.path = path;
  RS_TRY(put.entry, read_entry(context_.volume, *hive.now.hive, context_.profile_root, path.text(), nullptr));
  put.entry.kind = profile::EntryKind::registry;
  put.entry.size_bytes = 0;
  put.entry.streams.clear();
  batch.records.push_back(std::move(put));
  locators.push_back({});
  return {};
}

}  // namespace roamstead::extract
