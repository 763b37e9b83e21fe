#include "tests/flow/flow_registry.h"

#include "common/base/text.h"
#include "common/registry/editor.h"
#include "common/registry/test_hive.h"

namespace roamstead::flow {

using profile::KeyPath;
using profile::ProfilePath;
using support::KeyModel;

namespace {

KeyPath key_of(const std::string& text) { return KeyPath::parse(text).value(); }

void add_key(KeyModel& model, const std::string& path) {
  model.at(key_of(path));
  for (auto at = key_of(path);; at = at.parent()) {
    auto& entry = model.at(at).entry;
    if (entry.security.empty())
      entry = {at.depth() % 3 == 2 ? to_bytes(std::as_bytes(std::span(u"class", 5))) : Bytes(),
               registry::test::kTime + at.text().size(), registry::test::descriptor(at.depth() % 2)};
    if (at.is_root()) return;
  }
}

// Vendors with programs with settings; some values too large for a record, keys in many scripts.
KeyModel generate_hive(Random& random) {
  KeyModel model;
  for (int vendor = 0; vendor < 6; ++vendor)
    for (int program = 0; program < 12; ++program) {
      const auto path =
          "Software\\Vendor" + std::to_string(vendor) + "\\Program " + std::to_string(program) + "\\Größen";
      add_key(model, path + "\\последние");
      for (int value = 0; value < 5; ++value)
        model.set_value(key_of(path), "value" + std::to_string(value), 3,
                        random_bytes(random() % 25 == 0 ? 5000 + random() % 20000 : random() % 200, random));
      model.set_value(key_of(path).parent(), "", 1, random_bytes(20, random));
    }
  for (const char* path : {"Console", "Environment", "Control Panel\\Desktop\\Colors"}) {
    add_key(model, path);
    model.set_value(key_of(path), "name", 2, random_bytes(30, random));
  }
  return model;
}

// Puts of a hive's keys, parents first.
class HiveBatch final : public profile::ContentSource {
 public:
  explicit HiveBatch(const std::map<ProfilePath, KeyModel>& hives) {
    batch.incarnation = Guid::random();
    batch.ordinal = 1;
    for (const auto& [path, model] : hives) {
      profile::Put put;
      put.path = path;
      put.entry.kind = profile::EntryKind::registry;
      batch.records.emplace_back(put);
      data_.emplace_back();
      for (const auto& [place, node] : model.nodes()) {
        profile::PutKey key{path, node.path, node.entry, false, {}, {}};
        std::vector<const Bytes*> data;
        for (const auto& [name, value] : node.values) {
          profile::RegistryValue sent{value.name, value.type, value.data.size(), {}};
          if (sent.is_inline()) sent.data = value.data;
          key.values.push_back(std::move(sent));
          data.push_back(&value.data);
        }
        batch.records.emplace_back(std::move(key));
        data_.push_back(std::move(data));
      }
    }
  }
  Result<void> read(std::size_t record, std::size_t stream, std::uint64_t offset,
                    MutableByteView out) override {
    std::ranges::copy(ByteView(*data_.at(record).at(stream)).subspan(offset, out.size()), out.begin());
    return {};
  }

  profile::Batch batch;

 private:
  std::vector<std::vector<const Bytes*>> data_;  // by record and value; of the models, which stay as they are
};

Result<std::uint32_t> cell_of(const registry::Editor& editor, const std::string& path) {
  RS_TRY(const auto key, editor.hive().find(path));
  return key.cell;
}

}  // namespace

FlowRegistry::FlowRegistry(Random& random) {
  for (const auto& path : profile::hive_paths()) hives_[path] = generate_hive(random);
}

std::uint64_t FlowRegistry::keys() const {
  std::uint64_t keys = 0;
  for (const auto& [path, model] : hives_) keys += model.nodes().size();
  return keys;
}

Result<repository::VersionInfo> FlowRegistry::import(repository::Repository& repository,
                                                     const std::string& profile) const {
  RS_TRY(const auto info, repository.find_profile(profile));
  HiveBatch batch(hives_);
  repository::CommitOrigin origin;
  origin.kind = repository::VersionKind::import;
  return repository.commit(info.id, info.head, batch.batch, batch, origin);
}

Result<void> FlowRegistry::edit(FlowDesktop& desktop, Random& random, int round) {
  for (auto& [path, model] : hives_)
    RS_CHECK_CTX(path.text(), edit_hive(desktop, path, model, random, round));
  return {};
}

Result<void> FlowRegistry::edit_hive(FlowDesktop& desktop, const ProfilePath& path, KeyModel& model,
                                     Random& random, int round) {
  const auto program = "Software\\Vendor0\\Program " + std::to_string(round);
  const auto gone = "Software\\Vendor2\\Program " + std::to_string(round);
  const auto hidden = "Software\\Vendor3\\Program " + std::to_string(round);
  RS_CHECK(desktop.session().load_key(path.text(), program));
  RS_CHECK(desktop.session().load_key(path.text(), "Software\\Vendor2"));
  RS_TRY(auto bytes, desktop.files().read_all(path.text(), ""));
  RS_TRY(auto editor, registry::Editor::open(std::move(bytes), path.text()));
  const auto set = [&](const std::string& key, const std::string& name, Bytes data) -> Result<void> {
    RS_TRY(const auto root, editor.hive().root());
    RS_TRY(const auto cell, editor.create_path(root.cell, key));
    RS_TRY(const auto units, to_utf16(name));
    RS_CHECK(editor.set_value(cell, units, 3, data));
    model.set_value(key_of(key), name, 3, std::move(data));
    return {};
  };
  RS_CHECK(set(program + "\\Größen", "value1", random_bytes(50, random)));
  RS_CHECK(set(program + "\\Größen", "large", random_bytes(40'000, random)));
  RS_CHECK(set(program + "\\новый\\ключ", "made", random_bytes(10, random)));
  RS_TRY(const auto sizes, cell_of(editor, program + "\\Größen"));
  if (editor.delete_value(sizes, u"value2")) model.erase_value(key_of(program + "\\Größen"), "value2");
  RS_TRY(const auto old, cell_of(editor, gone));
  RS_CHECK(editor.delete_key(old));
  model.erase(key_of(gone));
  // Over a key that is not loaded: the program's values win, the others are the version's.
  RS_CHECK(set(hidden, "over it", random_bytes(10, random)));
  RS_CHECK(set(hidden + "\\Größen", "value3", random_bytes(10, random)));
  editor.finish();
  RS_CHECK(desktop.files().write(path.text(), "", 0, editor.file()));
  return desktop.files().truncate(path.text(), "", editor.file().size());
}

Result<std::vector<std::string>> FlowRegistry::compare(FlowDesktop& desktop) const {
  std::vector<std::string> differences;
  for (const auto& [path, model] : hives_) {
    RS_TRY(const auto bytes, desktop.files().read_all(path.text(), ""));
    // Keys that programs made have the security of the key above; classes stay.
    auto different = agent::testing::difference(model, agent::testing::model_of_hive(bytes), false);
    if (!different.empty()) differences.push_back(path.text() + ": " + different);
  }
  return differences;
}

}  // namespace roamstead::flow
