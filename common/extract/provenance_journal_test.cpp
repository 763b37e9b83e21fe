#include "common/extract/provenance_journal.h"

#include <doctest/doctest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "tests/support/crash_file_system.h"
#include "tests/support/seed.h"

namespace roamstead::extract {
namespace {

constexpr const char* kPath = "/vol/ProgramData/Roamstead/provenance.journal";

profile::ProfilePath path(const std::string& text) { return profile::ProfilePath::parse(text).value(); }

JournalHeader header() {
  JournalHeader result;
  result.session = Guid::from(as_bytes("0123456789abcdef"));
  result.profile_root = "Users/alice";
  return result;
}

TEST_CASE("what was flushed is there after opening again, and appending goes on") {
  support::CrashFileSystem files;
  {
    auto journal = ProvenanceJournal::create(files, kPath, header()).value();
    auto id = journal->append_published({10, 1, 5}, path("a"), {}).value();
    CHECK(id == 1);
    CHECK(journal->append_loaded(id, "", 0, std::vector<BlockTag>(2 * kMaxTagsPerRecord + 1, 3)));
    CHECK(journal->flush());
    CHECK(journal->append_published({11, 1, 5}, path("never flushed"), {}));
    CHECK(journal->inspect([](const Provenance& provenance) { return provenance.item_count(); }) == 2);
  }
  CHECK(ProvenanceJournal::create(files, kPath, header()).error().code == ErrorCode::exists);
  auto journal = ProvenanceJournal::open(files, kPath).value();
  CHECK(journal->header().profile_root == "Users/alice");
  CHECK(journal->inspect([](const Provenance& p) { return p.find(1)->streams.at("").tags.size(); }) ==
        2 * kMaxTagsPerRecord + 1);
  CHECK(journal->append_published({12, 1, 5}, path("b"), {}).value() == 2);
  CHECK(journal->append_populated(1));
  CHECK(journal->append_withdrawn(2));
  CHECK_FALSE(journal->append_populated(2).has_value());
  CHECK(journal->append_identity(1, {99, 2, 6}));
  CHECK(journal->flush());
  auto again = Provenance::parse(os::read_file(files, kPath, kMaxJournalBytes).value()).value();
  CHECK(again.find(1)->populated);
  CHECK(again.find(2)->withdrawn);
  CHECK(again.find_by_record(99)->id == 1);
}

TEST_CASE("what nobody asks for is put away, and is the same when somebody does") {
  support::CrashFileSystem files;
  auto journal = ProvenanceJournal::create(files, kPath, header()).value();
  const auto left_alone = [&] {
    for (int second = 0; second < 12; ++second) journal->put_away_if_unused();
  };
  constexpr std::uint64_t kItems = 20'000;  // enough for several pieces of the store
  left_alone();
  for (std::uint64_t record = 1; record <= kItems; ++record) {
    if (record % 3000 == 0) left_alone();
    CHECK(journal->append_published({record, 1, 5}, path("item " + std::to_string(record)), {}).value() ==
          record);
  }
  left_alone();
  const auto check = [&](std::uint64_t record) {
    journal->inspect([&](const Provenance& provenance) {
      const auto item = provenance.find_by_record(record);
      REQUIRE(item);
      CHECK(item->base_path.text() == "item " + std::to_string(record));
      CHECK(provenance.find_by_base(item->base_path) == item);
    });
  };
  // Several at once take it out once.
  std::vector<std::thread> threads;
  std::atomic<unsigned> found{0};
  for (unsigned number = 0; number < 4; ++number)
    threads.emplace_back([&, number] {
      for (std::uint64_t record = 1 + number; record <= kItems; record += 4)
        found +=
            journal->inspect([&](const Provenance& p) { return p.find_by_record(record)->id == record; });
    });
  for (auto& thread : threads) thread.join();
  CHECK(found == kItems);
  left_alone();
  CHECK(journal->append_withdrawn(7));
  left_alone();
  CHECK(journal->append_loaded(8, "", 0, {1, 2}));
  left_alone();
  check(8);
  check(kItems);
  journal->inspect([](const Provenance& p) {
    CHECK(p.find_by_record(7) == nullptr);
    CHECK(p.find(8)->streams.at("").tags.size() == 2);
  });
  left_alone();
  CHECK(journal->flush());
  auto again = Provenance::parse(os::read_file(files, kPath, kMaxJournalBytes).value()).value();
  CHECK(again.item_count() == kItems);
}

// A file system with room for the headers of journals, and for more once there is space again.
class FullFileSystem final : public os::FileSystem {
 public:
  explicit FullFileSystem(os::FileSystem& files) : files_(files) {}
  bool full = false;

