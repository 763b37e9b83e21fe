// Volumes made by mkntfs and libntfs-3g, compared with what that library shows.
#include "common/ntfs/volume.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <thread>

#include "tests/support/memory_device.h"
#include "tests/support/ntfs_image.h"
#include "tests/support/seed.h"
#include "tests/support/temporary_directory.h"

namespace roamstead::ntfs {
namespace {

using support::FormatOptions;
using support::NtfsImage;

Bytes pattern(std::size_t size, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  Bytes bytes(size);
  for (auto& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

// A volume in a file, closed by the writer and opened by the reader.
struct TestVolume {
  explicit TestVolume(const FormatOptions& options = {}) : path(directory / "volume.img") {
    support::format_ntfs(path, options);
  }

  const Volume& open() {
    volume.reset();
    auto opened = support::FileDevice::open(os::real_file_system(), path, os::OpenMode::read);
    REQUIRE(opened.has_value());
    device = std::move(*opened);
    auto result = Volume::open(*device);
    REQUIRE_MESSAGE(result.has_value(), (result ? "" : result.error().to_string()));
    volume = std::move(*result);
    return *volume;
  }

  support::TemporaryDirectory directory;
  std::string path;
  std::unique_ptr<support::FileDevice> device;
  std::unique_ptr<Volume> volume;
};

FileRecord file_at(const Volume& volume, const std::string& path) {
  const auto reference = volume.lookup(path);
  REQUIRE_MESSAGE(reference.has_value(), (reference ? "" : reference.error().to_string()));
  auto file = volume.record(reference->record);
  REQUIRE_MESSAGE(file.has_value(), (file ? "" : file.error().to_string()));
  CHECK(file->reference == *reference);
  return *file;
}

const StreamInfo& stream_of(const FileRecord& file, const std::string& name = "") {
  for (const auto& stream : file.streams)
    if (stream.name == name) return stream;
  FAIL("no stream \"" << name << '"');
  return file.streams.front();
}

Bytes content(const Volume& volume, const StreamInfo& stream) {
  Bytes bytes(stream.size_bytes);
  const auto read = volume.read(stream, 0, bytes);
  CHECK_MESSAGE(read.has_value(), (read ? "" : read.error().to_string()));
  return bytes;
}

// Everything below `path` as the library shows it is what the volume says: names, kinds, attributes, times,
// sizes, content.
void compare_tree(NtfsImage& image, const Volume& volume, const std::string& path, std::size_t& compared) {
  const auto expected = image.find(path);
  REQUIRE(expected.has_value());
  const auto file = file_at(volume, path);
  CHECK(file.reference == FileReference{expected->record, expected->sequence});
  CHECK(file.directory == expected->directory);
  CHECK(file.attributes == expected->attributes);
  CHECK(file.created_100ns == expected->created_100ns);
  CHECK(file.written_100ns == expected->written_100ns);
  CHECK(file.security_id == expected->security_id);
  ++compared;
  if (!expected->directory) {
    for (const auto& stream : file.streams) {
      CHECK(stream.size_bytes == image.size(path, stream.name));
      if (stream.size_bytes > (16u << 20)) continue;
      CHECK_MESSAGE(content(volume, stream) == image.read(path, 0, stream.size_bytes, stream.name), path);
    }
    return;
  }
  const auto listed = volume.list(expected->record);
  REQUIRE_MESSAGE(listed.has_value(), (listed ? "" : listed.error().to_string()));
  std::set<std::string> ours;
  for (const auto& entry : *listed) ours.insert(entry.name);
  const auto names = image.list(path);
  CHECK(ours == std::set<std::string>(names.begin(), names.end()));
  for (const auto& name : names) {
    const auto child = path.empty() ? name : path + '/' + name;
    if (path.empty() && name.starts_with('$')) continue;  // the file system's own
    compare_tree(image, volume, child, compared);
  }
}

}  // namespace

TEST_CASE("what a volume says of itself is what mkntfs was told") {
  if (!support::can_format_ntfs()) return;
  for (const auto& [cluster_bytes, sector_bytes, record_bytes] : {std::tuple{512u, 512u, 1024u},
                                                                  {4096u, 512u, 1024u},
                                                                  {65536u, 512u, 1024u},
                                                                  {1u << 20, 512u, 1024u},
                                                                  {4096u, 4096u, 4096u}}) {
    CAPTURE(cluster_bytes);
    CAPTURE(sector_bytes);
    TestVolume test({64u << 20, cluster_bytes, sector_bytes, "Völume"});
    {
      NtfsImage image(test.path);
      image.write("file", 0, pattern(200'000, 1));
      image.make_directory("directory");
      for (int i = 0; i < 100; ++i) image.write("directory/" + std::to_string(i), 0, pattern(10, 1));
    }
    const auto& volume = test.open();
    CHECK(volume.info().cluster_bytes == cluster_bytes);
    CHECK(volume.info().sector_bytes == sector_bytes);
    CHECK(volume.info().record_bytes == record_bytes);
    CHECK(volume.info().label == "Völume");
    CHECK_FALSE(volume.info().dirty);
    CHECK(content(volume, stream_of(file_at(volume, "file"))) == pattern(200'000, 1));
    NtfsImage image(test.path, false);
    std::size_t compared = 0;
    compare_tree(image, volume, "", compared);
    CHECK(compared == 103);
  }
}

TEST_CASE("files of all shapes are read as the library reads them") {
  if (!support::can_format_ntfs()) return;
  TestVolume test;
  {
    NtfsImage image(test.path);
    image.make_directory("sizes");
    for (const std::size_t size : {0, 1, 600, 700, 800, 4095, 4096, 4097, 65536, 1'000'000})
      image.write("sizes/" + std::to_string(size), 0, pattern(size, size));
    image.write("streams", 0, pattern(100, 1));
    image.write("streams", 0, pattern(50, 2), "small");
    image.write("streams", 0, pattern(100'000, 3), "größe 大");
    image.make_directory("names");
    for (const char* name :
         {"größe.txt", "大文件", "emoji 😀", "\xED\xA0\x80 lone surrogate", "UPPER", "a.b.c", "ß", "ẞ"})
      image.write(std::string("names/") + name, 0, pattern(10, 4));
    image.write("names/" + std::string(255, 'x'), 0, pattern(10, 4));
    image.write("grown", 0, pattern(10, 5));
    image.write("grown", 10, pattern(5000, 6));
    image.write("shrunk", 0, pattern(50'000, 7));
    image.truncate("shrunk", 100);
    image.write("sparse", (3ull << 30) + 1, pattern(5000, 8));
    image.write("removed", 0, pattern(10, 9));
    image.remove("removed");
    image.set_times("grown", 132'000'000'000'000'001, 133'000'000'000'000'002);
    std::string deep;
    for (int i = 0; i < 60; ++i) {
      deep += (i == 0 ? "" : "/") + std::string("level ") + std::to_string(i);
      image.make_directory(deep);
    }
    image.write(deep + "/bottom", 0, pattern(10, 10));
  }
  const auto& volume = test.open();
  NtfsImage image(test.path, false);
  std::size_t compared = 0;
  compare_tree(image, volume, "", compared);
  CHECK(compared == 1 + 11 + 1 + 10 + 3 + 61);

  CHECK(stream_of(file_at(volume, "streams"), "größe 大").size_bytes == 100'000);
  const auto grown = file_at(volume, "grown");
  CHECK(grown.created_100ns == 132'000'000'000'000'001);
  CHECK(grown.written_100ns == 133'000'000'000'000'002);
  const auto sparse = file_at(volume, "sparse");
  CHECK(std::any_of(sparse.streams[0].runs.begin(), sparse.streams[0].runs.end(),
                    [](const Run& r) { return r.sparse; }));
  Bytes tail(9000);
  REQUIRE(volume.read(sparse.streams[0], sparse.streams[0].size_bytes - tail.size(), tail).has_value());
  CHECK(all_zero(ByteView(tail).first(4000)));
  CHECK(to_bytes(ByteView(tail).subspan(4000)) == pattern(5000, 8));
  CHECK(volume.lookup("removed").error().code == ErrorCode::not_found);
  CHECK(volume.lookup("sizes/1/x").error().code == ErrorCode::invalid_argument);
}

TEST_CASE("hard links are names of one file and each has its path") {
  if (!support::can_format_ntfs()) return;
  TestVolume test;
  {
    NtfsImage image(test.path);
    image.make_directory("a");
    image.make_directory("a/b");
    image.write("a/first", 0, pattern(10, 1));
    image.link("a/first", "a/b/second");
    image.link("a/first", "third");
  }
  const auto& volume = test.open();
  const auto file = file_at(volume, "a/first");
  CHECK(file_at(volume, "a/b/second").reference == file.reference);
  std::set<std::string> paths;
  for (const auto& name : file.names) paths.insert(volume.path_of(name).value());
  CHECK(paths == std::set<std::string>{"a/first", "a/b/second", "third"});
  CHECK(volume.path_of(file_at(volume, "")).value() == "");
}

TEST_CASE(
    "a directory of thousands of entries is listed whole, and each is found by index whatever its case") {
  if (!support::can_format_ntfs()) return;
  TestVolume test({64u << 20});
  std::set<std::string> names;
  {
    NtfsImage image(test.path);
    image.make_directory("many");
    for (int i = 0; i < 5000; ++i) {
      const auto name = "Datei Ä " + std::to_string(i * 7919 % 5000);
      image.make_file("many/" + name);
      names.insert(name);
    }
  }
  const auto& volume = test.open();
  const auto listed = volume.list(volume.lookup("many")->record).value();
  CHECK(listed.size() == names.size());
  for (const auto& entry : listed) {
    CHECK(names.contains(entry.name));
    CHECK(volume.lookup("many/" + entry.name).value() == entry.reference);
    const auto number = entry.name.substr(entry.name.rfind(' '));
    CHECK(volume.lookup("\\MANY\\dATEI ä" + number).value() == entry.reference);
  }
  CHECK(volume.lookup("many/Datei Ä 5000").error().code == ErrorCode::not_found);
  CHECK(volume.lookup("many/Datei").error().code == ErrorCode::not_found);
}

TEST_CASE("an exact name is found before one that differs in case") {
  if (!support::can_format_ntfs()) return;
  TestVolume test;
  {
    NtfsImage image(test.path);
    for (const char* name : {"name", "NAME", "Name"}) image.make_file(name);  // names are POSIX ones here
  }
  const auto& volume = test.open();
  std::set<FileReference> references;
  for (const char* name : {"name", "NAME", "Name"}) references.insert(volume.lookup(name).value());
  CHECK(references.size() == 3);
  CHECK(references.contains(volume.lookup("nAmE").value()));
}

TEST_CASE("a heavily fragmented file is put together from its extension records") {
  if (!support::can_format_ntfs()) return;
  TestVolume test({12u << 20, 512});
  std::map<std::string, Bytes> expected;
  {
    NtfsImage image(test.path);
    // By turns, so that they take each other's next cluster; and with a hole after each cluster.
    for (const char* name : {"even", "odd"}) expected[name].resize(1500 * 1024 - 512);
    for (std::size_t i = 0; i < 1500; ++i)
      for (auto& [name, bytes] : expected) {
        const auto piece = pattern(512, i * 2 + (name == "odd"));
        std::copy(piece.begin(), piece.end(), bytes.begin() + static_cast<std::ptrdiff_t>(i * 1024));
        REQUIRE(image.write(name, i * 1024, piece));
        if (i % 100 == 0) REQUIRE(image.write(name, i * 1024, piece, "stream"));
      }
  }
  const auto& volume = test.open();
  const auto even = file_at(volume, "even");
  CHECK(even.extension_records.size() > 5);
  CHECK(stream_of(even).runs.size() > 2000);
  for (const auto& [name, bytes] : expected)
    CHECK(content(volume, stream_of(file_at(volume, name))) == bytes);
  for (const auto extension : even.extension_records) {
    CHECK(volume.base_record(extension).value() == even.reference.record);
    CHECK(volume.record(extension).error().code == ErrorCode::not_found);
  }
  NtfsImage image(test.path, false);
  CHECK(content(volume, stream_of(even, "stream")) ==
        image.read("even", 0, image.size("even", "stream"), "stream"));
  // Where the bytes lie on the device is what a read gives.
  std::uint64_t total = 0;
  for (const auto& extent : volume.device_extents(stream_of(even))) {
    Bytes raw(extent.device.length);
    REQUIRE(test.device->read(extent.device.offset, raw).has_value());
    CHECK(std::equal(raw.begin(), raw.end(),
                     expected["even"].begin() + static_cast<std::ptrdiff_t>(extent.stream_offset)));
    total += raw.size();
  }
  CHECK(total == 1500 * 512);
}

TEST_CASE("security descriptors and reparse points are what was set") {
  if (!support::can_format_ntfs()) return;
  TestVolume test;
  // Owner and group S-1-5-32-544, one entry that allows everybody everything.
  Bytes descriptor = to_bytes(
      std::string_view("\x01\x00\x04\x80\x30\x00\x00\x00\x40\x00\x00\x00\x00\x00\x00\x00\x14\x00\x00\x00"
                       "\x02\x00\x1c\x00\x01\x00\x00\x00\x00\x03\x14\x00\xff\x01\x1f\x00\x01\x01\x00\x00\x00"
                       "\x00\x00\x01\x00\x00\x00\x00"
                       "\x01\x02\x00\x00\x00\x00\x00\x05\x20\x00\x00\x00\x20\x02\x00\x00"
                       "\x01\x02\x00\x00\x00\x00\x00\x05\x20\x00\x00\x00\x20\x02\x00\x00",
                       80));
  const auto junction = to_bytes(std::string_view(
      "\x03\x00\x00\xa0\x18\x00\x00\x00\x00\x00\x0c\x00\x0e\x00\x00\x00\\\0?\0?\0\\\0C\0:\0\0\0\0\0", 32));
  Bytes expected;
  {
    NtfsImage image(test.path);
    image.make_file("file");
    image.set_security_descriptor("file", descriptor);
    image.make_directory("junction");
    image.set_reparse_point("junction", junction);
    expected = image.security_descriptor("file");
  }
  const auto& volume = test.open();
  const auto file = file_at(volume, "file");
  CHECK(file.own_security_descriptor.empty());
  CHECK(file.security_id >= 0x100);
  CHECK(expected == descriptor);
  CHECK(volume.security_descriptor(file.security_id).value() == descriptor);
  CHECK(volume.security_descriptor(file.security_id).value() == descriptor);
  CHECK(volume.security_descriptor(0x12345).error().code == ErrorCode::not_found);
  const auto reparse = file_at(volume, "junction");
  CHECK(reparse.reparse_tag == 0xA0000003);
  CHECK(reparse.reparse_data == Bytes(junction.begin() + 8, junction.end()));
}

TEST_CASE("a scan gives every file once, in order, and stops when told") {
  if (!support::can_format_ntfs()) return;
  TestVolume test;
  std::set<std::uint64_t> expected;
  {
    NtfsImage image(test.path);
    for (int i = 0; i < 3000; ++i) expected.insert(image.make_file("file " + std::to_string(i)));
    for (int i = 0; i < 3000; i += 3) {
      expected.erase(image.find("file " + std::to_string(i))->record);
      image.remove("file " + std::to_string(i));
    }
  }
  const auto& volume = test.open();
  std::vector<std::uint64_t> numbers;
  std::set<std::uint64_t> files;
  CHECK(volume
            .scan([&](std::uint64_t number, Result<FileRecord> file) {
              REQUIRE_MESSAGE(file.has_value(), (file ? "" : file.error().to_string()));
              CHECK(file->reference.record == number);
              numbers.push_back(number);
              if (number >= 24) files.insert(number);
              CHECK(volume.record(number).has_value());
              return true;
            })
            .has_value());
  CHECK(std::is_sorted(numbers.begin(), numbers.end()));
  CHECK(std::includes(files.begin(), files.end(), expected.begin(), expected.end()));
  CHECK(files.size() - expected.size() <= 4);  // what mkntfs makes in $Extend
  std::size_t seen = 0;
  CHECK(volume.scan([&](std::uint64_t, const Result<FileRecord>&) { return ++seen < 10; }).has_value());
  CHECK(seen == 10);
}

TEST_CASE("changed bytes of the device name the MFT records they belong to") {
  if (!support::can_format_ntfs()) return;
  TestVolume test;
  std::uint64_t number = 0;
  {
    NtfsImage image(test.path);
    for (int i = 0; i < 500; ++i) number = image.make_file("file " + std::to_string(i));
  }
  Bytes before;
  {
    const auto& volume = test.open();
    before.resize(volume.info().volume_bytes);
    REQUIRE(test.device->read(0, before).has_value());
    CHECK(volume.records_in({0, volume.info().volume_bytes}) ==
          std::vector<RecordSpan>{{0, volume.info().record_count}});
    CHECK(volume.records_in({0, 512}).empty());
  }
  { NtfsImage(test.path).write("file 499", 0, pattern(100, 1)); }
  const auto& volume = test.open();
  std::set<std::uint64_t> records;
  for (std::uint64_t sector = 0; sector < before.size() / 512; ++sector) {
    Bytes now(512);
    REQUIRE(test.device->read(sector * 512, now).has_value());
    if (std::equal(now.begin(), now.end(), before.begin() + static_cast<std::ptrdiff_t>(sector * 512)))
      continue;
    for (const auto& span : volume.records_in({sector * 512, 512}))
      for (std::uint64_t i = 0; i < span.count; ++i) records.insert(span.first + i);
  }
  CHECK(records.contains(number));
  CHECK(records.size() < 10);
  const auto raw = volume.raw_record(number).value();
  CHECK(raw.size() == volume.info().record_bytes);
  CHECK(as_text(raw).substr(0, 4) == "FILE");
}

TEST_CASE("bytes beyond the valid length are zero whatever lies on the disk") {
  if (!support::can_format_ntfs()) return;
  TestVolume test;
  {
    NtfsImage image(test.path);
    image.write("file", 0, pattern(20'000, 1));
  }
  const auto file = file_at(test.open(), "file");
  auto stream = stream_of(file);
  stream.valid_bytes = 5000;
  auto expected = pattern(20'000, 1);
  std::fill(expected.begin() + 5000, expected.end(), std::byte{0});
  CHECK(content(*test.volume, stream) == expected);
}

TEST_CASE("paths, look-ups and descriptors may be asked for by many threads at once") {
  if (!support::can_format_ntfs()) return;
  TestVolume test;
  {
    NtfsImage image(test.path);
    for (int i = 0; i < 20; ++i) {
      image.make_directory("d" + std::to_string(i));
      for (int k = 0; k < 20; ++k) image.make_file("d" + std::to_string(i) + "/f" + std::to_string(k));
    }
  }
  const auto& volume = test.open();
  std::vector<std::thread> threads;
  std::atomic<int> right{0};
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 400; ++i) {
        const auto path = "d" + std::to_string((i + t) % 20) + "/f" + std::to_string(i / 20);
        const auto reference = volume.lookup(path);
        if (!reference) continue;
        const auto file = volume.record(reference->record);
        if (file && volume.path_of(*file) == path && volume.security_descriptor(0x100).has_value()) ++right;
      }
    });
  for (auto& thread : threads) thread.join();
  CHECK(right == 1600);
}

}  // namespace roamstead::ntfs
