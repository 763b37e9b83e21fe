#include "common/registry/hive.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/base/text.h"

namespace roamstead::registry {
namespace {

constexpr std::size_t kLeastKeyBytes = nk::kName;
constexpr std::size_t kMaxOpenDefects = 64;

bool is_leaf(std::string_view signature) {
  return signature == "lf" || signature == "lh" || signature == "li";
}

std::string shown(std::string_view signature) {
  std::string text;
  for (const char c : signature)
    text +=
        c >= ' ' && c <= '~' ? std::string(1, c) : fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
  return text;
}

}  // namespace

std::string Defect::to_string() const {
  return fmt::format("offset {}{}{}: {}", offset, path.empty() ? "" : ", key ", path, what);
}

tl::unexpected<Error> Hive::bad(std::uint32_t cell, std::string what) const {
  return fail(ErrorCode::corrupt, fmt::format("{}, offset {}: {}", name_, file_offset(cell), what));
}

Result<Hive> Hive::open(ByteView file, std::string name) {
  Hive hive;
  hive.name_ = std::move(name);
  RS_TRY_CTX(hive.base_, hive.name_, parse_base_block(file));
  const auto& base = hive.base_;
  if (base.major_version != 1 || base.minor_version < 3 || base.minor_version > 6) {
    // Hives before NT 4 (1.0 to 1.2) have cells of another form.
    return fail(ErrorCode::unsupported, fmt::format("{}: version {}.{}; hives of version 1.3 to 1.6 are read",
                                                    hive.name_, base.major_version, base.minor_version));
  }
  if (base.file_type != kPrimaryFile)
    return fail(ErrorCode::unsupported, fmt::format("{}: file type {}; this is a hive's log, not a hive",
                                                    hive.name_, base.file_type));
  if (file.size() <= kBaseBlockBytes)
    return fail(ErrorCode::corrupt, hive.name_ + ": ends before its first hive bin");
  if (!base.checksum_valid) hive.defects_.push_back({0, "", "checksum of the base block is wrong"});
  auto room = file.size() - kBaseBlockBytes;
  if (base.bins_bytes > room)
    hive.defects_.push_back(
        {40, "",
         fmt::format("base block claims {} bytes of hive bins, the file has {}", base.bins_bytes, room)});
  room = std::min<std::size_t>({room, base.bins_bytes, kMaxBinsBytes});
  hive.bins_ = file.subspan(kBaseBlockBytes, room / 8 * 8);
  hive.follow_bins();
  return hive;
}

void Hive::follow_bins() {
  auto report = [&](std::uint32_t at, std::string what) {
    if (defects_.size() < kMaxOpenDefects) defects_.push_back({file_offset(at), "", std::move(what)});
  };
  if (bins_.size() % kPageBytes != 0) report(0, "hive bins are not whole pages");
  for (std::size_t at = 0; at + kBinHeaderBytes <= bins_.size();) {
    const auto offset = static_cast<std::uint32_t>(at);
    if (as_text(bins_.subspan(at, 4)) != "hbin") {
      report(offset, "'hbin' expected");
      return;
    }
    const auto size = load_le<std::uint32_t>(bins_, at + 8);
    if (load_le<std::uint32_t>(bins_, at + 4) != at) report(offset, "hive bin says it lies elsewhere");
    if (size == 0 || size % kPageBytes != 0 || size > bins_.size() - at) {
      report(offset, fmt::format("hive bin of {} bytes, {} are left", size, bins_.size() - at));
      return;
    }
    at += size;
  }
}

Result<ByteView> Hive::cell(std::uint32_t offset) const {
  if (offset == kNoCell || offset % 8 != 0 || offset < kBinHeaderBytes || bins_.size() < 8 ||
      offset > bins_.size() - 8)
    return fail(ErrorCode::corrupt, fmt::format("{}: no cell can begin at {:#x}", name_, offset));
  const auto raw = static_cast<std::int32_t>(load_le<std::uint32_t>(bins_, offset));
  if (starts_ != nullptr && !starts_->contains(offset)) return bad(offset, "no cell in use begins here");
  if (raw >= 0) return bad(offset, "cell is referred to but free");
  const auto size = static_cast<std::uint32_t>(-static_cast<std::int64_t>(raw));
  if (size % 8 != 0 || size > bins_.size() - offset)
    return bad(offset, fmt::format("cell of {} bytes, {} are left", size, bins_.size() - offset));
  return bins_.subspan(offset + 4, size - 4);
}

Result<ByteView> Hive::signed_cell(std::uint32_t offset, std::string_view signature,
                                   std::size_t least_bytes) const {
  RS_TRY(const ByteView content, cell(offset));
  if (as_text(content.first(2)) != signature)
    return bad(offset, fmt::format("'{}' expected, '{}' found", signature, shown(as_text(content.first(2)))));
  if (content.size() < least_bytes)
    return bad(offset,
               fmt::format("'{}' of {} bytes, at least {} expected", signature, content.size(), least_bytes));
  return content;
}

Result<Key> Hive::key(std::uint32_t cell_offset) const {
  RS_TRY(const ByteView content, signed_cell(cell_offset, "nk", kLeastKeyBytes));
  Key key;
  key.cell = cell_offset;
  key.flags = load_le<std::uint16_t>(content, nk::kFlags);
  key.written_100ns = load_le<std::uint64_t>(content, nk::kWritten);
  key.parent_cell = load_le<std::uint32_t>(content, nk::kParent);
  key.subkey_count = load_le<std::uint32_t>(content, nk::kSubkeyCount);
  key.subkeys_cell = load_le<std::uint32_t>(content, nk::kSubkeys);
  key.value_count = load_le<std::uint32_t>(content, nk::kValueCount);
  key.values_cell = load_le<std::uint32_t>(content, nk::kValues);
  key.security_cell = load_le<std::uint32_t>(content, nk::kSecurity);
  key.class_cell = load_le<std::uint32_t>(content, nk::kClass);
  key.class_bytes = load_le<std::uint16_t>(content, nk::kClassBytes);
  const auto name_bytes = load_le<std::uint16_t>(content, nk::kNameBytes);
  if (name_bytes > content.size() - nk::kName)
    return bad(cell_offset, fmt::format("name of {} bytes, the key's cell has {}", name_bytes,
                                        content.size() - nk::kName));
  key.name = NameView(content.subspan(nk::kName, name_bytes), (key.flags & nk::kFlagLatin1Name) != 0);
  return key;
}

Result<Value> Hive::value(std::uint32_t cell_offset) const {
  RS_TRY(const ByteView content, signed_cell(cell_offset, "vk", vk::kName));
  Value value;
  value.cell = cell_offset;
  value.type = load_le<std::uint32_t>(content, vk::kType);
  const auto size = load_le<std::uint32_t>(content, vk::kDataBytes);
  value.resident = (size & kResidentData) != 0;
  value.data_bytes = size & ~kResidentData;
  if (value.resident) {
    if (value.data_bytes > kMaxResidentBytes)
      return bad(cell_offset, fmt::format("value says that {} bytes lie in 4", value.data_bytes));
    value.resident_data = content.subspan(vk::kData, value.data_bytes);
  } else {
    value.data_cell = load_le<std::uint32_t>(content, vk::kData);
  }
  const auto name_bytes = load_le<std::uint16_t>(content, vk::kNameBytes);
  if (name_bytes > content.size() - vk::kName)
    return bad(cell_offset, fmt::format("name of {} bytes, the value's cell has {}", name_bytes,
                                        content.size() - vk::kName));
  value.name = NameView(content.subspan(vk::kName, name_bytes),
                        (load_le<std::uint16_t>(content, vk::kFlags) & vk::kFlagLatin1Name) != 0);
  return value;
}

Result<void> Hive::leaf(std::uint32_t list_cell, std::vector<std::uint32_t>& cells, std::size_t limit,
                        CellSet* seen) const {
  RS_TRY(const ByteView list, cell(list_cell));
  const auto signature = as_text(list.first(2));
  if (!is_leaf(signature))
    return bad(list_cell, fmt::format("a list of subkeys expected, '{}' found", shown(signature)));
  if (seen != nullptr && !seen->add(list_cell)) return bad(list_cell, "list of subkeys was met before");
  const std::size_t entry_bytes = signature == "li" ? 4 : 8;
  const std::size_t claimed = load_le<std::uint16_t>(list, 2);
  const auto count = std::min(claimed, (list.size() - 4) / entry_bytes);
  if (cells.size() + count > limit) return bad(list_cell, "more subkeys than the hive has room for");
  for (std::size_t i = 0; i < count; ++i) cells.push_back(load_le<std::uint32_t>(list, 4 + i * entry_bytes));
  if (count != claimed)
    return bad(list_cell, fmt::format("list claims {} subkeys, there is room for {}", claimed, count));
  return {};
}

Result<void> Hive::subkeys(const Key& key, std::vector<std::uint32_t>& cells, CellSet* seen) const {
  if (key.subkey_count == 0) return {};
  const auto before = cells.size();
  const auto limit = before + bins_.size() / (kLeastKeyBytes + 4);
  RS_TRY(const ByteView list, cell(key.subkeys_cell));
  if (as_text(list.first(2)) != "ri") {
    RS_CHECK(leaf(key.subkeys_cell, cells, limit, seen));
  } else {
    if (seen != nullptr && !seen->add(key.subkeys_cell))
      return bad(key.subkeys_cell, "list of subkeys was met before");
    const std::size_t claimed = load_le<std::uint16_t>(list, 2);
    const auto count = std::min(claimed, (list.size() - 4) / 4);
    std::optional<Error> first;
    for (std::size_t i = 0; i < count; ++i) {
      auto part = leaf(load_le<std::uint32_t>(list, 4 + i * 4), cells, limit, seen);
      if (!part && !first) first = std::move(part).error();
    }
    if (first) return fail(std::move(*first));
    if (count != claimed)
      return bad(key.subkeys_cell,
                 fmt::format("index claims {} lists, there is room for {}", claimed, count));
  }
  if (cells.size() - before != key.subkey_count)
    return bad(key.cell, fmt::format("key claims {} subkeys, its list has {}", key.subkey_count,
                                     cells.size() - before));
  return {};
}

Result<void> Hive::values(const Key& key, std::vector<std::uint32_t>& cells, CellSet* seen) const {
  if (key.value_count == 0) return {};
  RS_TRY(const ByteView list, cell(key.values_cell));
  if (seen != nullptr && !seen->add(key.values_cell))
    return bad(key.values_cell, "list of values was met before");
  const auto count = std::min<std::size_t>(key.value_count, list.size() / 4);
  for (std::size_t i = 0; i < count; ++i) cells.push_back(load_le<std::uint32_t>(list, i * 4));
  if (count != key.value_count)
    return bad(key.values_cell,
               fmt::format("key claims {} values, its list has room for {}", key.value_count, count));
  return {};
}

Result<std::optional<Key>> Hive::find_in_leaf(ByteView list, std::u16string_view name) const {
  const auto signature = as_text(list.first(2));
  const std::size_t entry_bytes = signature == "li" ? 4 : 8;
  const auto count = std::min<std::size_t>(load_le<std::uint16_t>(list, 2), (list.size() - 4) / entry_bytes);
  auto at = [&](std::size_t i) { return load_le<std::uint32_t>(list, 4 + i * entry_bytes); };
  std::size_t low = 0;
  for (std::size_t high = count; low < high;) {
    const auto middle = low + (high - low) / 2;
    RS_TRY(auto candidate, key(at(middle)));
    const auto order = compare_upcased(candidate.name, name);
    if (order == 0) return std::optional(candidate);
    if (order < 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return std::optional<Key>();
}

Result<std::optional<Key>> Hive::find_subkey(const Key& parent, std::u16string_view name) const {
  if (parent.subkey_count == 0) return std::optional<Key>();
  // Quick by the order that Windows keeps; where a list is damaged or not sorted, by a look at every subkey.
  RS_TRY(ByteView list, cell(parent.subkeys_cell));
  if (as_text(list.first(2)) == "ri") {
    const auto count = std::min<std::size_t>(load_le<std::uint16_t>(list, 2), (list.size() - 4) / 4);
    for (std::size_t low = 0, high = count; low < high;) {
      const auto middle = low + (high - low) / 2;
      auto part = cell(load_le<std::uint32_t>(list, 4 + middle * 4));
      if (!part || !is_leaf(as_text(part->first(2))) || load_le<std::uint16_t>(*part, 2) == 0 ||
          part->size() < 8)
        break;
      auto first = key(load_le<std::uint32_t>(*part, 4));
      if (!first) break;
      if (compare_upcased(first->name, name) <= 0) {
        auto found = find_in_leaf(*part, name);
        if (found && *found) return found;
        low = middle + 1;
      } else {
        high = middle;
      }
    }
  } else if (is_leaf(as_text(list.first(2)))) {
    auto found = find_in_leaf(list, name);
    if (found && *found) return found;
  }
  std::vector<std::uint32_t> cells;
  auto listed = subkeys(parent, cells);
  for (const auto each : cells) {
    auto candidate = key(each);
    if (candidate && compare_upcased(candidate->name, name) == 0) return std::optional(*candidate);
  }
  if (!listed && cells.empty()) return fail(std::move(listed).error());
  return std::optional<Key>();
}

Result<std::optional<Value>> Hive::find_value(const Key& key, std::u16string_view name) const {
  std::vector<std::uint32_t> cells;
  auto listed = values(key, cells);
  for (const auto each : cells) {
    auto candidate = value(each);
    if (candidate && compare_upcased(candidate->name, name) == 0) return std::optional(*candidate);
  }
  if (!listed && cells.empty()) return fail(std::move(listed).error());
  return std::optional<Value>();
}

Result<Key> Hive::find(std::string_view path) const {
  RS_TRY(const Key top, root());
  return find(top, path);
}

Result<Key> Hive::find(const Key& from, std::string_view path) const {
  Key at = from;
  for (std::size_t begin = 0; begin < path.size();) {
    const auto end = std::min(path.find('\\', begin), path.size());
    const auto part = path.substr(begin, end - begin);
    begin = end + 1;
    if (part.empty()) continue;
    RS_TRY(const auto units, to_utf16(part));
    RS_TRY(auto next, find_subkey(at, units));
    if (!next) return fail(ErrorCode::not_found, fmt::format("{}: no key '{}'", name_, path.substr(0, end)));
    at = *next;
  }
  return at;
}

Result<ByteView> Hive::big_data(ByteView header, const Value& value, Bytes& scratch, CellSet* seen) const {
  const auto pieces = load_le<std::uint16_t>(header, 2);
  const auto list_cell = load_le<std::uint32_t>(header, 4);
  RS_TRY(const ByteView list, cell(list_cell));
  const auto needed = (std::size_t{value.data_bytes} + kBigDataPiece - 1) / kBigDataPiece;
  if (pieces != needed || list.size() / 4 < needed)
    return bad(value.data_cell, fmt::format("{} bytes of data take {} pieces, there are {}", value.data_bytes,
                                            needed, std::min<std::size_t>(pieces, list.size() / 4)));
  scratch.clear();
  scratch.reserve(value.data_bytes);  // no more than the hive has: checked by the caller
  for (std::size_t i = 0; i < needed; ++i) {
    const auto piece_cell = load_le<std::uint32_t>(list, i * 4);
    RS_TRY(const ByteView piece, cell(piece_cell));
    if (seen != nullptr && !seen->add(piece_cell)) return bad(piece_cell, "piece of data was met before");
    const auto wanted = std::min<std::size_t>(kBigDataPiece, value.data_bytes - scratch.size());
    if (piece.size() < wanted)
      return bad(piece_cell, fmt::format("piece of {} bytes of data, {} expected", piece.size(), wanted));
    scratch.insert(scratch.end(), piece.begin(), piece.begin() + static_cast<std::ptrdiff_t>(wanted));
  }
  return ByteView(scratch);
}

Result<ByteView> Hive::data(const Value& value, Bytes& scratch, CellSet* seen) const {
  if (value.resident) return value.resident_data;
  if (value.data_bytes == 0) return ByteView();
  if (value.data_bytes > bins_.size())
    return bad(value.cell,
               fmt::format("value claims {} bytes of data, the hive has {}", value.data_bytes, bins_.size()));
  RS_TRY(const ByteView content, cell(value.data_cell));
  if (seen != nullptr && !seen->add(value.data_cell)) return bad(value.data_cell, "data was met before");
  if (value.data_bytes > kBigDataPiece && base_.has_big_data() && content.size() >= 8 &&
      as_text(content.first(2)) == "db" && content.size() < value.data_bytes)
    return big_data(content, value, scratch, seen);
  if (content.size() < value.data_bytes)
    return bad(value.data_cell, fmt::format("value claims {} bytes of data, its cell has {}",
                                            value.data_bytes, content.size()));
  return content.first(value.data_bytes);
}

Result<ByteView> Hive::class_name(const Key& key) const {
  if (key.class_bytes == 0 || key.class_cell == kNoCell) return ByteView();
  RS_TRY(const ByteView content, cell(key.class_cell));
  if (content.size() < key.class_bytes)
    return bad(key.class_cell,
               fmt::format("class name of {} bytes, its cell has {}", key.class_bytes, content.size()));
  return content.first(key.class_bytes);
}

Result<ByteView> Hive::security(const Key& key) const { return security_of_cell(key.security_cell); }

Result<ByteView> Hive::security_of_cell(std::uint32_t cell_offset) const {
  RS_TRY(const ByteView content, signed_cell(cell_offset, "sk", sk::kDescriptor));
  const auto size = load_le<std::uint32_t>(content, sk::kSize);
  if (size > content.size() - sk::kDescriptor)
    return bad(cell_offset, fmt::format("security descriptor of {} bytes, its cell has {}", size,
                                        content.size() - sk::kDescriptor));
  return content.subspan(sk::kDescriptor, size);
}

// One walk: its path, and what of the hive it has met.
class Walk {
 public:
  Walk(const Hive& hive, TreeVisitor& visitor) : hive_(hive), visitor_(visitor), seen_(hive.bins().size()) {}

  void run(const Key& from) {
    if (!seen_.add(from.cell) || !visitor_.enter(from, path_, 0)) return;
    open(from);
    while (!levels_.empty()) {
      auto& level = levels_.back();
      if (level.next == level.cells.size()) {
        path_.resize(level.path_bytes);
        visitor_.leave(level.key, path_);
        levels_.pop_back();
        if (!levels_.empty()) path_.resize(levels_.back().path_bytes);
        continue;
      }
      step(level.cells[level.next++], level.key);
    }
  }

 private:
  struct Level {
    Key key;
    std::vector<std::uint32_t> cells;
    std::size_t next = 0;
    std::size_t path_bytes = 0;
  };

  void report(std::uint32_t cell, std::string what) {
    visitor_.defect({hive_.file_offset(cell), path_, std::move(what)});
  }

  void step(std::uint32_t cell, const Key& parent) {
    auto key = hive_.key(cell);
    if (!key) return report(parent.cell, key.error().message);
    if (!seen_.add(cell)) return report(cell, "key was met before");
    if (levels_.size() > kMaxDepth)
      return report(cell, fmt::format("more than {} levels of keys", kMaxDepth));
    const auto parent_bytes = path_.size();
    if (!path_.empty()) path_ += '\\';
    key->name.append_wtf8(path_);
    if (key->parent_cell != parent.cell) report(cell, "key names another key as its parent");
    if (visitor_.enter(*key, path_, static_cast<std::uint32_t>(levels_.size()))) {
      open(*key);
    } else {
      path_.resize(parent_bytes);
    }
  }

  void open(const Key& key) {
    scratch_cells_.clear();
    if (auto listed = hive_.values(key, scratch_cells_, &seen_); !listed)
      report(key.cell, listed.error().message);
    for (const auto cell : scratch_cells_) {
      auto value = hive_.value(cell);
      if (!value) {
        report(key.cell, value.error().message);
        continue;
      }
      if (!seen_.add(cell)) {
        report(cell, "value was met before");
        continue;
      }
      auto data = hive_.data(*value, scratch_, &seen_);
      if (data) {
        visitor_.value(key, path_, *value, *data);
      } else {
        report(cell, data.error().message);
      }
    }
    Level level{key, {}, 0, path_.size()};
    if (auto listed = hive_.subkeys(key, level.cells, &seen_); !listed)
      report(key.cell, listed.error().message);
    levels_.push_back(std::move(level));
  }

  const Hive& hive_;
  TreeVisitor& visitor_;
  CellSet seen_;
  std::vector<Level> levels_;
  std::string path_;
  std::vector<std::uint32_t> scratch_cells_;
  Bytes scratch_;
};

void Hive::walk(const Key& from, TreeVisitor& visitor) const { Walk(*this, visitor).run(from); }

}  // namespace roamstead::registry