  Result<std::unique_ptr<os::File>> open(const std::string& path, os::OpenMode mode) override {
    RS_TRY(auto file, files_.open(path, mode));
    return std::unique_ptr<os::File>(std::make_unique<FullFile>(std::move(file), full));
  }
  Result<void> rename(const std::string& from, const std::string& to) override {
    return files_.rename(from, to);
  }
  Result<void> link(const std::string& from, const std::string& to) override { return files_.link(from, to); }
  Result<bool> same_file(const std::string& a, const std::string& b) override {
    return files_.same_file(a, b);
  }
  Result<void> remove(const std::string& path) override { return files_.remove(path); }
  Result<bool> exists(const std::string& path) override { return files_.exists(path); }
  Result<std::vector<std::string>> list_directory(const std::string& path) override {
    return files_.list_directory(path);
  }
  Result<void> make_directories(const std::string& path) override { return files_.make_directories(path); }
  Result<void> sync_directory(const std::string& path) override { return files_.sync_directory(path); }

 private:
  class FullFile final : public os::File {
   public:
    FullFile(std::unique_ptr<os::File> file, const bool& full) : file_(std::move(file)), full_(full) {}
    Result<std::size_t> read_at(std::uint64_t offset, MutableByteView out) const override {
      return file_->read_at(offset, out);
    }
    // What still fits is written.
    Result<void> write_at(std::uint64_t offset, ByteView data) override {
      if (!full_) return file_->write_at(offset, data);
      RS_CHECK(file_->write_at(offset, data.first(data.size() * 2 / 3)));
      return fail(ErrorCode::full, "no space left");
    }
    Result<std::uint64_t> size() const override { return file_->size(); }
    Result<void> truncate(std::uint64_t size_bytes) override { return file_->truncate(size_bytes); }
    Result<void> sync() override { return file_->sync(); }
    Result<void> lock(bool exclusive) override { return file_->lock(exclusive); }
    const std::string& path() const override { return file_->path(); }

   private:
    std::unique_ptr<os::File> file_;
    const bool& full_;
  };

