// What the fuzzers of hives share: a sound hive and a log that brings it to another state, patched by the
// input. Input: a byte of options, then pieces: 3 bytes place (in the hive, or behind it in the log), 1 byte
// length, bytes.
#pragma once

#include <cstdlib>

#include "common/registry/compare.h"
#include "common/registry/editor.h"
#include "common/registry/reg_text.h"
#include "common/registry/test_hive.h"

namespace roamstead::registry::fuzz {

struct Sound {
  Bytes hive;  // before
  Bytes log;   // brings it to the state after
};

inline const Sound& sound() {
  static const Sound made = [] {
    Sound result;
    result.hive = test::sample_hive(5, 9, 16345);  // small: each run goes over all of it several times
    auto editor = Editor::open(result.hive, "after").value();
    const auto root = editor.hive().root().value().cell;
    if (!editor.create_path(root, "Added\\key") || !editor.set_value(root, u"v", 3, Bytes(5000)))
      std::abort();
    editor.finish();
    const auto between = test::entry_between(result.hive, editor.file(), 9);
    result.log = test::new_log(result.hive, {between, test::entry_between(editor.file(), editor.file(), 10)});
    return result;
  }();
  return made;
}

class Reader final : public TreeVisitor {
 public:
  bool enter(const Key&, const std::string&, std::uint32_t) override { return true; }
};

inline void read_all(const Hive& hive) {
  Reader reader;
  std::vector<Defect> defects;
  if (auto root = hive.root()) {
    hive.walk(*root, reader);
    (void)export_reg(
        hive, *root, "P", [](std::u16string_view) -> Result<void> { return {}; }, defects);
  }
  const auto& original = sound().hive;
  const auto other = Hive::open(original, "sound").value();
  compare(
      other, hive, [](const Difference&) { return true; }, [](const Defect&) {});
}

struct Patched {
  std::uint8_t options = 0;
  Bytes hive;
  Bytes log;
};

inline Patched patch(const std::uint8_t* data, std::size_t size) {
  Patched patched{size == 0 ? std::uint8_t{0} : data[0], sound().hive, sound().log};
  auto& [options, hive, log] = patched;
  const auto room = hive.size() + log.size();
  for (std::size_t at = 1; at + 4 <= size;) {
    const auto place = (data[at] | std::size_t{data[at + 1]} << 8 | std::size_t{data[at + 2]} << 16) % room;
    const auto length = std::min<std::size_t>(data[at + 3], size - at - 4);
    for (std::size_t i = 0; i < length && place + i < room; ++i)
      (place + i < hive.size() ? hive[place + i] : log[place + i - hive.size()]) =
          static_cast<std::byte>(data[at + 4 + i]);
    at += 4 + length;
  }
  return patched;
}

}  // namespace roamstead::registry::fuzz
