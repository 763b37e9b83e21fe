#include "common/extract/hive_changes.h"

#include <algorithm>
#include <map>
#include <optional>

#include "common/base/text.h"
#include "common/extract/base_hive.h"
#include "common/extract/key_marks.h"
#include "common/extract/live_hive.h"
#include "common/registry/editor.h"

namespace roamstead::extract {
namespace {

using profile::KeyPath;
using registry::Key;
using registry::Value;

constexpr std::size_t kMostHeldBack = 100;  // by name; the others are counted

std::u16string upcased(const registry::NameView& name) {
  std::u16string units(name.size(), u'\0');
  for (std::size_t i = 0; i < units.size(); ++i) units[i] = upcase(name[i]);
  return units;
}

bool equal(ByteView a, ByteView b) { return std::equal(a.begin(), a.end(), b.begin(), b.end()); }

// One of the hives, and what of it was met: nothing is read twice, so the cost is bounded by its size.
struct Side {
  explicit Side(const registry::Hive* h) : hive(h), seen(h == nullptr ? 0 : h->bins().size()) {}
  const registry::Hive* hive;
  registry::CellSet seen;
  Bytes scratch;
};

// The same key in all four.
struct Keys {
  std::optional<Key> now, before, base, base_before;
};

struct Cells {
  std::uint32_t now = registry::kNoCell, before = registry::kNoCell, base = registry::kNoCell,
                base_before = registry::kNoCell;
};
using Children = std::map<std::u16string, Cells>;  // by upcased name

struct Found {
  Side* side = nullptr;
  Value value;
};
using Values = std::map<std::u16string, Found>;  // by upcased name

struct Entry {
  ByteView class_name, security;
  bool damaged = false;
  bool operator==(const Entry& other) const {
    return equal(class_name, other.class_name) && equal(security, other.security);
  }
};

enum class Presence { absent, unsure, there };  // in the tree before
struct Standing {
  Presence presence = Presence::absent;
  Knowledge inside = Knowledge::exact;
};

class Changes {
 public:
  explicit Changes(const HiveComparison& comparison)
      : comparison_(comparison),
        now_(comparison.now),
        before_(comparison.before),
        base_(comparison.base),
        base_before_(comparison.base_before) {}

  Result<HiveRecords> run();

 private:
  struct Place {
    const KeyPath& path;
    std::size_t depth;
    Knowledge above;              // of the parent
    const KeyMarks::Node* marks;  // null: nothing below is marked
    bool all;
    bool listed;  // the parent's list of subkeys is whole: what is not in it is not there
  };
  Result<bool> mark();
  void examine(const Place& place, Keys keys);
  void gone(const Place& place, const Keys& keys);
  Standing standing(Keys& keys, Knowledge above) const;
  void subkeys(const Place& place, const Keys& keys, Knowledge inside, bool all);
  bool list(Side& side, const std::optional<Key>& key, std::uint32_t Cells::*member, bool all,
            Children& children, std::string* problem);
  void compare(const Place& place, const Keys& keys, const Standing& standing);
  bool entry_changed(const Keys& keys, const Standing& standing, Knowledge above, const Entry& now) const;
  Keys keys_at(const Cells& cells) const;
  Entry entry_of(const Side& side, const Key& key) const;
  bool collect(Side& side, const Key& key, Values& values, std::string* problem);
  bool put_value(const KeyPath& path, Found& now, Found* before, profile::PutKey& put);
  void hold_back(const KeyPath& path, const std::string& reason);
  void count(std::uint64_t bytes) {
    bytes_ += bytes;
    too_many_ = too_many_ || bytes_ > 2 * kMaxHiveRecordBytes ||
                records_.puts.size() + records_.deletes.size() > 2 * kMaxHiveKeys;
  }

