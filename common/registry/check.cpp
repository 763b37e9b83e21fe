#include "common/registry/check.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

namespace roamstead::registry {
namespace {

constexpr std::size_t kMaxDefects = 1000;

class Checker {
 public:
  explicit Checker(const Hive& hive)
      : hive_(hive), bins_(hive.bins()), starts_(bins_.size()), reached_(bins_.size()) {}

  CheckReport run() {
    for (const auto& defect : hive_.defects()) report(defect);
    if (hive_.base().dirty()) report({4, "", "the hive is dirty: its logs hold what it should be"});
    read_cells();
    auto root = hive_.root();
    if (!root) {
      report({36, "", root.error().message});
      return std::move(report_);
    }
    Level level{*root, "", {}, 0};
    if (reach(root->cell, "")) enter(std::move(level));
    while (!levels_.empty()) step();
    check_ring(*root);
    find_lost_cells();
    return std::move(report_);
  }

 private:
  struct Level {
    Key key;
    std::string path;
    std::vector<std::uint32_t> children;
    std::size_t next = 0;
  };

  void report(Defect defect) {
    if (++report_.defect_count <= kMaxDefects) report_.defects.push_back(std::move(defect));
  }
  void report(std::uint32_t cell, const std::string& path, std::string what) {
    report({hive_.file_offset(cell), path, std::move(what)});
  }

  // Which cells there are; the chain of bins was followed when the hive was opened.
  void read_cells() {
    for (std::size_t bin = 0;
         bin + kBinHeaderBytes <= bins_.size() && as_text(bins_.subspan(bin, 4)) == "hbin";) {
      const std::size_t size = load_le<std::uint32_t>(bins_, bin + 8);
      if (size == 0 || size % kPageBytes != 0 || size > bins_.size() - bin) return;
      for (auto at = bin + kBinHeaderBytes; at < bin + size;) {
        const auto raw = static_cast<std::int32_t>(load_le<std::uint32_t>(bins_, at));
        const auto bytes = static_cast<std::size_t>(raw < 0 ? -std::int64_t{raw} : raw);
        if (bytes < 8 || bytes % 8 != 0 || bytes > bin + size - at) {
          report(static_cast<std::uint32_t>(at), "", "cells do not fill their hive bin");
          break;
        }
        if (raw < 0) {
          starts_.add(static_cast<std::uint32_t>(at));
          ++report_.cells;
        } else {
          ++report_.free_cells;
          report_.free_bytes += bytes;
        }
        at += bytes;
      }
      bin += size;
    }
  }

  // Notes that something refers to a cell. False when it is none or was met before.
  bool reach(std::uint32_t cell, const std::string& path) {
    if (cell % 8 != 0 || cell >= bins_.size() || !starts_.contains(cell)) {
      report(std::min<std::uint32_t>(cell, static_cast<std::uint32_t>(bins_.size())), path,
             "no cell in use begins here");
      return false;
    }
    if (reached_.add(cell)) return true;
    report(cell, path, "cell belongs to two things");
    return false;
  }

  void step() {
    auto& level = levels_.back();
    if (level.next == level.children.size()) {
      levels_.pop_back();
      return;
    }
    const auto cell = level.children[level.next++];
    auto key = hive_.key(cell);
    if (!key) return;  // reported with the list
    Level below{*key, level.path, {}, 0};
    if (!below.path.empty()) below.path += '\\';
    key->name.append_wtf8(below.path);
    if (key->parent_cell != level.key.cell) report(cell, below.path, "key names another key as its parent");
    if (levels_.size() > kMaxDepth) return report(cell, below.path, "keys nest too deep");
    if (reach(cell, below.path)) enter(std::move(below));
  }

