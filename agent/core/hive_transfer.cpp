#include "agent/core/hive_transfer.h"

#include <algorithm>
#include <map>
#include <set>

#include "common/base/log.h"
#include "common/base/text.h"

namespace roamstead::agent {
namespace {

using profile::KeyPath;
using registry::Key;

struct FileValue {
  std::string name;
  std::uint32_t type = 0;
  Bytes data;
};
struct FileKey {
  std::map<std::u16string, FileValue> values;                               // by upcased name
  std::map<std::u16string, std::pair<std::string, std::uint32_t>> subkeys;  // name and cell
};

// Copies, as an editor's views end with its next change.
Result<FileKey> read_key(const registry::Hive& file, std::uint32_t cell) {
  RS_TRY(const auto key, file.key(cell));
  FileKey content;
  std::vector<std::uint32_t> cells;
  RS_CHECK(file.values(key, cells));
  for (const auto each : cells) {
    RS_TRY(const auto value, file.value(each));
    Bytes scratch;
    RS_TRY(const auto data, file.data(value, scratch));
    auto name = value.name.to_wtf8();
    const auto mark = upcase_key(name);
    content.values[mark] = {std::move(name), value.type, to_bytes(data)};
  }
  cells.clear();
  RS_CHECK(file.subkeys(key, cells));
  for (const auto each : cells) {
    RS_TRY(const auto subkey, file.key(each));
    auto name = subkey.name.to_wtf8();
    const auto mark = upcase_key(name);
    content.subkeys[mark] = {std::move(name), each};
  }
  return content;
}

bool is_left_out(const TransferOptions& options, const KeyPath& path) {
  return is_below_any(path, options.leave_out);
}

// Both upcased.
bool is_at_or_below(const std::string& path, const std::string& top) {
  return path.rfind(top, 0) == 0 && (path.size() == top.size() || path[top.size()] == '\\');
}

bool may_hold_left_out(const TransferOptions& options, const KeyPath& path) {
  const auto top = upcased(path);
  return path.is_root() ||
         std::any_of(options.leave_out.begin(), options.leave_out.end(),
                     [&](const KeyPath& each) { return is_at_or_below(upcased(each), top); });
}

Result<void> too_deep(const KeyPath& path) {
  if (path.depth() < profile::kMaxKeyDepth) return {};
  return fail(ErrorCode::unsupported, "key '" + path.text() + "' lies too deep");
}

class Capture {
 public:
  Capture(LoadedHive& hive, registry::Editor& file, const TransferOptions& options)
      : hive_(hive), file_(file), options_(options) {}

  Result<bool> run() {
    RS_TRY(const auto root, file_.hive().root());
    RS_TRY(const auto content, hive_.read({}, options_.security));
    RS_CHECK(take(content, {}, root.cell));
    return changed_;
  }

 private:
  Result<void> take(const LoadedHive::Content& now, const KeyPath& path, std::uint32_t cell) {
    RS_CHECK(too_deep(path));
    RS_TRY(const auto before, read_key(file_.hive(), cell));
    bool differs = false;
    RS_CHECK(take_values(now, before, cell, differs));
    if (options_.security) RS_CHECK(take_security(now.entry, cell, differs));
    std::set<std::u16string> there;
    for (const auto& name : now.subkeys) {
      if (auto sound = profile::check_key_name(name); !sound) {
        log_warning("not saved: a key below '{}': {}", path.text(), sound.error().to_string());
        continue;
      }
      const auto below = path.child(name);
      if (is_left_out(options_, below)) continue;
      auto content = hive_.read(below, options_.security);
      if (!content && content.error().code == ErrorCode::not_found) continue;
      if (!content) return fail(std::move(content).error());
      const auto mark = upcase_key(name);
      const auto known = before.subkeys.find(mark);
      if (known == before.subkeys.end() && holds_others_only(*content, below)) continue;
      there.insert(mark);
      std::uint32_t child = 0;
      if (known != before.subkeys.end()) {
        child = known->second.second;
      } else {
        RS_TRY(child, make(cell, name, content->entry));
        differs = true;
      }
      RS_CHECK(take(*content, below, child));
    }
    for (const auto& [mark, subkey] : before.subkeys) {
      if (there.count(mark) != 0 || is_left_out(options_, path.child(subkey.first))) continue;
      RS_CHECK(file_.delete_key(subkey.second));
      differs = true;
    }
    if (differs) RS_CHECK(file_.set_written(cell, now.entry.written_100ns));
    changed_ = changed_ || differs;
    return {};
  }

  // It is there for the sake of what is left out.
  bool holds_others_only(const LoadedHive::Content& content, const KeyPath& path) const {
    return !content.subkeys.empty() && content.values.empty() &&
           std::all_of(content.subkeys.begin(), content.subkeys.end(),
                       [&](const std::string& name) { return is_left_out(options_, path.child(name)); });
  }

  Result<void> take_values(const LoadedHive::Content& now, const FileKey& before, std::uint32_t cell,
                           bool& differs) {
    std::set<std::u16string> there;
    for (const auto& value : now.values) {
      const auto mark = upcase_key(value.name);
      there.insert(mark);
      const auto known = before.values.find(mark);
      if (known != before.values.end() && known->second.type == value.type &&
          known->second.data == value.data)
        continue;
      RS_TRY(const auto name, to_utf16(value.name));
      RS_CHECK(file_.set_value(cell, name, value.type, value.data));
      differs = true;
    }
    for (const auto& [mark, value] : before.values) {
      if (there.count(mark) != 0) continue;
      RS_TRY(const auto name, to_utf16(value.name));
      RS_CHECK(file_.delete_value(cell, name));
      differs = true;
    }
    return {};
  }

