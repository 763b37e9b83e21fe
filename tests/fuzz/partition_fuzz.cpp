// The first and the last sectors of a disk as the input has them, with GPT checksums made right when the
// first byte says.
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
  std::string name() const override { return "input"; }

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

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr std::size_t kMaxInput = 64 * 1024;
  if (size < 3 * 512 + 1 || size > kMaxInput) return 0;
  Bytes disk(reinterpret_cast<const std::byte*>(data) + 1, reinterpret_cast<const std::byte*>(data) + size);
  disk.resize(disk.size() / 512 * 512);
  if ((data[0] & 1) != 0) fix_header(disk, 1);
  if ((data[0] & 2) != 0) fix_header(disk, disk.size() / 512 - 1);
  MemoryDevice device(std::move(disk));
  if (auto table = volume::read_partition_table(device))
    for (const auto& partition : table->partitions)
      if (partition.offset_bytes + partition.size_bytes > device.size_bytes()) std::abort();
  return 0;
}
