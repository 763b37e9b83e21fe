// A patched hive, read, checked, compared, exported; and edited as far as it lets itself be.
#include "common/registry/check.h"
#include "tests/fuzz/regf_input.h"

using namespace roamstead;
using namespace roamstead::registry;

namespace {

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
  auto patched = fuzz::patch(data, size);
  seal_base_block(patched.hive, 8);
  if (auto opened = Hive::open(patched.hive, "patched")) {
    fuzz::read_all(*opened);
    edit_all(patched.hive, patched.options);
  }
  return 0;
}
