// The check of volumes that libntfs-3g filled, sound and with one thing broken; their state; details of
// files.
#include <doctest/doctest.h>

#include <algorithm>

#include "common/ntfs/file_details.h"
#include "common/ntfs/usn_journal.h"
#include "common/ntfs/volume_check.h"
#include "common/ntfs/volume_state.h"
#include "tests/support/memory_device.h"
#include "tests/support/ntfs_image.h"
#include "tests/support/ntfs_record.h"
#include "tests/support/seed.h"
#include "tests/support/temporary_directory.h"

namespace roamstead::ntfs {
namespace {

using support::MemoryDevice;
using support::NtfsImage;

Bytes make_volume(const support::FormatOptions& options, const std::function<void(NtfsImage&)>& fill) {
  support::TemporaryDirectory directory;
  const auto path = directory / "volume.img";
  support::format_ntfs(path, options);
  {
    NtfsImage image(path);
    fill(image);
  }
  return os::read_file(os::real_file_system(), path, 256 << 20).value();
}

const Bytes& sample() {
  static const Bytes bytes = make_volume({3u << 20, 512}, [](NtfsImage& image) {
    image.make_directory("a");
    image.make_directory("a/b");
    for (int i = 0; i < 60; ++i)
      image.write("a/b/file " + std::to_string(i), 0, Bytes(static_cast<std::size_t>(i) * 50));
    image.link("a/b/file 7", "a/link");
    image.write("one", 0, Bytes(3000, std::byte{1}));
    image.write("two", 0, Bytes(3000, std::byte{2}));
    for (std::uint64_t i = 0; i < 500; ++i) image.write("fragmented", i * 1024, Bytes(512, std::byte{3}));
  });
  return bytes;
}

struct Damaged {
  Damaged() : device(sample(), "damaged.img"), volume(Volume::open(device).value()) {}

  FileRecord file(const std::string& path) const {
    return volume->record(volume->lookup(path).value().record).value();
  }
  std::uint64_t number(const std::string& path) const { return volume->lookup(path).value().record; }
  void edit_record(std::uint64_t record, const std::function<void(MutableByteView)>& change) {
    support::edit(device, support::record_place(*volume, record), volume->info().record_bytes, change);
  }
  // The first attribute of this type in a record, to be changed in place.
  void edit_attribute(std::uint64_t record, std::uint32_t type,
                      const std::function<void(MutableByteView)>& change) {
    edit_record(record, [&](MutableByteView bytes) {
      std::vector<AttributeView> attributes;
      REQUIRE(parse_attributes(bytes, parse_record_header(bytes, record).value(), attributes).has_value());
      for (const auto& attribute : attributes)
        if (attribute.type == type)
          return change(bytes.subspan(attribute.offset, load_le<std::uint32_t>(bytes, attribute.offset + 4)));
      FAIL("no such attribute");
    });
  }
  std::byte& byte_of(std::uint64_t record, std::uint64_t offset) {
    return device.content()[static_cast<std::size_t>(
        support::stream_place(*volume, volume->record(record).value().streams.front(), offset))];
  }
  VolumeCheckReport check() const { return check_volume(device).value(); }

