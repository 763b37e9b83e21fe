// Hives through the mount: programs edit the file as they like, keys are loaded into it beside them.
#include <doctest/doctest.h>
#include <fcntl.h>

#include <thread>

#include "agent/fuse/test_desk.h"
#include "agent/testing/hive_model.h"
#include "common/registry/editor.h"
#include "common/registry/test_hive.h"

namespace roamstead::agent {
namespace {

using profile::KeyPath;
using support::KeyModel;
using testing::difference;
using testing::model_of_hive;

constexpr const char* kClasses = "AppData/Local/Microsoft/Windows/UsrClass.dat";

KeyPath key_of(const std::string& text) { return KeyPath::parse(text).value(); }

KeyModel sample_model() {
  KeyModel model;
  for (const char* path : {"Software\\Vendor\\App", "Software\\Other", "Console", "Environment"}) {
    model.set_value(key_of(path), "name", 1, to_bytes(as_bytes("v\0")));
    model.set_value(key_of(path), "big", 3, Bytes(20'000, std::byte{1}));
    for (auto at = key_of(path);; at = at.parent()) {
      model.at(at).entry = {{}, registry::test::kTime + at.text().size(), registry::test::descriptor()};
      if (at.is_root()) break;
    }
  }
  return model;
}

void add_hives(MemoryLink& link) {
  link.add_file("Documents/a.txt", "a");
  link.add_hive("NTUSER.DAT", sample_model());
  link.add_hive(kClasses, sample_model());
}

KeyModel model_at(const std::string& path) { return model_of_hive(as_bytes(read_whole(path))); }

// As a program that knows hives: reads the file, changes it in memory, writes it again.
void edit(const std::string& path, const std::function<void(registry::Editor&)>& change) {
  auto editor = must(registry::Editor::open(to_bytes(as_bytes(read_whole(path))), path));
  change(editor);
  editor.finish();
  write_whole(path, std::string(as_text(editor.file())));
}

TEST_CASE("a hive shows its root at once and its keys as they are loaded; programs' edits stay") {
  FOR_EACH_VOLUME({
    add_hives(link);
    Desk desk(volume, link, snapshots);
    CHECK(names_in(desk.home) == std::set<std::string>{"AppData", "Documents", "NTUSER.DAT"});
    const auto path = desk / "NTUSER.DAT";
    CHECK(model_at(path).nodes().size() == 4);
    must(desk.session->load_key("ntuser.dat", "Software"));
    // The kernel saw the file before: it must not serve the old one.
    auto model = model_at(path);
    REQUIRE(model.find(key_of("Software\\Vendor\\App")) != nullptr);
    CHECK(model.find(key_of("Software\\Vendor\\App"))->values.size() == 2);
    CHECK(model.find(key_of("Console"))->values.empty());
    edit(path, [](registry::Editor& editor) {
      const auto root = must(editor.hive().root()).cell;
      must(editor.delete_key(must(editor.hive().find("Environment")).cell));
      const auto app = must(editor.hive().find("Software\\Vendor\\App")).cell;
      must(editor.set_value(app, u"name", 1, as_bytes("mine")));
      must(editor.create_path(root, "Software\\Mine"));
    });
    must(desk.session->load_key("NTUSER.DAT", ""));
    model = model_at(path);
    CHECK(as_text(model.find(key_of("Software\\Vendor\\App"))->values.at("NAME").data) == "mine");
    CHECK(model.find(key_of("Software\\Mine")) != nullptr);
    CHECK(model.find(key_of("Environment")) == nullptr);
    CHECK(model.find(key_of("Console"))->values.size() == 2);
    CHECK(desk.session->status()->registry.hives == 1);
    must(desk.session->load_key("UsrClass.dat", "Software"));
    CHECK(desk.session->status()->registry.hives == 2);
    CHECK(model_at(desk / kClasses).find(key_of("Software\\Other"))->values.size() == 2);
    CHECK(desk.session->load_key("SYSTEM", "").error().code == ErrorCode::not_found);
  });
}

TEST_CASE("while a program has the hive open nothing is loaded into it") {
  FOR_EACH_VOLUME({
    add_hives(link);
    Desk desk(volume, link, snapshots, std::chrono::milliseconds(300));
    const auto path = desk / "NTUSER.DAT";
    const int open = ::open(path.c_str(), O_RDWR);
    REQUIRE(open >= 0);
    CHECK(desk.session->load_key("NTUSER.DAT", "Console").error().code == ErrorCode::busy);
    CHECK(model_at(path).find(key_of("Console"))->values.empty());
    std::thread closing([&] {
      ::usleep(150'000);
      ::close(open);
    });
    must(desk.session->load_key("NTUSER.DAT", "Console"));
    closing.join();
    CHECK(model_at(path).find(key_of("Console"))->values.size() == 2);
  });
}

TEST_CASE("filling loads the registry, all of it, and a resumed session knows what was loaded") {
  FOR_EACH_VOLUME({
    add_hives(link);
    {
      Desk desk(volume, link, snapshots);
      must(desk.session->load_key("UsrClass.dat", "Software"));
    }
    Desk desk(volume, link, snapshots);
    CHECK(desk.session->status()->resumed);
    auto registry = desk.session->status()->registry;
    CHECK(registry.hives == 2);        // the other one on the way, as the root was looked into
    CHECK(registry.keys_loaded == 6);  // root, Software with three below; the other's root
    CHECK(registry.fetches == 0);
    desk.session->fill().start(FillLevel::all);
    CHECK(desk.session->fill().wait(std::chrono::seconds(20)));
    registry = desk.session->status()->registry;
    CHECK(registry.hives == 2);
    CHECK(registry.keys_known == 0);
    CHECK(difference(sample_model(), model_at(desk / "NTUSER.DAT"), true) == "");
    CHECK(difference(sample_model(), model_at(desk / kClasses), true) == "");
    CHECK(read_whole(desk / "Documents/a.txt") == "a");
  });
}

}  // namespace
}  // namespace roamstead::agent
