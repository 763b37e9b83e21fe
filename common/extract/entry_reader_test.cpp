#include "common/extract/entry_reader.h"

#include <doctest/doctest.h>

#include "common/base/text.h"
#include "common/extract/stream_writes.h"
#include "common/extract/test_volume.h"

namespace roamstead::extract {
namespace {

// What follows a reparse point's 8-byte header.
Bytes reparse_data(std::uint32_t tag, const std::string& target, bool relative) {
  ByteWriter writer;
  const auto units = to_utf16(target).value();
  const auto bytes = static_cast<std::uint16_t>(units.size() * 2);
  writer.le<std::uint16_t>(0);
  writer.le<std::uint16_t>(bytes);
  writer.le<std::uint16_t>(bytes);
  writer.le<std::uint16_t>(0);
  if (tag == kTagSymlink) writer.le<std::uint32_t>(relative ? 1 : 0);
  for (auto unit : units) writer.le<std::uint16_t>(unit);
  return writer.take();
}

TEST_CASE("what cannot be saved says why") {
  ntfs::FileRecord file;
  file.streams.resize(2);
  file.streams[1].compressed = true;  // by NTFS: read like any
  CHECK_FALSE(blocked_reason(file));
  file.streams[1].encrypted = true;
  CHECK(blocked_reason(file)->find("EFS") != std::string::npos);
  file.streams[1].encrypted = false;
  file.reparse_tag = kTagWof;
  CHECK(blocked_reason(file)->find("WOF") != std::string::npos);
}

TEST_CASE("links into the profile become paths of the profile, others do not") {
  const std::string root = "Users/alice";
  const auto junction = [&](const std::string& target) {
    return link_target(kTagMountPoint, reparse_data(kTagMountPoint, target, false), root, "x/link");
  };
  const auto relative = [&](const std::string& target, const std::string& path) {
    return link_target(kTagSymlink, reparse_data(kTagSymlink, target, true), root, path);
  };
  CHECK(junction(R"(\??\C:\Users\alice\AppData\Roaming)") == "AppData/Roaming");
  CHECK(junction(R"(\??\D:\users\ALICE\Documents)") == "Documents");
  CHECK(junction(R"(\??\C:\Users\alice)") == "");
  CHECK(junction(R"(\??\C:\Users\alice2\x)") == std::nullopt);
  CHECK(junction(R"(\??\C:\Users\alice\..\bob)") == std::nullopt);
  CHECK(junction(R"(\??\Volume{00000000-0000-0000-0000-000000000000}\)") == std::nullopt);
  CHECK(relative(R"(..\other\f)", "a/b/link") == "a/other/f");
  CHECK(relative(R"(f)", "link") == "f");
  CHECK(relative(R"(..\f)", "link") == std::nullopt);
}

TEST_CASE("reparse data cut at any length is no link, and no crash") {
  const auto whole = reparse_data(kTagSymlink, R"(..\other\f)", true);
  for (std::size_t length = 0; length < whole.size(); ++length)
    CHECK(link_target(kTagSymlink, ByteView(whole).first(length), "Users/alice", "a/link") == std::nullopt);
}

// A self-relative descriptor with one access entry.
Bytes descriptor(std::uint8_t entry_flags) {
  Bytes bytes(20 + 8 + 20);
  bytes[0] = std::byte{1};
  store_le<std::uint16_t>(bytes, 2, 0x8004);
  store_le<std::uint32_t>(bytes, 16, 20);
  bytes[20] = std::byte{2};
  store_le<std::uint16_t>(bytes, 22, 28);
  store_le<std::uint16_t>(bytes, 24, 1);
  bytes[29] = static_cast<std::byte>(entry_flags);
  store_le<std::uint16_t>(bytes, 30, 20);
  return bytes;
}

TEST_CASE("a descriptor of inherited entries is told from one with its own, and damage is never nothing") {
  CHECK_FALSE(has_own_access_entries({}));
  CHECK_FALSE(has_own_access_entries(descriptor(0x13)));
  CHECK(has_own_access_entries(descriptor(0x03)));
  auto damaged = descriptor(0x10);
  store_le<std::uint16_t>(damaged, 30, 200);
  CHECK(has_own_access_entries(damaged));
  store_le<std::uint16_t>(damaged, 30, 0);
  CHECK(has_own_access_entries(damaged));
  store_le<std::uint32_t>(damaged, 16, 0xffff'fff0);
  CHECK(has_own_access_entries(damaged));
  for (std::size_t length = 1; length < 48; ++length)
    CHECK(has_own_access_entries(ByteView(descriptor(0x10)).first(length)));
}

TEST_CASE("a directory's write time and a gained archive attribute are no change, a lost one is") {
  profile::Entry plain, archive;
  archive.metadata.attributes = profile::kAttributeArchive;
  CHECK(same_entry(plain, archive));
  CHECK_FALSE(same_entry(archive, plain));
  archive.metadata.attributes |= profile::kAttributeHidden;
  CHECK_FALSE(same_entry(plain, archive));
  auto later = plain;
  later.metadata.written_100ns = 1;
  CHECK_FALSE(same_entry(plain, later));
  plain.kind = later.kind = profile::EntryKind::directory;
  CHECK(same_entry(plain, later));
  later.metadata.attributes = profile::kAttributeArchive;
  CHECK(same_entry(plain, later));
  CHECK_FALSE(same_entry(later, plain));
}

ntfs::StreamInfo resident(Bytes bytes) {
  ntfs::StreamInfo stream;
  stream.resident = true;
  stream.size_bytes = stream.valid_bytes = bytes.size();
  stream.resident_data = std::move(bytes);
  return stream;
}

std::vector<ByteRange> writes(const StreamSide& now, const StreamBefore& before) {
  return find_writes(now, before, ranges_to_examine(now, before, nullptr)).value().writes;
}

TEST_CASE("blocks are classified by tag, by zero and by base limit") {
  StreamVolume volume;
  Bytes base(3 * 4096, std::byte{1});
  auto bytes = base;
  for (std::size_t i = 0; i < 4096; ++i) bytes[i] = std::byte{0};             // not loaded
  for (std::size_t i = 8192; i < bytes.size(); ++i) bytes[i] = std::byte{9};  // written
  ItemState::StreamState state;
  state.base_limit = base.size();
  state.tags[1] = state.tags[2] = block_tag(ByteView(base).first(4096));
  StreamBefore published;
  published.kind = StreamBefore::Kind::published;
  published.size_bytes = base.size();
  const auto stream = resident(bytes);
  CHECK(writes({&volume, &stream, &state}, published) == std::vector<ByteRange>{{8192, 4096}});

  // Zeros in a block that was loaded are content.
  state.tags[0] = state.tags[1];
  CHECK(writes({&volume, &stream, &state}, published) == std::vector<ByteRange>{{0, 4096}, {8192, 4096}});
  state.tags.erase(0);

  // Shrunk to 5000 and grown again: what lies beyond is content, though the base has bytes there.
  state.base_limit = 5000;
  auto shrunk = bytes;
  for (std::size_t i = 5000; i < shrunk.size(); ++i) shrunk[i] = std::byte{0};
  const auto grown = resident(shrunk);
  CHECK(writes({&volume, &grown, &state}, published) == std::vector<ByteRange>{{4096, 8192}});

  // Without a tree before, what was never loaded cannot be saved.
  state.base_limit = base.size();
  const StreamSide now{&volume, &stream, &state};
  const auto found = find_writes(now, {}, ranges_to_examine(now, {}, nullptr)).value();
  CHECK(found.missing_at == 0);
}

TEST_CASE("zeros of a dehydrated placeholder are nobody's content, though they were loaded once") {
  StreamVolume volume;
  const Bytes base(2 * 4096, std::byte{1});
  auto bytes = base;
  for (std::size_t i = 0; i < 4096; ++i) bytes[i] = std::byte{0};
  ItemState item;
  item.entry.kind = profile::EntryKind::file;
  auto& state = item.streams[""];
  state.base_limit = base.size();
  state.tags[0] = state.tags[1] = block_tag(ByteView(base).first(4096));
  StreamBefore published;
  published.kind = StreamBefore::Kind::published;
  published.size_bytes = base.size();
  const auto stream = resident(bytes);
  ntfs::FileRecord file;
  file.reparse_tag = 0x9000'601A;
  CHECK_FALSE(is_dehydrated(file, &item));
  CHECK(writes({&volume, &stream, &state, is_dehydrated(file, &item)}, published) ==
        std::vector<ByteRange>{{0, 4096}});
  file.attributes |= 0x0040'0000;
  CHECK(is_dehydrated(file, &item));
  CHECK(writes({&volume, &stream, &state, is_dehydrated(file, &item)}, published).empty());
  CHECK_FALSE(is_dehydrated(file, nullptr));
  item.entry.kind = profile::EntryKind::opaque;
  CHECK_FALSE(is_dehydrated(file, &item));
}

TEST_CASE("the base's bytes come back where a program had written before") {
  StreamVolume volume;
  Bytes base(2 * 4096, std::byte{1});
  auto written = base;
  written[5000] = std::byte{2};
  ItemState::StreamState state;
  state.base_limit = base.size();
  state.tags[0] = state.tags[1] = block_tag(ByteView(base).first(4096));
  const auto now_stream = resident(base), before_stream = resident(written);
  StreamBefore before;
  before.kind = StreamBefore::Kind::volume;
  before.size_bytes = base.size();
  before.side = {&volume, &before_stream, &state};
  before.base_tags = &state;
  CHECK(writes({&volume, &now_stream, &state}, before) == std::vector<ByteRange>{{4096, 4096}});
  before.side.stream = &now_stream;
  CHECK(writes({&volume, &now_stream, &state}, before).empty());
}

}  // namespace
}  // namespace roamstead::extract
