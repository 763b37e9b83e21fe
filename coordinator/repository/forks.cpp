#include "coordinator/repository/forks.h"

#include <map>
#include <set>

namespace roamstead::repository {
namespace {

class ForkTable {
 public:
  explicit ForkTable(const std::vector<VersionInfo>& versions) {
    for (const auto& version : versions) by_number_[version.number] = &version;
    // What is merged or discarded is so with all it builds on.
    for (const auto& version : versions) {
      if (version.kind == VersionKind::merge) mark(merged_, version.merged, version.number);
      if (version.kind == VersionKind::discard) mark(discarded_, version.parent, version.number);
    }
  }

  const VersionInfo* find(std::uint64_t number) const {
    auto known = by_number_.find(number);
    return known == by_number_.end() ? nullptr : known->second;
  }
  static bool is_beside(const VersionInfo& version) {
    return !version.on_head_line && version.kind != VersionKind::discard;
  }

  Fork describe(const VersionInfo& last) const {
    Fork fork;
    fork.version = last.number;
    fork.desktop = last.desktop;
    fork.session = last.session;
    fork.committed_100ns = last.committed_100ns;
    fork.merged = at(merged_, last.number);
    fork.discarded = at(discarded_, last.number);
    const auto* version = &last;
    // Down to what is on the head line, or was dealt with before this.
    while (version != nullptr && is_beside(*version) && at(merged_, version->number) == fork.merged &&
           at(discarded_, version->number) == fork.discarded) {
      ++fork.versions;
      fork.records += version->records;
      fork.base = version->parent;
      version = find(version->parent);
    }
    return fork;
  }

  std::set<std::uint64_t> built_on() const {
    std::set<std::uint64_t> parents;
    for (const auto& [number, version] : by_number_)
      if (is_beside(*version)) parents.insert(version->parent);
    return parents;
  }

 private:
  using Marks = std::map<std::uint64_t, std::uint64_t>;
  static std::uint64_t at(const Marks& marks, std::uint64_t number) {
    auto known = marks.find(number);
    return known == marks.end() ? 0 : known->second;
  }
  void mark(Marks& marks, std::uint64_t number, std::uint64_t by) const {
    for (const auto* version = find(number); version != nullptr && is_beside(*version);
         version = find(version->parent))
      if (!marks.emplace(version->number, by).second) return;
  }

  std::map<std::uint64_t, const VersionInfo*> by_number_;
  Marks merged_, discarded_;
};

}  // namespace

std::vector<Fork> forks_of(const std::vector<VersionInfo>& versions) {
  ForkTable table(versions);
  const auto built_on = table.built_on();
  std::vector<Fork> forks;
  for (const auto& version : versions)
    if (ForkTable::is_beside(version) && built_on.count(version.number) == 0)
      forks.push_back(table.describe(version));
  return forks;
}

Result<Fork> find_fork(const std::vector<VersionInfo>& versions, std::uint64_t number) {
  ForkTable table(versions);
  const auto name = "version " + std::to_string(number);
  const auto* version = table.find(number);
  if (version == nullptr) return fail(ErrorCode::not_found, "there is no " + name);
  if (!ForkTable::is_beside(*version))
    return fail(
        ErrorCode::invalid_argument,
        name + (version->on_head_line ? " is on the head line, no fork" : " only marks a fork as discarded"));
  auto fork = table.describe(*version);
  if (fork.merged != 0)
    return fail(ErrorCode::conflict, name + " is merged already, by version " + std::to_string(fork.merged));
  if (fork.discarded != 0) return fail(ErrorCode::conflict, name + " was discarded");
  return fork;
}

}  // namespace roamstead::repository