  void enter(Level level) {
    ++report_.keys;
    const auto& key = level.key;
    if (key.name.empty() || key.name.size() > kMaxNameUnits)
      report(key.cell, level.path, "length of the key's name");
    if (auto security = hive_.security(key)) {
      ++references_[key.security_cell];
    } else {
      report(key.cell, level.path, security.error().message);
    }
    if (key.class_bytes != 0 && reach(key.class_cell, level.path))
      if (auto name = hive_.class_name(key); !name) report(key.cell, level.path, name.error().message);
    check_values(level);
    check_subkeys(level);
    levels_.push_back(std::move(level));
  }

  std::uint32_t field(const Key& key, std::uint32_t at) const {
    return load_le<std::uint32_t>(bins_, key.cell + 4 + at);
  }

  void check_values(const Level& level) {
    const auto& key = level.key;
    if (key.value_count == 0) return;
    if (!reach(key.values_cell, level.path)) return;
    std::vector<std::uint32_t> cells;
    if (auto listed = hive_.values(key, cells); !listed) report(key.cell, level.path, listed.error().message);
    std::size_t longest_name = 0;
    std::size_t longest_data = 0;
    std::vector<NameView> names;
    for (const auto cell : cells) {
      if (!reach(cell, level.path)) continue;
      auto value = hive_.value(cell);
      if (!value) {
        report(cell, level.path, value.error().message);
        continue;
      }
      ++report_.values;
      longest_name = std::max(longest_name, value->name.size() * 2);
      longest_data = std::max<std::size_t>(longest_data, value->data_bytes);
      names.push_back(value->name);
      check_data(*value, level.path);
    }
    std::sort(names.begin(), names.end(),
              [](const auto& a, const auto& b) { return compare_upcased(a, b) < 0; });
    for (std::size_t i = 1; i < names.size(); ++i)
      if (compare_upcased(names[i - 1], names[i]) == 0)
        report(key.cell, level.path, fmt::format("two values are called '{}'", names[i].to_wtf8()));
    if (field(key, nk::kMaxValueName) < longest_name)
      report(key.cell, level.path, "largest length of values' names is too small");
    if (field(key, nk::kMaxValueData) < longest_data)
      report(key.cell, level.path, "largest size of values is too small");
  }

  void check_data(const Value& value, const std::string& path) {
    if (value.resident || value.data_bytes == 0) return;
    if (!reach(value.data_cell, path)) return;
    auto content = hive_.cell(value.data_cell);
    if (content && content->size() < value.data_bytes && as_text(content->first(2)) == "db") {
      const auto list_cell = load_le<std::uint32_t>(*content, 4);
      if (!reach(list_cell, path)) return;
      auto list = hive_.cell(list_cell);
      for (std::size_t i = 0; list && i < load_le<std::uint16_t>(*content, 2) && i < list->size() / 4; ++i)
        reach(load_le<std::uint32_t>(*list, i * 4), path);
    }
    Bytes scratch;
    if (auto data = hive_.data(value, scratch); !data) report(value.cell, path, data.error().message);
  }

  void check_subkeys(Level& level) {
    const auto& key = level.key;
    if (key.subkey_count == 0) return;
    if (!reach(key.subkeys_cell, level.path)) return;
    auto list = hive_.cell(key.subkeys_cell);
    if (list && as_text(list->first(2)) == "ri") {
      const auto count = std::min<std::size_t>(load_le<std::uint16_t>(*list, 2), (list->size() - 4) / 4);
      for (std::size_t i = 0; i < count; ++i) {
        const auto leaf = load_le<std::uint32_t>(*list, 4 + i * 4);
        if (reach(leaf, level.path)) check_hints(leaf, level.path);
      }
    } else if (list) {
      check_hints(key.subkeys_cell, level.path);
    }
    if (auto listed = hive_.subkeys(key, level.children); !listed)
      report(key.cell, level.path, listed.error().message);
    std::optional<Key> before;
    std::size_t longest_name = 0;
    std::size_t longest_class = 0;
    for (const auto cell : level.children) {
      auto child = hive_.key(cell);
      if (!child) {
        report(key.cell, level.path, child.error().message);
        continue;
      }
      if (before)
        if (const auto order = compare_upcased(before->name, child->name); order >= 0)
          report(cell, level.path,
                 fmt::format("subkey '{}' {} '{}'", child->name.to_wtf8(),
                             order == 0 ? "has the name of" : "is sorted after", before->name.to_wtf8()));
      before = *child;
      longest_name = std::max(longest_name, child->name.size() * 2);
      longest_class = std::max<std::size_t>(longest_class, child->class_bytes);
    }
    if ((field(key, nk::kMaxSubkeyName) & 0xFFFF) < longest_name)
      report(key.cell, level.path, "largest length of subkeys' names is too small");
    if (field(key, nk::kMaxSubkeyClass) < longest_class)
      report(key.cell, level.path, "largest length of subkeys' class names is too small");
  }

