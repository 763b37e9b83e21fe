#include "common/registry/compare.h"

#include <algorithm>
#include <cstring>

namespace roamstead::registry {
namespace {

bool equal_bytes(ByteView a, ByteView b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0);
}

// Which pages hold the same bytes in both.
class EqualPages {
 public:
  EqualPages(ByteView a, ByteView b) : a_(a) {
    const auto pages = std::min(a.size(), b.size()) / kPageBytes;
    equal_.resize(pages);
    for (std::size_t i = 0; i < pages; ++i)
      equal_[i] = a.data() == b.data() ||
                  std::memcmp(a.data() + i * kPageBytes, b.data() + i * kPageBytes, kPageBytes) == 0;
  }
  // Whether a cell (sound in the first hive) is the same in both, byte for byte.
  bool cell(std::uint32_t offset) const {
    if (offset > a_.size() - 8 || !page(offset / kPageBytes)) return false;
    const auto raw = static_cast<std::int32_t>(load_le<std::uint32_t>(a_, offset));
    if (raw >= 0) return false;
    const auto last = (offset + static_cast<std::uint64_t>(-std::int64_t{raw}) - 1) / kPageBytes;
    for (auto i = offset / kPageBytes + std::uint64_t{1}; i <= last; ++i)
      if (!page(i)) return false;
    return true;
  }

 private:
  bool page(std::uint64_t index) const {
    return index < equal_.size() && equal_[static_cast<std::size_t>(index)];
  }
  ByteView a_;
  std::vector<bool> equal_;
};

class Comparer {
 public:
  Comparer(const Hive& before, const Hive& after, const std::function<bool(const Difference&)>& visit,
           const std::function<void(Defect)>& defect)
      : sides_{Side(before), Side(after)},
        visit_(visit),
        defect_(defect),
        pages_(before.bins(), after.bins()) {}

  void run() {
    auto before = sides_[0].hive.root();
    auto after = sides_[1].hive.root();
    if (!before) return report(sides_[0].hive, before.error());
    if (!after) return report(sides_[1].hive, after.error());
    sides_[0].seen.add(before->cell);
    sides_[1].seen.add(after->cell);
    open_pair(*before, *after);
    while (!levels_.empty() && !stopped_) step();
  }

 private:
  struct Side {
    explicit Side(const Hive& h) : hive(h), seen(h.bins().size()) {}
    const Hive& hive;
    CellSet seen;
  };
  // Subkeys that are still to be compared; one side only below a key that was added.
  struct Pair {
    std::uint32_t before = kNoCell;
    std::uint32_t after = kNoCell;
  };
  struct Level {
    std::vector<Pair> pairs;
    std::size_t next = 0;
    std::size_t path_bytes = 0;
  };

  void report(const Hive& hive, const Error& error) {
    defect_({0, path_, hive.name() + ": " + error.message});
  }

  void give(Difference difference) {
    if (!stopped_ && !visit_(difference)) stopped_ = true;
  }

  void step() {
    auto& level = levels_.back();
    path_.resize(level.path_bytes);
    if (level.next == level.pairs.size()) {
      levels_.pop_back();
      return;
    }
    const auto pair = level.pairs[level.next++];
    std::optional<Key> before;
    std::optional<Key> after;
    if (!take(0, pair.before, before) || !take(1, pair.after, after)) return;
    if (!path_.empty()) path_ += '\\';
    (after ? after : before)->name.append_wtf8(path_);
    if (!after)
      return give({DifferenceKind::key_removed, path_, &*before, nullptr, nullptr, nullptr, {}, {}});
    if (!before) return open_added(*after);
    open_pair(*before, *after);
  }

  // Reads a key of a list; false when the two cannot be compared.
  bool take(std::size_t side, std::uint32_t cell, std::optional<Key>& key) {
    if (cell == kNoCell) return true;
    auto read = sides_[side].hive.key(cell);
    if (!read) {
      report(sides_[side].hive, read.error());
      return false;
    }
    if (!sides_[side].seen.add(cell) || levels_.size() > kMaxDepth) {
      defect_({sides_[side].hive.file_offset(cell), path_, "key was met before, or nests too deep"});
      return false;
    }
    key = *read;
    return true;
  }

