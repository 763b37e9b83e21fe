#include <fmt/format.h>

#include "common/base/text.h"
#include "common/registry/reg_text.h"

namespace roamstead::registry {
namespace {

// The path below the hive's root; not_found when the change is for another hive.
Result<std::string> path_in_hive(const std::string& key, std::string_view prefix) {
  if (key.size() < prefix.size() || !same_name(key.substr(0, prefix.size()), prefix) ||
      (key.size() > prefix.size() && key[prefix.size()] != '\\' && !prefix.empty()))
    return fail(
        ErrorCode::invalid_argument,
        fmt::format("key '{}' is not below '{}', where the hive's root is; choose by --prefix", key, prefix));
  auto path = key.substr(prefix.size());
  return path.starts_with('\\') ? path.substr(1) : path;
}

Result<void> apply(Editor& editor, const RegChange& change, std::string_view prefix) {
  RS_TRY(const auto path, path_in_hive(change.key, prefix));
  RS_TRY(const auto root, editor.hive().root());
  switch (change.kind) {
    case RegChange::Kind::create_key: {
      RS_CHECK(editor.create_path(root.cell, path));
      return {};
    }
    case RegChange::Kind::delete_key: {
      const auto key = editor.hive().find(path);
      if (!key && key.error().code == ErrorCode::not_found) return {};
      if (!key) return fail(key.error());
      return editor.delete_key(key->cell);
    }
    case RegChange::Kind::set_value: {
      RS_TRY(const auto key, editor.create_path(root.cell, path));
      RS_TRY(const auto name, to_utf16(change.value_name));
      return editor.set_value(key, name, change.type, change.data);
    }
    case RegChange::Kind::delete_value: {
      const auto key = editor.hive().find(path);
      if (!key && key.error().code == ErrorCode::not_found) return {};
      if (!key) return fail(key.error());
      RS_TRY(const auto name, to_utf16(change.value_name));
      auto deleted = editor.delete_value(key->cell, name);
      if (!deleted && deleted.error().code == ErrorCode::not_found) return {};
      return deleted;
    }
  }
  return {};
}

}  // namespace

Result<void> apply_reg(Editor& editor, const std::vector<RegChange>& changes, std::string_view prefix) {
  for (const auto& change : changes)
    RS_CHECK_CTX(fmt::format("line {}", change.line), apply(editor, change, prefix));
  return {};
}

}  // namespace roamstead::registry
