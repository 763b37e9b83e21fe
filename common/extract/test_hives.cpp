#include "common/extract/test_hives.h"

#include <stdexcept>

#include "common/base/text.h"
#include "common/registry/test_hive.h"
#include "tests/support/must.h"

namespace roamstead::extract {
namespace {

using registry::test::descriptor;

using support::must;

registry::Editor new_live_hive() { return must(registry::Editor::create(5, "ROOT", descriptor(), 1)); }

std::string upcased(std::string_view text) { return to_wtf8(upcase_key(text)); }
std::string value_key(const std::string& key, const std::string& name) {
  return upcased(key) + "\\\\" + upcased(name);
}

std::u16string units(std::string_view text) { return must(to_utf16(text)); }

}  // namespace

Bytes empty_live_hive() { return to_bytes(new_live_hive().file()); }

void put_file(support::NtfsImage& volume, const std::string& path, ByteView bytes) {
  if (!volume.write(path, 0, bytes)) throw std::runtime_error("volume full");
  volume.truncate(path, bytes.size());
}

TestHive::TestHive(TestDesktop& desktop, const std::string& path, const TestKeys& version,
                   std::string base_path)
    : desktop_(desktop),
      live_path_(std::string(kTestRoot) + "/" + path),
      base_path_(std::move(base_path)),
      version_(version),
      live_(new_live_hive()),
      base_(must(create_base_hive())) {
  stubs_.insert("");
  if (base_path_.empty()) return;
  const auto directory = base_path_.substr(0, base_path_.rfind('/'));
  if (!desktop_.volume().find(directory)) desktop_.volume().make_directory(directory);
}

bool TestHive::has(const std::string& key) const { return live_.hive().find(key).has_value(); }
std::uint32_t TestHive::cell(const std::string& key) const { return must(live_.hive().find(key)).cell; }

void TestHive::set(const std::string& key, const std::string& name, ByteView data, std::uint32_t type) {
  const auto root = must(live_.hive().root()).cell;
  must(live_.set_value(must(live_.create_path(root, key)), units(name), type, data));
}

void TestHive::remove(const std::string& key) {
  must(live_.delete_key(cell(key)));
  removed_.insert(upcased(key));
  const auto gone = [&](const std::string& one) {
    return one == upcased(key) || one.rfind(upcased(key) + "\\", 0) == 0;
  };
  std::erase_if(stubs_, gone);
  std::erase_if(secured_, gone);
}

void TestHive::remove(const std::string& key, const std::string& name) {
  must(live_.delete_value(cell(key), units(name)));
  removed_.insert(value_key(key, name));
}

void TestHive::secure(const std::string& key, unsigned control) {
  must(live_.set_security(cell(key), descriptor(control)));
  secured_.insert(upcased(key));
}

void TestHive::load(const std::string& key, profile::KeyScope scope) {
  for (const auto& state : version_.answer(key, scope)) {
    load_into_live(state);
    pending_.push_back(state);
  }
}

void TestHive::load_into_live(const profile::KeyState& state) {
  auto parent = must(live_.hive().root()).cell;
  std::string path;
  for (const auto component : state.path.components()) {
    path += (path.empty() ? "" : "\\") + std::string(component);
    if (removed_.count(upcased(path)) != 0) return;
    const auto found = must(live_.hive().find_subkey(must(live_.hive().key(parent)), units(component)));
    if (!found) stubs_.insert(upcased(path));
    parent = found ? found->cell : must(live_.create_key(parent, units(component)));
  }
  const auto key = parent;
  // Nobody here decided about the class and security of a key that was made before it was loaded.
  if (secured_.count(upcased(path)) == 0) {
    must(live_.set_class(key, state.entry.class_name));
    must(live_.set_security(key, state.entry.security));
  }
  if (!state.complete) return;
  stubs_.erase(upcased(path));
  for (const auto& value : state.values) {
    if (removed_.count(value_key(path, value.name)) != 0) continue;
    if (must(live_.hive().find_value(must(live_.hive().key(key)), units(value.name)))) continue;
    const auto& data = version_.at(path).values.at(upcased(value.name)).data;
    must(live_.set_value(key, units(value.name), value.type, data));
  }
}

void TestHive::load_base() {
  must(add_to_base_hive(base_, pending_,
                        [&](const profile::KeyPath& key, const profile::RegistryValue& value) {
                          return Result<Bytes>(version_.at(key.text()).values.at(upcased(value.name)).data);
                        }));
  pending_.clear();
}

bool TestHive::complete(const std::string& key) const {
  const auto found = base_.hive().find(key);
  return found && is_complete(*found);
}

void TestHive::save(bool logged) {
  auto& volume = desktop_.volume();
  live_.finish();
  if (!base_path_.empty()) {
    base_.finish();
    put_file(volume, base_path_, base_.file());
  }
  const auto now = to_bytes(live_.file());
  const auto entry = on_volume_.empty() ? registry::test::LogEntry{}
                                        : registry::test::entry_between(on_volume_, now, ++sequence_);
  if (logged && !entry.pages.empty()) {
    auto primary = on_volume_;
    registry::test::make_dirty(primary, sequence_);
    put_file(volume, live_path_, primary);
    put_file(volume, live_path_ + ".LOG1", registry::test::new_log(on_volume_, {entry}));
    return;
  }
  put_file(volume, live_path_, now);
  on_volume_ = now;
}

}  // namespace roamstead::extract
