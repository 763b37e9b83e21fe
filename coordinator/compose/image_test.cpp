// Golden images that no desktop can be made of, each refused with its reason before anything is written.
#include <doctest/doctest.h>

#include <filesystem>

#include "coordinator/compose/image.h"
#include "coordinator/compose/testing/golden_image.h"
#include "tests/support/command.h"
#include "tests/support/must.h"
#include "tests/support/temporary_directory.h"

namespace roamstead::compose {
namespace {

using support::must;

class Images {
 public:
  // What is said of an image that was damaged so; "" when it is fine.
  std::string refusal(const testing::GoldenOptions& options,
                      const std::function<void(vdisk::Disk&, std::uint64_t partition)>& damage = {}) {
    auto& files = os::real_file_system();
    std::filesystem::remove(path_);
    testing::make_golden_image(path_, options);
    if (damage) {
      std::uint64_t partition = 0;
      { partition = must(WindowsDisk::open(files, path_))->place().offset_bytes; }
      const auto disk = must(vdisk::Disk::open(files, path_, vdisk::Access::write));
      damage(*disk, partition);
      must(disk->flush());
    }
    const auto image = inspect_image(files, path_);
    return image ? "" : image.error().to_string();
  }

 private:
  support::TemporaryDirectory folder_;
  const std::string path_ = folder_ / "golden.vhdx";
};

// The flags of $Volume: record 3, attribute 0x70, two bytes at 10 of its content.
void mark_dirty(vdisk::Disk& disk, std::uint64_t partition) {
  constexpr std::size_t kRecordBytes = 1024;
  Bytes boot(512), record(kRecordBytes);
  must(disk.read(partition, boot));
  const auto cluster = load_le<std::uint16_t>(boot, 11) * std::to_integer<std::uint64_t>(boot[13]);
  const auto at = partition + load_le<std::uint64_t>(boot, 48) * cluster + 3 * kRecordBytes;
  must(disk.read(at, record));
  for (std::size_t attribute = load_le<std::uint16_t>(record, 20); attribute + 24 < kRecordBytes;
       attribute += load_le<std::uint32_t>(record, attribute + 4)) {
    if (load_le<std::uint32_t>(record, attribute) != 0x70) continue;
    store_le<std::uint16_t>(record, attribute + load_le<std::uint16_t>(record, attribute + 20) + 10,
                            std::uint16_t{1});
    return must(disk.write(at, record));
  }
  FAIL("no volume information");
}

}  // namespace

TEST_CASE("images: a volume that is dirty, hibernated or encrypted is refused") {
  if (!support::available("mkntfs")) return;
  Images images;
  CHECK(images.refusal({}).empty());
  CHECK(images.refusal({}, mark_dirty).find("chkdsk") != std::string::npos);
  testing::GoldenOptions hibernated;
  hibernated.files = {{"hiberfil.sys", "HIBR" + std::string(20'000, 'h')}};
  CHECK(images.refusal(hibernated).find("hibernated") != std::string::npos);
  const auto encrypted = images.refusal({}, [](vdisk::Disk& disk, std::uint64_t partition) {
    must(disk.write(partition + 3, as_bytes("-FVE-FS-")));
  });
  CHECK_MESSAGE(encrypted.find("BitLocker") != std::string::npos, encrypted);
}

TEST_CASE("images: hives that are damaged, missing parts, or in a transaction are refused by name") {
  if (!support::available("mkntfs")) return;
  Images images;
  const auto with = [&](HiveId hive, const std::function<void(Bytes&)>& damage) {
    testing::GoldenOptions options;
    auto bytes = testing::make_hive(hive);
    damage(bytes);
    options.hives[hive] = std::move(bytes);
    return images.refusal(options);
  };
  CHECK(with(HiveId::software, [](Bytes&) {}).empty());
  for (auto hive : kHives) {
    const auto refused = with(hive, [](Bytes& bytes) { bytes[0] = std::byte{'x'}; });
    CHECK_MESSAGE(refused.find(std::string(path_of(hive))) != std::string::npos, refused);
  }
  // A cell in the middle of the tree.
  const auto damaged = with(HiveId::system, [](Bytes& bytes) {
    for (std::size_t at = 4096 + 32 + 600; at < 4096 + 32 + 900; ++at) bytes[at] = std::byte{0xAA};
  });
  CHECK_MESSAGE(damaged.find("SYSTEM") != std::string::npos, damaged);
  const auto cut = with(HiveId::security, [](Bytes& bytes) { bytes.resize(4096 + 512); });
  CHECK_MESSAGE(cut.find("SECURITY") != std::string::npos, cut);
  // Bit 0 of the base block's flags: a transaction that was not ended; its checksum is right.
  const auto in_transaction = with(HiveId::software, [](Bytes& bytes) {
    store_le<std::uint32_t>(bytes, 144, load_le<std::uint32_t>(bytes, 144) | 1);
    std::uint32_t sum = 0;
    for (std::size_t at = 0; at < 508; at += 4) sum ^= load_le<std::uint32_t>(bytes, at);
    store_le<std::uint32_t>(bytes, 508, sum);
  });
  CHECK_MESSAGE(in_transaction.find("transaction") != std::string::npos, in_transaction);
}

}  // namespace roamstead::compose
