// Random programs at work on a real NTFS volume, scanned instead of extracted: what the batches make of a
// tree in memory must be what the programs made of theirs, and what extraction from the frozen disk makes of
// it.
#include <doctest/doctest.h>

#include "agent/scan/scan_snapshots.h"
#include "common/base/sha256.h"
#include "common/extract/entry_reader.h"
#include "common/extract/test_worker.h"
#include "tests/support/must.h"
#include "tests/support/seed.h"

namespace roamstead::agent {
namespace {

using support::must;

// A frozen volume as if it were a live one on which nothing moves. Every change shows in the change time.
class FrozenSource final : public ScanSource {
 public:
  explicit FrozenSource(bool tells_sequence) : tells_sequence_(tells_sequence) {}
  void show(const std::string& path) {
    snapshot_ = must(extract::Snapshot::open(os::real_file_system(), path, 0));
  }
  // The n-th call from now on fails, and all after it; negative: none.
  int calls_left = -1;
  // Files that a program shares with nobody.
  std::set<std::string> locked;
  // Whether it tells which folders changed, and with whom it now and then tells less, or what is not so.
  bool tells_changes = false;
  std::mt19937_64* lies = nullptr;

  Result<std::vector<ScannedItem>> list_to_scan(const std::string& path) override {
    RS_CHECK(call());
    RS_TRY(const auto directory, volume().lookup(path));
    RS_TRY(const auto children, volume().list(directory.record));
    std::vector<ScannedItem> items;
    for (const auto& child : children) {
      RS_TRY(const auto file, volume().record(child.reference.record));
      items.push_back(item(file, child.name));
    }
    return items;
  }
  Result<ScannedItem> look(const std::string& path) override {
    RS_CHECK(call());
    RS_TRY(const auto reference, volume().lookup(path));
    RS_TRY(const auto file, volume().record(reference.record));
    return item(file, os::base_name(path));
  }
  Result<ItemDetails> details(const std::string& path) override {
    RS_CHECK(call());
    RS_TRY(const auto reference, volume().lookup(path));
    RS_TRY(const auto file, volume().record(reference.record));
    ItemDetails details;
    details.item = item(file, os::base_name(path));
    details.attributes = file.attributes;
    details.created_100ns = file.created_100ns;
    details.reparse_tag = file.reparse_tag;
    details.reparse_data = file.reparse_data;
    details.security = file.own_security_descriptor;
    if (details.security.empty() && file.security_id != 0) {
      RS_TRY(details.security, volume().security_descriptor(file.security_id));
    }
    if (extract::is_stand_in(details.security)) details.security.clear();
    for (const auto& stream : file.streams)
      details.streams.push_back(
          {stream.name, stream.size_bytes, stream.resident || !volume().device_extents(stream).empty()});
    return details;
  }
  std::optional<std::set<std::uint64_t>> changed_folders() override {
    if (!tells_changes) return std::nullopt;
    std::map<std::pair<std::uint64_t, std::string>, std::pair<std::uint64_t, ItemStamp>> now;
    constexpr std::uint64_t kFirstOfUsers = 24;  // the system's own are large
    must(volume().scan([&](std::uint64_t number, Result<ntfs::FileRecord> file) {
      if (file && number >= kFirstOfUsers)
        for (const auto& name : file->names)
          now[{name.parent.record, name.name}] = {file->reference.record, item(*file, "").stamp};
      return true;
    }));
    std::set<std::uint64_t> folders;
    for (const auto& [name, what] : now)
      if (const auto before = told_.find(name); before == told_.end() || before->second != what)
        folders.insert(name.first);
    for (const auto& [name, what] : told_)
      if (now.count(name) == 0) folders.insert(name.first);
    told_ = std::move(now);
    if (lies == nullptr) return folders;
    const auto how = (*lies)() % 8;
    if (how == 0) return std::nullopt;
    if (how < 5) std::erase_if(folders, [&](auto) { return (*lies)() % 2 == 0; });
    if (how == 1) folders.insert((*lies)() % 200);
    return folders;
  }
  Result<std::unique_ptr<VolumeHandle>> open_to_read(const std::string& path,
                                                     const std::string& stream) override {
    RS_CHECK(call());
    if (locked.count(path) != 0) return fail(ErrorCode::busy, path + " is open elsewhere");
    RS_TRY(const auto reference, volume().lookup(path));
    RS_TRY(const auto file, volume().record(reference.record));
    for (const auto& found : file.streams)
      if (found.name == stream)
        return std::unique_ptr<VolumeHandle>(std::make_unique<Handle>(volume(), found));
    return fail(ErrorCode::not_found, path + ": no stream '" + stream + "'");
  }

