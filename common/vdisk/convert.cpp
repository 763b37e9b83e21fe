#include "common/vdisk/convert.h"

#include <algorithm>

#include "common/vdisk/chain.h"

namespace roamstead::vdisk {
namespace {

constexpr std::uint64_t kZeroGrain = 64 * 1024;  // runs of zeros from this size on are left out

Result<ChainLayer> make_target(os::FileSystem& files, const std::string& path, const Disk& source,
                               const ConvertOptions& options) {
  auto size = source.size_bytes();
  if (options.format == Format::raw) {
    RS_TRY(auto file, files.open(path, os::OpenMode::create_new));
    if (options.create.kind == LayerKind::fixed)
      RS_CHECK(file->allocate(size));
    else
      RS_CHECK(file->truncate(size));
    return open_layer(files, path, Access::write, {Format::raw});
  }
  auto create = options.create;
  create.format = options.format;
  create.logical_sector_bytes = source.sector_bytes();
  auto sector = create.logical_sector_bytes;
  RS_CHECK(create_disk(files, path, (size + sector - 1) / sector * sector, create));
  return open_layer(files, path, Access::write);
}

// What any layer holds, in whole grains.
Result<RangeSet> held_anywhere(const Disk& source, std::uint64_t grain) {
  RangeSet held;
  auto count = source.layers().size();
  for (std::size_t i = 0; i < count; ++i) {
    RS_TRY(auto extents, source.extents(i));
    for (auto range : extents.ranges()) {
      auto first = range.offset / grain * grain;
      auto end = std::min((range.end() + grain - 1) / grain * grain, source.size_bytes());
      if (first < end) held.add({first, end - first});
    }
  }
  return held;
}

// The parts that are not zero, whole grains each.
Result<std::uint64_t> write_content(Layer& target, std::uint64_t offset, ByteView data, std::uint64_t grain) {
  std::uint64_t written = 0;
  std::uint64_t at = 0;
  while (at < data.size()) {
    auto length_at = [&](std::uint64_t from) { return std::min<std::uint64_t>(grain, data.size() - from); };
    if (all_zero(data.subspan(at, length_at(at)))) {
      at += length_at(at);
      continue;
    }
    auto end = at;
    while (end < data.size() && !all_zero(data.subspan(end, length_at(end)))) end += length_at(end);
    auto part = data.subspan(at, end - at);
    if (auto rest = part.size() % target.write_unit(); rest == 0) {
      RS_CHECK(target.write(offset + at, part));
    } else {  // the end of a raw disk that is not whole sectors
      auto padded = to_bytes(part);
      padded.resize(std::min<std::uint64_t>(part.size() - rest + target.write_unit(),
                                            target.virtual_bytes() - offset - at));
      RS_CHECK(target.write(offset + at, padded));
    }
    written += part.size();
    at = end;
  }
  return written;
}

Result<std::uint64_t> copy_content(const Disk& source, Layer& target, const Progress& progress) {
  auto grain = std::max<std::uint64_t>(kZeroGrain, target.write_unit());
  auto most = std::max(kCopyBytes, grain);
  RS_TRY(auto held, held_anywhere(source, grain));
  auto total = held.total_bytes();
  std::uint64_t done = 0, written = 0;
  Bytes buffer(most);
  for (auto range : held.ranges()) {
    while (!range.empty()) {
      auto count = std::min(range.length, most - range.offset % most);
      auto part = MutableByteView(buffer).first(count);
      RS_CHECK(source.read(range.offset, part));
      RS_TRY(auto now, write_content(target, range.offset, part, grain));
      written += now;
      range = {range.offset + count, range.length - count};
      done += count;
      if (progress) progress(done, total);
    }
  }
  return written;
}

}  // namespace

Result<Converted> convert_disk(os::FileSystem& files, const std::string& from, const std::string& to,
                               const ConvertOptions& options, const Progress& progress) {
  RS_TRY(const auto source, Disk::open(files, from, Access::read, options.open));
  return convert_disk(files, *source, to, options, progress);
}

Result<Converted> convert_disk(os::FileSystem& files, const Disk& source, const std::string& to,
                               const ConvertOptions& options, const Progress& progress) {
  RS_TRY(auto there, files.exists(to));
  if (there) return fail(ErrorCode::exists, to + ": exists; a disk is never created over a file");
  auto temporary = to + ".partial";
  RS_TRY(auto left_over, files.exists(temporary));
  if (left_over) RS_CHECK(files.remove(temporary));
  Converted result;
  result.virtual_bytes = source.size_bytes();
  auto write = [&]() -> Result<void> {
    RS_TRY(auto target, make_target(files, temporary, source, options));
    RS_TRY(result.copied_bytes, copy_content(source, *target.layer, progress));
    if (target.image != nullptr) return target.image->end_writing();
    return target.layer->flush();
  };
  auto done = write();
  if (done) done = files.rename(temporary, to);
  if (!done) {
    static_cast<void>(files.remove(temporary));  // what is left of it, the next try removes
    return fail(std::move(done).error());
  }
  RS_CHECK(files.sync_directory(os::parent_directory(to)));
  return result;
}

}  // namespace roamstead::vdisk