  void check_hints(std::uint32_t leaf, const std::string& path) {
    auto list = hive_.cell(leaf);
    if (!list) return;
    const auto signature = as_text(list->first(2));
    if (signature == "lh" && hive_.base().fast_leaf_only())
      report(leaf, path, "'lh' in a hive of a version before 1.5");
    if (signature != "lh" && signature != "lf") return;
    const auto count = std::min<std::size_t>(load_le<std::uint16_t>(*list, 2), (list->size() - 4) / 8);
    for (std::size_t i = 0; i < count; ++i) {
      auto child = hive_.key(load_le<std::uint32_t>(*list, 4 + i * 8));
      if (!child) continue;
      const auto hint = load_le<std::uint32_t>(*list, 8 + i * 8);
      if (signature == "lh") {
        if (hint != name_hash(child->name))
          report(leaf, path, fmt::format("hash of '{}' is wrong", child->name.to_wtf8()));
        continue;
      }
      // Only of ASCII names is it certain what Windows writes.
      std::uint32_t expected = 0;
      bool ascii = true;
      for (std::size_t k = 0; k < 4 && k < child->name.size(); ++k) {
        ascii = ascii && child->name[k] < 0x80;
        expected |= std::uint32_t{child->name[k]} << (8 * k);
      }
      if (ascii && hint != expected)
        report(leaf, path, fmt::format("hint of '{}' is wrong", child->name.to_wtf8()));
    }
  }

  void check_ring(const Key& root) {
    auto previous = root.security_cell;
    std::unordered_map<std::uint32_t, bool> in_ring;
    for (auto cell = root.security_cell;;) {
      auto descriptor = hive_.security_of_cell(cell);
      if (!descriptor)
        return report(previous, "", "ring of security descriptors: " + descriptor.error().message);
      if (!reach(cell, "")) return;
      in_ring[cell] = true;
      ++report_.descriptors;
      const auto count = load_le<std::uint32_t>(bins_, cell + 4 + sk::kReferences);
      const auto used = references_.contains(cell) ? references_[cell] : 0;
      if (count != used)
        report(cell, "",
               fmt::format("security descriptor counts {} references, {} keys use it", count, used));
      const auto next = load_le<std::uint32_t>(bins_, cell + 4 + sk::kNext);
      auto following = hive_.security_of_cell(next);
      if (following && load_le<std::uint32_t>(bins_, next + 4 + sk::kPrevious) != cell)
        report(next, "", "security descriptor does not name the one before it");
      previous = cell;
      cell = next;
      if (cell == root.security_cell) break;
    }
    for (const auto& [cell, count] : references_)
      if (!in_ring.contains(cell)) report(cell, "", "security descriptor in use is not in the ring");
  }

  void find_lost_cells() {
    for (std::uint32_t cell = 0; cell + 8 <= bins_.size(); cell += 8)
      if (starts_.contains(cell) && !reached_.contains(cell)) ++report_.lost_cells;
  }

  const Hive& hive_;
  ByteView bins_;
  CellSet starts_;
  CellSet reached_;
  std::unordered_map<std::uint32_t, std::uint64_t> references_;
  std::vector<Level> levels_;
  CheckReport report_;
};

}  // namespace

CheckReport check(const Hive& hive) { return Checker(hive).run(); }

}  // namespace roamstead::registry
