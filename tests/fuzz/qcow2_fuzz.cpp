// A chain of three qcow2 files, one of them changed as the input says, then checked, opened, read, written,
// frozen and merged. The input is a list of changes in terms of the format: a field of the header, an entry
// of the L1, L2 or refcount table, a refcount, a byte anywhere.
//
// Beside crashes, hangs and sanitizers' findings it looks for: a file that the check finds in order and that
// is not in order any more when we have written to it, or does not read as it was written.
#include <array>
#include <cstdlib>

#include "common/vdisk/qcow2_check.h"
#include "common/vdisk/qcow2_layer.h"
#include "tests/support/memory_file_system.h"
#include "tests/support/must.h"

using namespace roamstead;
using namespace roamstead::vdisk::qcow2;
using support::MemoryFileSystem;
using vdisk::Access;
using vdisk::Disk;

namespace {

constexpr std::uint64_t kSize = 96 << 10;
constexpr std::uint64_t kCluster = 512;
constexpr std::array<const char*, 3> kPaths = {"d/a.qcow2", "d/a.0001.qcow2", "d/base.qcow2"};
constexpr std::array<std::uint64_t, 17> kFields = {4,  8,  16, 20, 24, 32, 36,  40, 48,
                                                   56, 60, 72, 80, 88, 96, 100, 112};

using support::must;

MemoryFileSystem& pristine() {
  static auto* files = [] {
    auto* made = new MemoryFileSystem();
    must(vdisk::create_disk(*made, kPaths[2], kSize,
                            {.block_bytes = kCluster, .format = vdisk::Format::qcow2}));
    auto base = must(Disk::open(*made, kPaths[2], Access::write));
    must(base->write(0, Bytes(20'000, std::byte{1})));
    must(base->flush());
    base.reset();
    must(vdisk::create_child(*made, kPaths[2], kPaths[0]));
    auto disk = must(Disk::open(*made, kPaths[0], Access::write));
    must(disk->write(5000, Bytes(7000, std::byte{2})));
    must(disk->freeze());
    must(disk->write(600, Bytes(2000, std::byte{3})));
    must(disk->write(40'000, Bytes(1000, std::byte{4})));
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
    for (int i = 0; i < bytes; ++i) value = value << 8 | byte();
    return value;
  }

 private:
  const std::uint8_t* data_;
  std::size_t size_;
  std::size_t at_ = 0;
};

std::uint64_t load(const os::File& file, std::uint64_t offset) {
  Bytes word(8);
  return file.read_exactly(offset, word) ? load_be<std::uint64_t>(word) : 0;
}

template <class T>
void store(os::File& file, std::uint64_t offset, T value) {
  constexpr std::uint64_t kMost = 1 << 20;  // files stay small
  if (offset > kMost) return;
  Bytes word(sizeof value);
  store_be<T>(word, 0, value);
  must(file.write_at(offset, word));
}

// An entry of a table: a place in the file and flags.
std::uint64_t entry(Input& input) {
  auto flags = input.byte();
  auto value = input.byte() * kCluster;
  for (auto [bit, flag] : {std::pair{1, kCopied},
                           {2, kCompressed},
                           {4, kZero},
                           {8, std::uint64_t{1} << 55},
                           {16, std::uint64_t{2}},
                           {32, std::uint64_t{1} << 60}})
    if (flags & bit) value |= flag;
  return value;
}

void change(os::File& file, const Header& header, Input& input) {
  switch (input.byte() % 6) {
    case 0:
      return store<std::uint32_t>(file, kFields[input.byte() % kFields.size()],
                                  static_cast<std::uint32_t>(input.number(2)));
    case 1:
      return store<std::uint64_t>(file, header.l1_offset + input.byte() % 8 * 8, entry(input));
    case 2: {
      auto table = load(file, header.l1_offset + input.byte() % 4 * 8) & kOffsetMask;
      return store<std::uint64_t>(file, table + input.byte() % 64 * 8, entry(input));
    }
    case 3:
      return store<std::uint64_t>(file, header.refcount_table_offset + input.byte() % 8 * 8, entry(input));
    case 4: {
      auto block = load(file, header.refcount_table_offset + input.byte() % 2 * 8);
      return store<std::uint16_t>(file, block + input.byte() * 2, input.byte() % 4);
    }
    default:
      return store<std::uint8_t>(file, input.number(2), input.byte());
  }
}

bool in_order(MemoryFileSystem& files) {
  auto names = files.list_directory("d");
  for (const auto& name : must(std::move(names))) {
    const auto findings = must(check_file(files, "d/" + name));
    for (const auto& finding : findings)
      if (finding.severity == vdisk::Finding::Severity::error) return false;
  }
  return true;
}

Result<void> write_and_restructure(Disk& disk, std::uint64_t offset, const Bytes& data) {
  RS_CHECK(disk.write(offset, data));
  RS_CHECK(disk.freeze());
  RS_CHECK(disk.write(offset + 100, ByteView(data).first(data.size() - 200)));
  RS_CHECK(disk.freeze());
  RS_CHECK(disk.merge(1));
  return disk.flush();
}

void exercise(MemoryFileSystem& files) {
  bool was_in_order = in_order(files);
  if (auto disk = Disk::open(files, kPaths[0], Access::read)) {
    Bytes some(std::min<std::uint64_t>((*disk)->size_bytes(), 256 << 10));
    static_cast<void>((*disk)->read(0, some));
    static_cast<void>((*disk)->extents(0));
  }
  auto disk = Disk::open(files, kPaths[0], Access::write);
  if (!disk || (*disk)->size_bytes() < 60'000) return;
  Bytes data(9000, std::byte{9});
  if (!write_and_restructure(**disk, 44'400, data)) return;
  disk->reset();
  if (!was_in_order) return;
  if (!in_order(files)) std::abort();
  auto again = must(Disk::open(files, kPaths[0], Access::read));
  Bytes seen(8800);
  must(again->read(44'400, seen));
  if (seen[0] != data[0] || seen[99] != data[0] || seen[100] != data[0] || seen.back() != data[0])
    std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 3 || size > 200) return 0;
  auto files = pristine().clone();
  {
    Input input(data, size);
    auto file = must(files->open(kPaths[input.byte() % kPaths.size()], os::OpenMode::read_write));
    auto header = must(read_header(*file));
    while (!input.empty()) change(*file, header, input);
  }
  exercise(*files);
  return 0;
}
