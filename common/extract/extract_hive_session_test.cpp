// Hives in a session: what the agent published, loaded and recorded, and what programs and crashes made of
// it.
#include <doctest/doctest.h>

#include "common/extract/test_agent.h"
#include "common/extract/test_hives.h"
#include "common/registry/test_hive.h"
#include "tests/support/seed.h"

namespace roamstead::extract {
namespace {

using profile::KeyScope;

constexpr const char* kUser = "NTUSER.DAT";
constexpr const char* kJournal = "ProgramData/Roamstead/provenance.journal";
const std::string kOnVolume = std::string(kTestRoot) + "/" + kUser;

TestKeys small_version() {
  auto version = TestKeys::empty();
  for (const char* path : {"", "A", "A\\B", "A\\B\\C", "D"})
    version.put(path).entry.security =
        registry::test::descriptor(static_cast<unsigned>(version.keys().size()));
  for (const char* path : {"A", "A\\B", "A\\B\\C"}) version.set(path, "v", 1, as_bytes(path));
  version.set("A", "long", 3, Bytes(9000, std::byte{3}));
  return version;
}

struct Session {
  explicit Session(TestKeys keys = small_version(), bool in_version = true) : version(std::move(keys)) {
    if (in_version) tree.make_hive(kUser, version);
    tree.make_file("NTUSER.DAT.LOG1", Bytes(3000, std::byte{1}));  // an older profile may have it
    tree.make_directory("Folder");
    tree.settle();
    agent.emplace(desktop, tree);
    agent->populate("");
    agent->flush_tags();
    base_path = base_hive_path(kJournal, agent->session(), profile::hive_paths()[0]);
    hive.emplace(desktop, kUser, version, base_path);
  }
  // Saved, frozen, extracted, applied.
  std::string next(bool save = true) {
    if (save) hive->save();
    const auto frozen = desktop.freeze();
    Request request;
    request.frozen_path = frozen.frozen_path;
    request.below_id = below;
    extraction = desktop.extract(request);
    below = frozen.frozen_id;
    tree.apply(extraction->batch(), extraction->content());
    return describe(extraction->batch());
  }
  void load(const std::string& key, KeyScope scope = KeyScope::key) {
    hive->load(key, scope);
    hive->load_base();
  }

