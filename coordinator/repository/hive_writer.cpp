#include <algorithm>
#include <unordered_map>

#include "common/base/text.h"
#include "common/registry/editor.h"
#include "coordinator/repository/hive_file.h"

namespace roamstead::repository {
namespace {

using profile::KeyPath;
using profile::KeyState;
using registry::Editor;

constexpr std::uint32_t kMinorVersion = 5;  // as Windows makes new user hives
constexpr std::size_t kPartBytes = 4u << 20;

// O:BAG:SYD:(A;CI;GA;;;SY)(A;CI;GA;;;BA): what a root gets that has none.
Bytes default_descriptor() {
  constexpr std::uint32_t kHeader = 20, kAcl = 8, kSystemAce = 20, kAdministratorsAce = 24;
  constexpr std::uint32_t kAclAt = kHeader, kAclBytes = kAcl + kSystemAce + kAdministratorsAce;
  constexpr std::uint32_t kOwnerAt = kAclAt + kAclBytes, kGroupAt = kOwnerAt + 16;
  constexpr std::uint32_t kSystem = 18, kBuiltin = 32, kAdministrators = 544, kKeyAllAccess = 0xF003F;
  ByteWriter out;
  auto sid = [&](std::initializer_list<std::uint32_t> authorities) {
    out.le<std::uint8_t>(1);
    out.le(static_cast<std::uint8_t>(authorities.size()));
    for (int i = 0; i < 5; ++i) out.le<std::uint8_t>(0);
    out.le<std::uint8_t>(5);  // NT authority
    for (auto authority : authorities) out.le(authority);
  };
  auto ace = [&](std::uint32_t bytes, std::initializer_list<std::uint32_t> authorities) {
    out.le<std::uint8_t>(0);  // allowed
    out.le<std::uint8_t>(2);  // inherited by subkeys
    out.le(static_cast<std::uint16_t>(bytes));
    out.le(kKeyAllAccess);
    sid(authorities);
  };
  out.le<std::uint16_t>(1);
  out.le<std::uint16_t>(0x8004);  // self-relative, with an access list
  out.le(kOwnerAt);
  out.le(kGroupAt);
  out.le<std::uint32_t>(0);
  out.le(kAclAt);
  out.le<std::uint16_t>(2);  // revision of the list
  out.le(static_cast<std::uint16_t>(kAclBytes));
  out.le<std::uint16_t>(2);
  out.le<std::uint16_t>(0);
  ace(kSystemAce, {kSystem});
  ace(kAdministratorsAce, {kBuiltin, kAdministrators});
  sid({kBuiltin, kAdministrators});
  sid({kSystem});
  return out.take();
}

class Writer {
 public:
  Writer(const Tree& tree, const profile::ProfilePath& hive, const KeyPath& from)
      : tree_(tree), hive_(hive), from_(from) {}

  Result<HiveFile> run() {
    RS_TRY(auto top, tree_.keys(hive_, from_, profile::KeyScope::key, "", 1));
    RS_CHECK(write(top.keys.front()).map([](bool) {}));
    std::string cursor;
    std::vector<KeyState> early;  // came before their parents
    do {
      RS_TRY(auto part, tree_.keys(hive_, from_, profile::KeyScope::subtree, cursor, kPartBytes));
      for (auto& state : part.keys) {
        if (state.path == top.keys.front().path) continue;
        RS_TRY(const bool written, write(state));
        if (!written) early.push_back(std::move(state));
      }
      cursor = std::move(part.next);
    } while (!cursor.empty());
    std::sort(early.begin(), early.end(),
              [](const KeyState& a, const KeyState& b) { return a.path.depth() < b.path.depth(); });
    for (const auto& state : early) {
      RS_TRY(const bool written, write(state));
      if (!written)
        return fail(ErrorCode::corrupt,
                    "'" + hive_.text() + "': key '" + state.path.text() + "' without the key above it");
    }
    // Last, since every edit above changed times.
    for (const auto& [cell, written_100ns] : times_) RS_CHECK(editor_->set_written(cell, written_100ns));
    editor_->finish();
    file_.bytes = std::move(*editor_).take();
    return std::move(file_);
  }

 private:
  void incomplete(const KeyState& state, const std::string& why) {
    file_.incomplete.push_back(hive_.text() + "\\" + state.path.text() + ": " + why);
  }

  // False when the parent is not here yet.
  Result<bool> write(const KeyState& state) {
    const auto path = profile::upcased(state.path);
    std::uint32_t cell = 0;
    if (!editor_) {
      RS_CHECK(create(state));
      RS_TRY(const auto root, editor_->hive().root());
      cell = root.cell;
    } else {
      const auto parent = cells_.find(profile::upcased(state.path.parent()));
      if (parent == cells_.end()) return false;
      RS_TRY(const auto name, to_utf16(state.path.name()));
      RS_TRY_CTX(cell, "key '" + state.path.text() + "'", editor_->create_key(parent->second, name));
      if (!state.entry.security.empty()) {
        auto set = editor_->set_security(cell, state.entry.security);
        if (!set) incomplete(state, set.error().to_string());
      }
    }
    cells_[path] = cell;
    times_.emplace_back(cell, state.entry.written_100ns);
    ++file_.keys;
    if (!state.entry.class_name.empty()) RS_CHECK(editor_->set_class(cell, state.entry.class_name));
    for (const auto& value : state.values) {
      auto written = write_value(cell, state.path, value);
      if (!written)
        return fail(
            std::move(written).error().with("value '" + value.name + "' of key '" + state.path.text() + "'"));
    }
    return true;
  }

  Result<void> create(const KeyState& root) {
    if (!root.entry.security.empty()) {
      auto made = Editor::create(kMinorVersion, "ROOT", root.entry.security, root.entry.written_100ns);
      if (made) {
        editor_.emplace(std::move(*made));
        return {};
      }
      incomplete(root, made.error().to_string());
    }
    RS_TRY(auto made, Editor::create(kMinorVersion, "ROOT", default_descriptor(), root.entry.written_100ns));
    editor_.emplace(std::move(made));
    return {};
  }

  Result<void> write_value(std::uint32_t cell, const KeyPath& key, const profile::RegistryValue& value) {
    RS_TRY(const auto name, to_utf16(value.name));
    ++file_.values;
    if (value.is_inline()) return editor_->set_value(cell, name, value.type, value.data);
    Bytes data(value.size_bytes);
    RS_CHECK(tree_.read_value(hive_, key, value.name, 0, data));
    return editor_->set_value(cell, name, value.type, data);
  }

  const Tree& tree_;
  const profile::ProfilePath& hive_;
  const KeyPath& from_;
  HiveFile file_;
  std::optional<Editor> editor_;
  std::unordered_map<std::string, std::uint32_t> cells_;  // by upcased path
  std::vector<std::pair<std::uint32_t, std::uint64_t>> times_;
};

}  // namespace

Result<HiveFile> make_hive_file(const Tree& tree, const profile::ProfilePath& hive, const KeyPath& from) {
  return Writer(tree, hive, from).run();
}

}  // namespace roamstead::repository