  const HiveComparison& comparison_;
  Side now_, before_, base_, base_before_;
  KeyMarks marks_;
  HiveRecords records_;
  std::uint64_t bytes_ = 0;
  std::uint64_t not_named_ = 0;  // held back beyond kMostHeldBack
  bool too_many_ = false;
};

Result<bool> Changes::mark() {
  const auto& c = comparison_;
  if (c.send_all || c.waited || (c.before == nullptr && c.base == nullptr) ||
      (c.before != nullptr && c.base != nullptr && c.base_before == nullptr)) {
    marks_.mark_all();
    return true;
  }
  if (c.before == nullptr) return marks_.mark_differences(*c.base, *c.now);
  if (!marks_.mark_differences(*c.before, *c.now)) return false;
  return c.base == c.base_before || marks_.mark_differences(*c.base_before, *c.base);
}

Result<HiveRecords> Changes::run() {
  const auto too_many = [&] {
    return fail(ErrorCode::unsupported, comparison_.hive.text() + ": more changes than a batch can hold");
  };
  RS_TRY(const bool fits, mark());
  if (!fits) return too_many();
  Keys root;
  const auto open = [](Side& side, std::optional<Key>& key) -> Result<void> {
    if (side.hive == nullptr) return {};
    RS_TRY(key, side.hive->root());
    side.seen.add(key->cell);
    return {};
  };
  RS_CHECK(open(now_, root.now));
  RS_CHECK(open(before_, root.before));
  RS_CHECK(open(base_, root.base));
  RS_CHECK(open(base_before_, root.base_before));
  examine({KeyPath(), 0, comparison_.above_root, &marks_.root(), marks_.root().all, true}, root);
  if (too_many_) return too_many();
  if (not_named_ != 0)
    records_.held_back.push_back(
        {comparison_.hive.text(), std::to_string(not_named_) + " more keys and values"});
  return std::move(records_);
}

// What the tree before has of a key. Takes away the sides that say nothing about it.
Standing Changes::standing(Keys& keys, Knowledge above) const {
  const auto without = [&](Presence presence, Knowledge inside) {
    keys.before = keys.base = keys.base_before = std::nullopt;
    return Standing{presence, inside};
  };
  if (above == Knowledge::exact && !keys.before) return without(Presence::absent, Knowledge::exact);
  if (keys.base_before && is_complete(*keys.base_before)) {
    if (!keys.before) return without(Presence::absent, Knowledge::exact);
    return {Presence::there, Knowledge::exact};
  }
  // It had been put here, not yet loaded, and was gone again: perhaps a deletion was sent, perhaps not.
  if (keys.base_before && before_.hive != nullptr && !keys.before)
    return without(Presence::unsure, Knowledge::partial);
  if (keys.base && is_complete(*keys.base)) return {Presence::there, Knowledge::full};
  if (!keys.base && !keys.base_before && above != Knowledge::partial) {
    if (keys.before) return {Presence::there, Knowledge::exact};  // made here
    return without(Presence::absent, Knowledge::exact);
  }
  if (keys.before || keys.base) return {Presence::there, Knowledge::partial};
  return without(Presence::unsure, Knowledge::partial);
}

void Changes::examine(const Place& place, Keys keys) {
  if (too_many_ || profile::is_excluded_key(comparison_.hive, place.path)) return;
  if (const auto* selection = comparison_.selection) {
    if (selection->leaves_out(comparison_.hive, place.path)) return;
    if (comparison_.waited && selection->waits(comparison_.hive, place.path))
      keys.before = keys.base_before = std::nullopt;
  }
  const auto standing = this->standing(keys, place.above);
  if (!keys.now) {
    if (standing.presence == Presence::there && place.listed) gone(place, keys);
    return;
  }
  const bool all = place.all || standing.presence != Presence::there;
  if (all || (place.marks != nullptr && place.marks->self)) compare(place, keys, standing);
  if (all || (place.marks != nullptr && (!place.marks->children.empty() || place.marks->damaged)))
    subkeys(place, keys, standing.inside, all);
}

void Changes::gone(const Place& place, const Keys& keys) {
  if (keys.before || place.above != Knowledge::partial || is_complete(*keys.base)) {
    records_.deletes.push_back({comparison_.hive, place.path});
    return count(place.path.text().size());
  }
  // It was here only for what was loaded below it.
  subkeys({place.path, place.depth, place.above, nullptr, true, true}, keys, Knowledge::partial, true);
}

// Reads a key's list into `children`: all of it, or those that are there already.
bool Changes::list(Side& side, const std::optional<Key>& key, std::uint32_t Cells::*member, bool all,
                   Children& children, std::string* problem) {
  if (!key) return true;
  std::string trouble;
  std::vector<std::uint32_t> cells;
  if (auto listed = side.hive->subkeys(*key, cells, &side.seen); !listed) trouble = listed.error().message;
  for (const auto cell : cells) {
    auto child = side.hive->key(cell);
    if (!child || !side.seen.add(cell)) {
      trouble = child ? "a subkey was met before" : child.error().message;
      continue;
    }
    auto name = upcased(child->name);
    auto found = all ? children.try_emplace(std::move(name)).first : children.find(name);
    if (found == children.end()) continue;
    auto& slot = found->second.*member;
    if (slot == registry::kNoCell)
      slot = cell;
    else
      trouble = "two subkeys are named '" + child->name.to_wtf8() + "'";
  }
  if (problem != nullptr) *problem = trouble;
  return trouble.empty();
}

void Changes::subkeys(const Place& place, const Keys& keys, Knowledge inside, bool all) {
  Children children;
  if (!all)
    for (const auto& [name, node] : place.marks->children) children[name];
  std::string problem;
  const bool listed = list(now_, keys.now, &Cells::now, all, children, &problem);
  if (!listed) hold_back(place.path, "damaged: " + problem);
  list(before_, keys.before, &Cells::before, all, children, nullptr);
  list(base_, keys.base, &Cells::base, all, children, nullptr);
  list(base_before_, keys.base_before, &Cells::base_before, all, children, nullptr);
  for (const auto& [upcased_name, cells] : children) {
    const auto child = keys_at(cells);
    const auto* named = child.now      ? &*child.now
                        : child.before ? &*child.before
                        : child.base   ? &*child.base
                                       : nullptr;
    if (named == nullptr) continue;
    const auto name = named->name.to_wtf8();
    if (auto fine = profile::check_key_name(name); !fine) {
      hold_back(place.path, fine.error().message);
      continue;
    }
    if (place.depth >= profile::kMaxKeyDepth) {
      hold_back(place.path, "its subkeys lie deeper than a profile can hold");
      break;
    }
    const KeyMarks::Node* marks = nullptr;
    if (place.marks != nullptr)
      if (const auto found = place.marks->children.find(upcased_name); found != place.marks->children.end())
        marks = &found->second;
    examine({place.path.child(name), place.depth + 1, inside, marks, all || (marks != nullptr && marks->all),
             listed},
            child);
  }
}

Keys Changes::keys_at(const Cells& cells) const {
  const auto read = [](const Side& side, std::uint32_t cell) {
    auto key = cell == registry::kNoCell ? Result<Key>(fail(ErrorCode::not_found, "")) : side.hive->key(cell);
    return key ? std::optional(*key) : std::nullopt;
  };
  return {read(now_, cells.now), read(before_, cells.before), read(base_, cells.base),
          read(base_before_, cells.base_before)};
}

Entry Changes::entry_of(const Side& side, const Key& key) const {
  Entry entry;
  const auto class_name = side.hive->class_name(key);
  const auto security = side.hive->security(key);
  entry.damaged = !class_name || !security || !registry::check_descriptor(*security);
  if (entry.damaged) return entry;
  entry.class_name = class_name->first(class_name->size() / 2 * 2);
  entry.security = *security;
  return entry;
}

bool Changes::entry_changed(const Keys& keys, const Standing& standing, Knowledge above,
                            const Entry& now) const {
  if (now.damaged) return false;
  bool known = false;
  if (keys.before) {
    known = true;
    if (entry_of(before_, *keys.before) == now) return false;
  }
  // A placeholder below one that is not complete does not even know its entry.
  if (keys.base && standing.inside != Knowledge::exact &&
      (standing.inside == Knowledge::full || above != Knowledge::partial)) {
    known = true;
    if (entry_of(base_, *keys.base) == now) return false;
  }
  return known;
}

// False when the list is damaged. What could be read is in `values`, over what was there before.
bool Changes::collect(Side& side, const Key& key, Values& values, std::string* problem) {
  std::string trouble;
  std::vector<std::uint32_t> cells;
  if (auto listed = side.hive->values(key, cells, &side.seen); !listed) trouble = listed.error().message;
  Values found;
  for (const auto cell : cells) {
    auto value = side.hive->value(cell);
    if (!value || !side.seen.add(cell)) {
      trouble = value ? "a value was met before" : value.error().message;
      continue;
    }
    if (!found.try_emplace(upcased(value->name), Found{&side, *value}).second)
      trouble = "two values are named '" + value->name.to_wtf8() + "'";
  }
  for (auto& [name, value] : found) values[name] = value;
  if (problem != nullptr) *problem = trouble;
  return trouble.empty();
}

// Puts the value into the record unless it is as it was. False when it cannot be read.
bool Changes::put_value(const KeyPath& path, Found& now, Found* before, profile::PutKey& put) {
  const auto name = now.value.name.to_wtf8();
  auto fine = profile::check_value_name(name);
  auto data = now.side->hive->data(now.value, now.side->scratch, &now.side->seen);
  if (!fine || !data) {
    hold_back(path, "value '" + name + "': " + (fine ? data.error() : fine.error()).message);
    return false;
  }
  if (before != nullptr && before->value.type == now.value.type &&
      before->value.data_bytes == now.value.data_bytes) {
    auto old = before->side->hive->data(before->value, before->side->scratch, &before->side->seen);
    if (old && equal(*old, *data) && !comparison_.send_all) return true;
  }
  profile::RegistryValue value{name, now.value.type, data->size(), {}};
  if (value.is_inline()) value.data = to_bytes(*data);
  count(name.size() + value.data.size());
  put.values.push_back(std::move(value));
  return true;
}

void Changes::compare(const Place& place, const Keys& keys, const Standing& standing) {
  const bool there = standing.presence == Presence::there;
  Values now, before;
  std::string problem;
  const bool whole = collect(now_, *keys.now, now, &problem);
  if (!whole) hold_back(place.path, "damaged: " + problem);
  if (there && keys.base && standing.inside == Knowledge::full) collect(base_, *keys.base, before, nullptr);
  if (there && keys.before) collect(before_, *keys.before, before, nullptr);

  const auto left_out = [&](const auto& named) {
    return comparison_.selection->leaves_out(comparison_.hive, place.path, named.second.value.name.to_wtf8());
  };
  if (comparison_.selection != nullptr && comparison_.selection->rules().has_registry_rules()) {
    std::erase_if(now, left_out);
    std::erase_if(before, left_out);
  }
  const auto entry = entry_of(now_, *keys.now);
  profile::PutKey put{comparison_.hive, place.path, {}, false, {}, {}};
  for (auto& [name, value] : now) {
    const auto old = before.find(name);
    put_value(place.path, value, old == before.end() ? nullptr : &old->second, put);
    if (too_many_) return;
  }
  if (whole)
    for (const auto& [name, value] : before)
      if (now.count(name) == 0) {
        auto old_name = value.value.name.to_wtf8();
        if (!profile::check_value_name(old_name)) continue;
        count(old_name.size());
        put.deleted_values.push_back(std::move(old_name));
      }
  const bool changed = there && entry_changed(keys, standing, place.above, entry);
  if (there && !changed && !comparison_.send_all && put.values.empty() && put.deleted_values.empty()) return;
  if (entry.damaged) hold_back(place.path, "damaged: its class or security cannot be read");
  // Class and security that nobody here decided about are not sent over those of the tree.
  const bool as_base = !keys.base || entry_of(base_, *keys.base) == entry;
  put.merge = entry.damaged || standing.presence == Presence::unsure ||
              (there && !changed && (standing.inside == Knowledge::partial || !as_base));
  put.entry.class_name = to_bytes(entry.class_name);
  put.entry.security = to_bytes(entry.security);
  put.entry.written_100ns = keys.now->written_100ns;
  count(place.path.text().size() + entry.class_name.size() + entry.security.size());
  records_.puts.push_back(std::move(put));
}

void Changes::hold_back(const KeyPath& path, const std::string& reason) {
  if (records_.held_back.size() >= kMostHeldBack) {
    ++not_named_;
    return;
  }
  const auto& hive = comparison_.hive.text();
  records_.held_back.push_back({path.is_root() ? hive : hive + "\\" + path.text(), reason});
}

}  // namespace

Result<HiveRecords> changes_of(const HiveComparison& comparison) { return Changes(comparison).run(); }

}  // namespace roamstead::extract
