#include "coordinator/compose/clone_diff.h"

#include <algorithm>

#include "common/base/text.h"
#include "common/extract/record_changes.h"
#include "common/registry/compare.h"
#include "common/registry/value_text.h"
#include "coordinator/compose/windows_volume.h"

namespace roamstead::compose {
namespace {

constexpr std::size_t kMostBytesShown = 64;
constexpr std::uint64_t kFirstUserRecord = 24;  // those before are NTFS's own
constexpr std::uint64_t kPiece = 1u << 20;

// LSA's secrets, SAM's keys, and what logs somebody on without asking.
bool is_secret(HiveId hive, const std::string& key, const std::string& name) {
  if (hive == HiveId::sam || hive == HiveId::security) return true;
  return hive == HiveId::software && same_name(name, "DefaultPassword") &&
         key.find("Winlogon") != std::string::npos;
}

// Bytes of the Windows volume that a layer above the image holds; all of it where the clone does not depend
// on the image.
Result<RangeSet> held_above(const vdisk::Disk& disk, const std::string& image, const WindowsPlace& place) {
  RangeSet held;
  const auto layers = disk.layers();
  const auto is_image = [&](const vdisk::LayerInfo& layer) { return layer.path == image; };
  const auto at =
      static_cast<std::size_t>(std::find_if(layers.begin(), layers.end(), is_image) - layers.begin());
  if (at == layers.size()) {
    held.add({0, place.size_bytes});
    return held;
  }
  for (std::size_t i = 0; i < at; ++i) {
    RS_TRY(const auto extents, disk.extents(i));
    for (const auto& range : extents.ranges()) {
      const auto from = std::max(range.offset, place.offset_bytes);
      const auto to = std::min(range.end(), place.offset_bytes + place.size_bytes);
      if (from < to) held.add({from - place.offset_bytes, to - from});
    }
  }
  return held;
}

// Page by page.
Result<RangeSet> really_different(const RangeSet& ranges, const vdisk::BlockDevice& now,
                                  const vdisk::BlockDevice& before) {
  constexpr std::uint64_t kPage = 4096;
  RangeSet different;
  Bytes a(kPiece), b(kPiece);
  for (const auto& range : ranges.ranges())
    for (auto at = range.offset; at < range.end(); at += kPiece) {
      const auto count = static_cast<std::size_t>(std::min(kPiece, range.end() - at));
      RS_CHECK(now.read(at, MutableByteView(a).first(count)));
      RS_CHECK(before.read(at, MutableByteView(b).first(count)));
      for (std::size_t page = 0; page < count; page += kPage) {
        const auto length = std::min<std::size_t>(kPage, count - page);
        const auto first = a.begin() + static_cast<std::ptrdiff_t>(page);
        if (!std::equal(first, first + static_cast<std::ptrdiff_t>(length),
                        b.begin() + static_cast<std::ptrdiff_t>(page)))
          different.add({at + page, length});
      }
    }
  return different;
}

std::uint64_t size_of(const ntfs::FileRecord& file) {
  for (const auto& stream : file.streams)
    if (stream.name.empty()) return stream.size_bytes;
  return 0;
}

bool touches(const ntfs::FileRecord& file, const RangeSet& changed, std::uint32_t cluster_bytes) {
  for (const auto& stream : file.streams)
    for (const auto& run : stream.runs)
      if (!run.sparse && changed.overlaps({run.lcn * cluster_bytes, run.clusters * cluster_bytes}))
        return true;
  return false;
}

bool is_hive_or_log(const std::string& path) {
  for (auto hive : kHives)
    for (const char* ending : {"", ".LOG", ".LOG1", ".LOG2"})
      if (same_name(path, std::string(path_of(hive)) + ending)) return true;
  return false;
}

Result<void> add_file(const ntfs::Volume& volume, const ntfs::FileRecord& file, const char* kind,
                      CloneDiff& diff) {
  RS_TRY(auto path, volume.path_of(file));
  if (!is_hive_or_log(path)) diff.files.push_back({std::move(path), kind, size_of(file)});
  return {};
}

Result<void> diff_files(const WindowsDisk& before, const WindowsDisk& now, const RangeSet& changed,
                        CloneDiff& diff) {
  std::uint64_t looked_at = 0;
  RS_TRY(auto candidates, extract::changed_records(now.volume(), before.volume(), changed, looked_at));
  const auto cluster_bytes = now.volume().info().cluster_bytes;
  RS_CHECK(now.volume().scan([&](std::uint64_t number, const Result<ntfs::FileRecord>& file) {
    if (file && touches(*file, changed, cluster_bytes)) candidates.insert(number);
    return true;
  }));
  for (auto number : candidates) {
    if (number < kFirstUserRecord) continue;
    const auto is = now.volume().record(number), was = before.volume().record(number);
    const auto gone = [](const auto& record) {
      return !record && record.error().code == ErrorCode::not_found;
    };
    if (!is && !gone(is)) return fail(is.error());
    if (!was && !gone(was)) return fail(was.error());
    const bool same = is && was && is->reference == was->reference;
    if (was && !same) RS_CHECK(add_file(before.volume(), *was, "removed", diff));
    if (is && !same) RS_CHECK(add_file(now.volume(), *is, "added", diff));
    if (same && !is->directory) RS_CHECK(add_file(now.volume(), *is, "changed", diff));
  }
  std::sort(diff.files.begin(), diff.files.end(),
            [](const FileChange& a, const FileChange& b) { return compare_names(a.path, b.path) < 0; });
  return {};
}

RegistryChange registry_change(HiveId hive, const registry::Difference& difference) {
  RegistryChange change;
  change.hive = hive;
  change.kind = registry::to_string(difference.kind);
  change.key = difference.path;
  const auto* value = difference.value_after != nullptr ? difference.value_after : difference.value_before;
  if (value == nullptr) return change;
  change.has_value = true;
  change.name = value->name.to_wtf8();
  const bool secret = is_secret(hive, change.key, change.name);
  const auto text = [&](const registry::Value* of, ByteView data) {
    return of == nullptr ? std::string()
           : secret      ? std::string("(not shown)")
                         : registry::value_text(of->type, data, kMostBytesShown);
  };
  change.before = text(difference.value_before, difference.data_before);
  change.after = text(difference.value_after, difference.data_after);
  return change;
}

Result<void> diff_hive(const WindowsDisk& before, const WindowsDisk& now, HiveId hive, CloneDiff& diff) {
  const std::string path(path_of(hive));
  RS_TRY(const auto was, load_hive(before.volume(), path));
  RS_TRY(const auto is, load_hive(now.volume(), path));
  RS_TRY(const auto old_hive, registry::Hive::open(was.file, path));
  RS_TRY(const auto new_hive, registry::Hive::open(is.file, path));
  std::optional<Error> damage;
  registry::compare(
      old_hive, new_hive,
      [&](const registry::Difference& difference) {
        diff.registry.push_back(registry_change(hive, difference));
        return true;
      },
      [&](const registry::Defect& defect) {
        if (!damage) damage = Error(ErrorCode::corrupt, path + ": " + defect.to_string());
      });
  return damage ? Result<void>(fail(*damage)) : Result<void>();
}

}  // namespace

Result<CloneDiff> diff_clone_disk(os::FileSystem& files, const std::string& image, const std::string& clone) {
  RS_TRY(const auto before, WindowsDisk::open(files, image));
  RS_TRY(const auto now, WindowsDisk::open(files, clone));
  RS_TRY(const auto held, held_above(now->disk(), image, now->place()));
  RS_TRY(const auto changed, really_different(held, now->device(), before->device()));
  CloneDiff diff;
  for (auto hive : kHives) RS_CHECK(diff_hive(*before, *now, hive, diff));
  RS_CHECK(diff_files(*before, *now, changed, diff));
  return diff;
}

}  // namespace roamstead::compose
