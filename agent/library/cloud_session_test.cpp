// Whole sessions with Cloud Files: the agent's core over a real NTFS volume in a differencing disk, snapshots
// and extraction as ever, and Windows' half simulated (simulated_cloud_windows.h). Nothing here shows how
// Windows itself behaves: docs/testing.md.
#include "agent/core/cloud_session.h"

#include <doctest/doctest.h>

#include <thread>

#include "agent/core/session.h"
#include "agent/library/disk_chain_snapshots.h"
#include "agent/library/library_profile_volume.h"
#include "agent/library/simulated_cloud_windows.h"
#include "agent/testing/memory_link.h"
#include "common/extract/test_tree.h"
#include "common/ntfs3g/format.h"
#include "common/vdisk/disk.h"
#include "common/volume/partition.h"
#include "tests/support/must.h"
#include "tests/support/seed.h"
#include "tests/support/temporary_directory.h"

namespace roamstead::agent {
namespace {

using support::must;
using testing::MemoryLink;
using namespace std::chrono_literals;

std::string content(std::size_t size, unsigned seed) {
  std::string text(size, '\0');
  for (std::size_t i = 0; i < size; ++i)
    text[i] = static_cast<char>('a' + (i * 7 + i / 4096 * 3 + seed) % 26);
  return text;
}

template <class Condition>
bool within_seconds(const Condition& condition) {
  for (int i = 0; i < 6000 && !condition(); ++i) std::this_thread::sleep_for(5ms);
  return condition();
}

// A batch's bytes as the coordinator in memory kept them.
class KeptContent final : public profile::ContentSource {
 public:
  explicit KeptContent(const MemoryLink::Committed& committed) : committed_(committed) {}
  Result<void> read(std::size_t record, std::size_t stream, std::uint64_t offset,
                    MutableByteView out) override {
    const auto& put = std::get<profile::Put>(committed_.batch.records[record]);
    const auto& content = put.contents[stream];
    for (const auto& range : content.writes) {
      if (offset < range.offset || offset + out.size() > range.end()) continue;
      const auto& bytes =
          committed_.content.at(put.path.text() + ":" + content.name + "@" + std::to_string(range.offset));
      std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(offset - range.offset), out.size(),
                  out.begin());
      return {};
    }
    return fail(ErrorCode::corrupt, "not in the batch");
  }

