#include <algorithm>

#include <fmt/format.h>

#include "common/registry/compare.h"
#include "common/registry/format.h"
#include "coordinator/cli/profile_hives.h"

namespace roamstead::cli {
namespace {

using nlohmann::json;
using profile::KeyPath;
using profile::ProfilePath;
using registry::DifferenceKind;
using repository::Tree;

// Which hives two versions have between them, as the newer one names them.
Result<std::vector<ProfilePath>> hives_to_compare(const OpenTrees& open, const std::string& wanted) {
  std::vector<ProfilePath> hives;
  for (const auto* tree : {open.after.get(), open.before.get()}) {
    if (!wanted.empty()) {
      auto hive = find_hive(*tree, wanted);
      if (hive) return std::vector<ProfilePath>{*hive};
      if (tree == open.before.get()) return fail(std::move(hive).error());
      continue;
    }
    RS_TRY(auto found, hives_of(*tree));
    for (auto& hive : found)
      if (std::find(hives.begin(), hives.end(), hive) == hives.end()) hives.push_back(std::move(hive));
  }
  return hives;
}

// The lines of one hive's differences.
class KeyDiff {
 public:
  KeyDiff(const Context& context, const OpenTrees& open, const ProfilePath& hive)
      : context_(context), open_(open), hive_(hive) {}

  void add(const Tree::KeyDifference& difference) {
    if (!result) return;
    // What was below a key that is gone is not told one by one.
    const auto path = profile::upcased(difference.key);
    if (difference.change == Tree::Change::removed && removed_ &&
        (path == *removed_ || path.starts_with(*removed_ + "\\")))
      return;
    if (difference.is_value()) {
      result = add_value(difference);
      return;
    }
    switch (difference.change) {
      case Tree::Change::added:
        return add_line(DifferenceKind::key_added, difference.key);
      case Tree::Change::removed:
        removed_ = path;
        return add_line(DifferenceKind::key_removed, difference.key);
      case Tree::Change::changed:
        if (difference.key_before->security != difference.key_after->security)
          add_line(DifferenceKind::security_changed, difference.key);
        if (difference.key_before->class_name != difference.key_after->class_name)
          add_line(DifferenceKind::class_changed, difference.key);
    }
  }

  Result<void> result;
  std::string text;
  json list = json::array();

 private:
  void add_line(DifferenceKind kind, const KeyPath& key) {
    list.push_back({{"hive", hive_.text()}, {"kind", registry::to_string(kind)}, {"key", key.text()}});
    text += fmt::format("{}: {}\n", registry::to_string(kind), key.text());
  }

  Result<void> add_value(const Tree::KeyDifference& difference) {
    const auto kind = difference.value_before == nullptr  ? DifferenceKind::value_added
                      : difference.value_after == nullptr ? DifferenceKind::value_removed
                                                          : DifferenceKind::value_changed;
    const auto& name =
        (difference.value_after != nullptr ? difference.value_after : difference.value_before)->name;
    add_line(kind, difference.key);
    list.back()["value"] = name;
    text.back() = ' ';
    text += fmt::format(" {}\n", shown_name(name));
    if (difference.value_before != nullptr) {
      RS_TRY(auto shown, show(context_, *open_.before, hive_, difference.key, *difference.value_before));
      list.back()["before"] = std::move(shown.object);
      text += fmt::format("  - {} {}\n", registry::type_name(difference.value_before->type), shown.text);
    }
    if (difference.value_after != nullptr) {
      RS_TRY(auto shown, show(context_, *open_.after, hive_, difference.key, *difference.value_after));
      list.back()["after"] = std::move(shown.object);
      text += fmt::format("  + {} {}\n", registry::type_name(difference.value_after->type), shown.text);
    }
    return {};
  }

  const Context& context_;
  const OpenTrees& open_;
  const ProfilePath& hive_;
  std::optional<std::string> removed_;  // upcased path of the key last told as gone
};

}  // namespace

Result<void> diff_registry(const Context& context, const OpenTrees& open, const std::string& wanted) {
  RS_TRY(auto hives, hives_to_compare(open, wanted));
  json all = json::array();
  std::string text;
  for (const auto& hive : hives) {
    KeyDiff lines(context, open, hive);
    RS_CHECK(open.before->diff_keys(*open.after, hive,
                                    [&](const Tree::KeyDifference& difference) { lines.add(difference); }));
    RS_CHECK(std::move(lines.result));
    if (hives.size() > 1 && !lines.text.empty()) text += hive.text() + ":\n";
    text += lines.text;
    for (auto& line : lines.list) all.push_back(std::move(line));
  }
  context.print({{"differences", all}}, text.empty() ? "equal" : text);
  return {};
}

}  // namespace roamstead::cli