 private:
  class Handle final : public VolumeHandle {
   public:
    Handle(const ntfs::Volume& volume, ntfs::StreamInfo stream)
        : volume_(volume), stream_(std::move(stream)) {}
    std::uint64_t record() const override { return stream_.record; }
    const std::string& stream() const override { return stream_.name; }
    Result<std::size_t> read(std::uint64_t offset, MutableByteView out) override {
      if (offset >= stream_.size_bytes) return std::size_t{0};
      const auto count =
          static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), stream_.size_bytes - offset));
      RS_CHECK(volume_.read(stream_, offset, out.first(count)));
      return count;
    }
    Result<void> write(std::uint64_t, ByteView) override { return fail(ErrorCode::unsupported, "frozen"); }
    Result<void> truncate(std::uint64_t) override { return fail(ErrorCode::unsupported, "frozen"); }
    Result<std::uint64_t> size() override { return stream_.size_bytes; }
    Result<void> sync() override { return {}; }
    Result<ItemTimes> times() override { return ItemTimes{}; }
    Result<void> set_times(const ItemTimes&) override { return fail(ErrorCode::unsupported, "frozen"); }

   private:
    const ntfs::Volume& volume_;
    const ntfs::StreamInfo stream_;
  };

  Result<void> call() {
    if (calls_left < 0 || --calls_left > 0) return {};
    calls_left = 0;
    return fail(ErrorCode::io, "the plug was pulled");
  }
  const ntfs::Volume& volume() const { return snapshot_->volume(); }
  ScannedItem item(const ntfs::FileRecord& file, const std::string& name) const {
    ScannedItem item;
    item.name = name;
    item.record = file.reference.record;
    if (tells_sequence_) item.sequence = file.reference.sequence;
    item.directory = file.directory && !file.reparse_tag;
    item.stamp.written_100ns = file.written_100ns;
    item.stamp.links = static_cast<std::uint32_t>(file.names.size());
    ByteWriter all;
    all.bytes(must(volume().raw_record(file.reference.record)));
    for (const auto extension : file.extension_records) all.bytes(must(volume().raw_record(extension)));
    for (const auto& stream : file.streams) {
      if (stream.name.empty()) item.stamp.size_bytes = stream.size_bytes;
      if (stream.resident) continue;
      Bytes bytes(stream.size_bytes);
      must(volume().read(stream, 0, bytes));
      all.bytes(bytes);
    }
    item.stamp.changed_100ns = load_le<std::uint64_t>(sha256(all.view())) >> 16;  // long ago
    return item;
  }

  const bool tells_sequence_;
  std::unique_ptr<extract::Snapshot> snapshot_;
  // By folder and name, as it was told last.
  std::map<std::pair<std::uint64_t, std::string>, std::pair<std::uint64_t, ItemStamp>> told_;
};

struct Scanner {
  support::TemporaryDirectory directory;
  FrozenSource source;
  std::unique_ptr<ScanSnapshots> snapshots;
  ScanSnapshots::Options options;

  explicit Scanner(bool tells_sequence) : source(tells_sequence) {
    options.directory = directory / "scan";
    options.provenance_path = "ProgramData/Roamstead/provenance.journal";
    options.last_patience = std::chrono::milliseconds(0);
    start_anew();
  }
  void start_anew() {
    snapshots.reset();
    snapshots = must(ScanSnapshots::open(source, os::real_file_system(), options));
  }
  struct Taken {
    FrozenLayer layer;
    std::unique_ptr<Cut> cut;
  };
  Taken take(const std::string& frozen_path, const Guid& below) {
    source.show(frozen_path);
    Taken taken;
    taken.layer = must(snapshots->freeze());
    taken.cut = must(snapshots->cut(taken.layer, below));
    return taken;
  }
};

