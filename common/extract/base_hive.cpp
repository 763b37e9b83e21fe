#include "common/extract/base_hive.h"

#include "common/base/text.h"

namespace roamstead::extract {
namespace {

constexpr std::uint32_t kMinorVersion = 5;  // as Windows makes new user hives

// Self-relative, revision 1, nothing in it: what keys have until their own is known.
Bytes empty_descriptor() {
  Bytes bytes(20);
  bytes[0] = std::byte{1};
  store_le<std::uint16_t>(bytes, 2, 0x8000);
  return bytes;
}

// The subkey's cell; made as a placeholder where it is missing. The parent's time, which says whether it is
// complete, stays.
Result<std::uint32_t> subkey(registry::Editor& base, std::uint32_t parent_cell, std::u16string_view name) {
  RS_TRY(const auto parent, base.hive().key(parent_cell));
  RS_TRY(const auto found, base.hive().find_subkey(parent, name));
  if (found) return found->cell;
  const auto written_100ns = parent.written_100ns;
  RS_TRY(const auto made, base.create_key(parent_cell, name));
  RS_CHECK(base.set_written(parent_cell, written_100ns));
  RS_CHECK(base.set_written(made, kPlaceholderTime));
  return made;
}

Result<std::uint32_t> cell_of(registry::Editor& base, const profile::KeyPath& path) {
  RS_TRY(const auto root, base.hive().root());
  auto cell = root.cell;
  for (const auto component : path.components()) {
    RS_TRY(const auto name, to_utf16(component));
    RS_TRY(cell, subkey(base, cell, name));
  }
  return cell;
}

Result<void> add_key(registry::Editor& base, const profile::KeyState& state, const ValueReader& read_value) {
  RS_TRY(const auto cell, cell_of(base, state.path));
  RS_TRY(const auto key, base.hive().key(cell));
  if (is_complete(key)) return {};
  // All that may fail elsewhere comes before anything is written: a placeholder has no values.
  std::vector<Bytes> fetched;
  for (const auto& value : state.values) {
    if (!state.complete || value.is_inline()) continue;
    RS_TRY_CTX(auto data, "value '" + value.name + "'", read_value(state.path, value));
    if (data.size() != value.size_bytes)
      return fail(ErrorCode::corrupt, "value '" + value.name + "': " + std::to_string(data.size()) +
                                          " bytes came, " + std::to_string(value.size_bytes) + " expected");
    fetched.push_back(std::move(data));
  }
  RS_CHECK(base.set_class(cell, state.entry.class_name));
  if (!state.entry.security.empty()) RS_CHECK(base.set_security(cell, state.entry.security));
  if (!state.complete) return base.set_written(cell, kPlaceholderTime);
  auto next = fetched.begin();
  for (const auto& value : state.values) {
    RS_TRY(const auto name, to_utf16(value.name));
    RS_CHECK(base.set_value(cell, name, value.type, value.is_inline() ? value.data : *next++));
  }
  return base.set_written(cell, state.entry.written_100ns == 0 ? kEarliestTime : state.entry.written_100ns);
}

}  // namespace

std::string base_hive_path(std::string_view provenance_path, const Guid& session,
                           const profile::ProfilePath& hive) {
  const auto slash = provenance_path.rfind('/');
  std::string path(slash == std::string_view::npos ? std::string_view{}
                                                   : provenance_path.substr(0, slash + 1));
  const bool classes = hive.text().find('/') != std::string::npos;  // NTUSER.DAT lies in the root
  return path + "registry/" + session.to_string() + (classes ? "-classes" : "-user") + ".base";
}

Result<registry::Editor> create_base_hive() {
  RS_TRY(auto base, registry::Editor::create(kMinorVersion, "ROOT", empty_descriptor(), kEarliestTime));
  RS_TRY(const auto root, base.hive().root());
  RS_CHECK(base.set_written(root.cell, kPlaceholderTime));
  return base;
}

Result<void> add_to_base_hive(registry::Editor& base, const std::vector<profile::KeyState>& keys,
                              const ValueReader& read_value) {
  for (const auto& state : keys)
    RS_CHECK_CTX("key '" + state.path.text() + "' of a base hive", add_key(base, state, read_value));
  return {};
}

}  // namespace roamstead::extract
