// The log of a VHDX file: which entries count, what is refused, and that others replay what we left.
#include "common/vdisk/vhdx_log.h"

#include <doctest/doctest.h>

#include "common/base/crc32c.h"
#include "common/vdisk/test_model.h"
#include "common/vdisk/vhdx_layer.h"
#include "tests/support/command.h"
#include "tests/support/crash_file_system.h"
#include "tests/support/seed.h"
#include "tests/support/temporary_directory.h"

using namespace roamstead;
using namespace roamstead::vdisk::vhdx;
using support::CrashFileSystem;
using vdisk::Access;
using vdisk::Disk;

namespace {

constexpr std::uint64_t kFileBytes = 4 * kMiB;
constexpr std::uint64_t kTarget = 3 * kMiB;

void fix_checksum(Bytes& entry) {
  store_le<std::uint32_t>(entry, 4, 0);
  store_le<std::uint32_t>(entry, 4, crc32c(entry));
}

LogPage page(std::uint64_t offset, unsigned value) {
  return {offset, Bytes(kLogPageBytes, static_cast<std::byte>(value))};
}

// A file of 4 MiB whose second MiB is its log.
class LogFile {
 public:
  LogFile() : file_(files_.open("f", os::OpenMode::create).value()) {
    header_.log_guid = Guid::random();
    header_.log_bytes = static_cast<std::uint32_t>(kMiB);
    header_.log_offset = kMiB;
    REQUIRE(file_->truncate(kFileBytes));
  }

  Header& header() { return header_; }
  os::File& file() { return *file_; }
  // An entry with one page at kTarget of this value. Returns the position after it.
  std::uint64_t add(std::uint64_t position, std::uint64_t sequence, std::uint64_t tail, unsigned value) {
    return put(position, encode_log_entry(header_.log_guid, sequence, static_cast<std::uint32_t>(tail),
                                          kFileBytes, kFileBytes, std::array{page(kTarget, value)}));
  }
  std::uint64_t put(std::uint64_t position, Bytes entry) {
    for (std::size_t i = 0; i < entry.size(); i += kLogPageBytes)
      REQUIRE(file_->write_at(kMiB + (position + i) % kMiB, ByteView(entry).subspan(i, kLogPageBytes)));
    return (position + entry.size()) % kMiB;
  }
  // One entry with `descriptors` made by the caller and no pages.
  std::uint64_t put_descriptors(const std::vector<Bytes>& descriptors) {
    auto entry = encode_log_entry(header_.log_guid, 1, 0, kFileBytes, kFileBytes, {});
    store_le<std::uint32_t>(entry, 24, static_cast<std::uint32_t>(descriptors.size()));
    for (std::size_t i = 0; i < descriptors.size(); ++i)
      std::copy(descriptors[i].begin(), descriptors[i].end(), entry.begin() + 64 + static_cast<int>(i) * 32);
    fix_checksum(entry);
    return put(0, std::move(entry));
  }
  static Bytes zeros(std::uint64_t offset, std::uint64_t length) {
    Bytes descriptor(32);
    std::memcpy(descriptor.data(), "zero", 4);
    store_le<std::uint64_t>(descriptor, 8, length);
    store_le<std::uint64_t>(descriptor, 16, offset);
    store_le<std::uint64_t>(descriptor, 24, 1);
    return descriptor;
  }

  Result<LogContents> read() { return read_log(*file_, header_); }
  // The value of the page at kTarget; nothing when the log is refused.
  std::optional<unsigned> value() {
    auto contents = read();
    if (!contents) return {};
    return static_cast<unsigned>(contents->pages.at(kTarget).at(100));
  }
  std::string refusal() {
    auto contents = read();
    return contents ? "" : contents.error().to_string();
  }

 private:
  CrashFileSystem files_;
  std::unique_ptr<os::File> file_;
  Header header_;
};

}  // namespace

TEST_CASE("the entries from the tail to the head are replayed, the later over the earlier") {
  LogFile log;
  auto second = log.add(0, 7, 0, 1);
  CHECK(log.value() == 1);
  auto third = log.add(second, 8, 0, 2);
  CHECK(log.value() == 2);
  CHECK(log.read()->entries == 2);
  log.add(third, 9, third, 3);  // what came before is in place already
  CHECK(log.value() == 3);
  CHECK(log.read()->entries == 1);
}

