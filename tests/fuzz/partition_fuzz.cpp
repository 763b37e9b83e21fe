// A disk with a valid MBR or GPT, changed as the input says.
// Input: a byte of flags (1: make the GPT checksums right again, 2: an MBR with logical partitions), then
// groups of {area, u16 offset in it, value}.
#include <cstdlib>

#include "common/volume/crc32.h"
#include "common/volume/partition.h"

using namespace roamstead;

namespace {

class MemoryDevice final : public vdisk::BlockDevice {
 public:
  explicit MemoryDevice(Bytes bytes) : bytes_(std::move(bytes)) {}
  std::uint64_t size_bytes() const override { return bytes_.size(); }
  Result<void> read(std::uint64_t offset, MutableByteView out) const override {
    if (offset > bytes_.size() || out.size() > bytes_.size() - offset)
      std::abort();  // the parser must not ask
    std::copy_n(bytes_.begin() + static_cast<std::ptrdiff_t>(offset), out.size(), out.begin());
    return {};
  }
  Result<void> write(std::uint64_t offset, ByteView data) override {
    std::copy(data.begin(), data.end(), bytes_.begin() + static_cast<std::ptrdiff_t>(offset));
    return {};
  }
  std::string name() const override { return "input"; }
  Bytes& content() { return bytes_; }

 private:
  Bytes bytes_;
};

void fix_header(Bytes& disk, std::size_t lba) {
  auto at = lba * 512;
  auto header = MutableByteView(disk).subspan(at, 512);
  auto entries = load_le<std::uint64_t>(header, 72);
  auto bytes = std::uint64_t{load_le<std::uint32_t>(header, 80)} * load_le<std::uint32_t>(header, 84);
  if (entries < disk.size() / 512 && bytes <= disk.size() - entries * 512)
    store_le<std::uint32_t>(header, 88, volume::crc32(ByteView(disk).subspan(entries * 512, bytes)));
  auto size = load_le<std::uint32_t>(header, 12);
  if (size < 92 || size > 512) return;
  store_le<std::uint32_t>(header, 16, 0);
  store_le<std::uint32_t>(header, 16, volume::crc32(header.first(size)));
}

Bytes gpt_disk() {
  MemoryDevice device(Bytes(3 << 20));
  if (!volume::create_single_partition(device, "x")) std::abort();
  return device.content();
}

void put(Bytes& disk, std::size_t sector, std::size_t index, std::uint8_t type, std::uint32_t first,
         std::uint32_t count) {
  auto at = sector * 512 + 446 + index * 16;
  disk[at + 4] = static_cast<std::byte>(type);
  store_le<std::uint32_t>(disk, at + 8, first);
  store_le<std::uint32_t>(disk, at + 12, count);
  disk[sector * 512 + 510] = std::byte{0x55};
  disk[sector * 512 + 511] = std::byte{0xaa};
}

Bytes mbr_disk() {
  Bytes disk(3 << 20);
  put(disk, 0, 0, 0x07, 40, 10);
  put(disk, 0, 1, 0x0f, 1, 30);
  put(disk, 1, 0, 0x07, 1, 1);
  put(disk, 1, 1, 0x05, 2, 2);
  put(disk, 3, 0, 0x07, 1, 1);
  return disk;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static MemoryDevice gpt(gpt_disk()), mbr(mbr_disk());
  if (size < 5 || size > 400) return 0;
  auto& device = (data[0] & 2) != 0 ? mbr : gpt;
  auto& disk = device.content();
  // All that any parser of tables may look at: the first 34 sectors and the last 33.
  constexpr std::size_t kEnd = 33 * 512;
  const Bytes first(disk.begin(), disk.begin() + 34 * 512), last(disk.end() - kEnd, disk.end());
  const std::size_t areas[] = {440,       512,          1024, disk.size() - 512, disk.size() - kEnd,
                               512 + 440, 3 * 512 + 440};
  for (std::size_t at = 1; at + 4 <= size; at += 4)
    disk[std::min(areas[data[at] % std::size(areas)] + (data[at + 1] | data[at + 2] % 4 << 8),
                  disk.size() - 1)] = static_cast<std::byte>(data[at + 3]);
  if ((data[0] & 1) != 0) {
    fix_header(disk, 1);
    fix_header(disk, disk.size() / 512 - 1);
  }
  if (auto table = volume::read_partition_table(device))
    for (const auto& partition : table->partitions)
      if (partition.offset_bytes + partition.size_bytes > device.size_bytes()) std::abort();
  std::copy(first.begin(), first.end(), disk.begin());
  std::copy(last.begin(), last.end(), disk.end() - kEnd);
  return 0;
}
