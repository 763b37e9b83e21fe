#include "common/registry/editor.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <functional>

#include "common/base/file_time.h"
#include "common/base/text.h"

namespace roamstead::registry {
namespace {

// A leaf fills at most one page with its bin's header, as the kernel keeps it.
constexpr std::size_t kMaxHintedEntries = 507;  // of 8 bytes
constexpr std::size_t kMaxPlainEntries = 1014;  // of 4 bytes
constexpr std::uint16_t kControlSelfRelative = 0x8000;

// How a name is stored: one byte a unit where that is possible.
struct StoredName {
  explicit StoredName(std::u16string_view name) {
    latin1 = std::all_of(name.begin(), name.end(), [](char16_t unit) { return unit <= 0xFF; });
    for (const auto unit : name) {
      bytes.push_back(static_cast<std::byte>(unit & 0xFF));
      if (!latin1) bytes.push_back(static_cast<std::byte>(unit >> 8));
    }
  }
  bool latin1 = true;
  Bytes bytes;
};

std::u16string units_of(const NameView& name) {
  std::u16string units;
  for (std::size_t i = 0; i < name.size(); ++i) units += name[i];
  return units;
}

Result<void> check_key_name(std::u16string_view name) {
  if (name.empty() || name.size() > kMaxNameUnits || name.find(u'\\') != std::u16string_view::npos)
    return fail(
        ErrorCode::invalid_argument,
        fmt::format("'{}' cannot be a key's name: 1 to {} units without '\\'", to_wtf8(name), kMaxNameUnits));
  return {};
}

std::size_t hash_of(ByteView bytes) { return std::hash<std::string_view>{}(as_text(bytes)); }

ByteView word(const std::uint32_t& value) { return std::as_bytes(std::span(&value, 1)); }

}  // namespace

Result<void> check_descriptor(ByteView descriptor) {
  auto bad = [](std::string_view what) {
    return fail(ErrorCode::invalid_argument, fmt::format("security descriptor: {}", what));
  };
  if (descriptor.size() < 20 || descriptor.size() > 65536) return bad("20 to 65,536 bytes expected");
  if (descriptor[0] != std::byte{1} || (load_le<std::uint16_t>(descriptor, 2) & kControlSelfRelative) == 0)
    return bad("not self-relative of revision 1");
  for (const std::size_t field : {4, 8, 12, 16})
    if (load_le<std::uint32_t>(descriptor, field) > descriptor.size() - 8 &&
        load_le<std::uint32_t>(descriptor, field) != 0)
      return bad("a part lies outside");
  return {};
}

Result<Editor> Editor::open(Bytes file, std::string name) {
  RS_TRY(const auto seen, Hive::open(file, name));
  if (seen.base().dirty())
    return fail(ErrorCode::conflict,
                name + ": the hive is dirty; recover it from its logs before changing it");
  if (!seen.defects().empty())
    return fail(ErrorCode::corrupt,
                name + ": is damaged and not changed: " + seen.defects().front().to_string());
  RS_CHECK(seen.root());
  RS_TRY(auto cells, CellStore::open(std::move(file), name));
  Editor editor(std::move(cells), seen);
  editor.hive_.starts_ = &editor.cells_.starts();
  editor.now_100ns_ = roamstead::now_100ns();
  editor.refresh();
  return editor;
}

void Editor::refresh() {
  hive_.bins_ = cells_.bins();
  hive_.base_.bins_bytes = static_cast<std::uint32_t>(hive_.bins_.size());
}

Result<std::uint32_t> Editor::allocate(std::size_t bytes, std::uint32_t near) {
  auto cell = cells_.allocate(bytes, near);
  refresh();
  return cell;
}

Result<Editor> Editor::create(std::uint32_t minor_version, std::string_view root_name, ByteView descriptor,
                              std::uint64_t now_100ns) {
  if (minor_version < 3 || minor_version > 6)
    return fail(ErrorCode::invalid_argument,
                fmt::format("hives of version 1.{} are not written", minor_version));
  RS_TRY(const auto name, to_utf16(root_name));
  RS_CHECK(check_key_name(name));
  RS_CHECK(check_descriptor(descriptor));
  const StoredName stored(name);
  const auto key_bytes = static_cast<std::uint32_t>((4 + nk::kName + stored.bytes.size() + 7) / 8 * 8);
  const auto security_bytes =
      static_cast<std::uint32_t>((4 + sk::kDescriptor + descriptor.size() + 7) / 8 * 8);
  const auto bins =
      (std::size_t{kBinHeaderBytes} + key_bytes + security_bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
  Bytes file(kBaseBlockBytes + bins);
  const MutableByteView view(file);
  std::memcpy(view.data(), "regf", 4);
  store_le<std::uint64_t>(view, 12, now_100ns);
  store_le<std::uint32_t>(view, 20, 1);
  store_le<std::uint32_t>(view, 24, minor_version);
  store_le<std::uint32_t>(view, 32, 1);
  store_le<std::uint32_t>(view, 36, kBinHeaderBytes);
  store_le<std::uint32_t>(view, 40, static_cast<std::uint32_t>(bins));
  store_le<std::uint32_t>(view, 44, 1);
  auto bin = view.subspan(kBaseBlockBytes);
  std::memcpy(bin.data(), "hbin", 4);
  store_le<std::uint32_t>(bin, 8, static_cast<std::uint32_t>(bins));
  store_le<std::uint64_t>(bin, 20, now_100ns);
  const auto security_cell = kBinHeaderBytes + key_bytes;
  store_le<std::uint32_t>(bin, kBinHeaderBytes, 0u - key_bytes);
  auto key = bin.subspan(kBinHeaderBytes + 4);
  std::memcpy(key.data(), "nk", 2);
  store_le<std::uint16_t>(key, nk::kFlags,
                          static_cast<std::uint16_t>(nk::kFlagRoot | nk::kFlagNoDelete |
                                                     (stored.latin1 ? nk::kFlagLatin1Name : 0)));
  store_le<std::uint64_t>(key, nk::kWritten, now_100ns);
  for (const auto field : {nk::kParent, nk::kSubkeys, nk::kVolatileSubkeys, nk::kValues, nk::kClass})
    store_le<std::uint32_t>(key, field, kNoCell);
  store_le<std::uint32_t>(key, nk::kSecurity, security_cell);
  store_le<std::uint16_t>(key, nk::kNameBytes, static_cast<std::uint16_t>(stored.bytes.size()));
  std::copy(stored.bytes.begin(), stored.bytes.end(), key.begin() + nk::kName);
  store_le<std::uint32_t>(bin, security_cell, 0u - security_bytes);
  auto security = bin.subspan(security_cell + 4);
  std::memcpy(security.data(), "sk", 2);
  store_le<std::uint32_t>(security, sk::kNext, security_cell);
  store_le<std::uint32_t>(security, sk::kPrevious, security_cell);
  store_le<std::uint32_t>(security, sk::kReferences, 1);
  store_le<std::uint32_t>(security, sk::kSize, static_cast<std::uint32_t>(descriptor.size()));
  std::copy(descriptor.begin(), descriptor.end(), security.begin() + sk::kDescriptor);
  if (const auto used = security_cell + security_bytes; used < bins)
    store_le<std::uint32_t>(bin, used, static_cast<std::uint32_t>(bins) - used);
  seal_base_block(file, 1);
  RS_TRY(auto editor, open(std::move(file), std::string(root_name)));
  editor.set_time(now_100ns);
  return editor;
}

void Editor::finish() {
  if (cells_.dirty().empty()) return;
  // The hive and its first bin both hold the time of the last write, where they hold one at all.
  if (hive_.base().written_100ns != 0) {
    const auto time = std::as_bytes(std::span(&now_100ns_, 1));
    cells_.write_at(12, time);
    if (load_le<std::uint64_t>(cells_.bins(), 20) != 0) cells_.write_at(kBaseBlockBytes + 20, time);
    hive_.base_.written_100ns = now_100ns_;
  }
  auto& base = hive_.base_;
  base.sequence_2 = ++base.sequence_1;
  cells_.seal(base.sequence_1);
}

void Editor::touch(std::uint32_t key) { cells_.write_le<std::uint64_t>(key, nk::kWritten, now_100ns_); }

// Fields of largest lengths are bounds: they only ever grow.
void Editor::raise(std::uint32_t key, std::size_t field, std::size_t bytes) {
  const auto content = hive_.cell(key);
  if (!content) return;
  if (field == nk::kMaxSubkeyName) {  // 16 bits; what follows are flags
    if (load_le<std::uint16_t>(*content, field) < bytes)
      cells_.write_le<std::uint16_t>(key, field, static_cast<std::uint16_t>(bytes));
  } else if (load_le<std::uint32_t>(*content, field) < bytes) {
    cells_.write_le<std::uint32_t>(key, field, static_cast<std::uint32_t>(bytes));
  }
}

// Lists of subkeys.

Result<Editor::IndexRoot> Editor::index_root(const Key& parent) const {
  IndexRoot index;
  if (parent.subkey_count == 0) return index;
  RS_TRY(const ByteView list, hive_.cell(parent.subkeys_cell));
  if (as_text(list.first(2)) != "ri") {
    index.leaves.push_back(parent.subkeys_cell);
  } else {
    index.cell = parent.subkeys_cell;
    const std::size_t count = load_le<std::uint16_t>(list, 2);
    if (count > (list.size() - 4) / 4) return hive_.bad(index.cell, "index of subkeys is cut off");
    for (std::size_t i = 0; i < count; ++i) index.leaves.push_back(load_le<std::uint32_t>(list, 4 + i * 4));
  }
  for (const auto leaf : index.leaves) RS_CHECK(leaf_count(leaf));
  return index;
}

std::size_t Editor::entry_bytes(std::uint32_t leaf) const {
  return as_text(hive_.bins().subspan(leaf + 4, 2)) == "li" ? 4 : 8;
}

Result<std::size_t> Editor::leaf_count(std::uint32_t leaf) const {
  RS_TRY(const ByteView list, hive_.cell(leaf));
  const auto signature = as_text(list.first(2));
  if (signature != "lf" && signature != "lh" && signature != "li")
    return hive_.bad(leaf, "a list of subkeys expected");
  const std::size_t count = load_le<std::uint16_t>(list, 2);
  if (count == 0 || count > (list.size() - 4) / entry_bytes(leaf))
    return hive_.bad(leaf, "list of subkeys is empty or cut off");
  return count;
}

Result<Editor::Place> Editor::place_of(const IndexRoot& index, std::u16string_view name) const {
  auto order_of = [&](std::uint32_t leaf, std::size_t entry) -> Result<int> {
    RS_TRY(const auto key,
           hive_.key(load_le<std::uint32_t>(hive_.bins(), leaf + 8 + entry * entry_bytes(leaf))));
    return compare_upcased(key.name, name);
  };
  Place place;
  // The last leaf that begins at or before the name.
  std::size_t low = 0;
  for (auto high = index.leaves.size(); low < high;) {
    const auto middle = low + (high - low) / 2;
    RS_TRY(const int order, order_of(index.leaves[middle], 0));
    if (order <= 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  place.leaf_index = low == 0 ? 0 : low - 1;
  place.leaf = index.leaves[place.leaf_index];
  RS_TRY(place.count, leaf_count(place.leaf));
  for (auto high = place.count; place.entry < high;) {
    const auto middle = place.entry + (high - place.entry) / 2;
    RS_TRY(const int order, order_of(place.leaf, middle));
    if (order < 0) {
      place.entry = middle + 1;
    } else {
      high = middle;
    }
  }
  if (place.entry < place.count) {
    RS_TRY(const int order, order_of(place.leaf, place.entry));
    place.found = order == 0;
  }
  return place;
}

void Editor::write_entry(std::uint32_t leaf, std::size_t entry, std::uint32_t key, std::u16string_view name) {
  const auto bytes = entry_bytes(leaf);
  cells_.write_le<std::uint32_t>(leaf, 4 + entry * bytes, key);
  if (bytes == 4) return;
  std::uint32_t hint = 0;
  if (as_text(hive_.bins().subspan(leaf + 4, 2)) == "lh") {
    hint = name_hash(name);
  } else {
    // The first four characters, none if one of them does not fit into a byte.
    for (std::size_t i = 0; i < 4 && i < name.size(); ++i) {
      if (name[i] > 0xFF) {
        hint = 0;
        break;
      }
      hint |= std::uint32_t{name[i]} << (8 * i);
    }
  }
  cells_.write_le<std::uint32_t>(leaf, 4 + entry * bytes + 4, hint);
}

// An empty leaf with room for `count`, of the form of another one or the one that the hive's version asks
// for.
Result<std::uint32_t> Editor::new_leaf(std::uint32_t like, std::size_t count, std::uint32_t near) {
  std::string signature = hive_.base().fast_leaf_only() ? "lf" : "lh";
  if (like != kNoCell) signature = std::string(as_text(hive_.bins().subspan(like + 4, 2)));
  RS_TRY(const auto leaf, allocate(4 + count * (signature == "li" ? 4 : 8), near));
  cells_.write(leaf, 0, as_bytes(signature));
  return leaf;
}

Result<void> Editor::write_index(std::uint32_t parent, IndexRoot index) {
  if (index.leaves.empty()) {
    if (index.cell != kNoCell) cells_.release(index.cell);
    cells_.write_le<std::uint32_t>(parent, nk::kSubkeys, kNoCell);
    return {};
  }
  if (index.cell == kNoCell && index.leaves.size() == 1) {
    cells_.write_le<std::uint32_t>(parent, nk::kSubkeys, index.leaves.front());
    return {};
  }
  const auto bytes = 4 + index.leaves.size() * 4;
  if (index.cell == kNoCell || cells_.room(index.cell) < bytes) {
    RS_TRY(const auto grown, allocate(bytes + bytes / 4, parent));
    if (index.cell != kNoCell) cells_.release(index.cell);
    index.cell = grown;
    cells_.write(index.cell, 0, as_bytes("ri"));
  }
  cells_.write_le<std::uint16_t>(index.cell, 2, static_cast<std::uint16_t>(index.leaves.size()));
  for (std::size_t i = 0; i < index.leaves.size(); ++i)
    cells_.write_le<std::uint32_t>(index.cell, 4 + i * 4, index.leaves[i]);
  cells_.write_le<std::uint32_t>(parent, nk::kSubkeys, index.cell);
  return {};
}

void Editor::count_subkeys(std::uint32_t parent, std::int64_t change) {
  const auto key = hive_.key(parent);
  if (!key) return;
  cells_.write_le<std::uint32_t>(parent, nk::kSubkeyCount,
                                 static_cast<std::uint32_t>(std::int64_t{key->subkey_count} + change));
  touch(parent);
}

Result<void> Editor::insert_subkey(std::uint32_t parent, std::uint32_t key, std::u16string_view name) {
  RS_TRY(const auto parent_key, hive_.key(parent));
  RS_TRY(auto index, index_root(parent_key));
  if (index.leaves.empty()) {
    RS_TRY(const auto leaf, new_leaf(kNoCell, 1, parent));
    cells_.write_le<std::uint16_t>(leaf, 2, 1);
    write_entry(leaf, 0, key, name);
    index.leaves.push_back(leaf);
    RS_CHECK(write_index(parent, std::move(index)));
  } else {
    RS_TRY(auto place, place_of(index, name));
    const auto bytes = entry_bytes(place.leaf);
    const auto most = bytes == 4 ? kMaxPlainEntries : kMaxHintedEntries;
    auto entries_of = [&](std::uint32_t leaf, std::size_t first, std::size_t count) {
      return to_bytes(hive_.bins().subspan(leaf + 8 + first * bytes, count * bytes));
    };
    if (place.count >= most) {
      // In two halves, the new entry then goes into one of them.
      const auto half = place.count / 2;
      const auto moved = entries_of(place.leaf, half, place.count - half);
      RS_TRY(const auto right, new_leaf(place.leaf, place.count - half + 1 + half / 4, place.leaf));
      cells_.write(right, 4, moved);
      cells_.write_le<std::uint16_t>(right, 2, static_cast<std::uint16_t>(place.count - half));
      cells_.write_le<std::uint16_t>(place.leaf, 2, static_cast<std::uint16_t>(half));
      index.leaves.insert(index.leaves.begin() + static_cast<std::ptrdiff_t>(place.leaf_index) + 1, right);
      const bool to_right = place.entry > half;
      place.count = to_right ? place.count - half : half;
      if (to_right) {
        place.entry -= half;
        place.leaf = right;
        ++place.leaf_index;
      }
    }
    const auto rest = entries_of(place.leaf, place.entry, place.count - place.entry);
    if (cells_.room(place.leaf) < 4 + (place.count + 1) * bytes) {
      const auto wanted = std::min(most, place.count + 1 + place.count / 4);
      const auto all = entries_of(place.leaf, 0, place.count);
      RS_TRY(const auto grown, new_leaf(place.leaf, std::max(wanted, place.count + 1), place.leaf));
      cells_.write(grown, 4, all);
      cells_.release(place.leaf);
      index.leaves[place.leaf_index] = place.leaf = grown;
    }
    cells_.write(place.leaf, 4 + (place.entry + 1) * bytes, rest);
    write_entry(place.leaf, place.entry, key, name);
    cells_.write_le<std::uint16_t>(place.leaf, 2, static_cast<std::uint16_t>(place.count + 1));
    RS_CHECK(write_index(parent, std::move(index)));
  }
  count_subkeys(parent, 1);
  raise(parent, nk::kMaxSubkeyName, name.size() * 2);
  return {};
}

Result<void> Editor::remove_subkey(std::uint32_t parent, std::u16string_view name, std::uint32_t key) {
  RS_TRY(const auto parent_key, hive_.key(parent));
  RS_TRY(auto index, index_root(parent_key));
  if (index.leaves.empty()) return hive_.bad(parent, "the parent lists no subkeys");
  RS_TRY(const auto place, place_of(index, name));
  const auto bytes = entry_bytes(place.leaf);
  if (!place.found || load_le<std::uint32_t>(hive_.bins(), place.leaf + 8 + place.entry * bytes) != key)
    return hive_.bad(
        parent, fmt::format("key '{}' is not where its name belongs in the parent's list", to_wtf8(name)));
  if (place.count == 1) {
    cells_.release(place.leaf);
    index.leaves.erase(index.leaves.begin() + static_cast<std::ptrdiff_t>(place.leaf_index));
  } else {
    const auto rest = to_bytes(hive_.bins().subspan(place.leaf + 8 + (place.entry + 1) * bytes,
                                                    (place.count - place.entry - 1) * bytes));
    cells_.write(place.leaf, 4 + place.entry * bytes, rest);
    cells_.write_le<std::uint16_t>(place.leaf, 2, static_cast<std::uint16_t>(place.count - 1));
  }
  RS_CHECK(write_index(parent, std::move(index)));
  count_subkeys(parent, -1);
  return {};
}

// Keys.

Result<std::uint32_t> Editor::create_key(std::uint32_t parent, std::u16string_view name) {
  RS_CHECK(check_key_name(name));
  RS_TRY(const auto parent_key, hive_.key(parent));
  RS_TRY(const auto index, index_root(parent_key));
  if (!index.leaves.empty()) {
    RS_TRY(const auto place, place_of(index, name));
    if (place.found) return fail(ErrorCode::exists, fmt::format("key '{}' is there already", to_wtf8(name)));
  }
  const auto security = parent_key.security_cell;
  RS_CHECK(hive_.security_of_cell(security));
  const StoredName stored(name);
  RS_TRY(const auto key, allocate(nk::kName + stored.bytes.size(), parent));
  cells_.write(key, 0, as_bytes("nk"));
  cells_.write_le<std::uint16_t>(key, nk::kFlags, stored.latin1 ? nk::kFlagLatin1Name : 0);
  cells_.write_le<std::uint64_t>(key, nk::kWritten, now_100ns_);
  cells_.write_le<std::uint32_t>(key, nk::kParent, parent);
  for (const auto field : {nk::kSubkeys, nk::kVolatileSubkeys, nk::kValues, nk::kClass})
    cells_.write_le<std::uint32_t>(key, field, kNoCell);
  cells_.write_le<std::uint32_t>(key, nk::kSecurity, security);
  cells_.write_le<std::uint16_t>(key, nk::kNameBytes, static_cast<std::uint16_t>(stored.bytes.size()));
  cells_.write(key, nk::kName, stored.bytes);
  if (auto inserted = insert_subkey(parent, key, name); !inserted) {
    cells_.release(key);
    return fail(std::move(inserted).error());
  }
  RS_CHECK(change_references(security, 1));
  return key;
}

Result<std::uint32_t> Editor::create_path(std::uint32_t from, std::string_view path) {
  auto at = from;
  for (std::size_t begin = 0; begin < path.size();) {
    const auto end = std::min(path.find('\\', begin), path.size());
    RS_TRY(const auto name, to_utf16(path.substr(begin, end - begin)));
    begin = end + 1;
    if (name.empty()) continue;
    RS_TRY(const auto key, hive_.key(at));
    RS_TRY(const auto index, index_root(key));
    Place place;
    if (!index.leaves.empty()) {
      RS_TRY(place, place_of(index, name));
    }
    if (place.found) {
      at = load_le<std::uint32_t>(hive_.bins(), place.leaf + 8 + place.entry * entry_bytes(place.leaf));
    } else {
      RS_TRY(at, create_key(at, name));
    }
  }
  return at;
}

Result<void> Editor::collect_data(const Value& value, std::vector<std::uint32_t>& cells) const {
  if (value.resident || value.data_bytes == 0) return {};
  Bytes scratch;
  RS_CHECK(hive_.data(value, scratch));  // every piece is there
  cells.push_back(value.data_cell);
  RS_TRY(const ByteView content, hive_.cell(value.data_cell));
  if (content.size() >= value.data_bytes) return {};
  const auto list_cell = load_le<std::uint32_t>(content, 4);
  RS_TRY(const ByteView list, hive_.cell(list_cell));
  cells.push_back(list_cell);
  for (std::size_t i = 0; i < load_le<std::uint16_t>(content, 2); ++i)
    cells.push_back(load_le<std::uint32_t>(list, i * 4));
  return {};
}

// Every cell of a key and of all below it; refuses if one is met twice.
Result<void> Editor::collect_tree(const Key& top, std::vector<std::uint32_t>& cells,
                                  std::vector<std::uint32_t>& securities) const {
  CellSet seen(hive_.bins().size());
  std::vector<std::uint32_t> open = {top.cell};
  while (!open.empty()) {
    const auto first = cells.size();
    RS_TRY(const auto key, hive_.key(open.back()));
    open.pop_back();
    cells.push_back(key.cell);
    RS_CHECK(hive_.security_of_cell(key.security_cell));
    securities.push_back(key.security_cell);
    if (key.class_bytes != 0 && key.class_cell != kNoCell) {
      RS_CHECK(hive_.class_name(key));
      cells.push_back(key.class_cell);
    }
    if (key.value_count != 0) cells.push_back(key.values_cell);
    std::vector<std::uint32_t> listed;
    RS_CHECK(hive_.values(key, listed));
    for (const auto cell : listed) {
      RS_TRY(const auto value, hive_.value(cell));
      cells.push_back(cell);
      RS_CHECK(collect_data(value, cells));
    }
    RS_TRY(const auto index, index_root(key));
    if (index.cell != kNoCell) cells.push_back(index.cell);
    cells.insert(cells.end(), index.leaves.begin(), index.leaves.end());
    RS_CHECK(hive_.subkeys(key, open));
    for (auto i = first; i < cells.size(); ++i)
      if (!seen.add(cells[i])) return hive_.bad(cells[i], "cell belongs to two things; nothing was deleted");
  }
  return {};
}

Result<void> Editor::delete_key(std::uint32_t key_cell) {
  RS_TRY(const auto key, hive_.key(key_cell));
  if (key_cell == hive_.base().root_cell || (key.flags & (nk::kFlagRoot | nk::kFlagNoDelete)) != 0)
    return fail(ErrorCode::invalid_argument, "the root of a hive, and keys marked so, cannot be deleted");
  std::vector<std::uint32_t> cells;
  std::vector<std::uint32_t> securities;
  RS_CHECK(collect_tree(key, cells, securities));
  RS_CHECK(remove_subkey(key.parent_cell, units_of(key.name), key_cell));
  for (const auto cell : cells) cells_.release(cell);
  for (const auto security : securities) RS_CHECK(change_references(security, -1));
  return {};
}

Result<std::uint32_t> Editor::rename_key(std::uint32_t key_cell, std::u16string_view name) {
  RS_CHECK(check_key_name(name));
  RS_TRY(const auto key, hive_.key(key_cell));
  if (key_cell == hive_.base().root_cell)
    return fail(ErrorCode::invalid_argument, "a hive's root is not renamed");
  const auto parent = key.parent_cell;
  const auto old_name = units_of(key.name);
  RS_TRY(const auto parent_key, hive_.key(parent));
  RS_TRY(const auto index, index_root(parent_key));
  if (index.leaves.empty()) return hive_.bad(parent, "the parent lists no subkeys");
  RS_TRY(const auto place, place_of(index, name));
  if (place.found && load_le<std::uint32_t>(
                         hive_.bins(), place.leaf + 8 + place.entry * entry_bytes(place.leaf)) != key_cell)
    return fail(ErrorCode::exists, fmt::format("key '{}' is there already", to_wtf8(name)));
  std::vector<std::uint32_t> children;
  RS_CHECK(hive_.subkeys(key, children));
  for (const auto child : children) RS_CHECK(hive_.key(child));
  const StoredName stored(name);
  auto moved = key_cell;
  const auto flags = static_cast<std::uint16_t>((key.flags & ~nk::kFlagLatin1Name) |
                                                (stored.latin1 ? nk::kFlagLatin1Name : 0));
  const auto fixed = to_bytes(hive_.bins().subspan(key_cell + 4, nk::kName));
  if (cells_.room(key_cell) < nk::kName + stored.bytes.size()) {
    RS_TRY(moved, allocate(nk::kName + stored.bytes.size(), key_cell));
    cells_.write(moved, 0, fixed);
  }
  if (auto removed = remove_subkey(parent, old_name, key_cell); !removed) {
    if (moved != key_cell) cells_.release(moved);
    return fail(std::move(removed).error());
  }
  if (moved != key_cell) {
    cells_.release(key_cell);
    for (const auto child : children) cells_.write_le<std::uint32_t>(child, nk::kParent, moved);
  }
  cells_.write_le<std::uint16_t>(moved, nk::kFlags, flags);
  cells_.write_le<std::uint16_t>(moved, nk::kNameBytes, static_cast<std::uint16_t>(stored.bytes.size()));
  cells_.write(moved, nk::kName, stored.bytes);
  touch(moved);
  RS_CHECK(insert_subkey(parent, moved, name));
  return moved;
}

Result<void> Editor::set_written(std::uint32_t key, std::uint64_t time_100ns) {
  RS_CHECK(hive_.key(key));
  cells_.write_le<std::uint64_t>(key, nk::kWritten, time_100ns);
  return {};
}

Result<void> Editor::set_class(std::uint32_t key_cell, ByteView utf16le) {
  if (utf16le.size() > 0xFFFE || utf16le.size() % 2 != 0)
    return fail(ErrorCode::invalid_argument, "a class name has at most 32,767 UTF-16 units");
  RS_TRY(const auto key, hive_.key(key_cell));
  RS_TRY(const ByteView old, hive_.class_name(key));
  if (std::equal(old.begin(), old.end(), utf16le.begin(), utf16le.end())) return {};
  const bool had = !old.empty();
  const auto parent = key.parent_cell;
  const auto old_cell = key.class_cell;
  const Bytes content = to_bytes(utf16le);
  std::uint32_t cell = kNoCell;
  if (!content.empty()) {
    RS_TRY(cell, allocate(content.size(), key_cell));
    cells_.write(cell, 0, content);
  }
  if (had) cells_.release(old_cell);
  cells_.write_le<std::uint32_t>(key_cell, nk::kClass, cell);
  cells_.write_le<std::uint16_t>(key_cell, nk::kClassBytes, static_cast<std::uint16_t>(content.size()));
  touch(key_cell);
  if (key_cell != hive_.base().root_cell) raise(parent, nk::kMaxSubkeyClass, content.size());
  return {};
}

// Values.

Result<std::uint32_t> Editor::write_data(std::uint32_t near, ByteView data) {
  if (data.size() <= kBigDataPiece || !hive_.base().has_big_data()) {
    RS_TRY(const auto cell, allocate(data.size(), near));
    cells_.write(cell, 0, data);
    return cell;
  }
  const auto pieces = (data.size() + kBigDataPiece - 1) / kBigDataPiece;
  if (pieces > 0xFFFF)
    return fail(ErrorCode::full, fmt::format("{} bytes of data are too many", data.size()));
  RS_TRY(const auto header, allocate(8, near));
  RS_TRY(const auto list, allocate(pieces * 4, header));
  cells_.write(header, 0, as_bytes("db"));
  cells_.write_le<std::uint16_t>(header, 2, static_cast<std::uint16_t>(pieces));
  cells_.write_le<std::uint32_t>(header, 4, list);
  for (std::size_t i = 0; i < pieces; ++i) {
    const auto part = data.subspan(i * kBigDataPiece,
                                   std::min<std::size_t>(kBigDataPiece, data.size() - i * kBigDataPiece));
    RS_TRY(const auto cell, allocate(part.size() + 4, header));  // four bytes more, as the kernel has it
    cells_.write(cell, 0, part);
    cells_.write_le<std::uint32_t>(list, i * 4, cell);
  }
  return header;
}

Result<void> Editor::replace_data(const Value& value, std::uint32_t type, ByteView data) {
  const bool resident = data.size() <= kMaxResidentBytes;
  std::vector<std::uint32_t> old;
  RS_CHECK(collect_data(value, old));
  if (!resident && old.size() == 1 && cells_.room(value.data_cell) >= data.size() &&
      (data.size() <= kBigDataPiece || !hive_.base().has_big_data())) {
    cells_.write(value.data_cell, 0, data);
    cells_.shrink(value.data_cell, data.size());
    cells_.write_le<std::uint32_t>(value.cell, vk::kDataBytes, static_cast<std::uint32_t>(data.size()));
    cells_.write_le<std::uint32_t>(value.cell, vk::kType, type);
    return {};
  }
  std::uint32_t place = 0;
  auto size = static_cast<std::uint32_t>(data.size());
  if (resident) {
    if (!data.empty()) std::memcpy(&place, data.data(), data.size());
    size |= kResidentData;
  } else {
    RS_TRY(place, write_data(value.cell, data));
  }
  for (const auto cell : old) cells_.release(cell);
  cells_.write_le<std::uint32_t>(value.cell, vk::kDataBytes, size);
  cells_.write(value.cell, vk::kData, word(place));
  cells_.write_le<std::uint32_t>(value.cell, vk::kType, type);
  return {};
}

Result<void> Editor::add_value(const Key& key, std::u16string_view name, std::uint32_t type, ByteView data) {
  const auto key_cell = key.cell;
  const std::size_t count = key.value_count;
  auto list = key.values_cell;
  if (count != 0) {
    RS_TRY(const ByteView content, hive_.cell(list));
    if (content.size() / 4 < count) return hive_.bad(list, "list of values is cut off");
  }
  const StoredName stored(name);
  RS_TRY(const auto cell, allocate(vk::kName + stored.bytes.size(), key_cell));
  cells_.write(cell, 0, as_bytes("vk"));
  cells_.write_le<std::uint16_t>(cell, vk::kNameBytes, static_cast<std::uint16_t>(stored.bytes.size()));
  cells_.write_le<std::uint32_t>(cell, vk::kDataBytes, kResidentData);
  cells_.write_le<std::uint16_t>(cell, vk::kFlags, stored.latin1 && !name.empty() ? vk::kFlagLatin1Name : 0);
  cells_.write(cell, vk::kName, stored.bytes);
  Value value;
  value.cell = cell;
  value.resident = true;
  if (auto written = replace_data(value, type, data); !written) {
    cells_.release(cell);
    return written;
  }
  if (count == 0 || cells_.room(list) < (count + 1) * 4) {
    auto grown = allocate((count + 1 + count / 4) * 4, key_cell);
    if (!grown) return fail(std::move(grown).error());
    if (count != 0) {
      cells_.write(*grown, 0, to_bytes(hive_.bins().subspan(list + 4, count * 4)));
      cells_.release(list);
    }
    list = *grown;
    cells_.write_le<std::uint32_t>(key_cell, nk::kValues, list);
  }
  cells_.write_le<std::uint32_t>(list, count * 4, cell);
  cells_.write_le<std::uint32_t>(key_cell, nk::kValueCount, static_cast<std::uint32_t>(count + 1));
  raise(key_cell, nk::kMaxValueName, name.size() * 2);
  return {};
}

Result<void> Editor::set_value(std::uint32_t key_cell, std::u16string_view name, std::uint32_t type,
                               ByteView data) {
  if (name.size() > kMaxValueNameUnits)
    return fail(ErrorCode::invalid_argument,
                fmt::format("a value's name has at most {} units", kMaxValueNameUnits));
  if (data.size() > kMaxBinsBytes / 2)
    return fail(ErrorCode::full, fmt::format("{} bytes of data are too many", data.size()));
  RS_TRY(const auto key, hive_.key(key_cell));
  RS_TRY(const auto value, hive_.find_value(key, name));
  if (value) {
    Bytes scratch;
    auto now = hive_.data(*value, scratch);
    if (now && value->type == type && std::equal(now->begin(), now->end(), data.begin(), data.end()))
      return {};
    RS_CHECK(replace_data(*value, type, data));
  } else {
    RS_CHECK(add_value(key, name, type, data));
  }
  raise(key_cell, nk::kMaxValueData, data.size());
  touch(key_cell);
  return {};
}

Result<void> Editor::delete_value(std::uint32_t key_cell, std::u16string_view name) {
  RS_TRY(const auto key, hive_.key(key_cell));
  RS_TRY(const auto value, hive_.find_value(key, name));
  if (!value) return fail(ErrorCode::not_found, fmt::format("no value '{}'", to_wtf8(name)));
  std::vector<std::uint32_t> listed;
  RS_CHECK(hive_.values(key, listed));
  std::vector<std::uint32_t> cells = {value->cell};
  RS_CHECK(collect_data(*value, cells));
  std::erase(listed, value->cell);
  const auto list = key.values_cell;
  for (const auto cell : cells) cells_.release(cell);
  if (listed.empty()) {
    cells_.release(list);
    cells_.write_le<std::uint32_t>(key_cell, nk::kValues, kNoCell);
  } else {
    cells_.write(list, 0, std::as_bytes(std::span(listed)));
  }
  cells_.write_le<std::uint32_t>(key_cell, nk::kValueCount, static_cast<std::uint32_t>(listed.size()));
  touch(key_cell);
  return {};
}

// Security.

Result<void> Editor::read_securities() {
  if (securities_known_) return {};
  RS_TRY(const auto root, hive_.root());
  CellSet seen(hive_.bins().size());
  for (auto cell = root.security_cell;;) {
    RS_TRY(const ByteView descriptor, hive_.security_of_cell(cell));
    if (!seen.add(cell)) break;
    securities_.emplace(hash_of(descriptor), cell);
    cell = load_le<std::uint32_t>(hive_.bins(), cell + 4 + sk::kNext);
  }
  securities_known_ = true;
  return {};
}

// The cell of a descriptor, with one reference more.
Result<std::uint32_t> Editor::hold_security(ByteView descriptor, std::uint32_t near) {
  RS_CHECK(read_securities());
  const auto [begin, end] = securities_.equal_range(hash_of(descriptor));
  for (auto it = begin; it != end; ++it) {
    RS_TRY(const ByteView there, hive_.security_of_cell(it->second));
    if (!std::equal(there.begin(), there.end(), descriptor.begin(), descriptor.end())) continue;
    RS_CHECK(change_references(it->second, 1));
    return it->second;
  }
  RS_TRY(const auto root, hive_.root());
  const auto head = root.security_cell;
  const auto next = load_le<std::uint32_t>(hive_.bins(), head + 4 + sk::kNext);
  RS_CHECK(hive_.security_of_cell(next));
  RS_TRY(const auto cell, allocate(sk::kDescriptor + descriptor.size(), near));
  cells_.write(cell, 0, as_bytes("sk"));
  cells_.write_le<std::uint32_t>(cell, sk::kNext, next);
  cells_.write_le<std::uint32_t>(cell, sk::kPrevious, head);
  cells_.write_le<std::uint32_t>(cell, sk::kReferences, 1);
  cells_.write_le<std::uint32_t>(cell, sk::kSize, static_cast<std::uint32_t>(descriptor.size()));
  cells_.write(cell, sk::kDescriptor, descriptor);
  cells_.write_le<std::uint32_t>(head, sk::kNext, cell);
  cells_.write_le<std::uint32_t>(next, sk::kPrevious, cell);
  securities_.emplace(hash_of(descriptor), cell);
  return cell;
}

Result<void> Editor::change_references(std::uint32_t security, std::int64_t change) {
  RS_TRY(const ByteView descriptor, hive_.security_of_cell(security));
  const auto at = [&](std::uint32_t field) {
    return load_le<std::uint32_t>(hive_.bins(), security + 4 + field);
  };
  const auto count = std::int64_t{at(sk::kReferences)} + change;
  if (count > 0) {
    cells_.write_le<std::uint32_t>(security, sk::kReferences, static_cast<std::uint32_t>(count));
    return {};
  }
  const auto next = at(sk::kNext);
  const auto previous = at(sk::kPrevious);
  if (next == security) return hive_.bad(security, "the last security descriptor would go");
  RS_CHECK(hive_.security_of_cell(next));
  RS_CHECK(hive_.security_of_cell(previous));
  if (securities_known_) {
    const auto [begin, end] = securities_.equal_range(hash_of(descriptor));
    for (auto it = begin; it != end; ++it)
      if (it->second == security) {
        securities_.erase(it);
        break;
      }
  }
  cells_.write_le<std::uint32_t>(previous, sk::kNext, next);
  cells_.write_le<std::uint32_t>(next, sk::kPrevious, previous);
  cells_.release(security);
  return {};
}

Result<void> Editor::set_security(std::uint32_t key_cell, ByteView descriptor) {
  RS_CHECK(check_descriptor(descriptor));
  RS_TRY(const auto key, hive_.key(key_cell));
  const auto old = key.security_cell;
  RS_TRY(const ByteView now, hive_.security_of_cell(old));
  if (std::equal(now.begin(), now.end(), descriptor.begin(), descriptor.end())) return {};
  RS_TRY(const auto cell, hold_security(descriptor, key_cell));
  cells_.write_le<std::uint32_t>(key_cell, nk::kSecurity, cell);
  touch(key_cell);
  return change_references(old, -1);
}

}  // namespace roamstead::registry
