// Hives on a volume: never files of the profile, but keys that changed.
#include <doctest/doctest.h>

#include "common/base/text.h"
#include "common/extract/test_agent.h"
#include "common/extract/test_hives.h"
#include "common/registry/test_hive.h"

namespace roamstead::extract {
namespace {

constexpr const char* kUser = "NTUSER.DAT";
constexpr const char* kClasses = "AppData/Local/Microsoft/Windows/UsrClass.dat";
const std::string kRoot = std::string(kTestRoot) + "/";

void make_directories(support::NtfsImage& volume, const std::string& path) {
  for (auto end = path.find('/', kRoot.size()); end != std::string::npos; end = path.find('/', end + 1))
    if (!volume.find(path.substr(0, end))) volume.make_directory(path.substr(0, end));
}

// A volume without an agent: the layer below is what the session holds.
struct Plain {
  explicit Plain(const std::function<void(support::NtfsImage&)>& prepare = {}) : desktop(prepare) {
    tree = desktop.read_profile(desktop.golden_path());
  }
  // The batch in words; applied to `tree`, which must then equal the volume where nothing was held back.
  std::string next() {
    last = desktop.freeze();
    Request request;
    request.frozen_path = last.frozen_path;
    request.below_id = below;
    request.profile_root = kTestRoot;
    extraction = desktop.extract(request);
    below = last.frozen_id;
    const auto& batch = extraction->batch();
    CAPTURE(describe(batch));
    tree.apply(batch, extraction->content());
    if (batch.held_back.empty()) {
      auto actual = desktop.read_profile(last.frozen_path);
      CHECK(difference(actual, tree) == "");
    }
    return describe(batch);
  }