TEST_CASE("a sequence may begin anywhere and go round the end of the log") {
  LogFile log;
  auto position = kMiB - 3 * kLogPageBytes;
  auto next = log.add(position, 1, position, 1);
  next = log.add(next, 2, position, 2);  // lies on both sides of the end
  log.add(next, 3, position, 3);
  CHECK(log.value() == 3);
  CHECK(log.read()->entries == 3);
}

TEST_CASE("a torn entry ends the sequence before it") {
  LogFile log;
  auto second = log.add(0, 1, 0, 1);
  log.add(second, 2, second, 2);
  REQUIRE(log.value() == 2);
  // Its data sector did not reach the disk.
  REQUIRE(log.file().write_at(kMiB + second + kLogPageBytes, Bytes(512)));
  CHECK(log.value() == 1);
}

TEST_CASE("of two sequences the one with the higher numbers counts; others' entries do not") {
  LogFile log;
  log.add(0, 10, 0, 1);
  log.add(64 * kLogPageBytes, 20, 64 * kLogPageBytes, 2);
  log.add(128 * kLogPageBytes, 15, 128 * kLogPageBytes, 3);
  CHECK(log.value() == 2);
  auto guid = log.header().log_guid;
  log.header().log_guid = Guid::random();
  log.add(32 * kLogPageBytes, 5, 32 * kLogPageBytes, 4);
  CHECK(log.value() == 4);
  log.header().log_guid = guid;
  CHECK(log.value() == 2);
}

TEST_CASE("numbers that do not follow one another are two sequences") {
  LogFile log;
  auto second = log.add(0, 1, 0, 1);
  log.add(second, 3, 0, 2);  // its tail lies outside of its own sequence
  CHECK(log.value() == 1);
}

TEST_CASE("ranges of zeros and pages cover each other in the order of the log") {
  LogFile log;
  auto second = log.put_descriptors({LogFile::zeros(kTarget - 8192, 16384)});
  auto contents = log.read();
  REQUIRE_MESSAGE(contents, contents.error().to_string());
  CHECK(contents->pages.empty());
  CHECK(contents->zeros.contains({kTarget - 8192, 16384}));
  log.add(second, 2, 0, 5);
  contents = log.read();
  CHECK(contents->pages.size() == 1);
  CHECK_FALSE(contents->zeros.overlaps({kTarget, kLogPageBytes}));
  REQUIRE(log.file().write_at(kTarget - 8192, Bytes(5 * kLogPageBytes, std::byte{9})));
  ReplayedFile replayed(log.file(), *contents);
  Bytes seen(5 * kLogPageBytes), expected(5 * kLogPageBytes);
  std::fill_n(expected.begin() + 8192, kLogPageBytes, std::byte{5});
  std::fill_n(expected.begin() + 4 * kLogPageBytes, kLogPageBytes, std::byte{9});
  REQUIRE(replayed.read_exactly(kTarget - 8192, seen));
  CHECK(seen == expected);
  REQUIRE(replay_log(log.file(), *contents));
  REQUIRE(log.file().read_exactly(kTarget - 8192, seen));
  CHECK(seen == expected);
}

