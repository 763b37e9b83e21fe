#include "tests/chaos/profile_states.h"

#include <fmt/format.h>

#include <algorithm>

namespace roamstead::chaos {
namespace {

constexpr std::size_t kListed = 100;

template <class T>
T must(Result<T> result, const std::string& what) {
  if (!result) throw Broken(what + ": " + result.error().to_string());
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

void read_directory(const repository::Tree& tree, const profile::ProfilePath& directory, Content& content) {
  std::string after;
  for (;;) {
    const auto entries = must(tree.list(directory, after, kListed), "list '" + directory.text() + "'");
    for (const auto& [name, entry] : entries) {
      after = name;
      const auto text = directory.text().empty() ? name : directory.text() + "/" + name;
      const auto path = must(profile::ProfilePath::parse(text), text);
      if (entry.kind == profile::EntryKind::directory) {
        read_directory(tree, path, content);
        continue;
      }
      Bytes bytes(static_cast<std::size_t>(entry.size_bytes));
      must(tree.read(path, "", 0, bytes), "read '" + text + "'");
      content[text] = std::string(as_text(bytes));
    }
    if (entries.size() < kListed) return;
  }
}

std::string difference(const Content& wanted, const Content& found) {
  for (const auto& [path, bytes] : wanted) {
    const auto it = found.find(path);
    if (it == found.end()) return "'" + path + "' is missing";
    if (it->second != bytes)
      return fmt::format("'{}' has other content ({} bytes, {} expected)", path, it->second.size(),
                         bytes.size());
  }
  for (const auto& [path, bytes] : found)
    if (wanted.count(path) == 0) return "'" + path + "' was never there";
  return {};
}

}  // namespace

void ProfileStates::add(const std::string& profile, Content content) {
  auto stamp = content.at(kStamp);
  std::lock_guard guard(mutex_);
  states_[{profile, stamp}] = std::make_shared<const Content>(std::move(content));
}

std::shared_ptr<const Content> ProfileStates::find(const std::string& profile,
                                                   const std::string& stamp) const {
  std::lock_guard guard(mutex_);
  const auto it = states_.find({profile, stamp});
  if (it == states_.end())
    throw Broken("profile '" + profile + "': nobody saved the state that calls itself '" + stamp + "'");
  return it->second;
}

void ProfileStates::acknowledge(Acknowledged what) {
  std::lock_guard guard(mutex_);
  acknowledged_.push_back(std::move(what));
}

std::vector<Acknowledged> ProfileStates::acknowledged() const {
  std::lock_guard guard(mutex_);
  return acknowledged_;
}

Content read_version(const repository::Tree& tree) {
  Content content;
  read_directory(tree, {}, content);
  return content;
}

void check_everything(const repository::Repository& repository, const std::vector<std::string>& profiles,
                      const ProfileStates& states) {
  std::map<std::pair<std::string, std::uint64_t>, std::pair<std::string, bool>> found;  // stamp, on head line
  for (const auto& name : profiles) {
    const auto profile = must(repository.find_profile(name), name);
    for (const auto& version : must(repository.versions(profile.id), name)) {
      const auto where = fmt::format("profile '{}', version {}", name, version.number);
      const auto content = read_version(*must(repository.tree(profile.id, version.number), where));
      const auto stamp = content.find(kStamp);
      if (stamp == content.end()) throw Broken(where + " has no stamp");
      if (auto wrong = difference(*states.find(name, stamp->second), content); !wrong.empty())
        throw Broken(where + " ('" + stamp->second + "'): " + wrong);
      found[{name, version.number}] = {stamp->second, version.on_head_line};
    }
    if (found.count({name, profile.head}) == 0 || !found[{name, profile.head}].second)
      throw Broken(fmt::format("profile '{}': its head {} is not on the head line", name, profile.head));
  }
  for (const auto& each : states.acknowledged()) {
    const auto where =
        fmt::format("profile '{}': '{}', acknowledged as version {}", each.profile, each.stamp, each.version);
    const auto it = found.find({each.profile, each.version});
    if (it == found.end()) throw Broken(where + ", is lost");
    if (it->second.first != each.stamp) throw Broken(where + ", is '" + it->second.first + "' now");
    if (it->second.second == each.forked)
      throw Broken(where + (each.forked ? " beside the head, is on it" : " on the head line, is beside it"));
  }
  const auto report = must(repository.check([](std::uint64_t, std::uint64_t) {}), "repo check");
  if (!report.problems.empty()) throw Broken("repo check: " + report.problems.front());
}

}  // namespace roamstead::chaos
