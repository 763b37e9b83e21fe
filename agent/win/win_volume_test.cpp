// On the volume whose drive ROAMSTEAD_TEST_VOLUME names: an NTFS volume, under Wine one of ntfs-3g. What it
// leaves below "kept" is compared with the disk by tests/wine/volume, to which it prints what it knows of it.
#include "agent/win/win_volume.h"

#include <cstdlib>
#include <iostream>

#include "agent/win/base/wine.h"
#include "common/profile/entry.h"
#include "tests/support/must.h"

namespace roamstead::agent {
namespace {

using profile::Entry;
using profile::EntryKind;
using support::must;

constexpr std::uint64_t kCreated = 132'223'104'001'234'567, kWritten = 132'323'104'007'654'321;

std::unique_ptr<WinVolume> attached() {
  WinVolume::Options options;
  const char* drive = std::getenv("ROAMSTEAD_TEST_VOLUME");
  REQUIRE(drive != nullptr);
  options.drive = drive;
  options.profile_root = "Users/alice";
  auto volume = must(WinVolume::attach(options));
  must(volume->remove_tree("ProgramData/Roamstead/staging"));
  must(volume->make_directories("ProgramData/Roamstead/staging"));
  return volume;
}

Entry entry_of(EntryKind kind, std::uint64_t size_bytes = 0) {
  Entry entry;
  entry.kind = kind;
  entry.size_bytes = size_bytes;
  entry.metadata = {profile::kAttributeArchive | profile::kAttributeHidden, kCreated, kWritten, {}};
  if (kind == EntryKind::directory) entry.metadata.attributes = profile::kAttributeHidden;
  return entry;
}

std::string staged(const std::string& name) { return "ProgramData/Roamstead/staging/" + name; }

Bytes bytes_of(std::string_view text) {
  const auto view = as_bytes(text);
  return Bytes(view.begin(), view.end());
}

std::string text_of(VolumeHandle& handle) {
  Bytes content(must(handle.size()));
  REQUIRE(must(handle.read(0, content)) == content.size());
  return std::string(as_text(content));
}

// What the disk must hold at a path.
void tell(const std::string& path, const extract::ItemIdentity& identity, const Entry& entry) {
  std::cout << "KEPT " << path << " " << identity.record << " " << identity.created_100ns << " "
            << entry.metadata.written_100ns << " " << entry.metadata.attributes << std::endl;
}

}  // namespace

TEST_CASE("what is staged and published is what the disk holds") {
  auto volume = attached();
  must(volume->remove_tree("kept"));
  must(volume->make_directories("kept/within"));
  auto directory = must(volume->open("kept/within", ""));
  auto entry = entry_of(EntryKind::file, 200'000);
  entry.streams = {{"Zone.Identifier", 26}};
  const auto identity = must(volume->stage(staged("1"), entry));
  CHECK(identity.created_100ns == kCreated);
  {
    auto file = must(volume->open(staged("1"), ""));
    CHECK(file->record() == identity.record);
    CHECK(must(file->size()) == 200'000);
    const auto times = must(file->times());
    CHECK(times.created_100ns == kCreated);
    CHECK(times.written_100ns == kWritten);
    must(file->write(199'996, bytes_of("tail")));
    must(file->set_times({kCreated, kWritten}));
    Bytes whole(200'100);
    CHECK(must(file->read(0, whole)) == 200'000);
    CHECK(all_zero(ByteView(whole).first(199'996)));
    CHECK(as_text(ByteView(whole).subspan(199'996, 4)) == "tail");
    auto stream = must(volume->open(staged("1"), "Zone.Identifier"));
    CHECK(stream->record() == identity.record);
    CHECK(must(stream->size()) == 26);
    must(stream->write(0, bytes_of("[ZoneTransfer]\r\nZoneId=3\r\n")));
    must(stream->set_times({kCreated, kWritten}));
    CHECK(must(stream->times()).written_100ns == kWritten);
    CHECK_FALSE(volume->open(staged("1"), "other").has_value());
  }
  must(volume->publish(staged("1"), *directory, "Büro \xF0\x9F\x93\x81.txt"));
  const auto path = std::string("kept/within/Büro \xF0\x9F\x93\x81.txt");
  CHECK(must(volume->stat(path)).record == identity.record);
  CHECK(volume->stat(staged("1")).error().code == ErrorCode::not_found);
  CHECK(text_of(*must(volume->open(path, "Zone.Identifier"))) == "[ZoneTransfer]\r\nZoneId=3\r\n");
  tell(path, identity, entry);
  auto folder = entry_of(EntryKind::directory);
  const auto folder_identity = must(volume->stage(staged("2"), folder));
  must(volume->publish(staged("2"), *directory, "folder"));
  CHECK(must(volume->stat_child(*directory, "folder")).directory);
  tell("kept/within/folder", folder_identity, folder);
  for (const auto kind : {EntryKind::junction, EntryKind::symlink}) {
    auto link = entry_of(kind);
    link.link_target = "Documents";
    const auto name = kind == EntryKind::junction ? "junction" : "symlink";
    const auto link_identity = must(volume->stage(staged(name), link));
    must(volume->publish(staged(name), *directory, name));
    const auto found = must(volume->stat_child(*directory, name));
    CHECK(found.record == link_identity.record);
    CHECK_FALSE(found.directory);
    tell("kept/within/" + std::string(name), link_identity, link);
  }
  must(volume->sync());
}

TEST_CASE("a taken name is not replaced") {
  auto volume = attached();
  must(volume->remove_tree("taken"));
  must(volume->make_directories("taken"));
  auto directory = must(volume->open("taken", ""));
  must(volume->stage(staged("a"), entry_of(EntryKind::file, 10)));
  must(volume->stage(staged("b"), entry_of(EntryKind::file, 20)));
  must(volume->publish(staged("a"), *directory, "name"));
  const auto refused = volume->publish(staged("b"), *directory, "NAME");
  REQUIRE_FALSE(refused.has_value());
  CHECK(refused.error().code == ErrorCode::exists);
  CHECK(volume->rename(staged("b"), "taken/name").error().code == ErrorCode::exists);
  CHECK(must(volume->stat("taken/name")).size_bytes == 10);
  must(volume->rename(staged("b"), "taken/other"));
  const auto items = must(volume->list("taken"));
  REQUIRE(items.size() == 2);
  CHECK(items[0].size_bytes + items[1].size_bytes == 30);
  directory.reset();
  int asked = 0;
  CHECK_FALSE(must(volume->remove_tree_while([&] { return ++asked <= 2; }, "taken")));
  CHECK(must(volume->list("taken")).size() == 1);
  must(volume->remove_tree("taken"));
  CHECK(volume->stat("taken").error().code == ErrorCode::not_found);
  must(volume->remove_tree("taken"));
}

TEST_CASE("a directory that is renamed while it is open stays the same for what is published into it") {
  auto volume = attached();
  must(volume->remove_tree("moving"));
  must(volume->make_directories("moving/before"));
  auto directory = must(volume->open("moving/before", ""));
  must(volume->rename("moving/before", "moving/after"));
  must(volume->stage(staged("moved"), entry_of(EntryKind::file, 3)));
  must(volume->publish(staged("moved"), *directory, "moved"));
  CHECK(must(volume->stat("moving/after/moved")).size_bytes == 3);
  CHECK(must(volume->stat_child(*directory, "moved")).size_bytes == 3);
  directory.reset();
  must(volume->remove_tree("moving"));
}

TEST_CASE("links lead nowhere: not on the way to a place, not when what holds them is removed") {
  auto volume = attached();
  must(volume->remove_tree("linked"));
  must(volume->remove_tree("Users/alice/Documents"));
  must(volume->make_directories("linked/inside"));
  must(volume->make_directories("Users/alice/Documents"));
  auto kept = must(volume->stage(staged("kept"), entry_of(EntryKind::file, 5)));
  auto documents = must(volume->open("Users/alice/Documents", ""));
  must(volume->publish(staged("kept"), *documents, "kept"));
  auto link = entry_of(EntryKind::junction);
  link.link_target = "Documents";
  must(volume->stage(staged("way"), link));
  auto directory = must(volume->open("linked/inside", ""));
  must(volume->publish(staged("way"), *directory, "way"));
  directory.reset();
  for (const auto& refused :
       {volume->open("linked/inside/way/kept", "").has_value(),
        volume->open("linked/inside/way", "").has_value(), volume->stat("linked/inside/way/kept").has_value(),
        volume->list("linked/inside/way").has_value(),
        volume->make_directories("linked/inside/way/new").has_value(),
        volume->rename("linked/inside/way/kept", "linked/kept").has_value()})
    CHECK_FALSE(refused);
  const auto listed = must(volume->list("linked/inside"));
  REQUIRE(listed.size() == 1);
  CHECK_FALSE(listed[0].directory);
  must(volume->remove_tree("linked"));
  CHECK(must(volume->stat("Users/alice/Documents/kept")).record == kept.record);
}

TEST_CASE("names that lead elsewhere are refused") {
  auto volume = attached();
  must(volume->make_directories("names"));
  auto directory = must(volume->open("names", ""));
  must(volume->stage(staged("n"), entry_of(EntryKind::file)));
  for (const auto* name : {"..", ".", "", "a\\b", "a/b", "a:b"})
    CHECK_FALSE(volume->publish(staged("n"), *directory, name).has_value());
  for (const auto* path : {"../x", "names/../x", "names\\x", "names/a:b"}) {
    CHECK_FALSE(volume->open(path, "").has_value());
    CHECK_FALSE(volume->stat(path).has_value());
  }
  must(volume->remove_tree(staged("n")));
  must(volume->remove_tree("names"));
}

TEST_CASE("paths may be longer than 260 characters") {
  auto volume = attached();
  must(volume->remove_tree("long"));
  std::string path = "long";
  while (path.size() < 900) path += "/" + std::string(60, 'd');
  must(volume->make_directories(path));
  must(volume->stage(staged("l"), entry_of(EntryKind::file, 7)));
  must(volume->rename(staged("l"), path + "/file"));
  CHECK(must(volume->stat(path + "/file")).size_bytes == 7);
  CHECK(must(volume->open(path + "/file", ""))->stream().empty());
  CHECK(must(os::read_file(volume->files(), volume->native_path(path + "/file"), 100)).size() == 7);
  must(volume->remove_tree("long"));
}

}  // namespace roamstead::agent