  TestDesktop desktop;
  TestTree tree;
  Guid below;
  vdisk::Disk::Frozen last;
  std::unique_ptr<Extraction> extraction;
};

Bytes sample() { return registry::test::sample_hive(5, 20); }

Bytes edited(const Bytes& hive, const std::function<void(registry::Editor&, std::uint32_t root)>& edit) {
  auto editor = registry::Editor::open(hive, "hive").value();
  edit(editor, editor.hive().root().value().cell);
  editor.finish();
  return std::move(editor).take();
}
Bytes with_value(const Bytes& hive, const std::string& key, std::size_t size, unsigned fill = 1) {
  return edited(hive, [&](auto& editor, auto root) {
    REQUIRE(editor.set_value(editor.create_path(root, key).value(), u"v", 3,
                             Bytes(size, static_cast<std::byte>(fill))));
  });
}

TEST_CASE("a hive is never a file: what changed in it are keys, its companions nothing at all") {
  if (!support::can_format_ntfs()) return;
  Plain plain([](auto& volume) {
    put_file(volume, kRoot + kUser, sample());
    volume.write(kRoot + "ntuser.ini", 0, Bytes(20, std::byte{1}));
  });
  CHECK(plain.next() == "");
  auto& volume = plain.desktop.volume();
  volume.set_times(kRoot + kUser, 5, 6);
  volume.set_attributes(kRoot + kUser, profile::kAttributeHidden | profile::kAttributeSystem);
  for (const char* name : {"NTUSER.DAT.LOG1", "ntuser.dat.LOG2", "NTUSER.DAT{1}.TM.blf",
                           "NTUSER.DAT{1}.TMContainer1.regtrans-ms"})
    volume.write(kRoot + name, 0, Bytes(3000, std::byte{7}));
  CHECK(plain.next() == "");
  put_file(plain.desktop.volume(), kRoot + kUser, with_value(sample(), "many\\3", 10));
  plain.desktop.volume().remove(kRoot + "ntuser.dat.LOG2");
  CHECK(plain.next() == "put key NTUSER.DAT\\many\\3 'v' 3:10\n");
}

TEST_CASE("long values travel as content, also after a restart") {
  if (!support::can_format_ntfs()) return;
  Plain plain([](auto& volume) { put_file(volume, kRoot + kUser, sample()); });
  put_file(plain.desktop.volume(), kRoot + kUser,
           with_value(with_value(sample(), "a", 5000, 2), "b", 100'000, 3));
  CHECK(plain.next() == "put key NTUSER.DAT\\a 'v' 3:5000\nput key NTUSER.DAT\\b 'v' 3:100000\n");
  const auto& batch = plain.extraction->batch();
  auto content =
      open_content(os::real_file_system(), plain.last.frozen_path, 0, plain.extraction->locators(), batch)
          .value();
  Bytes piece(1000);
  REQUIRE(content->read(1, 0, 99'000, piece));
  CHECK(piece == Bytes(1000, std::byte{3}));
  REQUIRE(content->read(0, 0, 0, piece));
  CHECK(piece == Bytes(1000, std::byte{2}));
  CHECK_FALSE(content->read(1, 0, 99'001, piece));
  CHECK_FALSE(content->read(1, 1, 0, piece));
}

TEST_CASE("what only the logs hold is extracted, whatever the case of their names; its content too") {
  if (!support::can_format_ntfs()) return;
  using namespace registry::test;
  const auto before = sample();
  const auto after = with_value(with_value(before, "short", 10), "long", 50'000);
  Plain plain([&](auto& volume) {
    put_file(volume, kRoot + kUser, before);
    volume.write(kRoot + "ntuser.dat.LOG1", 0, {});
  });
  auto primary = before;
  make_dirty(primary, 50);
  put_file(plain.desktop.volume(), kRoot + kUser, primary);
  put_file(plain.desktop.volume(), kRoot + "ntuser.dat.LOG1",
           new_log(before, {entry_between(before, after, 50)}));
  CHECK(plain.next() == "put key NTUSER.DAT\\long 'v' 3:50000\nput key NTUSER.DAT\\short 'v' 3:10\n");
  // Only the log changes.
  const auto later = with_value(after, "short", 20);
  put_file(plain.desktop.volume(), kRoot + "ntuser.dat.LOG1",
           new_log(before, {entry_between(before, after, 50), entry_between(after, later, 51)}));
  CHECK(plain.next() == "put key NTUSER.DAT\\short 'v' 3:20\n");
  // Brought into the hive by the guest: nothing changed.
  put_file(plain.desktop.volume(), kRoot + kUser, later);
  CHECK(plain.next() == "");
}

TEST_CASE("a hive that cannot be read is held back alone, and sent whole once it can be") {
  if (!support::can_format_ntfs()) return;
  Plain plain([](auto& volume) {
    put_file(volume, kRoot + kUser, sample());
    make_directories(volume, kRoot + kClasses);
    put_file(volume, kRoot + kClasses, sample());
  });
  auto dirty = sample();
  registry::test::make_dirty(dirty, 9);
  put_file(plain.desktop.volume(), kRoot + kUser, dirty);
  put_file(plain.desktop.volume(), kRoot + kClasses, with_value(sample(), "x", 4));
  plain.desktop.volume().write(kRoot + "other", 0, Bytes(5, std::byte{1}));
  const auto text = plain.next();
  CAPTURE(text);
  CHECK(text.rfind("put other kind 0 size 5 '' 5: 0+5\n"
                   "put key AppData/Local/Microsoft/Windows/UsrClass.dat\\x 'v' 3:4\n"
                   "held back NTUSER.DAT: NTUSER.DAT: ",
                   0) == 0);
  put_file(plain.desktop.volume(), kRoot + kUser, Bytes(9000, std::byte{'x'}));
  CHECK(plain.next().rfind("held back NTUSER.DAT: ", 0) == 0);
  put_file(plain.desktop.volume(), kRoot + kUser, with_value(sample(), "many\\1", 4));
  CHECK(plain.next().find("put key NTUSER.DAT\\many\\1 'v' 3:4\n") != std::string::npos);
}

TEST_CASE("hives come, go and change places with files and directories") {
  if (!support::can_format_ntfs()) return;
  Plain plain;
  put_file(plain.desktop.volume(), kRoot + kUser, with_value(empty_live_hive(), "k", 4));
  CHECK(plain.next() ==
        "put NTUSER.DAT kind 5 size 0\nput key NTUSER.DAT\\\nput key NTUSER.DAT\\k 'v' 3:4\n");
  plain.desktop.volume().rename(kRoot + kUser, kRoot + "old.hive");
  auto text = plain.next();
  CHECK(text.rfind("put old.hive kind 0 size ", 0) == 0);
  CHECK(text.find("\ndelete NTUSER.DAT\n") != std::string::npos);
  plain.desktop.volume().rename(kRoot + "old.hive", kRoot + kUser);
  CHECK(
      plain.next() ==
      "delete old.hive\nput NTUSER.DAT kind 5 size 0\nput key NTUSER.DAT\\\nput key NTUSER.DAT\\k 'v' 3:4\n");
  plain.desktop.volume().remove(kRoot + kUser);
  plain.desktop.volume().make_directory(kRoot + kUser);
  plain.desktop.volume().write(kRoot + kUser + "/x", 0, Bytes(3, std::byte{1}));
  CHECK(plain.next() ==
        "put NTUSER.DAT kind 1 size 0\nput NTUSER.DAT/x kind 0 size 3 '' 3: 0+3\ndelete NTUSER.DAT\n");
  plain.desktop.volume().rename(kRoot + kUser, kRoot + "folder");
  CHECK(plain.next() == "move NTUSER.DAT -> folder\n");
}

TEST_CASE("a hive saved by renaming over it is compared with what it was") {
  if (!support::can_format_ntfs()) return;
  Plain plain([](auto& volume) { put_file(volume, kRoot + kUser, sample()); });
  put_file(plain.desktop.volume(), kRoot + "new", with_value(sample(), "a", 4));
  plain.desktop.volume().remove(kRoot + kUser);
  plain.desktop.volume().rename(kRoot + "new", kRoot + kUser);
  CHECK(plain.next() == "put key NTUSER.DAT\\a 'v' 3:4\n");
}

TEST_CASE("when the directory of a hive moves away the hive becomes a file there, and a hive again") {
  if (!support::can_format_ntfs()) return;
  Plain plain([](auto& volume) {
    make_directories(volume, kRoot + kClasses);
    put_file(volume, kRoot + kClasses, with_value(empty_live_hive(), "k", 4));
    put_file(volume, kRoot + kClasses + ".LOG1", Bytes(2000, std::byte{1}));
  });
  const std::string away = "AppData/Elsewhere/Microsoft/Windows/UsrClass.dat", home = kClasses;
  plain.desktop.volume().rename(kRoot + "AppData/Local", kRoot + "AppData/Elsewhere");
  CHECK(plain.next() == "move AppData/Local -> AppData/Elsewhere\nput " + away +
                            " kind 0 size 8192 '' 8192: 0+8192\nput " + away +
                            ".LOG1 kind 0 size 2000 '' 2000: 0+2000\ndelete " + home + "\n");
  plain.desktop.volume().write(kRoot + away, 5000, Bytes(3, std::byte{9}));
  plain.desktop.volume().write(kRoot + away + ".LOG1", 0, Bytes(3, std::byte{9}));
  CHECK(plain.next() == "put " + away + " kind 0 size 8192 base " + away + " '' 8192: 4096+4096\nput " +
                            away + ".LOG1 kind 0 size 2000 base " + away + ".LOG1 '' 2000: 0+2000\n");
  put_file(plain.desktop.volume(), kRoot + away, with_value(empty_live_hive(), "k", 4));
  plain.desktop.volume().rename(kRoot + "AppData/Elsewhere", kRoot + "AppData/Local");
  CHECK(plain.next() == "delete " + away + "\ndelete " + away +
                            ".LOG1\nmove AppData/Elsewhere -> AppData/Local\nput " + home +
                            " kind 5 size 0\nput key " + home + "\\\nput key " + home + "\\k 'v' 3:4\n");
}

TEST_CASE("of two files whose names differ in case alone one is the hive, and the other is held back") {
  if (!support::can_format_ntfs()) return;
  Plain plain([](auto& volume) { put_file(volume, kRoot + kUser, sample()); });
  put_file(plain.desktop.volume(), kRoot + "ntuser.dat", sample());
  CHECK(plain.next() ==
        "held back ntuser.dat: another file is this hive: their names differ in case alone\n");
}

TEST_CASE("compressed hives are read") {
  if (!support::can_format_ntfs()) return;
  Plain plain([](auto& volume) {
    volume.set_compressed(std::string(kTestRoot));
    put_file(volume, kRoot + "x", sample());
  });
  plain.desktop.volume().rename(kRoot + "x", kRoot + kUser);
  const auto text = plain.next();
  CHECK(text.find("put NTUSER.DAT kind 5 size 0\n") != std::string::npos);
  CHECK(text.find("put key NTUSER.DAT\\") != std::string::npos);
}

}  // namespace
}  // namespace roamstead::extract