  void open_added(const Key& key) {
    give({DifferenceKind::key_added, path_, nullptr, &key, nullptr, nullptr, {}, {}});
    for (const auto& value : values_of(1, key)) give_value(nullptr, &value);
    Level level;
    level.path_bytes = path_.size();
    for (const auto cell : subkeys_of(1, key)) level.pairs.push_back({kNoCell, cell});
    levels_.push_back(std::move(level));
  }

  void open_pair(const Key& before, const Key& after) {
    const bool same_cell = before.cell == after.cell && pages_.cell(before.cell);
    compare_security(before, after);
    compare_class(before, after);
    if (!same_cell || !same_values(before)) compare_values(before, after);
    Level level;
    level.path_bytes = path_.size();
    auto left = subkeys_of(0, before);
    auto right = subkeys_of(1, after);
    if (left == right && all_same_names(left)) {
      for (std::size_t i = 0; i < left.size(); ++i) level.pairs.push_back({left[i], right[i]});
    } else {
      merge(left, right, level.pairs);
    }
    levels_.push_back(std::move(level));
  }

  bool all_same_names(const std::vector<std::uint32_t>& cells) const {
    return std::all_of(cells.begin(), cells.end(), [&](std::uint32_t cell) {
      if (pages_.cell(cell)) return true;
      auto before = sides_[0].hive.key(cell);
      auto after = sides_[1].hive.key(cell);
      return before && after && compare_upcased(before->name, after->name) == 0;
    });
  }

  std::vector<std::uint32_t> subkeys_of(std::size_t side, const Key& key) {
    std::vector<std::uint32_t> cells;
    if (auto listed = sides_[side].hive.subkeys(key, cells, &sides_[side].seen); !listed)
      report(sides_[side].hive, listed.error());
    return cells;
  }

  std::vector<Value> values_of(std::size_t side, const Key& key) {
    std::vector<std::uint32_t> cells;
    if (auto listed = sides_[side].hive.values(key, cells, &sides_[side].seen); !listed)
      report(sides_[side].hive, listed.error());
    std::vector<Value> values;
    for (const auto cell : cells) {
      auto value = sides_[side].hive.value(cell);
      if (value) {
        values.push_back(*value);
      } else {
        report(sides_[side].hive, value.error());
      }
    }
    std::stable_sort(values.begin(), values.end(),
                     [](const Value& a, const Value& b) { return compare_upcased(a.name, b.name) < 0; });
    return values;
  }

  struct Named {
    std::uint32_t cell;
    NameView name;
  };
  std::vector<Named> named(std::size_t side, const std::vector<std::uint32_t>& cells) {
    std::vector<Named> keys;
    for (const auto cell : cells) {
      auto key = sides_[side].hive.key(cell);
      if (key) {
        keys.push_back({cell, key->name});
      } else {
        report(sides_[side].hive, key.error());
      }
    }
    auto less = [](const Named& a, const Named& b) { return compare_upcased(a.name, b.name) < 0; };
    if (!std::is_sorted(keys.begin(), keys.end(), less)) std::stable_sort(keys.begin(), keys.end(), less);
    return keys;
  }

  void merge(const std::vector<std::uint32_t>& left, const std::vector<std::uint32_t>& right,
             std::vector<Pair>& pairs) {
    const auto a = named(0, left);
    const auto b = named(1, right);
    for (std::size_t i = 0, k = 0; i < a.size() || k < b.size();) {
      const auto order = i == a.size() ? 1 : k == b.size() ? -1 : compare_upcased(a[i].name, b[k].name);
      pairs.push_back({order <= 0 ? a[i].cell : kNoCell, order >= 0 ? b[k].cell : kNoCell});
      i += order <= 0;
      k += order >= 0;
    }
  }

