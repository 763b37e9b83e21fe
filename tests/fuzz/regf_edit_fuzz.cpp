// A sound hive, edited as the input says: whatever is done to it, it stays sound, and holds what was last
// set. Input: edits of 4 bytes: what, which key, which name, how much.
#include "common/registry/check.h"
#include "tests/fuzz/regf_input.h"

using namespace roamstead;
using namespace roamstead::registry;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Bytes empty = [] {
    auto made = Editor::create(5, "root", test::descriptor(1), 1).value();
    made.finish();
    return std::move(made).take();
  }();
  auto editor = Editor::open(size % 2 == 0 ? fuzz::sound().hive : empty, "edited").value();
  std::vector<std::uint32_t> keys{editor.hive().root().value().cell};
  constexpr std::size_t kMostEdits = 200;
  for (std::size_t at = 0; at + 4 <= std::min(size, kMostEdits * 4); at += 4) {
    const auto which = data[at + 1] % keys.size();
    const auto key = keys[which];
    const std::u16string name(1 + data[at + 2] % 40, static_cast<char16_t>(u'a' + data[at + 2]));
    switch (data[at] % 8) {
      case 0:
      case 1:
        if (auto made = editor.create_key(key, name)) keys.push_back(*made);
        break;
      case 2: {
        const Bytes content(std::size_t{data[at + 3]} * 120, static_cast<std::byte>(data[at + 2]));
        if (!editor.set_value(key, name, 3, content)) break;
        const auto value = editor.hive().find_value(editor.hive().key(key).value(), name).value();
        Bytes scratch;
        const auto stored = editor.hive().data(*value, scratch).value();
        if (!std::equal(stored.begin(), stored.end(), content.begin(), content.end())) std::abort();
        break;
      }
      case 3:
        (void)editor.delete_value(key, name);
        break;
      case 4:
        (void)editor.set_security(key, test::descriptor(data[at + 3] % 5u));
        break;
      case 5:
        if (auto renamed = editor.rename_key(key, name)) keys[which] = *renamed;
        break;
      case 6:
        (void)editor.set_class(key, Bytes(data[at + 3] / 2 * 2));
        break;
      case 7:  // what is below goes too: no other key is known then
        if (which != 0 && editor.delete_key(key)) keys.resize(1);
        break;
    }
  }
  editor.finish();
  if (!check(editor.hive()).sound()) std::abort();
  fuzz::read_all(editor.hive());
  return 0;
}
