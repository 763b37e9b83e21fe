// A live hive and its base hive in two snapshots after a sound one, patched by the input. Whatever they hold,
// the records of both batches must be ones that a batch can have and a profile can take: no key without its
// parent. Input: pieces of 1 byte hive, 2 bytes place, 1 byte length, bytes.
#include <array>
#include <optional>
#include <set>

#include "common/extract/base_hive.h"
#include "common/extract/hive_changes.h"
#include "common/extract/live_hive.h"
#include "common/registry/test_hive.h"
#include "tests/support/must.h"

using namespace roamstead;
using namespace roamstead::extract;
using registry::Editor;
using registry::Hive;

namespace {

enum Which { kFirst, kSecond, kBase, kPatched, kSound = kPatched, kSoundBase, kHives };

using support::must;

void set(Editor& hive, const char* path, std::size_t size) {
  const auto root = must(hive.hive().root()).cell;
  must(hive.set_value(must(hive.create_path(root, path)), u"v", 3, Bytes(size, std::byte{1})));
}

void load(Editor& base, const char* path, bool complete) {
  profile::KeyState state{
      must(profile::KeyPath::parse(path)), {{}, 7, registry::test::descriptor()}, complete, {}};
  if (complete) state.values.push_back({"v", 3, 4, Bytes(4)});
  must(add_to_base_hive(base, {state}, {}));
}

Bytes finish(Editor& hive) {
  hive.finish();
  return to_bytes(hive.file());
}

std::array<Bytes, kHives> sound_hives() {
  auto live = must(Editor::create(5, "ROOT", registry::test::descriptor(), 1));
  for (const char* path : {"A\\B\\C", "A\\B2", "D\\E", "F"}) set(live, path, 4);
  auto base = must(create_base_hive());
  for (const char* path : {"", "A", "A\\B"}) load(base, path, true);
  for (const char* path : {"A\\B2", "A\\B\\C", "F"}) load(base, path, false);
  std::array<Bytes, kHives> hives;
  hives[kSound] = finish(live);
  hives[kSoundBase] = finish(base);
  for (const char* path : {"A\\B2", "F", "D"}) load(base, path, true);
  hives[kBase] = finish(base);
  set(live, "A\\B\\C", 20'000);
  set(live, "D\\new\\below", 5);
  hives[kFirst] = finish(live);
  set(live, "D\\new\\later", 5);
  set(live, "F\\G\\H", 5);
  hives[kSecond] = finish(live);
  return hives;
}

// The keys that a profile has, by upcased path.
class Tree {
 public:
  Tree() {
    for (const char* path : {"", "A", "A\\B", "A\\B\\C", "A\\B2", "D", "D\\E", "F"}) keys_.insert(path);
  }
  void apply(const HiveRecords& records) {
    profile::Batch batch;
    for (const auto& record : records.deletes) {
      const auto top = profile::upcased(record.key);
      std::erase_if(keys_, [&](const auto& key) { return key == top || key.rfind(top + "\\", 0) == 0; });
      batch.records.emplace_back(record);
    }
    for (const auto& record : records.puts) {
      if (keys_.count(profile::upcased(record.key.parent())) == 0) __builtin_trap();
      keys_.insert(profile::upcased(record.key));
      batch.records.emplace_back(record);
    }
    must(profile::check_batch(batch));
  }

 private:
  std::set<std::string> keys_;
};

struct Live {
  std::optional<Hive> hive;  // none: held back
  bool sound = false;
};

Live open_live(ByteView bytes) {
  Live live;
  auto hive = Hive::open(bytes, "live");
  if (!hive || !hive->root()) return live;
  const auto sound = survey_keys(*hive);
  if (!sound) return live;
  live.hive = std::move(*hive);
  live.sound = *sound;
  return live;
}

std::optional<Hive> open_base(ByteView bytes) {
  auto hive = Hive::open(bytes, "base");
  if (!hive || !hive->root() || !hive->defects().empty()) return std::nullopt;
  return std::move(*hive);
}

// As ProfileHives does it.
void extract_batch(Tree& tree, const Live& now, const Live& before, const std::optional<Hive>& base,
                   const std::optional<Hive>& base_before) {
  if (!now.hive || !base) return;
  HiveComparison comparison;
  comparison.hive = profile::hive_paths()[0];
  comparison.now = &*now.hive;
  comparison.base = &*base;
  if (before.sound && base_before) {
    comparison.before = &*before.hive;
    comparison.base_before = &*base_before;
  } else {
    comparison.send_all = true;
  }
  if (const auto records = changes_of(comparison)) tree.apply(*records);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const auto sound = sound_hives();
  auto hives = sound;
  for (std::size_t at = 0; at + 4 <= size;) {
    const auto length = std::min<std::size_t>(data[at + 3], size - at - 4);
    auto& hive = hives[data[at] % kPatched];
    const auto bins = hive.size() - registry::kBaseBlockBytes;
    const auto place = (std::size_t{data[at + 1]} | std::size_t{data[at + 2]} << 8) % bins;
    for (std::size_t i = 0; i < length; ++i)
      hive[registry::kBaseBlockBytes + (place + i) % bins] = static_cast<std::byte>(data[at + 4 + i]);
    at += 4 + length;
  }
  const auto before = open_live(hives[kSound]), first = open_live(hives[kFirst]),
             second = open_live(hives[kSecond]);
  const auto base = open_base(hives[kBase]), base_before = open_base(hives[kSoundBase]);
  Tree tree;
  extract_batch(tree, first, before, base, base_before);
  extract_batch(tree, second, first, base, base);
  return 0;
}
