#include "coordinator/cli/profile_version.h"

#include <charconv>

#include <fmt/chrono.h>
#include <fmt/format.h>

namespace roamstead::cli {

ProfileVersion parse_profile(const std::string& text) {
  auto at = text.rfind('@');
  if (at == std::string::npos || at + 1 == text.size()) return {text, std::nullopt};
  std::uint64_t version = 0;
  auto [end, error] = std::from_chars(text.data() + at + 1, text.data() + text.size(), version);
  if (error != std::errc() || end != text.data() + text.size()) return {text, std::nullopt};
  return {text.substr(0, at), version};
}

Result<OpenTree> open_tree(const RepositoryChoice& choice, const std::string& profile) {
  auto wanted = parse_profile(profile);
  OpenTree open;
  RS_TRY(open.repository, open_for_reading(choice));
  RS_TRY(auto info, open.repository->find_profile(wanted.name));
  RS_TRY(open.tree, open.repository->tree(info.id, wanted.version.value_or(info.head)));
  return open;
}

Result<OpenTrees> open_two_trees(const RepositoryChoice& choice, const std::string& older,
                                 const std::string& newer) {
  auto first = parse_profile(older), second = parse_profile(newer);
  if (first.name != second.name)
    return fail(ErrorCode::invalid_argument, "only versions of one profile can be compared");
  OpenTrees open;
  RS_TRY(open.repository, open_for_reading(choice));
  RS_TRY(auto info, open.repository->find_profile(first.name));
  RS_TRY(open.before, open.repository->tree(info.id, first.version.value_or(info.head)));
  RS_TRY(open.after, open.repository->tree(info.id, second.version.value_or(info.head)));
  return open;
}

std::string seconds_text(std::uint64_t time_100ns) {
  constexpr std::uint64_t kUnixEpoch = 116'444'736'000'000'000;
  if (time_100ns < kUnixEpoch) return "-";
  auto seconds = static_cast<std::time_t>((time_100ns - kUnixEpoch) / 10'000'000);
  return fmt::format("{:%Y-%m-%d %H:%M:%S}Z", fmt::gmtime(seconds));
}

}  // namespace roamstead::cli