 private:
  const MemoryLink::Committed& committed_;
};

// A desktop with Documents (a folder of files in it), Downloads and a file beside them.
class Desk {
 public:
  Desk() {
    for (int i = 0; i < 8; ++i)
      add("Documents/file" + std::to_string(i), content(1000 + static_cast<std::size_t>(i) * 9000, 1 + i));
    for (int i = 0; i < 5; ++i)
      add("Documents/deep/er/f" + std::to_string(i), content(30'000, 50 + static_cast<unsigned>(i)));
    add("Documents/zeros", std::string(20'000, '\0'));
    add("Documents/empty", "");
    add("Downloads/big", content(3 << 20, 77));
    add("beside", content(5000, 99));
    auto& real = os::real_file_system();
    must(vdisk::create_disk(real, path_, 96u << 20, {.format = vdisk::Format::vhdx}));
    {
      const auto disk = must(vdisk::Disk::open(real, path_, vdisk::Access::write));
      const auto partition = must(volume::create_single_partition(*disk, "Windows"));
      vdisk::SubDevice device(*disk, partition.offset_bytes, partition.size_bytes, "partition");
      must(ntfs3g::format_ntfs(device, "Windows", partition.offset_bytes));
      const auto made = must(ntfs3g::LibraryVolume::mount(device, ntfs3g::Access::write));
      // As Windows has it: the root hands its access entries down, so that inherited ones can be told.
      auto security = must(made->security(ntfs3g::LibraryVolume::root()));
      store_le<std::uint16_t>(security, 2, load_le<std::uint16_t>(security, 2) | 0x0400);
      must(made->set_security(ntfs3g::LibraryVolume::root(), security));
      must(made->make_directories("Users"));
      must(made->make_directories("ProgramData"));
      must(made->unmount());
      must(disk->flush());
    }
    disk_ = must(vdisk::Disk::open(real, path_, vdisk::Access::write));
    const auto first = must(volume::read_partition_table(*disk_)).partitions.front();
    partition_ =
        std::make_unique<vdisk::SubDevice>(*disk_, first.offset_bytes, first.size_bytes, "partition");
    library_ = must(ntfs3g::LibraryVolume::mount(*partition_, ntfs3g::Access::write));
    volume_ = std::make_unique<LibraryProfileVolume>(*library_);
    DiskChainSnapshots::Options options;
    options.provenance_path = "ProgramData/Roamstead/provenance.journal";
    options.map_path = path_ + ".map";
    snapshots_ = std::make_unique<DiskChainSnapshots>(real, *disk_, *library_, options);
    windows = std::make_unique<SimulatedCloudWindows>(*library_, "Users/alice");
    log_on();
  }
  ~Desk() { kill(); }

  void log_on() {
    SessionConfig config;
    config.profile = "alice";
    config.profile_root = "Users/alice";
    config.change_log_path = path_ + ".log";
    config.snapshot_interval = 0ms;
    config.loader.patience = 300ms;
    session = must(Session::start(config, link, *volume_, *snapshots_));
    CloudSessionConfig cloud_config;
    cloud_config.profile_root = config.profile_root;
    cloud_config.session = must(session->status()).facts.session;
    cloud_config.folders = folders;
    cloud_config.note_change = [this] { session->note_change(); };
    cloud_config.options.pause = 10ms;
    cloud_config.options.patience = patience;
    cloud_config.options.piece_bytes = 64 << 10;
    cloud = std::make_unique<CloudSession>(session->loader(), *volume_, *windows, cloud_config);
    must(cloud->begin());
  }
  // As if the process had ended: nothing that was not recorded is known to the next.
  void kill() {
    if (!session) return;
    cloud.reset();
    session.reset();
  }
  LogoutReport log_off() {
    settle();
    auto report = must(session->logout(60s));
    cloud->end();
    kill();
    return report;
  }
  void settle() {
    REQUIRE(within_seconds([&] {
      const auto status = cloud->status();
      return status.notes == 0 && status.waiting == 0 && status.running == 0;
    }));
  }
  // Paths of what the batches since the last call put, "-path" of what they delete, "a>b" of what they move.
  std::set<std::string> changes() {
    std::set<std::string> all;
    const auto commits = link.commits();
    for (; seen_ < commits.size(); ++seen_) {
      for (const auto& record : commits[seen_].batch.records) {
        if (const auto* put = std::get_if<profile::Put>(&record)) all.insert(put->path.text());
        if (const auto* gone = std::get_if<profile::Delete>(&record)) all.insert("-" + gone->source.text());
        if (const auto* move = std::get_if<profile::Move>(&record))
          all.insert(move->source.text() + ">" + move->target.text());
      }
      INFO(extract::describe(commits[seen_].batch));
      KeptContent kept(commits[seen_]);
      tree_.apply(commits[seen_].batch, kept);
    }
    return all;
  }
  std::set<std::string> snapshot() {
    settle();
    must(session->snapshot(true, 60s));
    return changes();
  }
  std::unique_ptr<VolumeHandle> open(const std::string& path) {
    must(session->loader().populate_above(must(profile::ProfilePath::parse(path)), Priority::foreground));
    return must(volume_->open("Users/alice/" + path, ""));
  }
  std::string read(const std::string& path) {
    const auto bytes = must(windows->read(path));
    return std::string(as_text(bytes));
  }
  // Of the version as it is with all batches.
  std::string saved(const std::string& path) {
    auto* node = tree_.find(path);
    return node == nullptr ? "(not there)" : std::string(as_text(node->streams.at("")));
  }
  std::map<std::string, std::string> saved_files() {
    std::map<std::string, std::string> all;
    std::vector<std::pair<std::string, extract::TestNode*>> nodes{{"", &tree_.root()}};
    while (!nodes.empty()) {
      const auto [path, node] = nodes.back();
      nodes.pop_back();
      for (const auto& [name, child] : node->children)
        nodes.emplace_back(path.empty() ? name : path + "/" + name, child.get());
      if (!node->is_directory()) all[path] = as_text(node->streams.at(""));
    }
    return all;
  }

  MemoryLink link;
  std::map<std::string, std::string> files;  // as programs should see them
  std::vector<std::string> folders{"Documents", "Downloads", "Pictures"};
  std::chrono::milliseconds patience{20'000};
  std::unique_ptr<SimulatedCloudWindows> windows;
  std::unique_ptr<Session> session;
  std::unique_ptr<CloudSession> cloud;

 private:
  void add(const std::string& path, const std::string& text) {
    link.add_file(path, text);
    std::string directory;
    for (auto slash = path.find('/'); slash != std::string::npos; slash = path.find('/', slash + 1))
      if (directory = path.substr(0, slash); tree_.find(directory) == nullptr)
        tree_.make_directory(directory);
    tree_.make_file(path, as_bytes(text));
    files[path] = text;
  }

  support::TemporaryDirectory directory_;
  const std::string path_ = directory_ / "disk.vhdx";
  std::unique_ptr<vdisk::Disk> disk_;
  std::unique_ptr<vdisk::SubDevice> partition_;
  std::unique_ptr<ntfs3g::LibraryVolume> library_;
  std::unique_ptr<LibraryProfileVolume> volume_;
  std::unique_ptr<DiskChainSnapshots> snapshots_;
  extract::TestTree tree_;
  std::size_t seen_ = 0;
};

TEST_CASE("from log-on to log-off: all names are seen, what is read is brought, what is changed is saved") {
  Desk desk;
  CHECK(desk.windows->registered() == 2);  // there are no Pictures
  CHECK(must(desk.windows->list("Documents")).size() == 11);
  CHECK(must(desk.windows->list("Documents/deep/er")).size() == 5);
  CHECK(desk.windows->fetched_bytes() == 0);
  CHECK(desk.windows->read("Documents/none").error().code == ErrorCode::not_found);
  CHECK(desk.read("Documents/file3") == desk.files["Documents/file3"]);
  CHECK(desk.windows->fetched_bytes() == desk.files["Documents/file3"].size());
  must(desk.windows->write("Documents/deep/er/f1", 5000, as_bytes("changed")));
  must(desk.windows->create("Documents/new", as_bytes("new text")));
  must(desk.windows->remove("Documents/file5"));
  must(desk.windows->rename("Documents/file6", "Documents/deep/moved"));
  CHECK(desk.snapshot() == std::set<std::string>{"Documents/deep/er/f1", "Documents/new", "-Documents/file5",
                                                 "Documents/file6>Documents/deep/moved"});
  CHECK(desk.read("Documents/deep/moved") == desk.files["Documents/file6"]);
  const auto report = desk.log_off();
  CHECK(report.final_records == 0);
  CHECK(desk.changes().empty());
  CHECK(desk.windows->registered() == 0);
  CHECK(desk.windows->violations().empty());
}

TEST_CASE("everything hydrated, dehydrated and hydrated again, nothing changed: no record") {
  Desk desk;
  for (int round = 0; round < 2; ++round) {
    for (const auto& [path, text] : desk.files)
      if (path != "beside") REQUIRE((desk.read(path) == text));
    CHECK(desk.snapshot().empty());
    for (const auto* path : {"Documents/file2", "Documents/file7", "Documents/deep/er/f0", "Downloads/big"})
      must(desk.windows->free_up(path));
    CHECK(desk.snapshot().empty());
  }
  const auto before = desk.windows->fetched_bytes();
  CHECK(desk.read("Documents/file7") == desk.files["Documents/file7"]);
  CHECK(desk.windows->fetched_bytes() == before + desk.files["Documents/file7"].size());
  CHECK(desk.log_off().records == 0);
  CHECK(desk.windows->violations().empty());
}

TEST_CASE("the background fill brings placeholders through Windows, and all else itself") {
  Desk desk;
  desk.session->fill().start(FillLevel::all);
  REQUIRE(desk.session->fill().wait(60s));
  const auto fetched = desk.windows->fetched_bytes();
  CHECK(fetched > 3u << 20);
  desk.link.away = true;  // nothing is asked for any more
  for (const auto& [path, text] : desk.files)
    if (path != "beside") REQUIRE((desk.read(path) == text));
  CHECK(desk.windows->fetched_bytes() == fetched);
  desk.link.away = false;
  CHECK(desk.snapshot().empty());
}

TEST_CASE("what a program wrote is not dehydrated, saved or not; what it did not is, and comes again") {
  Desk desk;
  must(desk.windows->write("Documents/file4", 100, as_bytes("mine")));
  CHECK(desk.windows->free_up("Documents/file4").error().code == ErrorCode::denied);
  CHECK(desk.snapshot() == std::set<std::string>{"Documents/file4"});
  CHECK(desk.windows->free_up("Documents/file4").error().code == ErrorCode::denied);
  CHECK(desk.read("Documents/file4").substr(100, 4) == "mine");
  CHECK(desk.read("Documents/file1") == desk.files["Documents/file1"]);
  must(desk.windows->free_up("Documents/file1"));
  CHECK(desk.read("Documents/file1") == desk.files["Documents/file1"]);
  CHECK(desk.snapshot().empty());
}

TEST_CASE("a pinned file is brought and stays, an unpinned one goes unless it was changed") {
  Desk desk;
  must(desk.windows->set_pin("Documents/file7", CloudPin::pinned));
  desk.settle();
  CHECK(desk.windows->fetched_bytes() == desk.files["Documents/file7"].size());
  CHECK(desk.windows->free_up("Documents/file7").error().code == ErrorCode::denied);
  must(desk.windows->set_pin("Documents/file7", CloudPin::unpinned));
  desk.settle();
  CHECK(desk.cloud->status().dehydrated == 1);
  CHECK_FALSE(must(desk.windows->state(must(desk.windows->find("Documents/file7")))).whole);
  must(desk.windows->write("Documents/file2", 0, as_bytes("X")));
  must(desk.windows->set_pin("Documents/file2", CloudPin::unpinned));
  desk.settle();
  CHECK(must(desk.windows->state(must(desk.windows->find("Documents/file2")))).whole);
  CHECK(desk.snapshot() == std::set<std::string>{"Documents/file2"});
}

TEST_CASE("a file written anew without being read is what the program wrote, zeros too") {
  Desk desk;
  must(desk.windows->overwrite("Documents/file7", as_bytes(std::string(40'000, '\0'))));
  must(desk.windows->truncate("Documents/file3", 0));
  must(desk.windows->overwrite("Downloads/big", as_bytes("short")));
  CHECK(desk.snapshot() == std::set<std::string>{"Documents/file7", "Documents/file3", "Downloads/big"});
  CHECK(desk.saved("Documents/file7") == std::string(40'000, '\0'));
  CHECK(desk.saved("Documents/file3").empty());
  CHECK(desk.saved("Downloads/big") == "short");
  CHECK(desk.windows->fetched_bytes() == 0);
}

TEST_CASE("a fetch that is cancelled ends, and the next one brings the file") {
  Desk desk;
  desk.link.delay_ms = 50;
  Result<Bytes> got;
  std::thread program([&] { got = desk.windows->read("Downloads/big"); });
  REQUIRE(within_seconds([&] { return desk.windows->fetched_bytes() > 100'000; }));
  desk.windows->cancel_all();
  program.join();
  CHECK(got.error().code == ErrorCode::cancelled);
  desk.link.delay_ms = 0;
  CHECK(desk.read("Downloads/big") == desk.files["Downloads/big"]);
  CHECK(desk.snapshot().empty());
}

TEST_CASE(
    "a provider that goes in a fetch: the program is told to try again, and the next one brings the file") {
  Desk desk;
  CHECK(desk.read("Documents/file7") == desk.files["Documents/file7"]);
  desk.link.delay_ms = 50;
  Result<Bytes> got;
  std::thread program([&] { got = desk.windows->read("Downloads/big"); });
  REQUIRE(within_seconds([&] { return desk.windows->fetched_bytes() > 200'000; }));
  desk.kill();
  program.join();
  REQUIRE_FALSE(got);
  CHECK((got.error().code == ErrorCode::unavailable || got.error().code == ErrorCode::timeout));
  // Nobody is there: an error, never "not found", and never zeros.
  CHECK(desk.windows->read("Documents/file2").error().code == ErrorCode::unavailable);
  CHECK(desk.windows->list("Documents/deep").error().code == ErrorCode::unavailable);
  desk.link.delay_ms = 0;
  desk.log_on();
  CHECK(must(desk.session->status()).resumed);
  CHECK(desk.read("Downloads/big") == desk.files["Downloads/big"]);
  CHECK(desk.read("Documents/file2") == desk.files["Documents/file2"]);
  CHECK(desk.read("Documents/deep/er/f2") == desk.files["Documents/deep/er/f2"]);
  (void)desk.snapshot();  // what was brought without being recorded may be sent in vain
  CHECK(desk.saved_files() == desk.files);
  CHECK(desk.windows->violations().empty());
}

TEST_CASE("while the coordinator is away programs wait, then are told to try again") {
  Desk desk;
  desk.windows->limit = 400ms;  // without reports of progress this would be too short
  desk.link.away = true;
  Result<Bytes> got;
  std::thread program([&] { got = desk.windows->read("Documents/file1"); });
  std::this_thread::sleep_for(1s);
  desk.link.away = false;
  program.join();
  REQUIRE(got);
  CHECK(as_text(*got) == desk.files["Documents/file1"]);
  desk.kill();
  desk.patience = 200ms;
  desk.log_on();
  desk.link.away = true;
  CHECK(desk.windows->read("Documents/file2").error().code == ErrorCode::unavailable);
  CHECK(desk.windows->list("Documents/deep").error().code == ErrorCode::unavailable);
  desk.link.away = false;
  CHECK(desk.read("Documents/file2") == desk.files["Documents/file2"]);
}

TEST_CASE(
    "another provider's folder is left to the other ways, and said so; a session without roots goes on") {
  Desk desk;
  desk.log_off();
  desk.windows->foreign_roots = {"Documents"};
  desk.log_on();
  REQUIRE(desk.cloud->problems().size() == 1);
  CHECK(desk.cloud->problems()[0].find("'Documents'") == 0);
  CHECK(desk.windows->registered() == 1);
  desk.log_off();
  desk.windows->foreign_roots = {"Documents", "Downloads"};
  desk.folders = {"Documents", "Downloads", "../x"};
  CHECK_THROWS(desk.log_on());
  desk.session->fill().start(FillLevel::all);
  CHECK(desk.session->fill().wait(60s));
}

TEST_CASE("zeros written into a block right after it was cut through are the program's") {
  Desk desk;
  const auto handle = desk.open("beside");
  auto& loader = desk.session->loader();
  must(loader.load(*handle, {0, 5000}));
  must(loader.truncate(*handle, 4500));
  must(loader.write(*handle, 4096, Bytes(404)));
  CHECK(desk.snapshot() == std::set<std::string>{"beside"});
  CHECK((desk.saved("beside") == desk.files["beside"].substr(0, 4096) + std::string(404, '\0')));
}

TEST_CASE(
    "random work of programs, users, kills and fills changes the version by exactly the programs' work") {
  auto random = support::seeded_random();
  Desk desk;
  auto& files = desk.files;
  const auto beside = files.extract("beside");
  int made = 0;
  std::string history;
  for (int round = 0; round < 12; ++round) {
    CAPTURE(round);
    for (auto steps = 5 + random() % 20; steps != 0; --steps) {
      auto at = files.begin();
      std::advance(at, static_cast<std::ptrdiff_t>(random() % files.size()));
      const auto path = at->first;
      CAPTURE(path);
      const auto step = random() % 12;
      history += std::to_string(step) + " " + path + "\n";
      switch (step) {
        case 0: {
          const auto offset = random() % 40'000;
          const auto text = random() % 3 == 0 ? std::string(random() % 9000 + 1, '\0')
                                              : content(random() % 9000 + 1, static_cast<unsigned>(random()));
          must(desk.windows->write(path, offset, as_bytes(text)));
          if (at->second.size() < offset + text.size()) at->second.resize(offset + text.size());
          at->second.replace(offset, text.size(), text);
          break;
        }
        case 1: {
          at->second = random() % 3 == 0 ? std::string(random() % 30'000 + 1, '\0')
                                         : content(random() % 30'000 + 1, static_cast<unsigned>(random()));
          must(desk.windows->overwrite(path, as_bytes(at->second)));
          break;
        }
        case 2: {
          at->second.resize(random() % 30'000);
          must(desk.windows->truncate(path, at->second.size()));
          break;
        }
        case 3: {
          if (files.size() < 6) break;
          must(desk.windows->remove(path));
          files.erase(at);
          break;
        }
        case 4: {
          const auto name = "Documents/made" + std::to_string(made++);
          files[name] = content(random() % 20'000 + 1, static_cast<unsigned>(random()));
          must(desk.windows->create(name, as_bytes(files[name])));
          break;
        }
        case 5: {
          const auto name =
              (random() % 2 == 0 ? "Documents/deep/moved" : "Downloads/moved") + std::to_string(made++);
          must(desk.windows->rename(path, name));
          auto node = files.extract(path);
          node.key() = name;
          files.insert(std::move(node));
          break;
        }
        case 6:
        case 7:
          (void)desk.windows->free_up(path);
          break;
        case 8:
          must(desk.windows->set_pin(path, static_cast<CloudPin>(random() % 3)));
          break;
        default:
          REQUIRE((desk.read(path) == at->second));
      }
    }
    const auto what = random() % 6;
    history += "round ends with " + std::to_string(what) + "\n";
    if (what == 0) {
      desk.kill();
      desk.log_on();
    }
    if (what == 1) desk.session->fill().start(FillLevel::all);
    if (what == 2) {
      must(desk.session->loader().flush_tags());
    } else {
      (void)desk.snapshot();
      auto is = desk.saved_files();
      is.erase("beside");
      for (const auto& [path, text] : files) {
        CAPTURE(path);
        CAPTURE(history);
        REQUIRE(is.count(path) == 1);
        CAPTURE(is[path].size());
        CAPTURE(text.size());
        REQUIRE((is[path] == text));
      }
      REQUIRE(is.size() == files.size());
    }
  }
  for (const auto& [path, text] : files) {
    CAPTURE(path);
    REQUIRE((desk.read(path) == text));
  }
  desk.log_off();
  desk.changes();
  auto is = desk.saved_files();
  is.erase("beside");
  CHECK((is == files));
  CHECK(desk.windows->violations().empty());
}

}  // namespace
}  // namespace roamstead::agent
