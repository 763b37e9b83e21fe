#include "agent/core/registry_loader.h"

#include <doctest/doctest.h>

#include <thread>

#include "agent/core/hive_file_port.h"
#include "agent/testing/hive_model.h"
#include "agent/testing/memory_link.h"
#include "agent/testing/plain_volume.h"
#include "common/registry/test_hive.h"
#include "tests/support/crash_file_system.h"
#include "tests/support/must.h"
#include "tests/support/seed.h"

namespace roamstead::agent {
namespace {

using profile::KeyPath;
using profile::ProfilePath;
using support::CrashFileSystem;
using support::KeyModel;
using testing::difference;
using testing::MemoryLink;
using testing::model_of_hive;
using testing::PlainVolume;

const ProfilePath kHive = profile::hive_paths().front();
constexpr const char* kLive = "Users/alice/NTUSER.DAT";

using support::must;

KeyPath key_of(const std::string& text) { return KeyPath::parse(text).value(); }

KeyModel::Node& add_key(KeyModel& model, const std::string& path) {
  auto& node = model.at(key_of(path));
  for (auto at = key_of(path);; at = at.parent()) {  // parents made on the way, too
    auto& entry = model.at(at).entry;
    if (entry.security.empty())
      entry = {{}, registry::test::kTime + path.size(), registry::test::descriptor(path.size() % 3)};
    if (at.is_root()) return node;
  }
}

// A hive with a wide key, a deep one and values of all sizes.
KeyModel sample_model() {
  KeyModel model;
  for (int i = 0; i < 30; ++i) {
    const auto path = "Software\\Vendor" + std::to_string(i % 7) + "\\App" + std::to_string(i);
    add_key(model, path + "\\Settings\\Recent");
    model.set_value(key_of(path), "version", 4, Bytes(4, static_cast<std::byte>(i)));
    model.set_value(key_of(path + "\\Settings"), "", 1, to_bytes(as_bytes("d\0")));
    model.set_value(key_of(path + "\\Settings"), "blob", 3, Bytes(300u * (static_cast<unsigned>(i) + 1)));
  }
  add_key(model, "Console");
  model.set_value(key_of("Console"), "Huge", 3, Bytes(1'500'000, std::byte{5}));
  model.set_value({}, "in the root", 1, Bytes(2));
  add_key(model, "Größe\\файл");
  return model;
}

// A session's registry on a volume in memory, and processes that come and go.
struct Desktop {
  MemoryLink link;
  Guid secret, session;
  profile::Entry entry;

  explicit Desktop(const KeyModel& model) {
    link.add_hive("NTUSER.DAT", model);
    const auto opened = must(link.open({"alice", "Users/alice", std::nullopt}));
    secret = opened.session_secret;
    session = opened.session;
    entry.kind = profile::EntryKind::registry;
  }

  struct Process {
    Process(Desktop& desktop, os::FileSystem& files, RegistryLoaderOptions options = {})
        : volume(files),
          port(volume, [this] { return "agent/staging/" + std::to_string(++staged); }),
          loader(desktop.link, desktop.secret, volume, port, gate, activity,
                 {desktop.session, "Users/alice", "agent/provenance.journal"}, options),
          desktop_(desktop) {}

    Result<void> publish() {
      RS_TRY([[maybe_unused]] const auto identity, loader.stage(kHive, desktop_.entry, "agent/staging/hive"));
      RS_CHECK(volume.rename("agent/staging/hive", kLive));
      RS_CHECK(volume.files().sync_directory("Users/alice"));
      return loader.published(kHive);
    }
    Result<void> resume() {
      RS_CHECK(loader.recover({{kHive, desktop_.entry}}));
      RS_CHECK(loader.prepare(kHive, desktop_.entry));
      RS_CHECK(loader.published(kHive));
      return loader.finish_interrupted();
    }

