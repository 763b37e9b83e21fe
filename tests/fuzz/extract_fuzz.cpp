// A small volume on a chain of two frozen layers. The input's first byte says what the rest is:
//   even      patches of the upper layer (as in ntfs_fuzz: 2 bytes place, 1 byte length, bytes): what an
//             extractor with a kept map cuts must be what one without a past cuts
//   1 mod 4   patches of the kept map: found out, or without effect
//   3 mod 4   entries of a map with sound checksums, 24 bytes each: no harm done
#include "common/base/log.h"
#include "common/extract/extract.h"
#include "common/extract/map_file.h"
#include "common/extract/snapshot.h"
#include "tests/support/memory_file_system.h"
#include "tests/support/must.h"
#include "tests/support/tiny_ntfs.h"

namespace {

using namespace roamstead;
using support::TinyNtfs;

constexpr std::uint64_t kFirstFile = 24;  // where ordinary files begin
constexpr std::size_t kTableBytes = 131072;
const std::string kMap = "state/clusters.map";

using support::must;

struct Chain {
  support::MemoryFileSystem files;
  Bytes volume = TinyNtfs::make(kFirstFile);
  vdisk::Disk::Frozen lower, upper;
  std::size_t place = 0;  // of the volume in the upper layer's file
  Guid below;
  Bytes map;  // of the lower layer

  Chain() {
    must(files.make_directories("d"));
    must(files.make_directories("state"));
    set_log_level(LogLevel::error);
    must(vdisk::create_disk(files, "d/golden.vhdx", volume.size(), {1u << 20}));
    {
      auto golden = must(vdisk::Disk::open(files, "d/golden.vhdx", vdisk::Access::write));
      must(golden->write(0, volume));
      must(golden->flush());
    }
    must(vdisk::create_child(files, "d/golden.vhdx", "d/top.vhdx"));
    auto disk = must(vdisk::Disk::open(files, "d/top.vhdx", vdisk::Access::write));
    below = disk->layers().back().id;
    volume[TinyNtfs::kDataLcn * 512 + 20 * 512] = std::byte{7};  // of sub/big
    must(disk->write(0, volume));
    lower = must(disk->freeze());
    must(disk->write(0, volume));
    upper = must(disk->freeze());
    disk.reset();
    const auto bytes = must(os::read_file(files, upper.frozen_path, 64u << 20));
    for (place = 1 << 20; as_text(ByteView(bytes).subspan(place + 3, 4)) != "NTFS"; place += 1 << 20) {
    }
    extract::Extractor extractor(files, {kMap});
    if (must(extractor.extract(request(lower, below)))->batch().records.empty()) __builtin_trap();
    map = must(os::read_file(files, kMap, 64u << 20));
  }

  static extract::Request request(const vdisk::Disk::Frozen& frozen, const Guid& below_id) {
    extract::Request request;
    request.frozen_path = frozen.frozen_path;
    request.below_id = below_id;
    request.provenance_path.clear();
    request.profile_root = "/";
    request.taken_100ns = 1;
    return request;
  }

  // With the map that is there, which is gone afterwards, and without.
  void compare(bool trusted) {
    const auto wanted = request(upper, lower.frozen_id);
    const auto kept = extract::Extractor(files, {kMap}).extract(wanted);
    const auto fresh = extract::extract(files, wanted);
    (void)files.remove(kMap);
    if (kept) read_all(**kept);
    if (!trusted) return;
    if (kept.has_value() != fresh.has_value()) __builtin_trap();
    if (kept && ((*kept)->batch() != (*fresh)->batch() || (*kept)->locators() != (*fresh)->locators()))
      __builtin_trap();
  }

  static void read_all(extract::Extraction& extraction) {
    Bytes buffer(64 << 10);
    const auto& records = extraction.batch().records;
    for (std::size_t i = 0; i < records.size(); ++i)
      if (const auto* put = std::get_if<profile::Put>(&records[i]))
        for (std::size_t k = 0; k < put->contents.size(); ++k)
          for (auto write : put->contents[k].writes)
            (void)extraction.content().read(
                i, k, write.offset,
                MutableByteView(buffer).first(std::min<std::uint64_t>(write.length, buffer.size())));
  }

  void put_map(ByteView bytes) {
    auto file = must(files.open(kMap, os::OpenMode::create));
    must(file->truncate(0));
    must(file->write_at(0, bytes));
  }
};

struct Patch {
  std::size_t place = 0;
  ByteView bytes;
};

std::vector<Patch> patches(ByteView input) {
  std::vector<Patch> list;
  for (std::size_t at = 0; at + 3 <= input.size();) {
    const auto length =
        std::min<std::size_t>(std::to_integer<std::size_t>(input[at + 2]), input.size() - at - 3);
    list.push_back({load_le<std::uint16_t>(input, at), input.subspan(at + 3, length)});
    at += 3 + length;
  }
  return list;
}

void patch_delta(Chain& chain, ByteView input) {
  const auto layer = must(chain.files.open(chain.upper.frozen_path, os::OpenMode::read_write));
  const auto room = chain.volume.size() - kTableBytes;
  std::vector<ByteRange> patched;
  for (const auto& piece : patches(input)) {
    auto place = piece.place * 2 % room;
    if (place >= TinyNtfs::kUpcaseLcn * 512) place += kTableBytes;  // no byte of the table can do harm
    const auto length = std::min(piece.bytes.size(), chain.volume.size() - place);
    must(layer->write_at(chain.place + place, piece.bytes.first(length)));
    patched.push_back({place, length});
  }
  chain.put_map(chain.map);
  chain.compare(true);
  for (const auto& range : patched)
    must(layer->write_at(chain.place + range.offset,
                         ByteView(chain.volume).subspan(range.offset, range.length)));
}

void patch_map(Chain& chain, ByteView input) {
  auto map = chain.map;
  for (const auto& piece : patches(input))
    for (std::size_t i = 0; i < piece.bytes.size(); ++i) map[(piece.place + i) % map.size()] = piece.bytes[i];
  chain.put_map(map);
  chain.compare(true);
}

void forge_map(Chain& chain, ByteView input) {
  using namespace extract;
  chain.put_map({});
  auto file = must(chain.files.open(kMap, os::OpenMode::read_write));
  const auto id = must(write_map_header(*file));
  const auto snapshot = must(Snapshot::open(chain.files, chain.lower.frozen_path, 0));
  const auto state = must(snapshot->map_state());
  std::uint64_t page = 1;
  for (std::uint64_t sequence = 0; sequence < 3; ++sequence) {
    std::vector<MapEntry> entries;
    for (; input.size() >= 24 && entries.size() < 300; input = input.subspan(24)) {
      const auto flags = std::to_integer<unsigned>(input[23]);
      entries.push_back({load_le<std::uint64_t>(input) & ~(std::uint64_t{flags & 1} << 63),
                         load_le<std::uint64_t>(input, 8), load_le<std::uint32_t>(input, 16),
                         static_cast<MapKind>(flags >> 1 & 3), (flags & 8) != 0});
    }
    MapSegmentWriter writer(*file, id, page);
    for (const auto& entry : entries) must(writer.add(entry));
    must(writer.finish(sequence, &state));
    page = writer.end_page();
  }
  chain.compare(false);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static Chain chain;
  if (size == 0) return 0;
  const auto input = std::as_bytes(std::span(data + 1, size - 1));
  if (data[0] % 2 == 0)
    patch_delta(chain, input);
  else if (data[0] % 4 == 1)
    patch_map(chain, input);
  else
    forge_map(chain, input);
  return 0;
}
