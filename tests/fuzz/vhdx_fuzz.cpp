// A chain of three VHDX files, one of them changed as the input says, then checked, opened, read, written,
// frozen and merged. The input is a list of changes in terms of the format (a header's field, an entry of the
// block table, a log entry …); checksums are made right again afterwards unless the input says otherwise, so
// that what lies behind them is reached.
//
// Beside crashes, hangs and sanitizers' findings it looks for: a file that the layer refuses and the check
// does not; a log that reads otherwise than it is put in place.
#include <array>
#include <cstdlib>

#include "common/base/crc32c.h"
#include "common/vdisk/vhdx_check.h"
#include "common/vdisk/vhdx_layer.h"
#include "tests/support/memory_file_system.h"
#include "tests/support/must.h"

using namespace roamstead;
using namespace roamstead::vdisk::vhdx;
using support::MemoryFileSystem;
using vdisk::Access;
using vdisk::Disk;

namespace {

constexpr std::uint64_t kSize = 3 << 20;
constexpr std::uint64_t kLogOffset = 1 << 20;
constexpr std::uint64_t kMetadataOffset = 2 << 20;
constexpr std::uint64_t kTableOffset = 3 << 20;
constexpr std::array<const char*, 3> kPaths = {"d/a.vhdx", "d/a.0001.vhdx", "d/base.vhdx"};
const Guid kLogGuid = Guid::from(as_bytes("a log of fuzzing"));

using support::must;

MemoryFileSystem& pristine() {
  static auto* files = [] {
    auto* made = new MemoryFileSystem();
    must(vdisk::create_disk(*made, "d/base.vhdx", kSize, {1u << 20}));
    must(must(Disk::open(*made, "d/base.vhdx", Access::write))->write(0, Bytes(100'000, std::byte{1})));
    must(vdisk::create_child(*made, "d/base.vhdx", "d/a.vhdx"));
    auto disk = must(Disk::open(*made, "d/a.vhdx", Access::write));
    must(disk->write(5000, Bytes(70'000, std::byte{2})));
    must(disk->freeze());
    must(disk->write(600, Bytes(2000, std::byte{3})));
    must(disk->write((1 << 20) + 512, Bytes(4096, std::byte{4})));
    must(disk->flush());
    return made;
  }();
  return *files;
}

class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}
  bool empty() const { return at_ >= size_; }
  std::uint8_t byte() { return empty() ? 0 : data_[at_++]; }
  std::uint64_t number(int bytes) {
    std::uint64_t value = 0;
    for (int i = 0; i < bytes; ++i) value |= std::uint64_t{byte()} << (8 * i);
    return value;
  }
  // Small, a power of two and its neighbours, whole MiB, or anything.
  std::uint64_t any() {
    switch (auto kind = byte(); kind % 5) {
      case 0:
        return byte();
      case 1:
        return (std::uint64_t{1} << byte() % 64) + byte() % 3 - 1;
      case 2:
        return std::uint64_t{byte()} << 20;
      case 3:
        return number(4);
      default:
        return number(8);
    }
  }

 private:
  const std::uint8_t* data_;
  std::size_t size_;
  std::size_t at_ = 0;
};

class Mutation {
 public:
  Mutation(os::File& file, Input& input) : file_(file), input_(input) {}

  void run() {
    auto flags = input_.byte();
    for (int steps = 0; !input_.empty() && steps < 40; ++steps) step();
    if ((flags & 1) == 0)
      for (auto offset : kHeaderOffsets) fix_checksum(offset, kHeaderBytes);
    if ((flags & 2) == 0)
      for (auto offset : kRegionTableOffsets) fix_checksum(offset, kRegionTableBytes);
  }

 private:
  void step() {
    switch (input_.byte() % 9) {
      case 0:
        return any_byte();
      case 1:
        return header_field();
      case 2:
        return region_field();
      case 3:
        return metadata_field();
      case 4:
        return metadata_item();
      case 5:
      case 6:
        return table_entry();
      case 7:
        return log_entry();
      default:
        return must(file_.truncate(input_.number(2) << 12));
    }
  }

  Bytes read(std::uint64_t offset, std::size_t size) {
    Bytes bytes(size);
    must(file_.read_at(offset, bytes));
    return bytes;
  }
  void write(std::uint64_t offset, ByteView bytes) { must(file_.write_at(offset, bytes)); }
  void store(std::uint64_t offset, std::uint64_t value, std::size_t size) {
    Bytes bytes(8);
    store_le<std::uint64_t>(bytes, 0, value);
    write(offset, ByteView(bytes).first(size));
  }
  void fix_checksum(std::uint64_t offset, std::size_t size) {
    auto block = read(offset, size);
    store_le<std::uint32_t>(block, 4, 0);
    store_le<std::uint32_t>(block, 4, crc32c(block));
    write(offset, block);
  }

  void any_byte() {
    constexpr std::array<std::uint64_t, 8> kAreas = {0,
                                                     kHeaderOffsets[0],
                                                     kRegionTableOffsets[0],
                                                     kLogOffset,
                                                     kMetadataOffset,
                                                     kMetadataOffset + (64 << 10),
                                                     kTableOffset,
                                                     kTableOffset + 32700};
    auto offset = kAreas[input_.byte() % kAreas.size()] + input_.number(2) % 1024;
    store(offset, input_.byte(), 1);
  }
  void header_field() {
    struct Field {
      std::uint64_t at;
      std::size_t size;
    };
    constexpr std::array<Field, 7> kFields = {{{8, 8}, {32, 8}, {48, 8}, {64, 2}, {66, 2}, {68, 4}, {72, 8}}};
    auto which = input_.byte();
    auto field = kFields[which / 4 % kFields.size()];
    auto value = input_.any();
    for (std::size_t slot = 0; slot < 2; ++slot)
      if ((which & (1u << slot)) == 0) store(kHeaderOffsets[slot] + field.at, value, field.size);
  }
  void region_field() {
    auto which = input_.byte();
    auto value = input_.any();
    auto entry = 16 + std::uint64_t{which} / 16 % 3 * 32;
    constexpr std::array<std::uint64_t, 5> kAt = {0, 16, 24, 28, 0};
    constexpr std::array<std::size_t, 5> kBytes = {8, 8, 4, 4, 4};
    auto field = std::size_t{which} / 2 % 5;
    for (std::size_t copy = 0; copy < 2; ++copy)
      if (copy == 0 || (which & 1) == 0)
        store(kRegionTableOffsets[copy] + (field == 4 ? 8 : entry + kAt[field]), value, kBytes[field]);
  }
  void metadata_field() {
    auto which = input_.byte();
    auto value = input_.any();
    constexpr std::array<std::uint64_t, 5> kAt = {0, 16, 20, 24, 0};
    constexpr std::array<std::size_t, 5> kBytes = {8, 4, 4, 4, 2};
    auto field = std::size_t{which} % 5;
    store(kMetadataOffset + (field == 4 ? 10 : 32 + std::uint64_t{which} / 5 % 7 * 32 + kAt[field]), value,
          kBytes[field]);
  }
  // The content of an item, wherever the table says it is.
  void metadata_item() {
    auto which = input_.byte();
    auto entry = read(kMetadataOffset + 32 + std::uint64_t{which} % 6 * 32, 32);
    auto offset = load_le<std::uint32_t>(entry, 16) % (1u << 20);
    auto value = input_.any();
    store(kMetadataOffset + offset + (which % 6 == 5 ? input_.byte() : which / 6 % 2 * 4), value,
          which % 6 == 5 ? 1 : 4);
  }
  void table_entry() {
    constexpr std::array<std::uint64_t, 6> kIndexes = {0, 1, 2, 3, 4096, 4097};
    auto which = input_.byte();
    auto index = kIndexes[which % kIndexes.size()];
    auto offset = kTableOffset + index * 8;
    auto old = load_le<std::uint64_t>(read(offset, 8));
    auto state = std::uint64_t{input_.byte()} % 8;
    auto place = which / 6 % 4;
    store(offset, state | (place == 0 ? old & ~std::uint64_t{7} : place == 1 ? 0 : input_.any() << 20), 8);
    if (which >= 128) store((4 << 20) + std::uint64_t{which} % 4 * 256, input_.any(), 8);  // a bitmap's bits
  }
  // One that is whole, with pages of the file as it is but for a few bytes; the header names the log.
  void log_entry() {
    auto which = input_.byte();
    std::vector<LogPage> pages;
    for (int i = 0; i <= which % 4; ++i) {
      constexpr std::array<std::uint64_t, 6> kTargets = {kTableOffset,    kTableOffset + 32768,
                                                         kMetadataOffset, kMetadataOffset + (64 << 10),
                                                         4 << 20,         kRegionTableOffsets[0]};
      auto target = input_.byte();
      auto offset = target < 200 ? kTargets[target % kTargets.size()] : input_.any() << 12;
      if (offset > std::uint64_t{1} << 40) continue;
      LogPage page{offset, read(offset, kLogPageBytes)};
      for (int j = 0; j < target / 6 % 3; ++j) {
        auto at = input_.number(2) % (kLogPageBytes / 8) * 8;
        store_le<std::uint64_t>(page.content, at, input_.any());
      }
      pages.push_back(std::move(page));
    }
    auto position = input_.number(2) % 256 * kLogPageBytes;
    auto sequence = 1 + std::uint64_t{input_.byte()} % 8;
    auto tail = (which & 4) != 0 ? position : input_.number(2) % 256 * kLogPageBytes;
    std::uint64_t flushed = (which & 8) != 0 ? 0 : input_.any();
    auto entry =
        encode_log_entry(kLogGuid, sequence, static_cast<std::uint32_t>(tail), flushed, input_.any(), pages);
    if ((which & 16) != 0 && !pages.empty()) {  // a range of zeros instead of the last page
      auto descriptor = 64 + (pages.size() - 1) * 32;
      std::memcpy(entry.data() + descriptor, "zero", 4);
      store_le<std::uint64_t>(entry, descriptor + 8, input_.any() << 12);
      store_le<std::uint32_t>(entry, 4, 0);
      store_le<std::uint32_t>(entry, 4, crc32c(entry));
    }
    for (std::size_t i = 0; i < entry.size(); i += kLogPageBytes)
      write(kLogOffset + (position + i) % (1 << 20), ByteView(entry).subspan(i, kLogPageBytes));
    for (auto offset : kHeaderOffsets) write(offset + 48, kLogGuid.bytes);
  }

  os::File& file_;
  Input& input_;
};

// What the layer shows of its beginning; empty when a read fails.
Bytes content(const vdisk::Layer& layer) {
  Bytes seen(std::min<std::uint64_t>(layer.virtual_bytes(), (1 << 20) + (64 << 10)));
  for (std::uint64_t at = 0; at < seen.size();) {
    auto piece = layer.lookup(at, seen.size() - at);
    if (!piece) return {};
    auto part = MutableByteView(seen).subspan(at, piece->length);
    if (piece->source == vdisk::Layer::Piece::Source::here && !layer.read_file(piece->file_offset, part))
      return {};
    at += piece->length;
  }
  return seen;
}

void exercise(MemoryFileSystem& files, const char* changed) {
  auto findings = must(check_file(files, changed));
  auto reader = VhdxLayer::open(files, changed, Access::read);
  bool errors = std::any_of(findings.begin(), findings.end(), [](const auto& each) {
    return each.severity == vdisk::Finding::Severity::error;
  });
  if (!reader && !errors) std::abort();
  if (reader) {
    static_cast<void>((*reader)->extents());
    auto copy = files.clone();
    auto before = content(**reader);
    if (auto writer = VhdxLayer::open(*copy, changed, Access::write);
        writer && as_text(content(**writer)) != as_text(before))
      std::abort();
  }
  if (auto disk = Disk::open(files, "d/a.vhdx", Access::read)) {
    Bytes some(std::min<std::uint64_t>((*disk)->size_bytes(), 128 << 10));
    static_cast<void>((*disk)->read(0, some));
    static_cast<void>((*disk)->read((*disk)->size_bytes() - some.size(), some));
  }
  if (auto disk = Disk::open(files, "d/a.vhdx", Access::write)) {
    static_cast<void>((*disk)->write(1'048'000, Bytes(3000, std::byte{5})));
    static_cast<void>((*disk)->freeze());
    static_cast<void>((*disk)->merge(1));
    static_cast<void>((*disk)->merge(1));
    static_cast<void>((*disk)->flush());
  }
}

}  // namespace

// What is freed need not be watched for long, and is big: most of the time would go into fresh pages.
extern "C" const char* __asan_default_options();
extern "C" const char* __asan_default_options() { return "quarantine_size_mb=8:malloc_context_size=3"; }

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 3 || size > 600) return 0;
  auto files = pristine().clone();
  Input input(data, size);
  const auto* path = kPaths[input.byte() % kPaths.size()];
  {
    auto file = must(files->open(path, os::OpenMode::read_write));
    Mutation(*file, input).run();
  }
  exercise(*files, path);
  return 0;
}