    PlainVolume volume;
    unsigned staged = 0;
    HiveFilePort port;
    Gate gate;
    Activity activity;
    RegistryLoader loader;
    Desktop& desktop_;
  };
};

Bytes content(os::FileSystem& files, const std::string& path) {
  return must(os::read_file(files, path, 1 << 26));
}
KeyModel live_model(os::FileSystem& files) { return model_of_hive(content(files, kLive)); }
KeyModel base_model(os::FileSystem& files, const Desktop& desktop) {
  return model_of_hive(
      content(files, extract::base_hive_path("agent/provenance.journal", desktop.session, kHive)));
}
bool is_complete(const KeyModel::Node& node) { return node.entry.written_100ns != extract::kPlaceholderTime; }

// A program's change of the live hive.
void change(Desktop::Process& process, const std::function<void(MountedHive&)>& edit) {
  const auto hive = must(process.port.mount(kLive, {}));
  edit(*hive);
  must(hive->save());
}
MountedHive::Key walk(MountedHive& hive, const std::string& path) {
  const auto path_of_key = key_of(path);
  auto key = must(hive.root());
  for (const auto name : path_of_key.components()) key = *must(hive.open(key, std::string(name)));
  return key;
}

// Law 1: what the base hive tells, the live hive has (nobody deleted anything here).
void check_live_has_base(const KeyModel& live, const KeyModel& base) {
  for (const auto& [place, node] : base.nodes()) {
    const auto* there = live.find(node.path);
    REQUIRE_MESSAGE(there != nullptr, node.path.text());
    if (!is_complete(node)) {
      CHECK(node.values.empty());
      continue;
    }
    for (const auto& [name, value] : node.values) {
      REQUIRE(there->values.count(name) == 1);
      CHECK(there->values.at(name) == value);
    }
  }
}

TEST_CASE("a hive is published with its root and the names below, and costs nothing more") {
  Desktop desktop(sample_model());
  CrashFileSystem files;
  Desktop::Process process(desktop, files);
  must(process.publish());
  const auto live = live_model(files), base = base_model(files, desktop);
  CHECK(live.nodes().size() == 4);
  CHECK(live.find({})->values.size() == 1);
  CHECK(live.find(key_of("console"))->values.empty());
  CHECK(live.find(key_of("Console"))->entry == sample_model().find(key_of("Console"))->entry);
  CHECK(is_complete(*base.find({})));
  CHECK_FALSE(is_complete(*base.find(key_of("Console"))));
  CHECK(desktop.link.key_lists == 1);
  const auto progress = process.loader.progress();
  CHECK(progress.hives == 1);
  CHECK(progress.keys_loaded == 1);
  CHECK(progress.keys_known == 3);
}

TEST_CASE("a key is loaded with what lies above it, once; what was not touched is not asked for") {
  Desktop desktop(sample_model());
  desktop.link.key_bytes_per_part = 2000;
  CrashFileSystem files;
  Desktop::Process process(desktop, files);
  must(process.publish());
  const auto path = key_of("software\\vendor3\\APP3");
  CHECK_FALSE(process.loader.is_loaded(kHive, path));
  must(process.loader.load(kHive, path, false));
  CHECK(process.loader.is_loaded(kHive, path));
  CHECK_FALSE(process.loader.is_loaded(kHive, key_of("Software\\Vendor1")));
  CHECK_FALSE(process.loader.is_loaded(kHive, key_of("Console")));
  const auto asked = desktop.link.key_lists.load();
  must(process.loader.load(kHive, path, false));
  must(process.loader.load(kHive, key_of("Software\\Nowhere\\At all"), false));
  must(process.loader.load(kHive, {}, false));
  CHECK(desktop.link.key_lists == asked);
  const auto live = live_model(files);
  CHECK(live.find(path)->values.size() == 1);
  CHECK(live.find(key_of("Software\\Vendor1\\App1")) == nullptr);
  CHECK(desktop.link.value_reads == 0);
  must(process.loader.load(kHive, key_of("Console"), false));
  CHECK(live_model(files).find(key_of("Console"))->values.at("HUGE").data == Bytes(1'500'000, std::byte{5}));
  CHECK(process.loader.load(profile::hive_paths()[1], {}, false).error().code == ErrorCode::not_found);
}

TEST_CASE("filling and loading a subtree bring everything, in parts, also when data is to be asked for") {
  Desktop desktop(sample_model());
  desktop.link.key_bytes_per_part = 3000;
  desktop.link.keys_without_data = true;
  CrashFileSystem files;
  RegistryLoaderOptions options;
  options.write_bytes = 5000;
  Desktop::Process process(desktop, files, options);
  must(process.publish());
  SUBCASE("filled") {
    int rounds = 0;
    while (must(process.loader.fill(kHive, [] { return true; }))) ++rounds;
    CHECK(rounds > 3);
  }
  SUBCASE("stopped in between") {
    CHECK(must(process.loader.fill(kHive, [] { return false; })));
    CHECK(process.loader.progress().keys_loaded == 1);
    while (must(process.loader.fill(kHive, [] { return true; }))) {
    }
  }
  SUBCASE("loaded") { must(process.loader.load(kHive, {}, true)); }
  CHECK(difference(sample_model(), live_model(files), true).empty());
  CHECK(difference(sample_model(), base_model(files, desktop), true).empty());
  CHECK(process.loader.progress().keys_known == 0);
  CHECK_FALSE(must(process.loader.fill(kHive, [] { return true; })));
}

TEST_CASE("many threads that want one key fetch it once") {
  Desktop desktop(sample_model());
  CrashFileSystem files;
  Desktop::Process process(desktop, files);
  must(process.publish());
  desktop.link.delay_ms = 30;
  desktop.link.key_bytes_per_part = 2000;
  const auto before = desktop.link.key_lists.load();
  std::vector<std::thread> threads;
  std::atomic<int> good{0};
  for (int i = 0; i < 8; ++i)
    threads.emplace_back([&] {
      if (process.loader.load(kHive, key_of("Software\\Vendor0"), false)) ++good;
    });
  for (auto& thread : threads) thread.join();
  CHECK(good == 8);
  CHECK(desktop.link.key_lists - before <= 4);  // Software, then Vendor0 in its parts
}

TEST_CASE("what programs made and deleted stays when keys are loaded around it") {
  Desktop desktop(sample_model());
  desktop.link.key_bytes_per_part = 2000;
  CrashFileSystem files;
  Desktop::Process process(desktop, files);
  must(process.publish());
  change(process, [](MountedHive& hive) {
    const auto software = walk(hive, "Software");
    const auto vendor = must(hive.create(software, "VENDOR0", {{}, 1, registry::test::descriptor(9)}));
    const auto app = must(hive.create(vendor, "App0", {{}, 1, registry::test::descriptor(9)}));
    must(hive.set_value(app, "Version", 1, as_bytes("mine")));
    must(hive.set_value(app, "own", 1, as_bytes("mine")));
    must(hive.delete_key(walk(hive, "Console")));
  });
  must(process.loader.load(kHive, key_of("Console"), true));
  must(process.loader.load(kHive, {}, true));
  const auto live = live_model(files);
  CHECK(live.find(key_of("Console")) == nullptr);
  const auto* app = live.find(key_of("Software\\Vendor0\\App0"));
  REQUIRE(app != nullptr);
  CHECK(as_text(app->values.at("VERSION").data) == "mine");
  CHECK(app->values.size() == 2);
  CHECK(app->entry.security == sample_model().find(key_of("Software\\Vendor0\\App0"))->entry.security);
  CHECK(live.find(key_of("Software\\Vendor0\\App0\\Settings"))->values.size() == 2);
  // The base hive tells what came from the version, not what programs made of it.
  const auto base = base_model(files, desktop);
  CHECK(base.find(key_of("Software\\Vendor0\\App0"))->values.at("VERSION").data == Bytes(4, std::byte{0}));
  CHECK_FALSE(is_complete(*base.find(key_of("Console"))));
}

TEST_CASE("a coordinator that contradicts itself is not believed, one that is away is waited for") {
  Desktop desktop(sample_model());
  CrashFileSystem files;
  RegistryLoaderOptions options;
  options.patience = std::chrono::milliseconds(100);
  Desktop::Process process(desktop, files, options);
  must(process.publish());
  desktop.link.away = true;
  CHECK(process.loader.load(kHive, key_of("Console"), false).error().code == ErrorCode::unavailable);
  CHECK(process.loader.fill(kHive, [] { return true; }).error().code == ErrorCode::unavailable);
  desktop.link.away = false;
  must(process.loader.load(kHive, key_of("Console"), false));

  struct Liar final : wire::CoordinatorLink {
    MemoryLink& link;
    std::function<void(profile::KeyStates&)> bend;
    explicit Liar(MemoryLink& truth) : link(truth) {}
    Result<profile::KeyStates> list_keys(const Guid& secret, const ProfilePath& hive, const KeyPath& key,
                                         profile::KeyScope scope, const std::string& cursor) override {
      RS_TRY(auto states, link.list_keys(secret, hive, key, scope, cursor));
      bend(states);
      return states;
    }
    Result<Bytes> read_value(const Guid&, const ProfilePath&, const KeyPath&, const std::string&,
                             std::uint64_t, std::size_t) override {
      return Bytes(1);
    }
    Result<wire::OpenReply> open(const wire::OpenRequest& request) override { return link.open(request); }
    Result<wire::DirectoryPart> list(const Guid& secret, const ProfilePath& path,
                                     const std::string& after) override {
      return link.list(secret, path, after);
    }
    Result<std::vector<wire::Fetched>> fetch(const Guid& secret,
                                             const std::vector<wire::FetchItem>& items) override {
      return link.fetch(secret, items);
    }
    Result<Bytes> read(const Guid& secret, const ProfilePath& path, const std::string& stream,
                       std::uint64_t offset, std::size_t length) override {
      return link.read(secret, path, stream, offset, length);
    }
    Result<wire::CommitReply> commit(const Guid& secret, const profile::Batch& batch,
                                     profile::ContentSource& content) override {
      return link.commit(secret, batch, content);
    }
    Result<void> renew(const Guid& secret) override { return link.renew(secret); }
    Result<void> tell_use(const Guid& secret, wire::SessionUse use) override {
      return link.tell_use(secret, use);
    }
    Result<void> close(const Guid& secret) override { return link.close(secret); }
    Result<void> hand_over(const Guid& secret) override { return link.hand_over(secret); }
    Result<void> learned(const Guid& secret, const std::vector<wire::WorkingItem>& items) override {
      return link.learned(secret, items);
    }
    void set_push_listener(std::function<void(const wire::Push&)> listener) override {
      link.set_push_listener(std::move(listener));
    }
    std::uint64_t bytes_sent() const override { return 0; }
    std::uint64_t bytes_received() const override { return 0; }
  };
  Liar liar(desktop.link);
  KeySource source(liar, desktop.secret, std::chrono::milliseconds(10));
  const auto code = [&](std::function<void(profile::KeyStates&)> bend) {
    liar.bend = std::move(bend);
    const auto loaded = source.fetch(kHive, key_of("Software\\Vendor1"), profile::KeyScope::subtree);
    return loaded ? ErrorCode{} : loaded.error().code;
  };
  using States = profile::KeyStates;
  CHECK(code([](States&) {}) == ErrorCode::protocol);  // blobs of over 4 KiB: one byte comes
  for (auto bend : std::vector<std::function<void(States&)>>{
           [](States& states) { states.keys.push_back(states.keys.back()); },
           [](States& states) { states.keys.front().complete = false; },
           [](States& states) { states.keys.erase(states.keys.begin()); },
           [](States& states) { states.keys.back().path = key_of("Elsewhere\\Key"); },
           [](States& states) { states.keys.back().path = {}; },
           [](States& states) { states.keys.clear(), states.next = "more"; },
           [](States& states) { states.next = "the same"; },
           [](States& states) {
             states.keys.back().values.push_back({"v", 3, 1ull << 40, {}});
           },
           [](States& states) {
             states.keys.back().values = {{"v", 3, 8, Bytes(4)}};
           },
           [](States& states) {
             states.keys.back().values = {{"v", 3, 0, {}}, {"V", 3, 0, {}}};
           },
           [](States& states) {
             states.keys.back().values = {{"\xff", 3, 0, {}}};
           },
           [](States& states) { states.keys.back().entry.security.resize(70'000); }}) {
    auto no_large = [&](States& states) {
      for (auto& state : states.keys) state.values.clear();
      bend(states);
    };
    CHECK(code(no_large) == ErrorCode::protocol);
  }
  CHECK(code([](States& states) {
          for (auto& state : states.keys) state.values.clear();
        }) == ErrorCode{});
}

TEST_CASE("wherever a process dies, base hive and live hive tell the next one the state") {
  Desktop desktop(sample_model());
  desktop.link.key_bytes_per_part = 4000;
  CrashFileSystem start;
  must(start.make_directories("agent/staging"));
  must(start.make_directories("Users/alice"));
  bool in_publication = false;
  SUBCASE("while the hive is published") { in_publication = true; }
  SUBCASE("while keys are loaded") { must(Desktop::Process(desktop, start).publish()); }
  const auto run = [&](Desktop::Process& process) -> Result<void> {
    if (in_publication) return process.publish();
    RS_CHECK(process.loader.recover({{kHive, desktop.entry}}));
    RS_CHECK(process.loader.load(kHive, key_of("Software\\Vendor2\\App2"), false));
    return process.loader.load(kHive, key_of("Console"), false);
  };
  std::size_t crashes = 0, interrupted = 0;
  for (std::uint64_t point = 0;; ++point) {
    auto files = start.clone();
    files->crash_after(files->operations() + point);
    {
      Desktop::Process process(desktop, *files);
      (void)run(process);
    }
    const bool crashed = files->crashed();
    files->power_loss(point * 31 + 11);
    Desktop::Process next(desktop, *files);
    if (in_publication && !must(files->exists(kLive))) {
      (void)files->remove("agent/staging/hive");
      must(next.publish());  // it never got its name
    } else {
      const auto live = live_model(*files);
      const bool based =
          must(files->exists(extract::base_hive_path("agent/provenance.journal", desktop.session, kHive)));
      if (based) {
        const auto base = base_model(*files, desktop);
        check_live_has_base(live, base);
        interrupted += live.nodes().size() > base.nodes().size();
      }
      must(next.resume());
      // Whatever is in the live hive is known: a program may delete it from now on.
      const auto base = base_model(*files, desktop);
      const auto now = live_model(*files);
      for (const auto& [place, node] : now.nodes()) REQUIRE(base.find(node.path) != nullptr);
    }
    must(next.loader.load(kHive, {}, true));
    CHECK(difference(sample_model(), live_model(*files), true).empty());
    CHECK(difference(sample_model(), base_model(*files, desktop), true).empty());
    ++crashes;
    if (!crashed) break;
  }
  CHECK(crashes > 8);
  if (!in_publication) CHECK(interrupted > 0);
}

// Programs and loads in any order, processes that end in between: in the end there is what the version has,
// less what was deleted here, and what was made here above it.
class RandomRun {
 public:
  explicit RandomRun(std::mt19937_64& random)
      : random_(random), version_(random_model()), desktop_(version_) {
    desktop_.link.key_bytes_per_part = 500 + random_() % 4000;
    begin();
    must(process_->publish());
    expected_ = version_;
  }

  void run(int steps) {
    for (int i = 0; i < steps; ++i) step();
    must(process_->loader.load(kHive, {}, true));
    const auto live = live_model(files_);
    CHECK(difference(expected_, live, false) == "");
    const auto base = base_model(files_, desktop_);
    for (const auto& [place, node] : base.nodes()) {
      if (!is_complete(node)) continue;
      const auto* truth = version_.find(node.path);
      REQUIRE(truth != nullptr);
      CHECK(node.values == truth->values);
      CHECK(node.entry.security == truth->entry.security);
    }
  }

 private:
  std::string random_path(std::size_t depth) {
    std::string path;
    for (std::size_t i = 0; i < depth; ++i) path += (i == 0 ? "k" : "\\k") + std::to_string(random_() % 4);
    return path;
  }
  KeyModel random_model() {
    KeyModel model;
    add_key(model, "k0");
    for (int i = 0; i < 60; ++i) {
      const auto path = random_path(1 + random_() % 5);
      add_key(model, path);
      for (auto values = random_() % 4; values != 0; --values)
        model.set_value(key_of(path), "v" + std::to_string(random_() % 6), 3,
                        Bytes(random_() % 20 == 0 ? 5000 + random_() % 5000 : random_() % 300,
                              static_cast<std::byte>(random_())));
    }
    return model;
  }
  void begin() {
    RegistryLoaderOptions options;
    options.write_bytes = 1 + random_() % 10'000;
    process_ = std::make_unique<Desktop::Process>(desktop_, files_, options);
  }

  void step() {
    switch (random_() % 10) {
      case 0:
      case 1:
        must(process_->loader.load(kHive, key_of(random_path(random_() % 5)), false));
        break;
      case 2:
        must(process_->loader.load(kHive, key_of(random_path(2 + random_() % 3)), true));
        break;
      case 3: {
        auto budget = random_() % 4;
        must(process_->loader.fill(kHive, [&] { return budget-- != 0; }));
        break;
      }
      case 4:
        begin();
        must(process_->resume());
        break;
      default:
        change(*process_, [this](MountedHive& hive) { program(hive); });
    }
  }

  // One change by a program, on a key that it can see.
  void program(MountedHive& hive) {
    const auto live = live_model(files_);
    auto it = live.nodes().begin();
    std::advance(it, random_() % live.nodes().size());
    const auto path = it->second.path;
    const auto key = walk(hive, path.text());
    const bool loaded = process_->loader.is_loaded(kHive, path);
    switch (random_() % 4) {
      case 0: {  // a value, which may be there in the version too
        const auto name = "V" + std::to_string(random_() % 8);
        Bytes data(random_() % 100, std::byte{0xee});
        must(hive.set_value(key, name, 1, data));
        // One that was not to be seen is made by the program, the case of its name with it.
        if (it->second.values.count(name) == 0) expected_.erase_value(path, name);
        expected_.set_value(path, name, 1, data);
        break;
      }
      case 1: {  // a key, which may be there in the version too, where the program cannot see that
        const bool hidden = !loaded && version_.find(path) != nullptr && expected_.find(path) != nullptr;
        const auto name = (hidden && random_() % 2 == 0 ? "K" : "own") + std::to_string(random_() % 4);
        if (must(hive.open(key, name))) break;
        must(hive.create(key, name, {{}, 5, registry::test::descriptor(1)}));
        expected_.at(path.child(name));
        break;
      }
      case 2:  // a value goes
        if (it->second.values.empty()) break;
        {
          const auto value = std::next(it->second.values.begin(),
                                       static_cast<std::ptrdiff_t>(random_() % it->second.values.size()));
          must(hive.delete_value(key, value->second.name));
          const auto* truth = version_.find(path);
          // Over a key that was not loaded it was the program's own: the version's comes when it is loaded.
          const bool returns = !loaded && truth != nullptr && expected_.find(path) != nullptr &&
                               truth->values.count(value->first) != 0;
          expected_.erase_value(path, value->second.name);
          if (returns) {
            const auto& old = truth->values.at(value->first);
            expected_.set_value(path, old.name, old.type, old.data);
          }
        }
        break;
      default:  // a key goes with all below it, known here or not
        if (path.is_root() || !process_->loader.is_loaded(kHive, path.parent())) break;
        if (random_() % 3 != 0) break;
        must(hive.delete_key(key));
        expected_.erase(path);
    }
  }

  std::mt19937_64& random_;
  KeyModel version_;
  KeyModel expected_;
  Desktop desktop_;
  CrashFileSystem files_;
  std::unique_ptr<Desktop::Process> process_;
};

TEST_CASE("random loads and random changes by programs end as the model says") {
  auto random = support::seeded_random();
  for (int round = 0; round < 40; ++round) RandomRun(random).run(60);
}

}  // namespace
}  // namespace roamstead::agent
