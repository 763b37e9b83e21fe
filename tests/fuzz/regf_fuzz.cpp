// A sound hive and its log, patched by the input, then read, checked, recovered, compared and edited. Input:
// a byte of options, then pieces: 3 bytes place (in the hive, or behind it in the log), 1 byte length, bytes.
#include <cstdlib>

#include "common/registry/check.h"
#include "common/registry/compare.h"
#include "common/registry/recovery.h"
#include "common/registry/reg_text.h"
#include "common/registry/test_hive.h"

using namespace roamstead;
using namespace roamstead::registry;

namespace {

struct Sound {
  Bytes hive;  // before
  Bytes log;   // brings it to the state after
};

const Sound& sound() {
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

void read_all(const Hive& hive) {
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

void edit_all(const Bytes& file, std::uint8_t options) {
  auto editor = Editor::open(file, "patched");
  if (!editor) return;
  const bool was_sound = check(editor->hive()).sound();
  for (const char* path : {"many\\7", "Software\\größe\\файл", "Software"}) {
    const auto key = editor->hive().find(path);
    if (!key) continue;
    const auto cell = key->cell;
    (void)editor->set_value(cell, u"v300", 3, Bytes(std::size_t{options} * 90));
    (void)editor->create_key(cell, u"made");
    (void)editor->set_security(cell, test::descriptor(options & 3u));
    (void)editor->delete_value(cell, u"v33000");
    (void)editor->rename_key(cell, u"renamed to something");
  }
  if (const auto key = editor->hive().find("many\\5")) (void)editor->delete_key(key->cell);
  if (const auto key = editor->hive().find("Software")) (void)editor->delete_key(key->cell);
  editor->finish();
  if (!CellStore::open(to_bytes(editor->file()), "edited")) std::abort();
  if (was_sound && !check(editor->hive()).sound()) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const auto options = data[0];
  auto hive = sound().hive;
  auto log = sound().log;
  const auto room = hive.size() + log.size();
  for (std::size_t at = 1; at + 4 <= size;) {
    const auto place = (data[at] | std::size_t{data[at + 1]} << 8 | std::size_t{data[at + 2]} << 16) % room;
    const auto length = std::min<std::size_t>(data[at + 3], size - at - 4);
    for (std::size_t i = 0; i < length && place + i < room; ++i)
      (place + i < hive.size() ? hive[place + i] : log[place + i - hive.size()]) =
          static_cast<std::byte>(data[at + 4 + i]);
    at += 4 + length;
  }
  seal_base_block(hive, 8);
  if (auto opened = Hive::open(hive, "patched")) {
    read_all(*opened);
    edit_all(hive, options);
  }
  // The log's checksums are made right, so that what they guard is reached.
  test::make_dirty(hive, 8);
  if ((options & 1) == 0) seal_base_block(log, load_le<std::uint32_t>(log, 4));
  if ((options & 2) == 0)
    for (std::size_t at = 512; at + 40 <= log.size();) {
      const auto bytes = load_le<std::uint32_t>(log, at + 4);
      if (bytes < 40 || bytes > log.size() - at) break;
      test::seal_entry(MutableByteView(log).subspan(at, bytes));
      at += bytes;
    }
  const LogFile file{"LOG1", log};
  if (auto recovery = recover(hive, "patched", {&file, 1}))
    if (auto opened = Hive::open(recovery->file, "recovered")) read_all(*opened);
  return 0;
}
