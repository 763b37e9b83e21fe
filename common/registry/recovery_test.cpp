// Recovery from logs made here, as Windows writes them: gaps, either order, stale tails, half-written hives,
// damage.
#include "common/registry/recovery.h"

#include <doctest/doctest.h>

#include "common/registry/check.h"
#include "common/registry/hive_oracles.h"
#include "common/registry/test_hive.h"
#include "tests/support/seed.h"

namespace roamstead::registry {
namespace {

using namespace test;

ByteView bins_of(ByteView file) { return file.subspan(kBaseBlockBytes, load_le<std::uint32_t>(file, 40)); }

// Successive states of a hive, the first one clean.
std::vector<Bytes> states(std::size_t count, std::mt19937_64& random) {
  std::vector<Bytes> made = {sample_hive()};
  for (std::size_t i = 1; i < count; ++i) {
    auto editor = Editor::open(made.back(), "hive").value();
    const auto root = editor.hive().root().value().cell;
    for (int k = 0; k < 5; ++k) {
      const auto key = editor.create_path(root, "many\\" + std::to_string(random() % 700)).value();
      REQUIRE(editor.set_value(key, u"v", 3, Bytes(random() % 3000, static_cast<std::byte>(i))).has_value());
    }
    editor.finish();
    made.push_back(std::move(editor).take());
  }
  return made;
}

Result<Recovery> recover_from(ByteView primary, const std::vector<Bytes>& logs) {
  std::vector<LogFile> files;
  for (std::size_t i = 0; i < logs.size(); ++i) files.push_back({"LOG" + std::to_string(i + 1), logs[i]});
  return recover(primary, "hive", files);
}

bool recovers_to(ByteView primary, const std::vector<Bytes>& logs, ByteView wanted) {
  const auto recovery = recover_from(primary, logs);
  if (!recovery) MESSAGE(recovery.error().to_string());
  REQUIRE(recovery.has_value());
  const auto got = bins_of(recovery->file);
  const auto expected = bins_of(wanted);
  const auto hive = Hive::open(recovery->file, "recovered").value();
  return !hive.base().dirty() && std::equal(got.begin(), got.end(), expected.begin(), expected.end());
}

}  // namespace

TEST_CASE("whatever part of a hive reached the disk, its logs bring it to the last state, in either order") {
  auto random = support::seeded_random();
  for (int round = 0; round < 20; ++round) {
    const auto all = states(6, random);
    const std::uint32_t first = 100 + static_cast<std::uint32_t>(random() % 50);
    std::vector<LogEntry> entries;
    for (std::uint32_t i = 0; i + 1 < all.size(); ++i)
      entries.push_back(entry_between(all[i], all[i + 1], first + i));
    const auto cut = static_cast<std::ptrdiff_t>(1 + random() % (entries.size() - 1));
    const auto older = new_log(all[0], {entries.begin(), entries.begin() + cut});
    const auto newer = new_log(all[0], {entries.begin() + cut, entries.end()});
    // A crash while all of it was brought into the hive: any of the pages may be there.
    auto primary = all.front();
    for (const auto& entry : entries)
      for (const auto& [place, bytes] : entry.pages)
        if (random() % 2 == 0 && kBaseBlockBytes + place + bytes.size() <= primary.size())
          std::copy(bytes.begin(), bytes.end(),
                    primary.begin() + static_cast<std::ptrdiff_t>(kBaseBlockBytes + place));
    // With a gap between the hive's number and the first entry's, or without.
    make_dirty(primary, random() % 2 == 0 ? first : first - 60);
    CHECK(recovers_to(primary, {older, newer}, all.back()));
    CHECK(recovers_to(primary, {newer, older}, all.back()));
    CHECK(recovers_to(primary, {new_log(all[0], entries)}, all.back()));
    CHECK(recovers_to(primary, {new_log(all[0], entries), Bytes()}, all.back()));
    // The entries the hive holds already are passed over.
    auto later = all[2];
    make_dirty(later, first + 2);
    CHECK(recovers_to(later, {older, newer}, all.back()));
    // A clean hive is not touched.
    auto clean = all.front();
    seal_base_block(clean, first - 1);
    CHECK(recover_from(clean, {older, newer}).value().file.empty());
  }
}

TEST_CASE(
    "an entry that is damaged ends its log; what follows in the other log is not applied to older pages") {
  auto random = support::seeded_random();
  const auto all = states(5, random);
  std::vector<LogEntry> entries;
  for (std::uint32_t i = 0; i + 1 < all.size(); ++i)
    entries.push_back(entry_between(all[i], all[i + 1], 10 + i));
  auto primary = all.front();
  make_dirty(primary, 10);
  auto log = new_log(all[0], entries);
  // The second entry's last byte.
  std::size_t at = 512;
  at += load_le<std::uint32_t>(log, at + 4);
  const auto end = at + load_le<std::uint32_t>(log, at + 4);
  for (const auto place : {at + 41, end - 1, at + 8, at + 33}) {
    auto damaged = log;
    damaged[place] ^= std::byte{1};
    CHECK(recovers_to(primary, {damaged}, all[1]));
  }
  for (const auto size : {end - 1, end - 512, at + 39})
    CHECK(
        recovers_to(primary, {Bytes(log.begin(), log.begin() + static_cast<std::ptrdiff_t>(size))}, all[1]));
  // A tail of an earlier round.
  auto stale = new_log(all[0], {entries[0], entries[1]});
  const auto tail = new_log(all[0], {entry_between(all[3], all[0], 5)});
  stale.insert(stale.end(), tail.begin() + 512, tail.end());
  CHECK(recovers_to(primary, {stale}, all[2]));
}

TEST_CASE("of two logs with entries missing between them only the newer applies, and says so") {
  auto random = support::seeded_random();
  const auto all = states(4, random);
  // The older log was brought into the hive; the newer begins from there.
  const auto older = new_log(all[0], {entry_between(all[0], all[1], 20)});
  const auto newer = new_log(all[0], {entry_between(all[2], all[3], 30)});
  auto primary = all[2];
  make_dirty(primary, 15);
  CHECK(recovers_to(primary, {older, newer}, all[3]));
  const auto report = recover_from(primary, {older, newer}).value().report;
  REQUIRE(report.logs.size() == 2);
  CHECK(report.logs[0].name == "LOG2");
  CHECK(report.logs[0].applied);
  CHECK(!report.logs[1].applied);
  CHECK(report.logs[1].remark.find("not followed") != std::string::npos);
}

TEST_CASE("an old log applies if it is whole and of the hive's time, also to a hive without base block") {
  auto random = support::seeded_random();
  const auto all = states(2, random);
  auto after = all[1];
  auto primary = all[0];
  store_le<std::uint64_t>(after, 12, kTime);
  store_le<std::uint64_t>(primary, 12, kTime);
  make_dirty(primary, 7);
  const auto log = old_log(primary, after, 8);
  CHECK(recovers_to(primary, {log}, after));
  auto torn = primary;
  torn[24] = std::byte{1};
  const auto recovery = recover_from(torn, {log}).value();
  CHECK(recovery.report.base_block_replaced);
  CHECK(recovers_to(torn, {log}, after));
  CHECK(!recover_from(primary, {Bytes(log.begin(), log.end() - 512)}).has_value());
  auto other_time = log;
  store_le<std::uint64_t>(other_time, 12, kTime + 1);
  seal_base_block(other_time, 8);
  CHECK(!recover_from(primary, {other_time}).has_value());
  CHECK(!recover_from(torn, {other_time}).has_value());
}

TEST_CASE("a log that claims an enormous hive does not make us allocate one") {
  const auto hive = sample_hive();
  auto primary = hive;
  make_dirty(primary, 10);
  auto entry = entry_between(hive, hive, 10);
  entry.bins_bytes = 0x7FFFF000;
  const auto recovery = recover_from(primary, {new_log(hive, {entry})});
  REQUIRE(!recovery.has_value());
  CHECK(recovery.error().message.find("claims") != std::string::npos);
}

TEST_CASE(
    "hostile changes of any byte end in an error or a partial view, and never let an edit spoil the hive's "
    "form") {
  auto random = support::seeded_random();
  const auto sound = sample_hive();
  class Reader final : public TreeVisitor {
   public:
    bool enter(const Key&, const std::string&, std::uint32_t) override { return ++keys > 0; }
    void defect(Defect) override { ++defects; }
    std::uint64_t keys = 0;
    std::uint64_t defects = 0;
  };
  std::size_t noticed = 0;
  for (int round = 0; round < 1500; ++round) {
    auto hostile = sound;
    const auto changes = 1 + random() % 6;
    for (std::size_t i = 0; i < changes; ++i) {
      const auto at = random() % 3 == 0 ? random() % 600 : random() % (hostile.size() - 4);
      constexpr std::uint32_t kWords[] = {0,          1,          0x20,   0xFFFFFFFF, 0x80000000,
                                          0x7FFFFFF8, 0xFFFFFFF8, 0x1000, 0x78};
      if (random() % 2 == 0) {
        hostile[at] = static_cast<std::byte>(random());
      } else {
        store_le<std::uint32_t>(hostile, at / 4 * 4, kWords[random() % std::size(kWords)]);
      }
    }
    if (random() % 8 == 0) hostile.resize(random() % hostile.size());
    if (hostile.size() >= 512) seal_base_block(hostile, 2);
    auto hive = Hive::open(hostile, "hostile");
    if (!hive) {
      ++noticed;
      continue;
    }
    Reader reader;
    if (auto root = hive->root()) hive->walk(*root, reader);
    CHECK(reader.keys <= 530);
    const auto report = check(*hive);
    noticed += !report.sound();
    auto editor = Editor::open(hostile, "hostile");
    if (!editor) continue;
    for (int i = 0; i < 8; ++i) {
      const auto key = editor->hive().find(i % 2 == 0 ? "many\\" + std::to_string(random() % 520)
                                                      : "Software\\größe\\файл");
      if (!key) continue;
      (void)editor->set_value(key->cell, u"v300", 3, Bytes(random() % 20000));
      (void)editor->create_key(key->cell, u"new" + std::u16string(random() % 9, u'x'));
      (void)editor->set_security(key->cell, descriptor(static_cast<unsigned>(random() % 3)));
      if (const auto again = editor->hive().find("many\\" + std::to_string(random() % 520)))
        (void)editor->delete_key(again->cell);
    }
    editor->finish();
    // Cells still fill their bins, and a hive that was sound is sound.
    CHECK(CellStore::open(to_bytes(editor->file()), "edited").has_value());
    if (report.sound()) CHECK(check(editor->hive()).sound());
  }
  CHECK(noticed > 300);
}

}  // namespace roamstead::registry
