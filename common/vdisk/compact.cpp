#include "common/vdisk/compact.h"

#include <algorithm>

#include "common/vdisk/chain.h"

namespace roamstead::vdisk {
namespace {

// Equal bytes between two differing runs that are copied all the same: fewer, longer runs read faster.
constexpr std::uint64_t kMaxGap = 4096;

Result<void> read_layer(const Layer& layer, std::uint64_t offset, MutableByteView out) {
  while (!out.empty()) {
    RS_TRY(auto piece, layer.lookup(offset, out.size()));
    auto part = out.first(piece.length);
    if (piece.source == Layer::Piece::Source::here)
      RS_CHECK(layer.read_file(piece.file_offset, part));
    else
      std::fill(part.begin(), part.end(), std::byte{0});
    offset += piece.length;
    out = out.subspan(piece.length);
  }
  return {};
}

// The parts of [0, ours.size()) where the two differ, in whole units, near ones joined.
std::vector<ByteRange> differing(ByteView ours, ByteView below, std::uint64_t unit) {
  std::vector<ByteRange> runs;
  for (std::uint64_t at = 0; at < ours.size(); at += unit) {
    auto count = std::min<std::uint64_t>(unit, ours.size() - at);
    if (std::equal(ours.begin() + static_cast<std::ptrdiff_t>(at),
                   ours.begin() + static_cast<std::ptrdiff_t>(at + count),
                   below.begin() + static_cast<std::ptrdiff_t>(at)))
      continue;
    if (!runs.empty() && at - runs.back().end() <= kMaxGap)
      runs.back().length = at + count - runs.back().offset;
    else
      runs.push_back({at, count});
  }
  return runs;
}

// `below` null: zeros.
Result<void> copy_needed(const ImageLayer& from, const Disk* below, ImageLayer& to, const RangeSet& held,
                         const Progress& progress) {
  auto most = std::max<std::uint64_t>(kCopyBytes, to.write_unit());
  Bytes ours(most), theirs(most);
  auto total = held.total_bytes();
  std::uint64_t done = 0;
  for (auto range : held.ranges()) {
    while (!range.empty()) {
      auto count = std::min(range.length, most - range.offset % most);
      auto content = MutableByteView(ours).first(count);
      auto beneath = MutableByteView(theirs).first(count);
      RS_CHECK(read_layer(from, range.offset, content));
      std::fill(beneath.begin(), beneath.end(), std::byte{0});
      if (below != nullptr && range.offset < below->size_bytes())
        RS_CHECK(
            below->read(range.offset, beneath.first(std::min(count, below->size_bytes() - range.offset))));
      for (auto run : differing(content, beneath, to.write_unit()))
        RS_CHECK(to.write(range.offset + run.offset, content.subspan(run.offset, run.length)));
      range = {range.offset + count, range.length - count};
      done += count;
      if (progress) progress(done, total);
    }
  }
  return to.end_writing();
}

Result<std::uint64_t> file_size(os::FileSystem& files, const std::string& path) {
  RS_TRY(auto file, files.open(path, os::OpenMode::read));
  return file->size();
}

}  // namespace

Result<Compacted> compact_disk(os::FileSystem& files, const std::string& path, const Progress& progress) {
  RS_TRY(auto description, inspect(files, path));
  if (description.format == Format::raw || description.kind == LayerKind::fixed)
    return fail(ErrorCode::unsupported,
                path + ": a raw or fixed disk holds all its bytes; convert it to a dynamic one to shrink it");
  // Opening for writing puts right what a crash left: of a merge, of a log.
  RS_CHECK(Disk::open(files, path, Access::write));
  RS_TRY(auto chain, open_chain(files, path, Access::write));
  const auto& layer = *chain.front().image;
  auto lineage = layer.lineage();
  bool below_merging = chain.size() > 1 && chain[1].image != nullptr && merge_pending(*chain[1].image);
  if (!lineage.merging_child.is_zero() || !lineage.merged_path.empty() || below_merging)
    return fail(ErrorCode::busy, path + ": a merge that concerns it has not been finished yet");
  std::unique_ptr<Disk> below;
  if (chain.size() > 1) {
    RS_TRY(below, Disk::open(files, layer.info().parent_path, Access::read));
  }
  auto temporary = path + ".compact";
  RS_TRY(auto left_over, files.exists(temporary));
  if (left_over) RS_CHECK(files.remove(temporary));
  Compacted result;
  RS_TRY(result.file_before, file_size(files, path));
  RS_TRY(auto held, layer.extents());
  result.held_before = held.total_bytes();
  auto write_twin = [&]() -> Result<void> {
    RS_TRY(auto twin, layer.create_twin(files, temporary));
    RS_CHECK(copy_needed(layer, below.get(), *twin, held, progress));
    RS_TRY(auto now, twin->extents());
    result.held_after = now.total_bytes();
    return {};
  };
  auto done = write_twin();
  if (done) {
    auto size = file_size(files, temporary);
    if (size) result.file_after = *size;
    done = files.rename(temporary, path);
  }
  if (!done) {
    static_cast<void>(files.remove(temporary));  // what is left of it, the next try removes
    return fail(std::move(done).error());
  }
  RS_CHECK(files.sync_directory(os::parent_directory(path)));
  return result;
}

}  // namespace roamstead::vdisk
