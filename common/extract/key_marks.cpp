#include "common/extract/key_marks.h"

#include <algorithm>

#include "common/base/text.h"
#include "common/extract/live_hive.h"
#include "common/registry/compare.h"

namespace roamstead::extract {

bool KeyMarks::mark_differences(const registry::Hive& before, const registry::Hive& after) {
  bool fits = true;
  registry::compare(
      before, after,
      [&](const registry::Difference& difference) {
        return fits = mark(difference.path, difference.kind == registry::DifferenceKind::key_added, false);
      },
      [&](const registry::Defect& defect) { fits = mark(defect.path, false, true) && fits; });
  return fits;
}

bool KeyMarks::mark(const std::string& path, bool all, bool damaged) {
  path_bytes_ += path.size();
  if (path_bytes_ > 4 * kMaxHiveRecordBytes) return false;  // four hives, each within its bounds
  if (!all && !damaged && path == latest_ && !path.empty()) return true;
  latest_ = path;
  auto* node = &root_;
  for (std::size_t start = 0; start < path.size() && !node->all;) {
    const auto end = std::min(path.find('\\', start), path.size());
    node = &node->children[upcase_key(std::string_view(path).substr(start, end - start))];
    start = end + 1;
  }
  node->self = true;
  node->all = node->all || all;
  node->damaged = node->damaged || damaged;
  return true;
}

}  // namespace roamstead::extract
