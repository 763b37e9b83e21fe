// The registry of this Windows or Wine, in a user's keys of the test's own: against models, and judged by
// Wine's reg.exe.
#include "agent/win/registry/win_registry_port.h"

#include <doctest/doctest.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "agent/core/registry_loader.h"
#include "agent/testing/hive_model.h"
#include "agent/testing/memory_link.h"
#include "agent/testing/plain_volume.h"
#include "agent/win/base/wine.h"
#include "common/extract/hive_changes.h"
#include "common/os/program.h"
#include "common/registry/reg_text.h"
#include "common/registry/test_hive.h"
#include "tests/support/must.h"
#include "tests/support/seed.h"
#include "tests/support/temporary_directory.h"

namespace roamstead::agent {
namespace {

using profile::KeyPath;
using profile::ProfilePath;
using support::KeyModel;
using support::must;
using testing::difference;
using testing::MemoryLink;
using testing::model_of_hive;
using testing::PlainVolume;

const ProfilePath kHive = profile::hive_paths().front();
const ProfilePath kClasses = profile::hive_paths().back();
constexpr const char* kSid = "S-1-5-21-11-22-33-4444";
const std::string kUserKey = std::string("HKEY_USERS\\") + kSid;

KeyPath key_of(const std::string& text) { return KeyPath::parse(text).value(); }

// Names with zeros and such that no text is, data of any size, types that nobody has defined.
std::string some_name(std::mt19937_64& random) {
  using namespace std::string_literals;
  static const std::vector<std::string> kNames{
      "a",   "B",      "c d", "Größe",        "файл",          "with\0nul"s,         "\0"s,
      "x/y", "%TEMP%", "\"",  "\xed\xa0\x80", "\xed\xb0\x80x", std::string(200, 'n')};
  return kNames[random() % kNames.size()];
}
std::uint32_t some_type(std::mt19937_64& random) {
  static constexpr std::uint32_t kTypes[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0x10001, 0xfffffffe};
  return kTypes[random() % std::size(kTypes)];
}
Bytes some_data(std::mt19937_64& random) {
  static constexpr std::size_t kSizes[] = {0, 1, 2, 3, 4, 5, 7, 8, 40, 300, 4096, 4097, 17'000};
  Bytes bytes(kSizes[random() % std::size(kSizes)]);
  for (auto& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

KeyModel model_of(LoadedHive& hive) {
  KeyModel model;
  std::vector<KeyPath> left{KeyPath()};
  while (!left.empty()) {
    const auto path = left.back();
    left.pop_back();
    auto content = must(hive.read(path, false));
    model.at(path).entry = content.entry;
    for (auto& value : content.values) model.set_value(path, value.name, value.type, std::move(value.data));
    for (const auto& name : content.subkeys) left.push_back(path.child(name));
  }
  return model;
}

std::unique_ptr<NativeHive> open_hive(const std::string& below) {
  NativeHive::Options options;
  const auto root = "\\Registry\\User\\" + std::string(kSid) + below;
  options.root = std::wstring(root.begin(), root.end());
  options.keeps_security = !win::under_wine();
  auto hive = must(NativeHive::open(std::move(options), true));
  must(clear_hive(*hive, {}));
  return hive;
}

std::string reg(std::vector<std::string> words) {
  words.insert(words.begin(), "C:\\windows\\system32\\reg.exe");
  const auto output = must(os::run_program(words, {}));
  if (output.status != 0) throw std::runtime_error(os::describe_failure(words[1], output));
  return output.out;
}
std::size_t lines_with(const std::string& text, const std::string& what) {
  std::size_t count = 0;
  for (std::size_t at = 0; (at = text.find(what, at)) != std::string::npos; ++at) ++count;
  return count;
}

TEST_CASE("keys and values with any name, type and data are there as they were made") {
  auto random = support::seeded_random();
  auto hive = open_hive("");
  KeyModel model;
  for (int i = 0; i < 400; ++i) {
    auto it = model.nodes().begin();
    std::advance(it, static_cast<std::ptrdiff_t>(random() % model.nodes().size()));
    const auto key = it->second.path;
    const auto name = some_name(random);
    switch (random() % 5) {
      case 0: {
        if (key.depth() >= 5) break;
        const auto made = hive->create(key.child(name), {});
        CHECK(made.has_value() == (model.find(key.child(name)) == nullptr));
        model.at(key.child(name));
        break;
      }
      case 1: {
        const bool there = must(hive->has_value(key, name));
        CHECK(there == (model.find(key)->values.count(KeyModel::upcased_name(name)) != 0));
        CHECK(hive->delete_value(key, name).has_value() == there);
        model.erase_value(key, name);
        break;
      }
      case 2:
        if (key.is_root() || random() % 3 != 0) break;
        must(hive->delete_key(key));
        CHECK(hive->written(key).error().code == ErrorCode::not_found);
        model.erase(key);
        break;
      default: {
        const auto type = some_type(random);
        const auto data = some_data(random);
        must(hive->set_value(key, name, type, data));
        model.set_value(key, name, type, data);
      }
    }
  }
  CHECK(difference(model, model_of(*hive), false) == "");

  // Into a hive's file, and out of it into other keys.
  auto file = must(registry::Editor::create(5, "ROOT", registry::test::descriptor(), 1));
  must(capture_hive(*hive, file, {}));
  file.finish();
  CHECK(difference(model, model_of_hive(file.file()), false) == "");
  auto other = open_hive("-other");
  must(other->create(key_of("in the way"), {}));
  must(restore_hive(file.hive(), *other, {}));
  CHECK(difference(model, model_of(*other), false) == "");
  must(clear_hive(*other, {}));
  must(clear_hive(*hive, {}));
}

TEST_CASE("a class stays, a deep key is found, and a hive that is watched tells when it changed") {
  auto hive = open_hive("");
  must(hive->create(key_of("C"), {to_bytes(as_bytes(std::string("c\0l\0", 4))), 0, {}}));
  CHECK(must(hive->read(key_of("C"), false)).entry.class_name.size() == 4);
  // Longer than one name can be for the native interface.
  KeyPath deep;
  for (int i = 0; i < 150; ++i) {
    deep = deep.child(std::string(250, static_cast<char>('a' + i % 26)));
    must(hive->create(deep, {}));
  }
  must(hive->set_value(deep, "v", 4, Bytes(4)));
  CHECK(must(hive->read(deep, false)).values.size() == 1);
  CHECK(hive->changed());
  CHECK_FALSE(hive->changed());
  must(hive->set_value(deep, "v", 4, Bytes(4, std::byte{1})));
  CHECK(hive->changed());
  CHECK_FALSE(hive->changed());
  must(hive->delete_key(key_of(std::string(250, 'a'))));
  CHECK(hive->changed());
  must(clear_hive(*hive, {}));
}

// A user's registry on a volume that is a folder; processes of the agent come and go.
struct Desktop {
  support::TemporaryDirectory directory;
  MemoryLink link;
  Guid secret, session;
  profile::Entry entry;
  PlainVolume volume{os::real_file_system()};

  Desktop(const KeyModel& user, const KeyModel& classes) {
    link.add_hive(kHive.text(), user);
    link.add_hive(kClasses.text(), classes);
    const auto opened = must(link.open({"alice", "Users/alice", std::nullopt}));
    secret = opened.session_secret;
    session = opened.session;
    entry.kind = profile::EntryKind::registry;
    must(volume.make_directories(place() + "/AppData/Local/Microsoft/Windows"));
    must(volume.make_directories(agent() + "/staging"));
  }
  std::string place() const { return slashed(directory.path()) + "/Users/alice"; }
  std::string agent() const { return slashed(directory.path()) + "/agent"; }
  static std::string slashed(std::string path) {
    std::replace(path.begin(), path.end(), '\\', '/');
    return path;
  }

  struct Process {
    explicit Process(Desktop& desktop)
        : port({kSid, desktop.place()}, desktop.volume,
               [this, agent = desktop.agent()] { return agent + "/staging/" + Guid::random().to_string(); }),
          loader(desktop.link, desktop.secret, desktop.volume, port, gate, activity,
                 {desktop.session, desktop.place(), desktop.agent() + "/provenance.journal"}, {}) {}
    WinRegistryPort port;
    Gate gate;
    Activity activity;
    RegistryLoader loader;
  };
  std::unique_ptr<Process> log_on() {
    auto process = std::make_unique<Process>(*this);
    for (const auto& hive : {kHive, kClasses}) {
      must(process->loader.stage(hive, entry, agent() + "/staging/hive"));
      must(volume.rename(agent() + "/staging/hive", place() + "/" + hive.text()));
      must(process->loader.published(hive));
    }
    must(process->port.load());
    return process;
  }
  Bytes file(const ProfilePath& hive) { return content(place() + "/" + hive.text()); }
  Bytes base(const ProfilePath& hive) {
    return content(extract::base_hive_path(agent() + "/provenance.journal", session, hive));
  }
  Bytes content(const std::string& path) { return must(os::read_file(volume.files(), path, 1 << 26)); }
  // What a snapshot taken now would say of a hive: the first one, or one after `before`.
  extract::HiveRecords changes(const ProfilePath& hive, const Bytes* before = nullptr) {
    const auto now = file(hive), known = base(hive);
    const auto now_hive = must(registry::Hive::open(now, "now")),
               known_hive = must(registry::Hive::open(known, "base"));
    std::optional<registry::Hive> before_hive;
    if (before != nullptr) before_hive = must(registry::Hive::open(*before, "before"));
    extract::HiveComparison comparison;
    comparison.hive = hive;
    comparison.now = &now_hive;
    comparison.base = &known_hive;
    if (before_hive) {
      comparison.before = &*before_hive;
      comparison.base_before = &known_hive;
    }
    return must(extract::changes_of(comparison));
  }
};

// 5,000 values of all kinds in 500 keys.
KeyModel sample_model(std::mt19937_64& random, int keys) {
  KeyModel model;
  model.at({}).entry = {{}, registry::test::kTime, registry::test::descriptor()};
  std::vector<KeyPath> made{KeyPath()};
  for (int i = 0; i < keys; ++i) {
    const auto& above = made[random() % std::min<std::size_t>(made.size(), 40)];
    const auto path = above.child("Key " + std::to_string(i) + " " + some_name(random));
    made.push_back(path);
    model.at(path).entry = {{},
                            registry::test::kTime + static_cast<std::uint64_t>(i),
                            registry::test::descriptor(static_cast<std::uint8_t>(i % 3))};
    for (int value = 0; value < 10; ++value) {
      auto name = value == 0 ? std::string() : some_name(random) + std::to_string(value);
      model.set_value(path, name, some_type(random), some_data(random));
    }
  }
  return model;
}

TEST_CASE("hydrate everything, change nothing: nothing to be saved, whatever the values") {
  auto random = support::seeded_random();
  const auto user = sample_model(random, 500), classes = sample_model(random, 20);
  Desktop desktop(user, classes);
  auto process = desktop.log_on();
  for (const auto& hive : {kHive, kClasses}) {
    must(process->loader.load(hive, {}, true));
    must(process->port.flush());
    const auto records = desktop.changes(hive);
    CHECK(records.puts.empty());
    CHECK(records.deletes.empty());
    CHECK(records.held_back.empty());
  }
  CHECK(difference(user, model_of_hive(desktop.file(kHive)), false) == "");
  CHECK(difference(classes, model_of_hive(desktop.file(kClasses)), false) == "");
  // Nothing has changed, so the files stay as they are.
  const auto before = must(desktop.volume.files().modified_seconds(desktop.place() + "/" + kHive.text()));
  const auto bytes = desktop.file(kHive);
  must(process->port.flush());
  CHECK(desktop.file(kHive) == bytes);
  CHECK(must(desktop.volume.files().modified_seconds(desktop.place() + "/" + kHive.text())) == before);
  must(process->port.unload());
  CHECK_FALSE(must(process->port.is_loaded()));
}

TEST_CASE("what programs change is saved, and only that; reg.exe makes it and sees it") {
  KeyModel user;
  for (const char* key : {"Console", "Software\\Vendor\\App", "Software\\Vendor\\Other"}) {
    user.set_value(key_of(key), "name", 1, to_bytes(as_bytes(std::string("v\0\0\0", 4))));
    for (auto at = key_of(key);; at = at.parent()) {
      user.at(at).entry = {{}, registry::test::kTime, registry::test::descriptor()};
      if (at.is_root()) break;
    }
  }
  Desktop desktop(user, KeyModel(user));
  auto process = desktop.log_on();
  CHECK(lines_with(reg({"query", kUserKey}), kUserKey + "\\") == (win::under_wine() ? 2 : 3));
  must(process->loader.load(kHive, key_of("Software\\Vendor"), true));
  CHECK(reg({"query", kUserKey + "\\Software\\Vendor\\App", "/v", "name"}).find("REG_SZ") !=
        std::string::npos);
  must(process->port.flush());
  const auto before = desktop.file(kHive);
  CHECK(desktop.changes(kHive).puts.empty());

  reg({"add", kUserKey + "\\Software\\Vendor\\App", "/v", "new", "/t", "REG_DWORD", "/d", "7", "/f"});
  reg({"add", kUserKey + "\\Software\\Made\\Here", "/v", "x", "/d", "text", "/f"});
  reg({"delete", kUserKey + "\\Software\\Vendor\\Other", "/f"});
  must(process->port.flush());
  auto records = desktop.changes(kHive, &before);
  CHECK(records.deletes.size() == 1);
  CHECK(records.deletes.front().key.text() == "Software\\Vendor\\Other");
  CHECK(records.puts.size() == 3);
  CHECK(records.held_back.empty());
  const auto model = model_of_hive(desktop.file(kHive));
  CHECK(model.find(key_of("Software\\Vendor\\App"))->values.at(KeyModel::upcased_name("new")).data ==
        Bytes{std::byte{7}, std::byte{0}, std::byte{0}, std::byte{0}});

  // The agent is killed and started again: the keys are still the profile's, and what is loaded now does not
  // replace what a program made.
  reg({"add", kUserKey + "\\Console", "/v", "NAME", "/d", "mine", "/f"});
  process = std::make_unique<Desktop::Process>(desktop);
  CHECK(must(process->port.is_loaded()));
  for (const auto& hive : {kHive, kClasses}) {
    must(process->loader.recover({{hive, desktop.entry}}));
    must(process->loader.prepare(hive, desktop.entry));
    must(process->loader.published(hive));
  }
  must(process->loader.finish_interrupted());
  must(process->loader.load(kHive, key_of("Console"), true));
  CHECK(reg({"query", kUserKey + "\\Console", "/v", "name"}).find("mine") != std::string::npos);
  must(process->port.unload());
  CHECK(model_of_hive(desktop.file(kHive)).find(key_of("Console"))->values.begin()->second.data.size() == 10);
  if (win::under_wine())  // Software is left for the key that stands for the other hive
    CHECK(lines_with(reg({"query", kUserKey, "/s"}), kUserKey + "\\") == 2);
}

TEST_CASE("reg.exe reads what the agent loaded, and what it imports is saved as it is") {
  if (!win::under_wine()) return;  // where users' keys can be imported without a log-on
  KeyModel user;
  const auto text = [](const std::string& ascii) {
    Bytes bytes;
    for (const char c : ascii + '\0') bytes.insert(bytes.end(), {static_cast<std::byte>(c), std::byte{0}});
    return bytes;
  };
  for (int key = 0; key < 20; ++key) {
    const auto path = "Software\\Vendor\\App " + std::to_string(key);
    user.set_value(key_of(path), "", 1, text("default"));
    user.set_value(key_of(path), "expands", 2, text("%TEMP%\\x \"quoted\""));
    user.set_value(key_of(path), "binary", 3, Bytes(static_cast<std::size_t>(key) * 7, std::byte{0xab}));
    user.set_value(key_of(path), "number", 4, Bytes(4, static_cast<std::byte>(key)));
    user.set_value(key_of(path), "large number", 11, Bytes(8, static_cast<std::byte>(key)));
    user.set_value(key_of(path), "nothing", 0, {});
    for (auto at = key_of(path);; at = at.parent()) {
      user.at(at).entry = {{}, registry::test::kTime, registry::test::descriptor()};
      if (at.is_root()) break;
    }
  }
  Desktop desktop(user, KeyModel(user));
  auto process = desktop.log_on();
  must(process->loader.load(kHive, {}, true));
  must(process->port.flush());
  const auto exported = desktop.directory.path() + "\\exported.reg";
  reg({"export", kUserKey + "\\Software\\Vendor", exported, "/y"});
  auto changes = must(registry::parse_reg(desktop.content(exported)));
  auto copy = must(registry::Editor::create(5, "ROOT", registry::test::descriptor(), 1));
  must(registry::apply_reg(copy, changes, kUserKey));
  copy.finish();
  CHECK(difference(user, model_of_hive(copy.file()), false) == "");

  // The same under another name, from its text.
  auto imported = std::string(as_text(desktop.content(exported)));
  const std::u16string vendor = u"\\Vendor", other = u"\\Import";
  const auto raw = [](const std::u16string& units) {
    return std::string(reinterpret_cast<const char*>(units.data()), units.size() * 2);
  };
  for (std::size_t at = 0; (at = imported.find(raw(vendor), at)) != std::string::npos;
       at += raw(other).size())
    imported.replace(at, raw(vendor).size(), raw(other));
  const auto import = desktop.directory.path() + "\\import.reg";
  must(os::write_file_durably(desktop.volume.files(), import, as_bytes(imported)));
  reg({"import", import});
  must(process->port.flush());
  const auto saved = model_of_hive(desktop.file(kHive));
  for (const auto& [place, node] : user.nodes()) {
    if (node.values.empty()) continue;
    auto path = node.path.text();
    path.replace(path.find("Vendor"), 6, "Import");
    REQUIRE(saved.find(key_of(path)) != nullptr);
    CHECK(saved.find(key_of(path))->values == node.values);
  }
  CHECK(desktop.changes(kHive).puts.size() == 21);
  must(process->port.unload());
}

TEST_CASE("what another hive's keys are is never saved as this profile's") {
  if (!win::under_wine()) return;  // there the kernel sees to it
  KeyModel user;
  user.at({}).entry = {{}, registry::test::kTime, registry::test::descriptor()};
  Desktop first(user, user), second(user, user);
  auto process = first.log_on();
  reg({"add", kUserKey + "\\Software\\First", "/f"});
  Desktop::Process other(second);
  CHECK_FALSE(must(other.port.is_loaded()));
  must(other.port.flush());
  must(process->port.unload());
  CHECK(model_of_hive(first.file(kHive)).find(key_of("Software\\First")) != nullptr);
}

TEST_CASE("a snapshot in the middle of a log-off never takes the keys being cleared for the user's") {
  if (!win::under_wine()) return;  // there nobody clears keys
  KeyModel user;
  user.at({}).entry = {{}, registry::test::kTime, registry::test::descriptor()};
  Desktop desktop(user, user);
  const auto process = desktop.log_on();
  for (int round = 0; round < 40; ++round) {
    INFO("round ", round);
    must(process->port.load());
    NativeHive::Options options;
    options.root = L"\\Registry\\User\\" + std::wstring(kSid, kSid + std::strlen(kSid));
    options.keeps_security = false;
    const auto key = key_of("Round " + std::to_string(round));
    must(must(NativeHive::open(std::move(options), true))->create(key, {}));
    std::atomic<bool> over{false};
    std::thread snapshots([&] {
      while (!over) must(process->port.flush());
    });
    must(process->port.unload());
    over = true;
    snapshots.join();
    REQUIRE(model_of_hive(desktop.file(kHive)).find(key) != nullptr);
  }
}

}  // namespace
}  // namespace roamstead::agent