TEST_CASE("a log that cannot be right is refused, with the reason and the place") {
  {
    LogFile log;
    CHECK(log.refusal().find("f: at offset 1048576: ") == 0);
    CHECK(log.refusal().find("no entry of it is whole") != std::string::npos);
  }
  {
    LogFile log;
    log.add(0, 1, 4096, 1);  // a tail that leads nowhere
    CHECK(log.refusal().find("no entry of it is whole") != std::string::npos);
  }
  {
    LogFile log;
    log.add(0, 1, 0, 1);
    REQUIRE(log.file().truncate(kFileBytes - 4096));
    CHECK(log.refusal().find("cut short") != std::string::npos);
  }
  for (auto offset : {std::uint64_t{64} << 10, kMiB + 8192, kMiB - 4096, std::uint64_t{0}}) {
    LogFile log;
    log.put(0, encode_log_entry(log.header().log_guid, 1, 0, kFileBytes, kFileBytes,
                                std::array{page(offset, 1)}));
    CHECK(log.refusal().find("over the headers or the log itself") != std::string::npos);
  }
  {
    LogFile log;
    log.put_descriptors({LogFile::zeros(kTarget, ~std::uint64_t{0} << 12)});
    CHECK(log.refusal().find("writes 18446744073709547520 bytes") != std::string::npos);
  }
  {
    LogFile log;
    log.add(0, 1, 0, 1);
    log.header().log_bytes = 4096;
    CHECK(log.refusal().find("whole MiB") != std::string::npos);
    log.header().log_bytes = 3u << 30;
    CHECK(log.read().error().code == ErrorCode::unsupported);
  }
  {  // the region tables may be changed through the log
    LogFile log;
    log.put(0, encode_log_entry(log.header().log_guid, 1, 0, kFileBytes, kFileBytes,
                                std::array{page(192 << 10, 1)}));
    CHECK(log.refusal().empty());
  }
}

TEST_CASE("entries of random sizes written by LogWriter are read as a model says, round after round") {
  auto random = support::seeded_random();
  LogFile log;
  LogWriter writer({kMiB, kMiB}, log.header().log_guid);
  std::uint64_t position = 0;
  std::optional<Bytes> last;
  for (int round = 0; round < 60; ++round) {
    std::vector<LogPage> pages;
    auto count = 1 + random() % writer.max_pages();
    for (std::size_t i = 0; i < count; ++i) {
      pages.push_back(page(2 * kMiB + i * kLogPageBytes, 0));
      for (std::size_t at = 0; at < kLogPageBytes; at += 8)
        store_le<std::uint64_t>(pages.back().content, at, random());
    }
    REQUIRE(writer.append(log.file(), pages, kFileBytes));
    if (last) {  // lost power while it was written: the entry before still counts, and the next try
                 // overwrites
      REQUIRE(log.file().write_at(kMiB + position, Bytes(512, std::byte{1})));
      auto contents = log.read();
      REQUIRE_MESSAGE(contents, contents.error().to_string());
      CHECK(contents->pages.at(2 * kMiB) == *last);
      REQUIRE(writer.append(log.file(), pages, kFileBytes));
    }
    position = (position + ((64 + 32 * count + 4095) / 4096 + count) * kLogPageBytes) % kMiB;
    last = pages[0].content;
    writer.appended();
    auto contents = log.read();
    REQUIRE_MESSAGE(contents, contents.error().to_string());
    CHECK(contents->entries == 1);
    REQUIRE(contents->pages.size() == count);
    for (const auto& each : pages) CHECK(contents->pages.at(each.offset) == each.content);
  }
}

namespace {

constexpr std::uint64_t kDiskBytes = 5 * kMiB;

struct LeftOpen {
  vdisk::Model model{kDiskBytes};
  std::unique_ptr<CrashFileSystem> files;
};

// A disk and its child as a power loss leaves them whose last flush reached the log but not its place: what
// the child's file had there before is put back.
LeftOpen left_open(std::mt19937_64& random, bool child = true) {
  CrashFileSystem files;
  LeftOpen result;
  REQUIRE(vdisk::create_disk(files, "d/a.vhdx", kDiskBytes, {1u << 20}));
  if (child) {
    REQUIRE(files.rename("d/a.vhdx", "d/base.vhdx"));
    REQUIRE(vdisk::create_child(files, "d/base.vhdx", "d/a.vhdx"));
  }
  auto disk = Disk::open(files, "d/a.vhdx", Access::write).value();
  for (int i = 0; i < 3; ++i) result.model.write_random(*disk, random);
  REQUIRE(disk->flush());
  auto before = files.clone();
  for (int i = 0; i < 6; ++i) result.model.write_random(*disk, random);
  REQUIRE(disk->flush());
  result.files = files.clone();
  auto file = result.files->open("d/a.vhdx", os::OpenMode::read_write).value();
  auto old = before->open("d/a.vhdx", os::OpenMode::read).value();
  auto header = read_header(*file).value().header;
  REQUIRE_FALSE(header.log_guid.is_zero());
  auto contents = read_log(*file, header).value();
  REQUIRE_FALSE(contents.pages.empty());
  for (const auto& [offset, content] : contents.pages) {
    Bytes earlier(kLogPageBytes);
    REQUIRE(old->read_at(offset, earlier));
    REQUIRE(file->write_at(offset, earlier));
  }
  return result;
}

}  // namespace

