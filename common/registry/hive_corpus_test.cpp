// Hives of real machines (ROAMSTEAD_CORPUS), read and recovered, compared with what independent readers see
// and with what Windows itself recovered.
#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <iostream>

#include "common/registry/check.h"
#include "common/registry/editor.h"
#include "common/registry/hive.h"
#include "common/registry/hive_oracles.h"
#include "common/registry/recovery.h"
#include "common/registry/reg_text.h"
#include "tests/support/corpus.h"
#include "tests/support/temporary_directory.h"

namespace roamstead::registry {
namespace {

std::string corpus() {
  const auto folder = support::corpus("hives");
  return folder.empty() ? "" : folder + "/";
}

Bytes corpus_bytes(const std::string& name) {
  const auto path = corpus() + name;
  return file_bytes(std::filesystem::exists(path) ? path : path + ".xz");
}

struct WithLogs {
  Bytes primary;
  std::vector<Bytes> bytes;
  std::vector<LogFile> logs;
};

WithLogs load(const std::string& primary, std::initializer_list<std::string> logs) {
  WithLogs loaded;
  loaded.primary = corpus_bytes(primary);
  for (const auto& log : logs) loaded.bytes.push_back(corpus_bytes(log));
  std::size_t i = 0;
  for (const auto& log : logs) loaded.logs.push_back({log, loaded.bytes[i++]});
  return loaded;
}

struct RecoverableHive {
  std::string primary;
  std::string log1;
  std::string log2;
  TreeCounts before;
  TreeCounts after;
  std::vector<std::string> order;  // endings of the logs that apply
  std::uint32_t sequence;
};

const std::vector<RecoverableHive> kRecoverable = {
    {"regipy/UsrClass.dat",
     "regipy/UsrClass.dat.LOG1",
     "regipy/UsrClass.dat.LOG2",
     {6205, 12369},
     {6238, 12531},
     {"LOG1", "LOG2"},
     301},
    {"regipy/SYSTEM_B",
     "regipy/SYSTEM_B.LOG1",
     "regipy/SYSTEM_B.LOG2",
     {33123, 74957},
     {35595, 78901},
     {"LOG1", "LOG2"},
     2131},
    {"museum/Win11/NTUSER.DAT",
     "museum/Win11/ntuser.dat.LOG1",
     "museum/Win11/ntuser.dat.LOG2",
     {3012, 4615},
     {3014, 4615},
     {"LOG2", "LOG1"},
     243},
    {"museum/Win11/UsrClass.dat",
     "museum/Win11/UsrClass.dat.LOG1",
     "museum/Win11/UsrClass.dat.LOG2",
     {6119, 10890},
     {6119, 10890},
     {"LOG2", "LOG1"},
     147},
    {"museum/Win11/SECURITY",
     "museum/Win11/SECURITY.LOG1",
     "museum/Win11/SECURITY.LOG2",
     {100, 109},
     {100, 109},
     {"LOG1"},
     116},
    {"museum/Win11/DEFAULT",
     "museum/Win11/DEFAULT.LOG1",
     "museum/Win11/DEFAULT.LOG2",
     {409, 1046},
     {409, 1046},
     {"LOG2", "LOG1"},
     108},
    {"museum/Win11/BBI",
     "museum/Win11/BBI.LOG1",
     "museum/Win11/BBI.LOG2",
     {269, 1858},
     {269, 1858},
     {"LOG1", "LOG2"},
     50},
    {"museum/Win11/LocalService/NTUSER.DAT",
     "museum/Win11/LocalService/NTUSER.DAT.LOG1",
     "museum/Win11/LocalService/NTUSER.DAT.LOG2",
     {657, 968},
     {657, 968},
     {"LOG1", "LOG2"},
     46},
    {"museum/Win11/NetworkService/NTUSER.DAT",
     "museum/Win11/NetworkService/NTUSER.DAT.LOG1",
     "museum/Win11/NetworkService/NTUSER.DAT.LOG2",
     {702, 1018},
     {702, 1018},
     {"LOG1", "LOG2"},
     101},
    {"yarp/hives_for_tests/NewDirtyHive1/NewDirtyHive",
     "yarp/hives_for_tests/NewDirtyHive1/NewDirtyHive.LOG1",
     "yarp/hives_for_tests/NewDirtyHive1/NewDirtyHive.LOG2",
     {5, 2},
     {5, 1},
     {"LOG1", "LOG2"},
     6},
};

}  // namespace

TEST_CASE("dirty hives of real machines are recovered, whichever log is the older one") {
  if (corpus().empty() || !have_oracles()) return;
  support::TemporaryDirectory directory;
  for (const auto& each : kRecoverable) {
    CAPTURE(each.primary);
    const auto loaded = load(each.primary, {each.log1, each.log2});
    const auto stale = Hive::open(loaded.primary, each.primary).value();
    CHECK(stale.base().dirty());
    CHECK(counts_of(picture_of(stale)) == each.before);
    const auto recovery = recover(loaded.primary, each.primary, loaded.logs);
    REQUIRE_MESSAGE(recovery.has_value(), (recovery ? "" : recovery.error().to_string()));
    CHECK(recovery->report.sequence_after == each.sequence);
    std::vector<std::string> order;
    for (const auto& log : recovery->report.logs)
      if (log.applied) order.push_back(log.name.substr(log.name.size() - 4));
    CHECK(order == each.order);
    const auto hive = Hive::open(recovery->file, each.primary).value();
    CHECK(!hive.base().dirty());
    CHECK(counts_of(picture_of(hive)) == each.after);
    const auto path = directory / "recovered";
    write_bytes(path, recovery->file);
    CHECK(hivexml_counts(path) == each.after);
    CHECK(reglookup_counts(path) == each.after);
    CHECK(regfexport_counts(path) == each.after);
  }
}

TEST_CASE("a hive with new logs is recovered to the very bytes Windows 10 wrote") {
  if (corpus().empty()) return;
  const std::string folder = "yarp/hives_for_tests/NewDirtyHive1/";
  const auto loaded =
      load(folder + "NewDirtyHive", {folder + "NewDirtyHive.LOG1", folder + "NewDirtyHive.LOG2"});
  const auto recovery = recover(loaded.primary, "hive", loaded.logs).value();
  CHECK(recovery.file == corpus_bytes(folder + "RecoveredHive_Windows10"));
}

TEST_CASE(
    "a hive with an old log is recovered to the tree that Windows 7 made of it, also without a base block") {
  if (corpus().empty()) return;
  const std::string folder = "yarp/hives_for_tests/";
  const auto oracle_bytes = corpus_bytes(folder + "OldDirtyHive/RecoveredHive_Windows7");
  const auto oracle = Hive::open(oracle_bytes, "oracle").value();
  for (const auto* name : {"OldDirtyHive", "BadBaseBlockHive"}) {
    CAPTURE(name);
    const auto path = folder + name + "/" + name;
    const auto loaded = load(path, {path + ".LOG1", path + ".LOG2"});
    const auto recovery = recover(loaded.primary, name, loaded.logs);
    REQUIRE_MESSAGE(recovery.has_value(), (recovery ? "" : recovery.error().to_string()));
    CHECK(recovery->report.base_block_replaced == (std::string(name) == "BadBaseBlockHive"));
    CHECK(same_picture(picture_of(Hive::open(recovery->file, name).value()), picture_of(oracle)));
    // All but the time of the first bin and one largest name length that Windows computed anew.
    std::size_t different = 0;
    for (std::size_t i = kBaseBlockBytes + kBinHeaderBytes; i < oracle_bytes.size(); ++i)
      different += recovery->file[i] != oracle_bytes[i];
    CHECK(different <= 1);
  }
}

TEST_CASE("dirty hives without logs, or with a damaged one, are refused with the reason") {
  if (corpus().empty()) return;
  for (const auto* name : {"regipy/SYSTEM_WIN_10_1709", "regipy/SYSTEM_2", "regipy/NTUSER_BAGMRU.DAT",
                           "regipy/NTUSER_with_winscp.DAT", "regipy/amcache.hve", "regipy/SECURITY"}) {
    CAPTURE(name);
    const auto recovery = recover(corpus_bytes(name), name, {});
    REQUIRE(!recovery.has_value());
    CHECK(recovery.error().message.find("dirty") != std::string::npos);
  }
  const std::string path = "yarp/hives_for_tests/BadLogHive1/BadLogHive";
  const auto loaded = load(path, {path + ".LOG1", path + ".LOG2"});
  const auto recovery = recover(loaded.primary, path, loaded.logs);
  REQUIRE(!recovery.has_value());
  CHECK(recovery.error().message.find("checksum") != std::string::npos);
}

TEST_CASE("logs of another hive, or of one of its earlier times, are not applied") {
  if (corpus().empty()) return;
  const auto loaded = load("museum/Win11/NTUSER.DAT", {"museum/Win11/SAM.LOG1"});
  CHECK(!recover(loaded.primary, "NTUSER.DAT", loaded.logs).has_value());
}

TEST_CASE("clean hives are never touched by their old logs") {
  if (corpus().empty()) return;
  const std::string folder = "museum/Win11/";
  for (const auto& each : {std::pair<std::string, std::string>{"SAM", "SAM.LOG1"},
                           {"SAM", "SAM.LOG2"},
                           {"BCD-Template", "BCD-Template.LOG"},
                           {"ELAM", "ELAM.LOG1"},
                           {"DEFAULT (NTUSER)/NTUSER.DAT", "DEFAULT (NTUSER)/NTUSER.DAT.LOG1"}}) {
    const auto& [name, log] = each;
    CAPTURE(each.first);
    const auto loaded = load(folder + name, {folder + log});
    const auto recovery = recover(loaded.primary, name, loaded.logs).value();
    CHECK(!recovery.report.was_dirty);
    CHECK(recovery.file.empty());
  }
}

TEST_CASE("clean hives show what hivex, reglookup and libregf show, and export to the same") {
  if (corpus().empty() || !have_oracles()) return;
  for (const std::string name : {"regipy/SYSTEM",
                                 "misc/dissect-SYSTEM",
                                 "regipy/NTUSER.DAT",
                                 "regipy/NTUSER_modified.DAT",
                                 "regipy/NTUSER-WSL.DAT",
                                 "museum/Win11/SAM",
                                 "museum/Win11/DEFAULT (NTUSER)/NTUSER.DAT",
                                 "museum/Win11/ELAM",
                                 "museum/Win11/BCD-Template",
                                 "regipy/BCD",
                                 "regipy/SAM",
                                 "misc/velociraptor-SAM",
                                 "misc/nt-hive-testhive",
                                 "misc/hivex-special",
                                 "misc/hivex-rlenvalue_test_hive",
                                 "misc/hivex-minimal",
                                 "yarp/hives_for_tests/BigDataHive",
                                 "yarp/hives_for_tests/ManySubkeysHive",
                                 "yarp/hives_for_tests/UpcaseHive",
                                 "yarp/hives_for_tests/UnicodeHive",
                                 "yarp/hives_for_tests/ExtendedASCIIHive",
                                 "yarp/hives_for_tests/WrongOrderHive",
                                 "yarp/hives_for_tests/StringValuesHive",
                                 "yarp/hives_for_tests/SlackHive",
                                 "yarp/hives_for_tests/CompHive"}) {
    CAPTURE(name);
    support::TemporaryDirectory directory;
    const auto bytes = corpus_bytes(name);
    const auto path = directory / "hive";
    write_bytes(path, bytes);
    const auto hive = Hive::open(bytes, name).value();
    const auto picture = picture_of(hive);
    const auto counts = counts_of(picture);
    CHECK(hivexml_counts(path) == counts);
    CHECK(reglookup_counts(path) == counts);
    CHECK(regfexport_counts(path) == counts);
    if (bytes.size() < 2 << 20) CHECK(same_picture(picture, hivex_picture(path)));
    Bytes text = to_bytes(std::string_view("\xFF\xFE"));
    std::vector<Defect> defects;
    const auto root = hive.root().value();
    CHECK(export_reg(
              hive, root, "HKEY_LOCAL_MACHINE\\X",
              [&](std::u16string_view units) -> Result<void> {
                const auto part = std::as_bytes(std::span(units.data(), units.size()));
                text.insert(text.end(), part.begin(), part.end());
                return {};
              },
              defects)
              .has_value());
    CHECK(defects.empty());
    CHECK(same_picture(picture, reg_picture(text, "HKEY_LOCAL_MACHINE\\X")));
    // Every key is found by its path, in another case too.
    std::size_t looked_up = 0;
    for (const auto& entry : picture)
      if (entry.second.empty() && ++looked_up % 7 == 0)
        CHECK_MESSAGE(hive.find(entry.first).has_value(), entry.first);
  }
}

TEST_CASE("damaged hives give what can be read, with their defects") {
  if (corpus().empty()) return;
  struct Expected {
    std::string name;
    std::uint64_t least_keys;
  };
  class Collector final : public TreeVisitor {
   public:
    bool enter(const Key&, const std::string&, std::uint32_t) override { return ++keys > 0; }
    void defect(Defect) override { ++defects; }
    std::uint64_t keys = 0;
    std::uint64_t defects = 0;
  };
  for (const auto& each : {Expected{"regipy/corrupted_system_hive", 1500},
                           {"yarp/hives_for_tests/BadListHive", 6},
                           {"yarp/hives_for_tests/BadSubkeyHive", 6},
                           {"yarp/hives_for_tests/InvalidParentHive", 5003},
                           {"yarp/hives_for_tests/TruncatedHive", 2},
                           {"yarp/hives_for_tests/TruncatedNameHive", 1},
                           {"misc/samba-regfio_corrupt_hbin1.dat", 0},
                           {"misc/samba-regfio_corrupt_lf_subkeys.dat", 1}}) {
    const std::string name = each.name;
    const auto least_keys = each.least_keys;
    CAPTURE(name);
    const auto bytes = corpus_bytes(name);
    const auto hive = Hive::open(bytes, name).value();
    Collector collector;
    if (auto root = hive.root()) {
      hive.walk(*root, collector);
    } else {
      ++collector.defects;
    }
    CHECK(collector.keys >= least_keys);
    CHECK(collector.defects + hive.defects().size() > 0);
  }
}

namespace {

struct CleanHive {
  std::string name;
  bool reged = false;  // reged (of chntpw) can export it
};
const std::vector<CleanHive> kClean = {{"regipy/SYSTEM", true},
                                       {"misc/dissect-SYSTEM", true},
                                       {"regipy/SAM", true},
                                       {"museum/Win11/SAM", true},
                                       {"misc/velociraptor-SAM", true},
                                       {"regipy/NTUSER.DAT"},
                                       {"regipy/NTUSER-WSL.DAT"},
                                       {"museum/Win11/DEFAULT (NTUSER)/NTUSER.DAT"},
                                       {"museum/Win11/ELAM"},
                                       {"museum/Win11/BCD-Template"},
                                       {"regipy/BCD"},
                                       {"misc/nt-hive-testhive"},
                                       {"yarp/hives_for_tests/BigDataHive"},
                                       {"yarp/hives_for_tests/ManySubkeysHive"},
                                       {"yarp/hives_for_tests/UnicodeHive"}};

// Keys that reged sees, or nothing when it stumbles.
std::uint64_t reged_keys(const std::string& path) {
  const auto text = path + ".reg";
  output_of("PATH=$PATH:/usr/sbin reged -x '" + path + "' 'P' '\\' '" + text + "' 2>&1");
  return std::strtoull(output_of("grep -ac '^\\[' '" + text + "'").c_str(), nullptr, 10);
}

// Every kind of edit, on keys the hive has and on new ones.
void edit(Editor& editor) {
  const auto root = editor.hive().root().value().cell;
  std::vector<std::uint32_t> subkeys;
  REQUIRE(editor.hive().subkeys(editor.hive().root().value(), subkeys).has_value());
  const auto top = subkeys.empty() ? root : subkeys.front();
  const auto made = editor.create_path(top, "Roamstead\\Größe\\файл").value();
  for (const std::size_t size : {0u, 3u, 4u, 5u, 100u, 16344u, 16345u, 50000u})
    REQUIRE(editor.set_value(made, u"v" + std::u16string(size % 5 + 1, u'x'), 3, Bytes(size, std::byte{9}))
                .has_value());
  REQUIRE(editor.set_value(made, u"", 1, std::as_bytes(std::span(u"text", 5))).has_value());
  REQUIRE(editor.set_value(made, u"vxx", 7, Bytes(20000, std::byte{0})).has_value());
  REQUIRE(editor.delete_value(made, u"vxxxx").has_value());
  auto security = to_bytes(editor.hive().security(editor.hive().key(made).value()).value());
  REQUIRE(editor.set_security(root, security).has_value());
  security[2] ^= std::byte{1};  // owner defaulted
  REQUIRE(editor.set_security(made, security).has_value());
  REQUIRE(editor.set_class(made, std::as_bytes(std::span(u"12ab", 4))).has_value());
  for (int i = 0; i < 600; ++i)
    REQUIRE(editor.create_path(made, "many\\" + std::to_string(i * 7919 % 1000)).has_value());
  REQUIRE(editor.rename_key(made, u"renamed to something longer").has_value());
  // A subtree of the hive's own goes, and an existing value changes its size.
  std::vector<std::uint32_t> below;
  REQUIRE(editor.hive().subkeys(editor.hive().key(top).value(), below).has_value());
  if (below.size() > 1) REQUIRE(editor.delete_key(below.back()).has_value());
}

}  // namespace

TEST_CASE(
    "clean hives of real machines are sound, and still are after every kind of edit, for every reader") {
  if (corpus().empty() || !have_oracles()) return;
  for (const auto& each : kClean) {
    const auto& name = each.name;
    CAPTURE(name);
    const auto bytes = corpus_bytes(name);
    const auto before = Hive::open(bytes, name).value();
    const auto report = check(before);
    CHECK(report.defect_count == 0);
    for (const auto& defect : report.defects) MESSAGE(defect.to_string());
    auto editor = Editor::open(bytes, name).value();
    edit(editor);
    editor.finish();
    support::TemporaryDirectory directory;
    const auto path = directory / "hive";
    write_bytes(path, editor.file());
    const auto written = file_bytes(path);
    const auto after = Hive::open(written, name).value();
    CHECK(!after.base().dirty());
    const auto checked = check(after);
    CHECK(checked.defect_count == 0);
    CHECK(checked.lost_cells == report.lost_cells);
    for (const auto& defect : checked.defects) MESSAGE(defect.to_string());
    const auto counts = counts_of(picture_of(after));
    CHECK(counts == TreeCounts{checked.keys, checked.values});
    CHECK(hivexml_counts(path) == counts);
    CHECK(reglookup_counts(path) == counts);
    CHECK(regfexport_counts(path) == counts);
    if (bytes.size() < 2 << 20) CHECK(same_picture(picture_of(after), hivex_picture(path)));
    if (each.reged) {
      const auto untouched = directory / "untouched";
      write_bytes(untouched, bytes);
      const auto seen_before = reged_keys(untouched);
      CHECK(seen_before == counts_of(picture_of(before)).keys);
      CHECK(reged_keys(path) == counts.keys);
    }
  }
}

TEST_CASE("a recovered hive can be edited and is sound") {
  if (corpus().empty()) return;
  const auto& each = kRecoverable[1];
  const auto loaded = load(each.primary, {each.log1, each.log2});
  auto editor =
      Editor::open(recover(loaded.primary, each.primary, loaded.logs).value().file, each.primary).value();
  edit(editor);
  editor.finish();
  CHECK(check(editor.hive()).sound());
}

}  // namespace roamstead::registry