  // The key's cell is the same in both: so are the places of its values.
  bool same_values(const Key& key) const {
    if (key.value_count == 0) return true;
    if (!pages_.cell(key.values_cell)) return false;
    auto list = sides_[0].hive.cell(key.values_cell);
    if (!list || list->size() / 4 < key.value_count) return false;
    for (std::size_t i = 0; i < key.value_count; ++i) {
      const auto cell = load_le<std::uint32_t>(*list, i * 4);
      if (cell % 8 != 0 || cell < kBinHeaderBytes || !pages_.cell(cell)) return false;
      auto value = sides_[0].hive.value(cell);
      if (!value) return false;
      if (value->resident || value->data_bytes == 0) continue;
      // Data in pieces is compared piece by piece below.
      if (value->data_bytes > kBigDataPiece || value->data_cell % 8 != 0 || !pages_.cell(value->data_cell))
        return false;
    }
    return true;
  }

  void give_value(const Value* before, const Value* after) {
    std::optional<ByteView> data[2] = {ByteView(), ByteView()};
    const Value* values[2] = {before, after};
    for (std::size_t side = 0; side < 2; ++side) {
      if (values[side] == nullptr) continue;
      auto read = sides_[side].hive.data(*values[side], scratch_[side], &sides_[side].seen);
      if (!read) {
        report(sides_[side].hive, read.error());
        return;
      }
      data[side] = *read;
    }
    auto kind = DifferenceKind::value_changed;
    if (before == nullptr) {
      kind = DifferenceKind::value_added;
    } else if (after == nullptr) {
      kind = DifferenceKind::value_removed;
    } else if (before->type == after->type && equal_bytes(*data[0], *data[1])) {
      return;
    }
    give({kind, path_, nullptr, nullptr, before, after, *data[0], *data[1]});
  }

  void compare_values(const Key& before, const Key& after) {
    const auto a = values_of(0, before);
    const auto b = values_of(1, after);
    for (std::size_t i = 0, k = 0; i < a.size() || k < b.size();) {
      const auto order = i == a.size() ? 1 : k == b.size() ? -1 : compare_upcased(a[i].name, b[k].name);
      give_value(order <= 0 ? &a[i] : nullptr, order >= 0 ? &b[k] : nullptr);
      i += order <= 0;
      k += order >= 0;
    }
  }

  void compare_security(const Key& before, const Key& after) {
    if (before.security_cell == after.security_cell && before.security_cell % 8 == 0 &&
        before.security_cell >= kBinHeaderBytes && pages_.cell(before.security_cell))
      return;
    auto a = sides_[0].hive.security(before);
    auto b = sides_[1].hive.security(after);
    if (!a) return report(sides_[0].hive, a.error());
    if (!b) return report(sides_[1].hive, b.error());
    if (!equal_bytes(*a, *b))
      give({DifferenceKind::security_changed, path_, &before, &after, nullptr, nullptr, *a, *b});
  }

  void compare_class(const Key& before, const Key& after) {
    if (before.class_bytes == 0 && after.class_bytes == 0) return;
    auto a = sides_[0].hive.class_name(before);
    auto b = sides_[1].hive.class_name(after);
    if (!a) return report(sides_[0].hive, a.error());
    if (!b) return report(sides_[1].hive, b.error());
    if (!equal_bytes(*a, *b))
      give({DifferenceKind::class_changed, path_, &before, &after, nullptr, nullptr, *a, *b});
  }

  Side sides_[2];
  const std::function<bool(const Difference&)>& visit_;
  const std::function<void(Defect)>& defect_;
  EqualPages pages_;
  std::vector<Level> levels_;
  std::string path_;
  Bytes scratch_[2];
  bool stopped_ = false;
};

}  // namespace

std::string_view to_string(DifferenceKind kind) {
  switch (kind) {
    case DifferenceKind::key_added:
      return "key added";
    case DifferenceKind::key_removed:
      return "key removed";
    case DifferenceKind::security_changed:
      return "security changed";
    case DifferenceKind::class_changed:
      return "class changed";
    case DifferenceKind::value_added:
      return "value added";
    case DifferenceKind::value_removed:
      return "value removed";
    case DifferenceKind::value_changed:
      return "value changed";
  }
  return "";
}

void compare(const Hive& before, const Hive& after, const std::function<bool(const Difference&)>& visit,
             const std::function<void(Defect)>& defect) {
  Comparer(before, after, visit, defect).run();
}

}  // namespace roamstead::registry