TEST_CASE("a log left open is replayed in memory for readers and onto the file for writers") {
  auto random = support::seeded_random();
  for (int round = 0; round < 10; ++round) {
    auto [model, files] = left_open(random);
    auto content = [&] { return os::read_file(*files, "d/a.vhdx", 1 << 30).value(); };
    auto before = content();
    model.check(*Disk::open(*files, "d/a.vhdx", Access::read).value());
    CHECK(vdisk::inspect(*files, "d/a.vhdx").value().kind == vdisk::LayerKind::differencing);
    CHECK(content() == before);
    auto id = vdisk::inspect(*files, "d/a.vhdx").value().id;
    {
      auto disk = Disk::open(*files, "d/a.vhdx", Access::write).value();
      model.check(*disk);
    }
    CHECK(vdisk::inspect(*files, "d/a.vhdx").value().id == id);  // what the disk shows did not change
    auto file = files->open("d/a.vhdx", os::OpenMode::read_write).value();
    auto header = read_header(*file).value().header;
    CHECK(header.log_guid.is_zero());
    REQUIRE(file->write_at(header.log_offset, Bytes(header.log_bytes)));  // it is not needed any more
    auto disk = Disk::open(*files, "d/a.vhdx", Access::write).value();
    model.check(*disk);
    for (int i = 0; i < 5; ++i) model.write_random(*disk, random);
    REQUIRE(disk->flush());
    model.check(*disk);
  }
}

TEST_CASE("a closed, a frozen and a merged layer have an empty log") {
  auto random = support::seeded_random();
  CrashFileSystem files;
  REQUIRE(vdisk::create_disk(files, "d/base.vhdx", kDiskBytes, {1u << 20}));
  REQUIRE(vdisk::create_child(files, "d/base.vhdx", "d/a.vhdx"));
  auto log_is_empty = [&](const std::string& path) {
    return read_header(*files.open(path, os::OpenMode::read).value()).value().header.log_guid.is_zero();
  };
  vdisk::Model model(kDiskBytes);
  auto disk = Disk::open(files, "d/a.vhdx", Access::write).value();
  for (int layer = 0; layer < 2; ++layer) {
    for (int i = 0; i < 3; ++i) model.write_random(*disk, random);
    REQUIRE(disk->flush());
    CHECK_FALSE(log_is_empty("d/a.vhdx"));
    REQUIRE(disk->freeze());
  }
  model.write_random(*disk, random);
  REQUIRE(disk->flush());
  CHECK(log_is_empty("d/a.0001.vhdx"));
  CHECK(log_is_empty("d/a.0002.vhdx"));
  REQUIRE(disk->merge(1));
  CHECK(log_is_empty("d/a.0002.vhdx"));
  disk.reset();
  CHECK(log_is_empty("d/a.vhdx"));
}

TEST_CASE("qemu replays a log that we left open to the same disk") {
  if (!support::available("qemu-img")) return;
  auto random = support::seeded_random();
  for (int round = 0; round < 5; ++round) {
    auto [model, files] = left_open(random, false);
    support::TemporaryDirectory directory;
    auto path = directory / "a.vhdx";
    REQUIRE(os::write_file_durably(os::real_file_system(), path,
                                   os::read_file(*files, "d/a.vhdx", 1 << 30).value()));
    CHECK_FALSE(
        support::run("qemu-img convert -f vhdx -O raw " + path + " " + (directory / "out") + " 2>/dev/null"));
    REQUIRE(support::run("qemu-img check -q -r all -f vhdx " + path + " >/dev/null 2>&1"));
    REQUIRE(
        support::run("qemu-img convert -f vhdx -O raw " + path + " " + (directory / "out") + " 2>/dev/null"));
    auto seen = os::read_file(os::real_file_system(), directory / "out", 1 << 30).value();
    CHECK(seen == model.bytes());
    model.check(*Disk::open(os::real_file_system(), path, Access::read).value());
  }
}
