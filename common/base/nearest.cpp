#include "common/base/nearest.h"

#include <algorithm>
#include <numeric>

namespace roamstead {
namespace {

constexpr std::size_t kLongestWord = 200;  // the distance takes time by the product of lengths

}  // namespace

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (std::size_t i = 0; i < a.size(); ++i) {
    auto diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      auto replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, diagonal + 1, row[j] + 1});
    }
  }
  return row.back();
}

std::string nearest(std::string_view word, const std::vector<std::string>& known) {
  if (word.size() > kLongestWord) return "";
  auto least = std::max<std::size_t>(2, word.size() / 3) + 1;
  std::string found;
  for (const auto& each : known)
    if (const auto distance = edit_distance(word, each); distance < least) {
      least = distance;
      found = each;
    }
  return found;
}

}  // namespace roamstead
