#include "common/extract/sides.h"

#include <algorithm>
#include <cstring>

namespace roamstead::extract {
namespace {

constexpr std::uint64_t kCompareBytes = 4096;
constexpr std::uint64_t kCompareChunkBytes = 1u << 20;
constexpr const char* kAgentDirectory = "ProgramData/Roamstead";  // never part of a profile

}  // namespace

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

RangeSet on_volume(const RangeSet& extents, const Snapshot& snapshot) {
  RangeSet result;
  for (auto range : extents.covered({snapshot.volume_offset(), snapshot.device().size_bytes()}))
    result.add({range.offset - snapshot.volume_offset(), range.length});
  return result;
}

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

std::unique_ptr<Provenance> KnownJournal::take_for(const Snapshot& snapshot,
                                                   const std::string& journal_path) {
  auto taken = std::move(provenance);
  if (taken == nullptr || path != journal_path || state.layer.is_zero()) return nullptr;
  const auto wanted = snapshot.map_state();
  return wanted && *wanted == state ? std::move(taken) : nullptr;
}

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

}  // namespace roamstead::extract
