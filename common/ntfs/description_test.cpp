// What is decoded for people: reparse points, security descriptors; and the change journal's records.
#include <doctest/doctest.h>

#include "common/ntfs/reparse.h"
#include "common/ntfs/security_text.h"
#include "common/ntfs/usn_journal.h"
#include "common/ntfs/wof.h"

namespace roamstead::ntfs {
namespace {

Bytes utf16(std::u16string_view text) {
  ByteWriter writer;
  for (const auto unit : text) writer.le(static_cast<std::uint16_t>(unit));
  return writer.take();
}

// The buffer of a junction or symbolic link.
Bytes link_data(std::u16string_view substitute, std::u16string_view print,
                std::optional<std::uint32_t> flags) {
  ByteWriter writer;
  writer.le<std::uint16_t>(0);
  writer.le(static_cast<std::uint16_t>(substitute.size() * 2));
  writer.le(static_cast<std::uint16_t>(substitute.size() * 2 + 2));
  writer.le(static_cast<std::uint16_t>(print.size() * 2));
  if (flags) writer.le(*flags);
  writer.bytes(utf16(substitute));
  writer.le<std::uint16_t>(0);
  writer.bytes(utf16(print));
  return writer.take();
}

}  // namespace

TEST_CASE("links show where they lead, by the system's and by the user's name") {
  CHECK(describe_reparse(kMountPointTag, link_data(u"\\??\\C:\\Users", u"C:\\Users", {})).to_string() ==
        "junction: substitute \\??\\C:\\Users, print C:\\Users");
  const auto symbolic = describe_reparse(kSymlinkTag, link_data(u"..\\größe", u"..\\größe", 1));
  CHECK(symbolic.to_string() == "symbolic link: substitute ..\\größe, print ..\\größe, relative yes");
  CHECK(symbolic.name_surrogate);
  CHECK(symbolic.microsoft);
  CHECK_FALSE(symbolic.damaged);
}

TEST_CASE("other reparse points are told by their names or numbers") {
  ByteWriter app;
  app.le<std::uint32_t>(3);
  for (const auto* text : {u"Package_1", u"Package_1!App", u"C:\\App.exe", u"0"}) {
    app.bytes(utf16(text));
    app.le<std::uint16_t>(0);
  }
  CHECK(describe_reparse(0x8000001B, app.view()).to_string() ==
        "app execution link: package Package_1, entry point Package_1!App, target C:\\App.exe, kind 0");
  ByteWriter wof;
  for (const std::uint32_t value : {1u, 2u, 1u, 1u}) wof.le(value);
  CHECK(describe_reparse(0x80000017, wof.view()).to_string() == "WOF: algorithm LZX");
  for (const std::uint32_t tag : {0x9000001Au, 0x9000601Au, 0x9000F01Au})
    CHECK(describe_reparse(tag, Bytes(20)).name == "cloud file");
  CHECK(describe_reparse(0x80000013, Bytes(20)).name == "deduplicated");
  CHECK(describe_reparse(0x0000ABCD, Bytes()).name == "tag 0x0000abcd");
  CHECK_FALSE(describe_reparse(0x0000ABCD, Bytes()).microsoft);
  CHECK(describe_reparse(0xA000001D, to_bytes(std::string_view("\2\0\0\0/usr/x", 10))).to_string() ==
        "WSL symbolic link: target /usr/x");
}

TEST_CASE("reparse points cut short are damaged, not read beyond their end") {
  const auto link = link_data(u"\\??\\C:\\Users", u"C:\\Users", 0);
  for (std::size_t length = 0; length < link.size(); ++length) {
    const Bytes cut(link.begin(), link.begin() + static_cast<std::ptrdiff_t>(length));
    CHECK(describe_reparse(kSymlinkTag, cut).damaged);
    describe_reparse(kMountPointTag, cut);
    describe_reparse(0x8000001B, cut);
    describe_reparse(kWofTag, cut);
  }
}

TEST_CASE("a security descriptor is shown as SDDL with whole SIDs") {
  const auto descriptor = to_bytes(
      std::string_view("\x01\x00\x04\x94\x30\x00\x00\x00\x40\x00\x00\x00\x00\x00\x00\x00\x14\x00\x00\x00"
                       "\x02\x00\x1c\x00\x01\x00\x00\x00\x00\x03\x14\x00\xff\x01\x1f\x00\x01\x01\x00\x00\x00"
                       "\x00\x00\x01\x00\x00\x00\x00"
                       "\x01\x02\x00\x00\x00\x00\x00\x05\x20\x00\x00\x00\x20\x02\x00\x00"
                       "\x01\x02\x00\x00\x00\x00\x00\x05\x20\x00\x00\x00\x21\x02\x00\x00",
                       80));
  const auto text = describe_security(descriptor).value();
  CHECK(text.owner == "S-1-5-32-544");
  CHECK(text.group == "S-1-5-32-545");
  CHECK(text.sddl == "O:S-1-5-32-544G:S-1-5-32-545D:PAI(A;CIOI;0x1f01ff;;;S-1-1-0)");
  for (std::size_t length = 0; length < descriptor.size(); ++length)
    CHECK_FALSE(describe_security(ByteView(descriptor).first(length)).has_value());
}

namespace {

Bytes usn_record(std::uint16_t version, std::uint64_t usn, std::u16string_view name) {
  ByteWriter writer;
  const std::size_t head = version == 2 ? 60 : 76;
  writer.le(static_cast<std::uint32_t>((head + name.size() * 2 + 7) / 8 * 8));
  writer.le(version);
  writer.le<std::uint16_t>(0);
  for (const std::uint64_t reference : {0x0007'0000'0000'0123ull, 0x0005'0000'0000'0005ull}) {
    writer.le(reference);
    if (version == 3) writer.le<std::uint64_t>(0);
  }
  writer.le(usn);
  writer.le<std::uint64_t>(133'000'000'000'000'000);
  writer.le(kUsnRenameNewName);
  writer.le<std::uint32_t>(0);
  writer.le<std::uint32_t>(0x100);
  writer.le<std::uint32_t>(0x20);
  writer.le(static_cast<std::uint16_t>(name.size() * 2));
  writer.le(static_cast<std::uint16_t>(head));
  writer.bytes(utf16(name));
  auto bytes = writer.take();
  bytes.resize((bytes.size() + 7) / 8 * 8);
  return bytes;
}

}  // namespace

TEST_CASE("change journal records of versions 2 and 3 say the same, 4 has no name, others are refused") {
  for (const std::uint16_t version : {2, 3}) {
    const auto bytes = usn_record(version, 4096, u"größe.txt");
    const auto parsed = parse_usn_record(bytes, 4096).value();
    CHECK(parsed.length == bytes.size());
    const auto& record = parsed.record.value();
    CHECK(record.file == FileReference{0x123, 7});
    CHECK(record.parent == FileReference{5, 5});
    CHECK(record.name == "größe.txt");
    CHECK(record.reason == kUsnRenameNewName);
    CHECK(record.attributes == 0x20);
    CHECK(record.time_100ns == 133'000'000'000'000'000);
    CHECK(record.version == version);
    CHECK(parse_usn_record(bytes, 8192).error().message.find("says it is 4096") != std::string::npos);
    for (std::size_t length = 0; length < bytes.size(); ++length)
      CHECK(parse_usn_record(ByteView(bytes).first(length), 4096).error().code == ErrorCode::corrupt);
  }
  auto other = usn_record(2, 0, u"name");
  store_le<std::uint16_t>(other, 4, 4);
  CHECK_FALSE(parse_usn_record(other, 0)->record.has_value());
  store_le<std::uint16_t>(other, 4, 7);
  CHECK(parse_usn_record(other, 0).error().message.find("version 7") != std::string::npos);
}

}  // namespace roamstead::ntfs
