// Volumes that are damaged or made to mislead: every question gets an answer or an error, soon.
#include <doctest/doctest.h>

#include <ctime>
#include <iostream>
#include <set>

#include "common/ntfs/volume.h"
#include "tests/support/hostile.h"
#include "tests/support/memory_device.h"
#include "tests/support/ntfs_image.h"
#include "tests/support/ntfs_questions.h"
#include "tests/support/ntfs_record.h"
#include "tests/support/seed.h"
#include "tests/support/temporary_directory.h"

namespace roamstead::ntfs {
namespace {

using support::MemoryDevice;
using support::NtfsImage;

// A small volume with some of everything.
const Bytes& sample_volume() {
  static const Bytes sample = [] {
    support::TemporaryDirectory directory;
    const auto path = directory / "volume.img";
    support::format_ntfs(path, {3u << 20, 512});
    {
      NtfsImage image(path);
      image.make_directory("a");
      image.make_directory("a/b");
      image.make_directory("a/b/c");
      for (int i = 0; i < 60; ++i)
        image.write("a/b/file with a longer name " + std::to_string(i), 0,
                    Bytes(static_cast<std::size_t>(i) * 50));
      image.link("a/b/file with a longer name 7", "a/link");
      image.write("streams", 0, Bytes(3000, std::byte{1}));
      image.write("streams", 0, Bytes(3000, std::byte{2}), "second");
      for (int i = 0; i < 500; ++i)
        image.write("fragmented", static_cast<std::uint64_t>(i) * 1024, Bytes(512, std::byte{3}));
    }
    return os::read_file(os::real_file_system(), path, 16 << 20).value();
  }();
  return sample;
}

std::vector<std::string> ask_everything(const vdisk::BlockDevice& device) {
  return support::ask_everything(device, {"a/b/FILE with a longer name 42", "streams"});
}

std::unique_ptr<Volume> open(const MemoryDevice& device) {
  auto volume = Volume::open(device);
  REQUIRE_MESSAGE(volume.has_value(), (volume ? "" : volume.error().to_string()));
  return std::move(*volume);
}

FileRecord file_at(const Volume& volume, const std::string& path) {
  return volume.record(volume.lookup(path).value().record).value();
}

void edit_record(MemoryDevice& device, const Volume& volume, std::uint64_t number,
                 const std::function<void(MutableByteView)>& change) {
  support::edit(device, support::record_place(volume, number), volume.info().record_bytes, change);
}

}  // namespace

TEST_CASE("the sample volume is sound") {
  if (!support::can_format_ntfs()) return;
  MemoryDevice device(sample_volume());
  for (const auto& error : ask_everything(device)) FAIL(error);
  CHECK(file_at(*open(device), "fragmented").extension_records.size() > 1);
}

TEST_CASE("whatever is damaged in a volume, every question is answered or refused by name within a second") {
  if (!support::can_format_ntfs()) return;
  auto random = support::seeded_random();
  const auto& sample = sample_volume();
  MemoryDevice device(sample, "hostile.img");
  const auto volume = open(device);
  // Where the structures are: the boot sector, the records in use, the blocks of indexes.
  std::vector<ByteRange> targets{{0, 80}, {0, 80}};
  for (std::uint64_t i = 0; i < volume->info().record_count; ++i)
    if (volume->base_record(i)) targets.push_back({support::record_place(*volume, i), 600});
  for (std::uint64_t at = 0; at + 4096 <= sample.size(); at += 512)
    if (as_text(ByteView(sample).subspan(at, 4)) == "INDX")
      for (int i = 0; i < 10; ++i) targets.push_back({at, 4096});
  CHECK(targets.size() > 100);

  std::size_t refused = 0;
  std::clock_t slowest = 0;  // processor time: the machine may be busy
  for (int round = 0; round < 1000; ++round) {
    std::vector<std::pair<std::size_t, std::byte>> changes;
    for (std::size_t i = 0; i <= random() % 8; ++i) {
      const auto& target = targets[random() % targets.size()];
      const auto at = static_cast<std::size_t>(target.offset + random() % target.length);
      changes.emplace_back(at, device.content()[at]);
      // A flipped bit, or a number at the edge of something.
      static constexpr unsigned kEdges[] = {0, 1, 0x7F, 0x80, 0xFF};
      device.content()[at] = random() % 2 == 0 ? device.content()[at] ^ std::byte(1 << random() % 8)
                                               : static_cast<std::byte>(kEdges[random() % 5]);
    }
    const auto start = std::clock();
    auto errors = ask_everything(device);
    if (round % 10 == 0) {
      const auto more = support::ask_tools(device);
      errors.insert(errors.end(), more.begin(), more.end());
    }
    slowest = std::max(slowest, std::clock() - start);
    refused += !errors.empty();
    for (const auto& error : errors) {
      CHECK_MESSAGE(error.find("internal") == std::string::npos, error);
      CHECK_MESSAGE(error.find("hostile.img") != std::string::npos, error);
      CHECK_MESSAGE(support::names_a_place(error), error);
    }
    for (auto change = changes.rbegin(); change != changes.rend(); ++change)
      device.content()[change->first] = change->second;
  }
  CHECK(refused > 100);
  CHECK(slowest < CLOCKS_PER_SEC);
  CHECK(device.content() == sample);
}

TEST_CASE("a truncated volume is refused whatever its length") {
  if (!support::can_format_ntfs()) return;
  const auto& sample = sample_volume();
  const auto sectors = load_le<std::uint64_t>(sample, 40);
  for (std::size_t length = 0; length < sectors * 512; length += length < 1024 ? 1 : 512 * 61) {
    MemoryDevice device(Bytes(sample.begin(), sample.begin() + static_cast<std::ptrdiff_t>(length)));
    const auto volume = Volume::open(device);
    REQUIRE_FALSE(volume.has_value());
    CHECK(volume.error().code == ErrorCode::corrupt);
  }
}

TEST_CASE("a torn record is an error that names number, place and sector, in a scan too") {
  if (!support::can_format_ntfs()) return;
  MemoryDevice device(sample_volume(), "torn.img");
  const auto volume = open(device);
  const auto number = volume->lookup("streams")->record;
  const auto place = support::record_place(*volume, number);
  device.content()[static_cast<std::size_t>(place) + 1022] ^= std::byte{1};
  const auto expected = "MFT record " + std::to_string(number) + " at byte " + std::to_string(place) +
                        " of torn.img: torn: sector 1";
  const auto file = volume->record(number);
  REQUIRE_FALSE(file.has_value());
  CHECK(file.error().code == ErrorCode::corrupt);
  CHECK(file.error().to_string().find(expected) == 0);
  std::size_t torn = 0;
  CHECK(volume
            ->scan([&](std::uint64_t scanned, const Result<FileRecord>& result) {
              if (!result && scanned == number && result.error().to_string().find(expected) == 0) ++torn;
              return true;
            })
            .has_value());
  CHECK(torn == 1);
}

TEST_CASE("the first records are read from the mirror when their originals are damaged") {
  if (!support::can_format_ntfs()) return;
  for (std::uint64_t number = 0; number < 4; ++number) {
    MemoryDevice device(sample_volume());
    const auto place = static_cast<std::size_t>(support::record_place(*open(device), number));
    for (std::size_t i = 0; i < 1024; ++i) device.content()[place + i] = std::byte{0xA5};
    const auto volume = open(device);
    CHECK(volume->info().label == "test");
    CHECK(volume->lookup("streams").has_value());
    CHECK(ask_everything(device).empty());
  }
}

TEST_CASE("parents that lie about themselves are errors, not paths") {
  if (!support::can_format_ntfs()) return;
  MemoryDevice sound(sample_volume());
  const auto a = open(sound)->lookup("a").value();
  const auto b = open(sound)->lookup("a/b").value();
  const auto c = open(sound)->lookup("a/b/c").value();
  const auto damaged = [&](const std::function<void(MemoryDevice&, const Volume&)>& damage) {
    MemoryDevice device(sample_volume());
    const auto before = open(device);
    damage(device, *before);
    const auto volume = open(device);
    const auto path = volume->path_of(volume->record(c.record).value());
    return path ? *path : path.error().to_string();
  };
  // The place of the first $FILE_NAME's parent reference.
  const auto set_parent = [](MutableByteView record, FileReference parent) {
    RecordHeader header = parse_record_header(record, load_le<std::uint32_t>(record, 44)).value();
    std::vector<AttributeView> attributes;
    REQUIRE(parse_attributes(record, header, attributes).has_value());
    for (const auto& attribute : attributes)
      if (attribute.type == kFileName)
        store_le(record, static_cast<std::size_t>(attribute.value.data() - record.data()),
                 parent.record | std::uint64_t{parent.sequence} << 48);
  };
  CHECK(damaged([](MemoryDevice&, const Volume&) {}) == "a/b/c");
  CHECK(damaged([&](MemoryDevice& device, const Volume& volume) {
          edit_record(device, volume, a.record, [&](MutableByteView record) { set_parent(record, b); });
        }).find("cycle") != std::string::npos);
  CHECK(damaged([&](MemoryDevice& device, const Volume& volume) {
          edit_record(device, volume, c.record, [&](MutableByteView record) { set_parent(record, c); });
        }).find("cycle") != std::string::npos);
  CHECK(damaged([&](MemoryDevice& device, const Volume& volume) {
          edit_record(device, volume, b.record,
                      [](MutableByteView record) { store_le<std::uint16_t>(record, 16, 99); });
        }).find("sequence number 99") != std::string::npos);
  CHECK(damaged([&](MemoryDevice& device, const Volume& volume) {
          edit_record(device, volume, b.record,
                      [](MutableByteView record) { store_le<std::uint16_t>(record, 22, 1); });
        }).find("not a directory") != std::string::npos);
  CHECK(damaged([&](MemoryDevice& device, const Volume& volume) {
          edit_record(device, volume, b.record,
                      [](MutableByteView record) { store_le<std::uint16_t>(record, 22, 0); });
        }).find("is free") != std::string::npos);
}

TEST_CASE("an index whose blocks lead back to each other ends in an error") {
  if (!support::can_format_ntfs()) return;
  MemoryDevice device(sample_volume());
  const auto volume = open(device);
  const auto directory = volume->lookup("a/b").value();
  CHECK(volume->list(directory.record)->size() == 61);
  // Every block becomes an inner node that is its own child.
  std::size_t changed = 0;
  for (std::uint64_t at = 0; at + 4096 <= device.content().size(); at += 512) {
    if (as_text(ByteView(device.content()).subspan(at, 4)) != "INDX") continue;
    support::edit(device, at, 4096, [&](MutableByteView block) {
      const auto first = 24 + load_le<std::uint32_t>(block, 24);
      store_le<std::uint16_t>(block, first + 8, 24);
      store_le<std::uint16_t>(block, first + 10, 0);
      store_le<std::uint16_t>(block, first + 12, 3);
      store_le(block, first + 16, load_le<std::uint64_t>(block, 16));
    });
    ++changed;
  }
  CHECK(changed > 1);
  const auto listed = volume->list(directory.record);
  REQUIRE_FALSE(listed.has_value());
  CHECK(listed.error().to_string().find("twice") != std::string::npos);
  CHECK(volume->lookup("a/b/file with a longer name 5").error().code == ErrorCode::corrupt);
}

TEST_CASE("without a sound $UpCase names are found by looking at every entry") {
  if (!support::can_format_ntfs()) return;
  MemoryDevice device(sample_volume());
  {
    const auto volume = open(device);
    const auto table = volume->record(10).value();
    device.content()[static_cast<std::size_t>(
        support::stream_place(*volume, table.streams.front(), 'a' * 2))] ^= std::byte{1};
  }
  const auto volume = open(device);
  CHECK(volume->lookup("A/B/File With A Longer Name 59").value() ==
        volume->lookup("a/b/file with a longer name 59").value());
  CHECK(volume->lookup("a/b/file with a longer name 60").error().code == ErrorCode::not_found);
}

TEST_CASE("an $MFT in pieces is followed through extension records that lie in its own later pieces") {
  if (!support::can_format_ntfs()) return;
  // Names by record before, to compare.
  MemoryDevice device(sample_volume());
  auto before = open(device);
  std::map<std::uint64_t, std::string> names;
  std::vector<std::uint64_t> free;
  for (std::uint64_t i = 24; i < before->info().record_count; ++i) {
    if (const auto file = before->record(i); file && !file->names.empty())
      names[i] = file->names.front().name;
    else if (!file && file.error().code == ErrorCode::not_found && !before->base_record(i))
      free.push_back(i);
  }
  REQUIRE(free.size() > 4);
  const auto mft = before->mft();
  const auto record = before->record(0).value();
  const auto sequence = record.reference.sequence;
  const auto clusters_per_record = before->info().record_bytes / before->info().cluster_bytes;
  // Cut the runs after record 24, and again after the first free record behind it; each extension lies in the
  // piece before.
  std::vector<Run> clusters;  // one by one
  for (const auto& run : mft.runs)
    for (std::uint64_t i = 0; i < run.clusters; ++i) clusters.push_back({run.vcn + i, run.lcn + i, 1, false});
  const std::size_t cut1 = 24 * clusters_per_record;
  const auto far = free.back();
  const std::size_t cut2 = (far + 1) * clusters_per_record;
  REQUIRE(cut2 < clusters.size());
  const auto part = [&](std::size_t from, std::size_t to) {
    return support::nonresident_attribute(
        kData, 5, from, to - 1, from == 0 ? mft.size_bytes : 0,
        support::mapping_pairs({{from, clusters[from].lcn, 1, false},
                                {from + 1, clusters[from + 1].lcn, to - from - 1, false}}));
  };
  for (std::size_t i = 1; i < clusters.size(); ++i) REQUIRE(clusters[i].lcn == clusters[i - 1].lcn + 1);
  const auto put = [&](std::uint64_t number, Bytes bytes) {
    support::protect(bytes);
    REQUIRE(device.write(support::record_place(*before, number), bytes).has_value());
  };
  Bytes list;
  for (const auto& entry :
       {support::list_entry(kData, cut2, far, 9, 5), support::list_entry(kData, cut1, 20, 8, 5),
        support::list_entry(kData, 0, 0, sequence, 5)})
    list.insert(list.end(), entry.begin(), entry.end());
  const auto base = std::uint64_t{sequence} << 48;
  put(20, support::make_record(20, 8, 1, base, {part(cut1, cut2)}));
  put(far, support::make_record(far, 9, 1, base, {part(cut2, clusters.size())}));
  put(0, support::make_record(0, sequence, 1, 0,
                              {support::resident_attribute(kAttributeList, 1, list), part(0, cut1)}));

  const auto after = open(device);
  CHECK(after->info().record_count == before->info().record_count);
  std::vector<Run> followed;
  for (const auto& run : after->mft().runs)
    for (std::uint64_t i = 0; i < run.clusters; ++i) followed.push_back({run.vcn + i, run.lcn + i, 1, false});
  CHECK(followed.size() == clusters.size());
  for (const auto& [number, name] : names) CHECK(after->record(number)->names.front().name == name);
  CHECK(after->base_record(far).value() == 0);

  // The last piece can be found only in the record that it would have to hold itself: refused, also from the
  // mirror.
  put(0, support::make_record(0, sequence, 1, 0,
                              {support::resident_attribute(kAttributeList, 1,
                                                           [&] {
                                                             auto wrong = list;
                                                             store_le(MutableByteView(wrong), 16,
                                                                      (far + 1) | std::uint64_t{9} << 48);
                                                             return wrong;
                                                           }()),
                               part(0, cut1)}));
  const auto refused = Volume::open(device);
  REQUIRE_FALSE(refused.has_value());
  CHECK(refused.error().code == ErrorCode::corrupt);
}

}  // namespace roamstead::ntfs