struct SessionOptions {
  int rounds = 14;
  std::size_t steps = 20;
  bool lose_tags = false;
  bool tells_sequence = true;
  bool locks = false;
  bool break_off = false;
  bool tells_changes = false, lies = false;
  std::uint64_t most_bytes = std::uint64_t{1} << 30;
};

// How many scans looked at what had changed only.
int run_session(std::mt19937_64& random, const SessionOptions& options) {
  auto base = extract::random_base(random);
  extract::TestDesktop desktop;
  extract::TestAgent agent(desktop, base);
  extract::TestTree expected = base, tree = base, extracted = base;
  extract::Worker worker(agent, expected, random);
  Scanner scanner(options.tells_sequence);
  scanner.options.most_bytes = options.most_bytes;
  scanner.start_anew();
  scanner.source.tells_changes = options.tells_changes;
  if (options.lies) scanner.source.lies = &random;
  int narrowed = 0;
  Guid below, below_extracted;
  for (int round = 0; round < options.rounds; ++round) {
    CAPTURE(round);
    const bool idle = random() % 4 == 0;
    try {
      if (options.lose_tags && random() % 2 == 0) agent.kill_before_name(static_cast<int>(random() % 10));
      for (auto steps = random() % options.steps; steps > 0; --steps) {
        if (idle || random() % 2 == 0) {
          const auto path = worker.random_path(random() % 8 == 0);
          if (path.empty()) continue;
          if (expected.at(path).is_directory())
            agent.populate(path);
          else
            agent.load(path, extract::kStreams[random() % 2], random() % 20'000, random() % 30'000);
          if (random() % 3 == 0) agent.flush_tags();
        } else {
          worker.step();
        }
      }
    } catch (const extract::TestAgent::Killed&) {
    }
    expected.settle();
    const bool last = round + 1 == options.rounds;
    agent.flush_tags();  // as the cycle does before every freeze
    const auto frozen = desktop.freeze();
    if (options.lose_tags && random() % 2 == 0)
      agent.restart();
    else
      agent.kill_before_name(-1);
    if (!last && random() % 5 == 0) continue;
    scanner.source.locked.clear();
    if (options.locks && !last)
      for (int i = 0; i < 5; ++i)
        if (const auto path = worker.random_path(false); !path.empty())
          scanner.source.locked.insert(std::string(extract::kTestRoot) + "/" + path);
    if (options.break_off && !last && random() % 2 == 0) {  // in the middle of a scan, or shortly after
      scanner.source.show(frozen.frozen_path);
      scanner.source.calls_left = static_cast<int>(random() % 400);
      const auto layer = scanner.snapshots->freeze();
      if (layer) (void)scanner.snapshots->cut(*layer, below);
      scanner.source.calls_left = -1;
      if (random() % 2 == 0) scanner.start_anew();
      if (random() % 2 == 0) continue;
    }
    if (last) scanner.snapshots->expect_last();
    auto [layer, cut] = scanner.take(frozen.frozen_path, below);
    if (!last && random() % 6 == 0) {  // killed before it was queued
      cut.reset();
      if (random() % 2 == 0) scanner.start_anew();
      continue;
    }
    const auto batch = cut->batch();
    const bool whole = scanner.snapshots->statistics().whole;
    CAPTURE(whole);
    if (!whole) ++narrowed;
    if (last) CHECK(whole);
    const bool left_something = scanner.snapshots->left_something();
    if (random() % 2 == 0) {  // sent by another process
      cut.reset();
      scanner.start_anew();
      const auto content = must(scanner.snapshots->open_content(layer, batch, {}));
      tree.apply(batch, *content);
    } else {
      tree.apply(batch, cut->content());
    }
    below = layer.id;
    CAPTURE(extract::describe(batch));
    extract::Request request;
    request.frozen_path = frozen.frozen_path;
    request.below_id = below_extracted;
    const auto extraction = desktop.extract(request);
    below_extracted = frozen.frozen_id;
    extracted.apply(extraction->batch(), extraction->content());
    CAPTURE(extract::describe(extraction->batch()));
    REQUIRE(extract::difference(expected, extracted) == "");
    if (options.lies && !whole) {
      // What was not told of comes with a scan that looks at everything.
    } else if (batch.held_back.empty()) {
      REQUIRE(extract::difference(expected, tree) == "");
    } else {
      CHECK((options.locks || options.most_bytes < 100'000));
      CHECK(left_something);
      CHECK_FALSE(last);
    }
    cut.reset();
    if (random() % 3 == 0) must(scanner.snapshots->tidy(below));
  }
  return narrowed;
}

TEST_CASE("a scan finds what the programs did, and what extraction finds") {
  if (!support::can_format_ntfs()) return;
  auto random = support::seeded_random();
  SessionOptions options;
  SUBCASE("on a volume that tells one file from the next with its number") {}
  SUBCASE("on one that does not, as ntfs-3g") { options.tells_sequence = false; }
  for (int session = 0; session < 3; ++session) run_session(random, options);
}

TEST_CASE("an agent killed at any moment costs no content and adds no change to what is scanned") {
  if (!support::can_format_ntfs()) return;
  auto random = support::seeded_random();
  SessionOptions options;
  options.lose_tags = true;
  for (int session = 0; session < 3; ++session) run_session(random, options);
}

TEST_CASE("a scan of the folders that changed finds what one of everything finds") {
  if (!support::can_format_ntfs()) return;
  auto random = support::seeded_random();
  SessionOptions options;
  options.tells_changes = true;
  options.steps = 8;
  SUBCASE("where nothing happens to it") {}
  SUBCASE("where the agent is killed") { options.lose_tags = true; }
  SUBCASE("where scans end in their middle") { options.break_off = true; }
  options.tells_sequence = random() % 2 == 0;
  int narrowed = 0;
  // one of many sessions may by chance have no scan of that kind
  for (int session = 0; session < 3 || (narrowed == 0 && session < 30); ++session)
    narrowed += run_session(random, options);
  CHECK(narrowed != 0);
}

TEST_CASE("whatever is told of changes, and not told, the session's end has everything") {
  if (!support::can_format_ntfs()) return;
  auto random = support::seeded_random();
  SessionOptions options;
  options.tells_changes = options.lies = true;
  options.steps = 12;
  options.tells_sequence = random() % 2 == 0;
  int narrowed = 0;
  for (int session = 0; session < 4; ++session) narrowed += run_session(random, options);
  CHECK(narrowed != 0);
}

TEST_CASE("a scan that ends in its middle leaves no trace in the next one") {
  if (!support::can_format_ntfs()) return;
  auto random = support::seeded_random();
  SessionOptions options;
  options.break_off = true;
  options.tells_sequence = random() % 2 == 0;
  for (int session = 0; session < 3; ++session) run_session(random, options);
}

TEST_CASE("what cannot be read, or is too much for a batch, comes later, and nothing is lost on the way") {
  if (!support::can_format_ntfs()) return;
  auto random = support::seeded_random();
  SessionOptions options;
  SUBCASE("open in programs") { options.locks = true; }
  SUBCASE("too much") { options.most_bytes = 30'000; }
  for (int session = 0; session < 3; ++session) run_session(random, options);
}

TEST_CASE("what was saved of a file says nothing of the next one that has its record") {
  if (!support::can_format_ntfs()) return;
  bool tells_sequence = true;
  SUBCASE("on a volume that tells one file from the next with its number") {}
  SUBCASE("on one that does not, as ntfs-3g") { tells_sequence = false; }
  extract::TestTree base;
  base.make_directory("folder").entry.metadata.created_100ns = extract::kFirstTime;
  for (int i = 0; i < 40; ++i)
    base.make_file("folder/" + std::to_string(i), Bytes(9000, std::byte{7})).entry.metadata.created_100ns =
        extract::kFirstTime;
  base.settle();
  extract::TestDesktop desktop;
  extract::TestAgent agent(desktop, base);
  Scanner scanner(tells_sequence);
  Guid below;
  const auto cut = [&] {
    agent.flush_tags();
    auto [layer, made] = scanner.take(desktop.freeze().frozen_path, below);
    below = layer.id;
    return extract::describe(made->batch());
  };
  const auto record_of = [&](const std::string& name) {
    return desktop.volume().find(std::string(extract::kTestRoot) + "/" + name)->record;
  };
  std::set<std::uint64_t> records;
  for (int i = 0; i < 40; ++i) {
    agent.write("new" + std::to_string(i), "", 0, Bytes(9000, std::byte{5}));
    records.insert(record_of("new" + std::to_string(i)));
  }
  CHECK(cut() != "");
  for (int i = 0; i < 40; ++i) agent.remove("new" + std::to_string(i));
  agent.populate("folder");
  std::size_t again = 0;
  for (int i = 0; i < 40; ++i) again += records.count(record_of("folder/" + std::to_string(i)));
  REQUIRE(again != 0);
  const auto removed = cut();
  CHECK(removed.find("put") == std::string::npos);
  for (int i = 0; i < 40; ++i) agent.load("folder/" + std::to_string(i), "", 0, 4096);
  CHECK(cut() == "");
}

TEST_CASE("what lies in a folder whose time of creation a program changed stays in it") {
  if (!support::can_format_ntfs()) return;
  bool tells_sequence = true;
  SUBCASE("on a volume that tells one file from the next with its number") {}
  SUBCASE("on one that does not, as ntfs-3g") { tells_sequence = false; }
  unsigned times = 1;
  SUBCASE("once between two snapshots") {}
  SUBCASE("several times") { times = 3; }
  extract::TestTree base;
  base.make_directory("old").entry.metadata.created_100ns = extract::kFirstTime;
  base.make_file("old/file", Bytes(9000, std::byte{7})).entry.metadata.created_100ns = extract::kFirstTime;
  base.settle();
  extract::TestDesktop desktop;
  extract::TestAgent agent(desktop, base);
  Scanner scanner(tells_sequence);
  Guid below;
  const auto cut = [&] {
    agent.flush_tags();
    auto [layer, made] = scanner.take(desktop.freeze().frozen_path, below);
    below = layer.id;
    CHECK(made->batch().held_back.empty());
    return extract::describe(made->batch());
  };
  agent.make_directory("made");
  agent.make_directory("made/inner");
  agent.write("made/inner/file", "", 0, Bytes(9000, std::byte{5}));
  agent.write("made/file", "", 0, Bytes(9000, std::byte{5}));
  CHECK(cut().find("put made/inner/file") != std::string::npos);
  agent.populate("old");
  CHECK(cut() == "");
  for (const auto* folder : {"made", "old"}) {
    for (unsigned time = 0; time < times; ++time) {
      profile::Metadata other;
      other.created_100ns = other.written_100ns = extract::kFirstTime + (time + 1) * 10'000'000;
      agent.set_metadata(folder, other);
    }
    // Without sequence numbers it may pass for another folder: what lies in it
    // then moves there, and no content is sent again.
    const auto changed = cut();
    INFO(changed);
    for (const auto* lost : {"delete made/", "delete old/", "put made/", "put old/"})
      CHECK(changed.find(lost) == std::string::npos);
    if (tells_sequence) CHECK(changed.find("file") == std::string::npos);
    CHECK(cut() == "");
  }
  for (const auto* file : {"made/inner/file", "made/file", "old/file"}) {
    agent.remove(file);
    CHECK(cut().find(std::string("delete ") + file) != std::string::npos);
  }
}

TEST_CASE("loading everything and changing nothing is no record of a scan") {
  if (!support::can_format_ntfs()) return;
  auto random = support::seeded_random();
  auto base = extract::random_base(random);
  extract::TestDesktop desktop;
  extract::TestAgent agent(desktop, base);
  Scanner scanner(false);
  Guid below;
  for (int part = 0; part < 4; ++part) {
    for (const auto& [path, text] : base.describe()) {
      if (random() % 2 == 0 && part < 3) continue;
      if (base.at(path).is_directory()) {
        agent.populate(path);
      } else {
        for (const auto& stream : extract::kStreams) agent.load(path, stream, 0, 1 << 20);
      }
    }
    agent.flush_tags();
    auto [layer, cut] = scanner.take(desktop.freeze().frozen_path, below);
    below = layer.id;
    CHECK(extract::describe(cut->batch()) == "");
    CHECK(cut->batch().held_back.empty());
  }
}

}  // namespace
}  // namespace roamstead::agent