  MemoryDevice device;
  std::unique_ptr<Volume> volume;
};

// Is there a finding of this severity with this text in it?
bool has(const VolumeCheckReport& report, vdisk::Finding::Severity severity, const std::string& text) {
  for (const auto& finding : report.findings)
    if (finding.severity == severity && finding.text.find(text) != std::string::npos) return true;
  for (const auto& finding : report.findings) MESSAGE(finding.text);
  return false;
}
constexpr auto kError = vdisk::Finding::Severity::error;
constexpr auto kWarning = vdisk::Finding::Severity::warning;

std::uint64_t first_lcn(const FileRecord& file) {
  for (const auto& run : file.streams.front().runs)
    if (!run.sparse) return run.lcn;
  FAIL("no cluster");
  return 0;
}

}  // namespace

TEST_CASE("what libntfs-3g wrote has no fault, whatever was done to it and in however many windows") {
  if (!support::can_format_ntfs()) return;
  auto random = support::seeded_random();
  for (const auto& [cluster_bytes, sector_bytes] :
       {std::pair{512u, 512u}, {4096u, 512u}, {4096u, 4096u}, {65536u, 512u}}) {
    CAPTURE(cluster_bytes);
    const auto bytes = make_volume(
        {cluster_bytes > 4096 ? 160u << 20 : 48u << 20, cluster_bytes, sector_bytes}, [&](NtfsImage& image) {
          std::vector<std::string> directories{""};
          std::vector<std::string> files;
          const auto path = [&](int i) {
            const auto& folder = directories[random() % directories.size()];
            return (folder.empty() ? "" : folder + "/") + "name ä " + std::to_string(i);
          };
          for (int i = 0; i < 600; ++i) {
            const auto what = random() % 10;
            if (what == 0) {
              directories.push_back(path(i));
              image.make_directory(directories.back());
              if (cluster_bytes <= 4096 && random() % 3 == 0) image.set_compressed(directories.back());
            } else if (what < 7 || files.empty()) {
              files.push_back(path(i));
              image.write(files.back(), random() % 4 == 0 ? random() % 100'000 : 0, Bytes(random() % 20'000));
              if (random() % 5 == 0) image.write(files.back(), 0, Bytes(random() % 3000), "stream");
            } else if (what == 7) {
              image.link(files[random() % files.size()], path(i));
            } else {
              const auto at = random() % files.size();
              image.remove(files[at]);
              files.erase(files.begin() + static_cast<std::ptrdiff_t>(at));
            }
          }
        });
    MemoryDevice device(bytes);
    const auto report = check_volume(device).value();
    for (const auto& finding : report.findings) CHECK_MESSAGE(finding.severity != kError, finding.text);
    CHECK(report.errors + report.warnings == 0);
    CHECK(report.leaked_clusters == 0);
    CHECK(report.files > 200);
    VolumeCheckOptions small;
    small.window_clusters = 1000;
    small.window_records = 100;
    const auto again = check_volume(device, small).value();
    CHECK(again.errors + again.warnings == 0);
    CHECK(again.used_clusters == report.used_clusters);
  }
}

TEST_CASE("check: clusters marked free that are used, and used that are of no file") {
  if (!support::can_format_ntfs()) return;
  Damaged test;
  CHECK(test.check().errors + test.check().warnings == 0);
  const auto lcn = first_lcn(test.file("one"));
  test.byte_of(6, lcn / 8) ^= static_cast<std::byte>(1u << lcn % 8);
  auto report = test.check();
  CHECK(report.errors == 1);
  CHECK(has(report, kError, "cluster " + std::to_string(lcn) + " used by a file, but marked as free"));
  CHECK(report.findings.back().offset == lcn * 512);

  test.byte_of(6, lcn / 8) ^= static_cast<std::byte>(1u << lcn % 8);
  // Three free clusters across a byte's end.
  const auto bitmap = test.volume->record(6).value().streams.front();
  std::uint64_t free = 0;
  for (std::uint64_t byte = bitmap.size_bytes / 2; free == 0; ++byte)
    if (test.byte_of(6, byte) == std::byte{0} && test.byte_of(6, byte + 1) == std::byte{0})
      free = byte * 8 + 6;
  test.byte_of(6, free / 8) |= std::byte{0xC0};
  test.byte_of(6, free / 8 + 1) |= std::byte{0x01};
  report = test.check();
  CHECK(report.errors == 0);
  CHECK(report.leaked_clusters == 3);
  CHECK(report.warnings == 1);
  CHECK(has(report, kWarning, "clusters " + std::to_string(free) + " to " + std::to_string(free + 2)));
}

TEST_CASE("check: a cluster with two owners names both") {
  if (!support::can_format_ntfs()) return;
  Damaged test;
  const auto one = first_lcn(test.file("one"));
  const auto two = test.number("two");
  test.edit_attribute(two, kData, [&](MutableByteView attribute) {
    const auto pairs = support::mapping_pairs({{0, one, 6, false}});
    const auto at = load_le<std::uint16_t>(attribute, 32);
    // Written over by pairs that are shorter: the attribute has room for the longest it had.
    const auto head = std::to_integer<unsigned>(attribute[at]);
    const unsigned length_bytes = head & 15;
    const unsigned offset_bytes = head >> 4;
    for (unsigned i = 0; i < offset_bytes; ++i)
      attribute[at + 1 + length_bytes + i] = static_cast<std::byte>(one >> (8 * i));
  });
  const auto report = test.check();
  CHECK(has(report, kError,
            "with more than one owner: record " + std::to_string(std::min(test.number("one"), two))));
  CHECK(has(report, kError, "record " + std::to_string(std::max(test.number("one"), two)) + " ($DATA"));
  CHECK(report.leaked_clusters == 6);
}