  TestKeys version;
  TestDesktop desktop;
  TestTree tree;
  std::optional<TestAgent> agent;
  std::string base_path;
  std::optional<TestHive> hive;
  Guid below;
  std::unique_ptr<Extraction> extraction;
};

TEST_CASE("publishing a hive and loading all of it are no changes; what programs do to it then is") {
  if (!support::can_format_ntfs()) return;
  Session session;
  CHECK(session.next() == "");
  session.load("");
  CHECK(session.next() == "");
  session.load("A", KeyScope::subtree);
  CHECK(session.next() == "");
  session.hive->set("A", "long", Bytes(10'000, std::byte{4}));
  session.hive->remove("A\\B", "v");
  session.hive->remove("A\\B\\C");
  CHECK(session.next() ==
        "delete key NTUSER.DAT\\A\\B\\C\nput key NTUSER.DAT\\A 'long' 3:10000\nput key NTUSER.DAT\\A\\B "
        "-'v'\n");
  CHECK(session.tree.at(kUser).keys.at("A").values.at("LONG").data == Bytes(10'000, std::byte{4}));
  CHECK(difference(session.tree.at(kUser).keys, session.hive->live_keys()) == "");
}

TEST_CASE("journal items of a hive's companions are nobody's, and so are the files") {
  if (!support::can_format_ntfs()) return;
  Session session;
  session.desktop.volume().remove(kOnVolume + ".LOG1");
  CHECK(session.next() == "");
  session.desktop.volume().write(kOnVolume + ".LOG1", 0, Bytes(10, std::byte{1}));
  session.desktop.volume().write(kOnVolume + ".LOG2", 0, Bytes(10, std::byte{1}));
  CHECK(session.next() == "");
}

TEST_CASE("before its base hive is there nothing of a published hive counts as deleted, nor as new") {
  if (!support::can_format_ntfs()) return;
  Session session;
  session.hive->load("A", KeyScope::subtree);
  session.hive->remove("A\\B");
  session.hive->save();
  session.desktop.volume().remove(session.base_path);
  const auto text = session.next(false);
  CAPTURE(text);
  CHECK(text.find("delete") == std::string::npos);
  CHECK(text.find("put") == std::string::npos);
  CHECK(text.find("merge key NTUSER.DAT\\A 'long' 3:9000 'v' 1:1\n") != std::string::npos);
  CHECK(difference(session.version, session.tree.at(kUser).keys) == "");
}

TEST_CASE("a hive whose base hive is damaged is held back, and sent whole once it is sound") {
  if (!support::can_format_ntfs()) return;
  Session session;
  session.load("", KeyScope::subtree);
  CHECK(session.next() == "");
  session.hive->set("A", "new", Bytes(4));
  session.hive->save();
  auto& volume = session.desktop.volume();
  auto base = volume.read(session.base_path, 0, volume.size(session.base_path));
  const auto sound = base;
  registry::test::make_dirty(base, 77);
  put_file(volume, session.base_path, base);
  CHECK(session.next(false).rfind("held back NTUSER.DAT: what is loaded of NTUSER.DAT: ", 0) == 0);
  put_file(session.desktop.volume(), session.base_path, sound);
  session.hive->set("D\\E", "v", Bytes(4));
  session.hive->remove("A\\B\\C");
  session.next();
  CHECK(difference(session.tree.at(kUser).keys, session.hive->live_keys()) == "");
}

TEST_CASE("a hive whose file is missing while it is loaded is held back, and sent when it comes again") {
  if (!support::can_format_ntfs()) return;
  for (const bool first : {true, false}) {
    CAPTURE(first);
    Session session;
    session.load("", KeyScope::subtree);
    if (!first) CHECK(session.next() == "");
    session.hive->save();
    session.desktop.volume().remove(kOnVolume);
    const auto held_back = session.next(false);
    CHECK(held_back.rfind("held back NTUSER.DAT: the file is missing", 0) == 0);
    session.desktop.volume().write("Users/other/x", 0, Bytes(3));
    CHECK(session.next(false) == held_back);
    CHECK(difference(session.version, session.tree.at(kUser).keys) == "");
    auto editor = registry::Editor::open(empty_live_hive(), "new").value();
    const auto root = editor.hive().root().value().cell;
    REQUIRE(editor.set_value(editor.create_path(root, "A").value(), u"other", 3, Bytes(2)));
    editor.finish();
    put_file(session.desktop.volume(), kOnVolume, editor.file());
    CHECK(session.next(false) ==
          "delete key NTUSER.DAT\\A\\B\ndelete key NTUSER.DAT\\D\nput key NTUSER.DAT\\\n"
          "put key NTUSER.DAT\\A 'other' 3:2 -'long' -'v'\n");
  }
}

TEST_CASE("a hive made on the desktop is all new, and merges where the version may have one") {
  if (!support::can_format_ntfs()) return;
  const std::string classes = "AppData/Local/Microsoft/Windows/UsrClass.dat";
  for (const bool maybe : {false, true}) {
    CAPTURE(maybe);
    Session session(small_version(), false);
    std::string directory = std::string(kTestRoot);
    if (maybe) {  // published by its name, its children not
      directory += "/Folder";
      session.desktop.volume().rename(directory, std::string(kTestRoot) + "/AppData");
      directory = std::string(kTestRoot);
    } else {
      session.desktop.volume().make_directory(directory + "/AppData");
    }
    for (const char* path :
         {"/AppData/Local", "/AppData/Local/Microsoft", "/AppData/Local/Microsoft/Windows"})
      session.desktop.volume().make_directory(directory + path);
    put_file(session.desktop.volume(), directory + "/" + classes, empty_live_hive());
    const auto text = session.next(false);
    CAPTURE(text);
    CHECK(text.find("put " + classes + " kind 5 size 0\n" + (maybe ? "merge" : "put") + " key " + classes +
                    "\\\n") != std::string::npos);
    CHECK(text.find("NTUSER") == std::string::npos);
    session.desktop.volume().write("Users/other/x", 0, Bytes(3));
    CHECK(session.next(false) == "");
  }
}

TEST_CASE("a hive that the version has as a plain file is held back") {
  if (!support::can_format_ntfs()) return;
  TestDesktop desktop;
  TestTree tree;
  tree.make_file(kUser, registry::test::sample_hive(5, 20));
  tree.settle();
  TestAgent agent(desktop, tree);
  agent.load(kUser, "", 0, 1 << 20);
  agent.flush_tags();
  Request request;
  request.frozen_path = desktop.freeze().frozen_path;
  const auto extraction = desktop.extract(request);
  CHECK(extraction->batch().records.empty());
  REQUIRE(extraction->batch().held_back.size() == 1);
  CHECK(extraction->batch().held_back[0].path == kUser);
}

// Whatever is on the volume, a batch can be applied; and once the hive is sound again, all that is in it is
// in the profile.
TEST_CASE("damaged hives, logs and base hives: every batch can be applied, and nothing stays unsent") {
  if (!support::can_format_ntfs()) return;
  auto random = support::seeded_random();
  auto version = TestKeys::of(registry::Hive::open(registry::test::sample_hive(5, 60), "v").value());
  int held_back = 0;
  for (int round = 0; round < 6; ++round) {
    CAPTURE(round);
    Session session(version);
    session.load("");
    if (round % 2 == 0) session.load("", KeyScope::subtree);
    for (int step = 0; step < 8; ++step) {
      CAPTURE(step);
      for (int i = 0; i < 5; ++i) {
        const auto key =
            std::next(version.keys().begin(), static_cast<std::ptrdiff_t>(random() % version.keys().size()))
                ->second.path.text();
        if (random() % 4 == 0 && !key.empty() && session.hive->has(key))
          session.hive->remove(key);
        else
          session.hive->set(key, "v" + std::to_string(random() % 5), Bytes(random() % 6000));
        if (random() % 3 == 0) session.load(key);
      }
      session.hive->save(random() % 2 == 0);
      const bool last = step == 7;
      for (const auto& path : {kOnVolume, kOnVolume + ".LOG1", session.base_path}) {
        auto& volume = session.desktop.volume();
        if (last || random() % 3 != 0 || !volume.find(path)) continue;
        const auto size = volume.size(path);
        for (auto patches = 1 + random() % 8; patches > 0; --patches) {
          Bytes noise(1 + random() % 4);
          for (auto& byte : noise) byte = static_cast<std::byte>(random() % 3 == 0 ? 0 : random());
          volume.write(path, random() % (size - noise.size()), noise);
        }
        if (random() % 6 == 0) volume.truncate(path, random() % size);
      }
      const auto text = session.next(false);
      CAPTURE(text);
      if (!session.extraction->batch().held_back.empty()) ++held_back;
      if (!last) continue;
      CHECK(session.extraction->batch().held_back.empty());
      const auto live = session.hive->live_keys().describe();
      const auto sent = session.tree.at(kUser).keys.describe();
      std::string missing;
      for (const auto& [at, line] : live) {
        // Classes and security of keys that were made before they were loaded stay the version's.
        const bool is_value = line.rfind("type", 0) == 0;
        const auto found = sent.find(at);
        if (found == sent.end() || (is_value && found->second != line)) missing += at + ": " + line + "\n";
      }
      CHECK(missing == "");
    }
  }
  CHECK(held_back > 0);
}

}  // namespace
}  // namespace roamstead::extract