  os::FileSystem& files_;
};

TEST_CASE("a full disk makes a flush fail, and the next one bring everything once there is room") {
  support::CrashFileSystem disk;
  FullFileSystem files(disk);
  auto journal = ProvenanceJournal::create(files, kPath, header()).value();
  files.full = true;
  for (std::uint64_t i = 0; i < 3; ++i) {
    CHECK(journal->append_published({i, 0, i}, path("f" + std::to_string(i)), {}));
    auto refused = journal->flush();
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == ErrorCode::full);
  }
  files.full = false;
  CHECK(journal->append_published({3, 0, 3}, path("f3"), {}));
  CHECK(journal->flush());
  auto again = Provenance::parse(os::read_file(disk, kPath, kMaxJournalBytes).value()).value();
  REQUIRE(again.item_count() == 4);
  for (std::uint64_t i = 0; i < 4; ++i) CHECK(again.find(i + 1)->identity.record == i);
}

TEST_CASE("concurrent appends and flushes lose nothing") {
  support::CrashFileSystem files;
  auto journal = ProvenanceJournal::create(files, kPath, header()).value();
  std::vector<std::thread> threads;
  for (std::uint64_t t = 0; t < 4; ++t)
    threads.emplace_back([&journal, t] {
      for (std::uint64_t i = 0; i < 200; ++i) {
        auto id =
            journal->append_published({t * 1000 + i, 0, i}, path("f" + std::to_string(t * 1000 + i)), {});
        if (!id || !journal->append_base_limit(*id, "", 0) || (i % 10 == 0 && !journal->flush()))
          std::abort();
      }
    });
  for (auto& thread : threads) thread.join();
  REQUIRE(journal->flush());
  auto again = Provenance::parse(os::read_file(files, kPath, kMaxJournalBytes).value()).value();
  CHECK(again.item_count() == 800);
  CHECK(again.for_each([&](const ItemState& item) -> Result<void> {
    CHECK(again.find_by_record(item.identity.record)->id == item.id);
    return {};
  }));
}

TEST_CASE("a journal that was begun is whole from its first flush on, whatever point a crash comes at") {
  auto random = support::seeded_random();
  const auto begin = [](os::FileSystem& files) -> Result<void> {
    RS_TRY(auto journal, ProvenanceJournal::begin(files, kPath, header()));
    RS_CHECK(journal->append_published({10, 0, 5}, path("a"), {}));
    return journal->flush();
  };
  support::CrashFileSystem whole;
  REQUIRE(begin(whole));
  CHECK(ProvenanceJournal::begin(whole, kPath, header()).error().code == ErrorCode::exists);
  for (std::uint64_t crash = 0; crash <= whole.operations(); ++crash)
    for (int time = 0; time < 8; ++time) {
      support::CrashFileSystem files;
      files.crash_after(crash);
      const bool flushed = begin(files).has_value();
      const auto seed = random();
      CAPTURE(crash);
      CAPTURE(seed);
      files.power_loss(seed);
      auto journal = ProvenanceJournal::open(files, kPath);
      if (!journal) {
        CHECK(!flushed);
        CHECK((journal.error().code == ErrorCode::not_found || journal.error().code == ErrorCode::corrupt));
        continue;
      }
      CHECK((*journal)->header().session == header().session);
      if (flushed)
        CHECK((*journal)->inspect([](const Provenance& p) { return p.find_by_record(10) != nullptr; }));
    }
}

// Publishes, loads, reopens; calls acknowledged(n) after each flush with the number of items flushed.
Result<void> run(os::FileSystem& files, std::size_t& acknowledged) {
  acknowledged = 0;
  RS_TRY(auto journal, ProvenanceJournal::create(files, kPath, header()));
  for (std::uint64_t i = 1; i <= 6; ++i) {
    if (i == 4) {
      journal.reset();
      RS_TRY(journal, ProvenanceJournal::open(files, kPath));
    }
    RS_TRY(auto id, journal->append_published({i, 0, i}, path("f" + std::to_string(i)), {}));
    RS_CHECK(journal->append_loaded(id, "", 0, std::vector<BlockTag>(200, i)));
    if (i % 2 == 1) continue;  // two items a flush
    RS_CHECK(journal->flush());
    acknowledged = i;
  }
  return {};
}

TEST_CASE("a crash at any point keeps what was flushed, and the journal goes on") {
  auto random = support::seeded_random();
  std::size_t acknowledged = 0;
  support::CrashFileSystem whole;
  REQUIRE(run(whole, acknowledged));
  const auto operations = whole.operations();
  for (std::uint64_t crash = 0; crash <= operations; ++crash) {
    support::CrashFileSystem files;
    files.crash_after(crash);
    (void)run(files, acknowledged);
    const auto seed = random();
    CAPTURE(crash);
    CAPTURE(seed);
    files.power_loss(seed);
    auto journal = ProvenanceJournal::open(files, kPath);
    if (!journal) {
      CHECK(acknowledged == 0);
      CHECK(journal.error().code == ErrorCode::not_found);
      continue;
    }
    const auto kept = (*journal)->inspect([](const Provenance& p) { return p.item_count(); });
    // Item 3 is appended, not flushed, when the first journal goes away: ids then start again behind item 2.
    CHECK(kept >= (acknowledged > 2 ? acknowledged - 1 : acknowledged));
    auto id = (*journal)->append_published({500, 0, 1}, path("after"), {});
    REQUIRE(id.has_value());
    REQUIRE((*journal)->flush());
    files.power_loss(random());
    auto again = ProvenanceJournal::open(files, kPath);
    REQUIRE(again.has_value());
    (*again)->inspect([&](const Provenance& p) {
      CHECK(p.item_count() == kept + 1);
      CHECK(p.find_by_record(500)->base_path.text() == "after");
    });
  }
}

}  // namespace
}  // namespace roamstead::extract