TEST_CASE("check: records and $MFT:$Bitmap") {
  if (!support::can_format_ntfs()) return;
  {
    Damaged test;
    const auto number = test.number("one");
    test.edit_record(number, [](MutableByteView record) { store_le<std::uint16_t>(record, 22, 0); });
    const auto report = test.check();
    CHECK(has(report, kWarning, "record " + std::to_string(number) + ": free, but used in $MFT:$Bitmap"));
    CHECK(has(report, kError, "entry \"one\" names record " + std::to_string(number) + ", which is free"));
    CHECK(report.leaked_clusters == 6);
  }
  {
    Damaged test;
    const auto number = test.number("one");
    test.edit_attribute(0, kBitmap, [&](MutableByteView attribute) {
      REQUIRE(attribute[8] == std::byte{1});  // not resident: in its clusters
    });
    const auto details = file_details(test.device, 0).value();
    for (const auto& attribute : details.attributes)
      if (attribute.type == kBitmap)
        test.device.content()[static_cast<std::size_t>(attribute.runs.front().lcn * 512 + number / 8)] ^=
            static_cast<std::byte>(1u << number % 8);
    const auto report = test.check();
    CHECK(report.errors == 1);
    CHECK(has(report, kError, "record " + std::to_string(number) + ": in use, but free in $MFT:$Bitmap"));
  }
  {
    Damaged test;
    const auto number = test.number("one");
    test.device.content()[static_cast<std::size_t>(support::record_place(*test.volume, number)) + 1022] ^=
        std::byte{1};
    CHECK(has(test.check(), kError, "record " + std::to_string(number) + ": torn: sector 1"));
  }
  {
    Damaged test;
    test.edit_record(test.number("a/link"),
                     [](MutableByteView record) { store_le<std::uint16_t>(record, 18, 5); });
    CHECK(has(test.check(), kWarning, "2 names, but a link count of 5"));
  }
}

TEST_CASE("check: indexes and names that do not agree") {
  if (!support::can_format_ntfs()) return;
  {
    Damaged test;
    const auto number = test.number("one");
    test.edit_record(number, [](MutableByteView record) { store_le<std::uint16_t>(record, 16, 77); });
    const auto report = test.check();
    CHECK(has(report, kError, "of sequence 1, which has 77"));
    CHECK(has(report, kError, "\"one\" is missing from the index of its parent, record 5"));
  }
  {
    Damaged test;
    const auto a = test.number("a");
    test.edit_attribute(test.number("one"), kFileName, [&](MutableByteView attribute) {
      store_le<std::uint64_t>(attribute, 24, a | std::uint64_t{test.file("a").reference.sequence} << 48);
    });
    const auto report = test.check();
    CHECK(has(report, kError, "entry \"one\" names record"));
    CHECK(has(report, kError, "which does not have this name in this directory"));
    CHECK(
        has(report, kError, "\"one\" is missing from the index of its parent, record " + std::to_string(a)));
  }
  {
    Damaged test;
    test.edit_attribute(test.number("one"), kFileName, [&](MutableByteView attribute) {
      store_le<std::uint64_t>(attribute, 24, test.number("two") | std::uint64_t{1} << 48);
    });
    CHECK(has(test.check(), kError, "is no directory in use"));
  }
  {
    // An entry in one of the index's blocks changes its first letter: out of order, stale, and missing.
    Damaged test;
    bool changed = false;
    for (std::size_t at = 0; at + 4096 <= test.device.content().size() && !changed; at += 512) {
      const auto block = ByteView(test.device.content()).subspan(at, 4096);
      if (as_text(block.first(4)) != "INDX") continue;
      for (std::size_t i = 100; i + 32 < 4096 && !changed; i += 2) {
        if (as_text(block.subspan(i, 10)) != std::string_view("f\0i\0l\0e\0 \0", 10)) continue;
        support::edit(test.device, at, 4096, [&](MutableByteView bytes) { bytes[i] = std::byte{'Z'}; });
        changed = true;
      }
    }
    REQUIRE(changed);
    const auto report = test.check();
    CHECK(has(report, kError, "not in order"));
    CHECK(has(report, kError, "entry \"Zile"));
    CHECK(has(report, kError, "is missing from the index of its parent"));
  }
}

