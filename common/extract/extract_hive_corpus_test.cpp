// Hives of real machines (ROAMSTEAD_CORPUS) on a volume, dirty and with their logs as they were collected.
#include <doctest/doctest.h>

#include <filesystem>

#include "common/base/text.h"
#include "common/extract/test_hives.h"
#include "common/registry/hive_oracles.h"
#include "common/registry/recovery.h"
#include "tests/support/corpus.h"

namespace roamstead::extract {
namespace {

const std::string kHive = std::string(kTestRoot) + "/NTUSER.DAT";

Bytes corpus_bytes(const std::string& name) {
  const auto path = support::corpus("hives") + "/" + name;
  return registry::file_bytes(std::filesystem::exists(path) ? path : path + ".xz");
}

bool can_run() { return !support::corpus("hives").empty() && support::can_format_ntfs(); }

struct Volume {
  std::unique_ptr<Extraction> next() {
    Request request;
    const auto frozen = desktop.freeze();
    request.frozen_path = frozen.frozen_path;
    request.below_id = below;
    request.profile_root = kTestRoot;
    auto extraction = desktop.extract(request);
    below = frozen.frozen_id;
    tree.apply(extraction->batch(), extraction->content());
    return extraction;
  }
  TestDesktop desktop{{}, 128u << 20};
  TestTree tree;
  Guid below;
};

TEST_CASE(
    "real hives, dirty with their logs, become the keys of the recovered hive, and then only what changes") {
  if (!can_run()) return;
  struct Set {
    std::string primary, log_1, log_2;
  };
  for (const auto& set :
       {Set{"museum/Win11/NTUSER.DAT", "museum/Win11/ntuser.dat.LOG1", "museum/Win11/ntuser.dat.LOG2"},
        Set{"regipy/UsrClass.dat", "regipy/UsrClass.dat.LOG1", "regipy/UsrClass.dat.LOG2"},
        Set{"museum/Win11/UsrClass.dat", "museum/Win11/UsrClass.dat.LOG1", "museum/Win11/UsrClass.dat.LOG2"},
        Set{"regipy/SYSTEM_B", "regipy/SYSTEM_B.LOG1", "regipy/SYSTEM_B.LOG2"}}) {
    CAPTURE(set.primary);
    const auto primary = corpus_bytes(set.primary);
    const Bytes logs[] = {corpus_bytes(set.log_1), corpus_bytes(set.log_2)};
    const registry::LogFile log_files[] = {{"1", logs[0]}, {"2", logs[1]}};
    const auto recovered = registry::recover(primary, "hive", log_files).value();
    REQUIRE_FALSE(recovered.file.empty());
    const auto expected = TestKeys::of(registry::Hive::open(recovered.file, "hive").value());

    Volume volume;
    put_file(volume.desktop.volume(), kHive, primary);
    put_file(volume.desktop.volume(), kHive + ".LOG1", logs[0]);
    put_file(volume.desktop.volume(), std::string(kTestRoot) + "/ntuser.dat.LOG2", logs[1]);
    auto extraction = volume.next();
    CHECK(extraction->batch().held_back.empty());
    CHECK(extraction->batch().records.size() == 1 + expected.keys().size());
    REQUIRE(difference(expected, volume.tree.at("NTUSER.DAT").keys) == "");

    put_file(volume.desktop.volume(), kHive, recovered.file);
    CHECK(describe(volume.next()->batch()) == "");

    auto editor = registry::Editor::open(recovered.file, "hive").value();
    const auto keys = TestKeys::of(editor.hive());
    std::size_t changed = 0, seen = 0;
    for (const auto& [at, key] : keys.keys())
      if (++seen % (keys.keys().size() / 10) == 0) {
        const auto cell = editor.hive().find(key.path.text()).value().cell;
        REQUIRE(editor.set_value(cell, u"of the test", 3, Bytes(100, std::byte{5})));
        ++changed;
      }
    editor.finish();
    put_file(volume.desktop.volume(), kHive, editor.file());
    extraction = volume.next();
    CHECK(extraction->batch().records.size() == changed);
    CHECK(difference(TestKeys::of(editor.hive()), volume.tree.at("NTUSER.DAT").keys) == "");
  }
}

TEST_CASE("a real hive that cannot be recovered is held back with the reason") {
  if (!can_run()) return;
  Volume volume;
  put_file(volume.desktop.volume(), kHive, corpus_bytes("regipy/NTUSER_BAGMRU.DAT"));
  const auto extraction = volume.next();
  CHECK(extraction->batch().records.empty());
  REQUIRE(extraction->batch().held_back.size() == 1);
  CHECK(extraction->batch().held_back[0].reason.find("29989") != std::string::npos);
}

}  // namespace
}  // namespace roamstead::extract