  Result<void> take_security(const profile::KeyEntry& now, std::uint32_t cell, bool& differs) {
    if (now.security.empty()) return {};
    RS_TRY(const auto key, file_.hive().key(cell));
    RS_TRY(const auto before, file_.hive().security(key));
    if (to_bytes(before) == now.security) return {};
    differs = true;
    return file_.set_security(cell, now.security);
  }

  Result<std::uint32_t> make(std::uint32_t parent, const std::string& name, const profile::KeyEntry& entry) {
    RS_TRY(const auto units, to_utf16(name));
    RS_TRY(const auto cell, file_.create_key(parent, units));
    if (!entry.class_name.empty()) RS_CHECK(file_.set_class(cell, entry.class_name));
    RS_CHECK(file_.set_written(cell, entry.written_100ns));
    return cell;
  }

  LoadedHive& hive_;
  registry::Editor& file_;
  const TransferOptions& options_;
  bool changed_ = false;
};

// Takes everything out of the key that is not left out; whether nothing is in it then.
Result<bool> empty_key(LoadedHive& hive, const KeyPath& path, const TransferOptions& options) {
  RS_CHECK(too_deep(path));
  auto now = hive.read(path, false);
  if (!now && now.error().code == ErrorCode::not_found) return true;
  if (!now) return fail(std::move(now).error());
  for (const auto& value : now->values) RS_CHECK(hive.delete_value(path, value.name));
  bool empty = true;
  for (const auto& name : now->subkeys) {
    const auto below = path.child(name);
    if (is_left_out(options, below)) {
      empty = false;
      continue;
    }
    bool gone = true;
    if (may_hold_left_out(options, below)) {
      RS_TRY(gone, empty_key(hive, below, options));
    }
    if (gone) {
      auto deleted = hive.delete_key(below);
      if (!deleted && deleted.error().code != ErrorCode::not_found) return fail(std::move(deleted).error());
    }
    empty = empty && gone;
  }
  return empty;
}

class Restore {
 public:
  Restore(const registry::Hive& file, LoadedHive& hive, const TransferOptions& options)
      : file_(file), hive_(hive), options_(options) {}

  Result<void> run() {
    RS_TRY(const auto root, file_.root());
    return give(root.cell, {});
  }

 private:
  Result<void> give(std::uint32_t cell, const KeyPath& path) {
    RS_CHECK(too_deep(path));
    RS_TRY(const auto wanted, read_key(file_, cell));
    RS_TRY(const auto now, hive_.read(path, false));
    std::map<std::u16string, const LoadedHive::Value*> there;
    for (const auto& value : now.values) {
      const auto mark = upcase_key(value.name);
      there[mark] = &value;
      if (wanted.values.count(mark) == 0) RS_CHECK(hive_.delete_value(path, value.name));
    }
    for (const auto& [mark, value] : wanted.values) {
      const auto known = there.find(mark);
      if (known == there.end() || known->second->type != value.type || known->second->data != value.data)
        RS_CHECK(hive_.set_value(path, value.name, value.type, value.data));
    }
    std::set<std::u16string> subkeys;
    for (const auto& name : now.subkeys) {
      const auto below = path.child(name);
      if (is_left_out(options_, below)) continue;
      const auto mark = upcase_key(name);
      if (wanted.subkeys.count(mark) != 0)
        subkeys.insert(mark);
      else
        RS_CHECK(remove(below));
    }
    for (const auto& [mark, subkey] : wanted.subkeys) {
      const auto below = path.child(subkey.first);
      if (is_left_out(options_, below)) continue;
      if (subkeys.count(mark) == 0) RS_CHECK(make(below, subkey.second));
      RS_CHECK(give(subkey.second, below));
    }
    return {};
  }

  Result<void> make(const KeyPath& path, std::uint32_t cell) {
    RS_TRY(const auto key, file_.key(cell));
    profile::KeyEntry entry;
    RS_TRY(const auto class_name, file_.class_name(key));
    entry.class_name = to_bytes(class_name);
    entry.written_100ns = key.written_100ns;
    if (options_.security) {
      RS_TRY(const auto security, file_.security(key));
      entry.security = to_bytes(security);
    }
    auto made = hive_.create(path, entry);
    // On the way to a key that is left out, something may be there already.
    return made || made.error().code != ErrorCode::exists ? made : Result<void>();
  }

  Result<void> remove(const KeyPath& path) {
    if (!may_hold_left_out(options_, path)) return hive_.delete_key(path);
    RS_TRY(const bool empty, empty_key(hive_, path, options_));
    return empty ? hive_.delete_key(path) : Result<void>();
  }

  const registry::Hive& file_;
  LoadedHive& hive_;
  const TransferOptions& options_;
};

}  // namespace

bool is_below_any(const KeyPath& key, const std::vector<KeyPath>& tops) {
  if (tops.empty()) return false;
  const auto path = upcased(key);
  return std::any_of(tops.begin(), tops.end(),
                     [&](const KeyPath& top) { return is_at_or_below(path, upcased(top)); });
}

Result<bool> capture_hive(LoadedHive& hive, registry::Editor& file, const TransferOptions& options) {
  return Capture(hive, file, options).run();
}

Result<void> restore_hive(const registry::Hive& file, LoadedHive& hive, const TransferOptions& options) {
  return Restore(file, hive, options).run();
}

Result<void> clear_hive(LoadedHive& hive, const TransferOptions& options) {
  RS_TRY([[maybe_unused]] const bool empty, empty_key(hive, {}, options));
  return {};
}

}  // namespace roamstead::agent