TEST_CASE("check: attribute lists and extension records") {
  if (!support::can_format_ntfs()) return;
  Damaged test;
  const auto fragmented = test.file("fragmented");
  REQUIRE(fragmented.extension_records.size() > 1);
  const auto extension = fragmented.extension_records.back();
  test.edit_record(extension, [&](MutableByteView record) { store_le<std::uint64_t>(record, 32, 999'999); });
  const auto report = test.check();
  CHECK(has(report, kError, "is not an extension of this one"));
  CHECK(has(report, kError,
            "record " + std::to_string(extension) + ": extension of a record that cannot be read"));
}

TEST_CASE("check: copies, state and the number of findings kept") {
  if (!support::can_format_ntfs()) return;
  Damaged test;
  const auto mirror = load_le<std::uint64_t>(test.device.content(), 56) * 512;
  test.device.content()[static_cast<std::size_t>(mirror) + 300] ^= std::byte{1};
  test.device.content()[static_cast<std::size_t>(test.volume->info().volume_bytes) + 100] ^= std::byte{1};
  test.edit_attribute(3, kVolumeInformation,
                      [](MutableByteView attribute) { store_le<std::uint16_t>(attribute, 24 + 10, 1); });
  for (std::uint64_t i = 0; i < 20; ++i) test.byte_of(6, i) = std::byte{0x55};
  auto report = test.check();
  CHECK(has(report, kWarning, "$MFTMirr: the copy of record 0 differs"));
  CHECK(has(report, kWarning, "copy of the boot sector differs"));
  CHECK(has(report, kWarning, "marked dirty"));
  CHECK(report.errors > 20);
  VolumeCheckOptions few;
  few.max_findings = 5;
  const auto short_report = check_volume(test.device, few).value();
  CHECK(short_report.findings.size() == 5);
  CHECK(short_report.errors == report.errors);
}

namespace {

// A log whose restart pages say this; the rest as it was.
void write_restart_pages(Damaged& test, std::uint16_t major, std::uint16_t client, std::uint16_t flags) {
  for (std::uint64_t page = 0; page < 2; ++page) {
    support::Fields fields;
    fields.bytes_at(0, as_bytes("RSTR")).at<std::uint16_t>(4, 30).at<std::uint16_t>(6, 9);
    fields.at<std::uint32_t>(16, 4096).at<std::uint32_t>(20, 4096).at<std::uint16_t>(24, 56);
    fields.at<std::uint16_t>(26, major == 1 ? 1 : 0).at<std::uint16_t>(28, major).at<std::uint16_t>(30, 5);
    fields.at<std::uint64_t>(56, 1000 + page).at<std::uint16_t>(68, page == 0 ? 0 : client);
    fields.at<std::uint16_t>(70, page == 0 ? 0 : flags);
    auto bytes = fields.padded();
    bytes.resize(4096);
    support::protect(bytes);
    for (std::size_t i = 0; i < bytes.size(); ++i) test.byte_of(2, page * 4096 + i) = bytes[i];
  }
}

}  // namespace

TEST_CASE("the state of a volume: log, hibernation, BitLocker") {
  if (!support::can_format_ntfs()) return;
  {
    Damaged test;
    auto state = volume_state(test.device).value();
    CHECK(state.kind == VolumeKind::ntfs);
    CHECK(state.log == LogState::emptied);
    CHECK(state.label == "test");
    CHECK(state.clean());
    CHECK(state.major_version == 3);
    write_restart_pages(test, 1, 0, 0);  // the second page is the newer one
    state = volume_state(test.device).value();
    CHECK(state.log == LogState::in_use);
    CHECK(state.log_version == "1.1");
    CHECK_FALSE(state.clean());
    write_restart_pages(test, 1, 0xFFFF, 0);
    state = volume_state(test.device).value();
    CHECK(state.log == LogState::clean);
    CHECK(state.clean());
    write_restart_pages(test, 1, 0, 2);
    CHECK(volume_state(test.device)->log == LogState::clean);
    write_restart_pages(test, 2, 0xFFFF, 0);
    state = volume_state(test.device).value();
    CHECK(state.fast_startup);
    CHECK(state.remarks.size() == 1);
    test.byte_of(2, 4096 + 511) ^= std::byte{1};  // torn: the older one counts
    CHECK(volume_state(test.device)->log == LogState::in_use);
    test.byte_of(2, 511) ^= std::byte{1};
    CHECK(volume_state(test.device)->log == LogState::damaged);
  }
  for (const auto& [signature, expected] : {std::pair{"hibr", Hibernation::hibernated},
                                            {"HIBR", Hibernation::hibernated},
                                            {"wake", Hibernation::resumed},
                                            {"", Hibernation::none}}) {
    const auto bytes = make_volume({8u << 20}, [&, text = std::string_view(signature)](NtfsImage& image) {
      image.write("hiberfil.sys", 0, Bytes(20'000));
      if (!text.empty()) image.write("hiberfil.sys", 0, as_bytes(text));
    });
    MemoryDevice device(bytes);
    const auto state = volume_state(device).value();
    CHECK(state.hibernation == expected);
    CHECK(state.clean() == (expected != Hibernation::hibernated));
  }
  Bytes boot(4096);
  const auto name = as_bytes("-FVE-FS-");
  std::copy(name.begin(), name.end(), boot.begin() + 3);
  MemoryDevice device(boot);
  const auto state = volume_state(device).value();
  CHECK(state.kind == VolumeKind::bitlocker);
  CHECK(state.remarks.front().find("manage-bde") != std::string::npos);
  CHECK(Volume::open(device).error().code == ErrorCode::unsupported);
}

TEST_CASE("the details of a file are those of its records") {
  if (!support::can_format_ntfs()) return;
  Damaged test;
  const auto file = test.file("fragmented");
  const auto details = file_details(test.device, file.reference.record).value();
  CHECK(details.problems.empty());
  CHECK(details.reference == file.reference);
  CHECK(details.records.size() == file.extension_records.size() + 1);
  CHECK(details.records.front().device_offset == support::record_place(*test.volume, file.reference.record));
  CHECK(details.times.created == file.created_100ns);
  std::uint64_t clusters = 0;
  for (const auto& attribute : details.attributes)
    if (attribute.type == kData)
      for (const auto& run : attribute.runs) clusters += run.clusters;
  CHECK(clusters == 999);
  CHECK(file_details(test.device, file.extension_records.front()).error().code ==
        ErrorCode::invalid_argument);
  const auto linked = file_details(test.device, test.number("a/link")).value();
  CHECK(linked.names.size() == 2);
  CHECK(linked.records.front().link_count == 2);
}

TEST_CASE("deleted files are listed with their paths, also in folders deleted with them") {
  if (!support::can_format_ntfs()) return;
  Damaged test;
  // As Windows deletes: the record becomes free, its sequence number grows, its attributes stay.
  std::vector<std::uint64_t> gone;
  for (const auto* path : {"a/b/file 3", "a/b/file 7", "a/b", "one"}) gone.push_back(test.number(path));
  for (const auto number : gone)
    test.edit_record(number, [](MutableByteView record) {
      store_le<std::uint16_t>(record, 22, load_le<std::uint16_t>(record, 22) & 0xFFFE);
      store_le<std::uint16_t>(record, 16, load_le<std::uint16_t>(record, 16) + 1);
    });
  std::map<std::uint64_t, std::string> paths;
  CHECK(scan_deleted(test.device, [&](const DeletedFile& deleted) {
          CHECK(deleted.path_known);
          paths[deleted.file.reference.record] = deleted.path;
          return true;
        }).has_value());
  CHECK(paths.size() == 4);
  CHECK(paths[gone[0]] == "a/b/file 3");
  CHECK(paths[gone[2]] == "a/b");
  CHECK(paths[gone[3]] == "one");
  // The folder's record used again: the path is not made up.
  test.edit_record(gone[2], [](MutableByteView record) { store_le<std::uint16_t>(record, 16, 99); });
  CHECK(scan_deleted(test.device, [&](const DeletedFile& deleted) {
          if (deleted.file.reference.record == gone[0]) CHECK(deleted.path == "?/file 3");
          return true;
        }).has_value());
  const auto details = file_details(test.device, gone[3]).value();
  CHECK_FALSE(details.in_use);
  CHECK(details.names.front().name.name == "one");
}

namespace {

Bytes usn_record(std::uint64_t usn, std::uint64_t file, std::uint64_t parent, const std::string& name,
                 std::uint32_t reason) {
  ByteWriter writer;
  writer.le(static_cast<std::uint32_t>((60 + name.size() * 2 + 7) / 8 * 8));
  writer.le<std::uint32_t>(2);
  for (const auto value : {file, parent, usn, std::uint64_t{1}}) writer.le(value);
  for (const std::uint32_t value : {reason, 0u, 0u, 0u}) writer.le(value);
  writer.le(static_cast<std::uint16_t>(name.size() * 2));
  writer.le<std::uint16_t>(60);
  for (const char letter : name) writer.le(static_cast<std::uint16_t>(letter));
  auto bytes = writer.take();
  bytes.resize((bytes.size() + 7) / 8 * 8);
  return bytes;
}

}  // namespace

TEST_CASE("the change journal behind terabytes of hole is read, and tells who was renamed") {
  if (!support::can_format_ntfs()) return;
  constexpr std::uint64_t kStart = 5ull << 40;
  Bytes records;
  std::uint64_t first_page_end = 0;
  const auto add = [&](std::uint64_t file, std::uint64_t parent, const std::string& name,
                       std::uint32_t reason) {
    auto bytes = usn_record(kStart + records.size(), file, parent, name, reason);
    if (records.size() % 4096 + bytes.size() > 4096) {  // to the next page
      records.resize((records.size() + 4095) / 4096 * 4096);
      if (first_page_end == 0) first_page_end = records.size();
      bytes = usn_record(kStart + records.size(), file, parent, name, reason);
    }
    records.insert(records.end(), bytes.begin(), bytes.end());
  };
  for (std::uint64_t i = 0; i < 100; ++i) add(1000 + i, 5, "file " + std::to_string(i), 1);
  const auto rename = [&](std::uint64_t file, std::uint64_t from, const std::string& old, std::uint64_t to,
                          const std::string& name) {
    add(file, from, old, kUsnRenameOldName);
    add(file, to, name, kUsnRenameNewName);
    add(file, to, name, kUsnRenameNewName | kUsnClose);
  };
  rename(40, 5, "first", 5, "second");
  rename(40, 5, "second", 6, "third");
  rename(41, 5, "there", 6, "and");
  rename(41, 6, "and", 5, "there");  // and back again
  add(42, 5, "new", kUsnFileCreate);
  rename(42, 5, "new", 5, "newer");
  const auto bytes = make_volume({16u << 20}, [&](NtfsImage& image) {
    image.write("$Extend/$UsnJrnl", kStart, records, "$J");
    ByteWriter settings;
    for (const std::uint64_t value : {32ull << 20, 8ull << 20, 77ull, 0ull}) settings.le(value);
    image.write("$Extend/$UsnJrnl", 0, settings.view(), "$Max");
  });
  MemoryDevice device(bytes);
  const auto volume = Volume::open(device).value();
  const auto journal = UsnJournal::open(*volume).value();
  CHECK(journal.id() == 77);
  CHECK(journal.first_usn() == kStart);
  CHECK(journal.next_usn() == kStart + records.size());
  std::size_t seen = 0;
  std::uint64_t last = 0;
  auto read = journal.read(0, [&](const UsnRecord& record) {
    CHECK(record.usn > last);
    last = record.usn;
    ++seen;
    return true;
  });
  CHECK(seen == 100 + 5 * 3 + 1);
  CHECK(read->records == seen);
  CHECK(read->from_usn == kStart);
  CHECK(read->damaged_pages == 0);
  // From the middle of a page, and only the last of it.
  seen = 0;
  CHECK(journal.read(last, [&](const UsnRecord&) { return ++seen < 100; }).has_value());
  CHECK(seen == 1);
  CHECK(journal.read(journal.next_usn(), [&](const UsnRecord&) { return true; })->records == 0);
  const auto newest = journal.read(
      0, [](const UsnRecord&) { return true; }, 4096);
  CHECK(newest->from_usn > kStart);
  CHECK(newest->records > 0);
  CHECK(newest->records < 100);

  const auto renames = journal.renames(0).value();
  REQUIRE(renames.size() == 1);
  CHECK(renames[0].file.record == 40);
  CHECK(renames[0].old_name == "first");
  CHECK(renames[0].old_parent.record == 5);
  CHECK(renames[0].new_name == "third");
  CHECK(renames[0].new_parent.record == 6);

  // A damaged page is left out, the next one is not.
  const auto file = volume->record(volume->lookup("$Extend/$UsnJrnl")->record).value();
  for (const auto& stream : file.streams)
    if (stream.name == "$J")
      device.content()[static_cast<std::size_t>(support::stream_place(*volume, stream, kStart))] =
          std::byte{0xFF};
  read = journal.read(0, [](const UsnRecord&) { return true; });
  CHECK(read->damaged_pages == 1);
  CHECK(read->records > 0);
  CHECK(read->from_usn == kStart);
}

}  // namespace roamstead::ntfs
