#include "agent/core/preload.h"

#include "common/base/log.h"
#include "common/base/text.h"

namespace roamstead::agent {
namespace {

constexpr std::uint64_t kStep = wire::kMaxReadBytes;

class Preload {
 public:
  Preload(Loader& loader, RegistryLoader& registry, ProfileVolume& volume, const std::string& root,
          const profile::Rules& rules, std::chrono::milliseconds patience)
      : loader_(loader),
        registry_(registry),
        volume_(volume),
        root_(root),
        rules_(rules),
        until_(Activity::Clock::now() + patience) {}

  PreloadReport run() {
    for (const auto& rule : rules_.all())
      if (rule.action == profile::RuleAction::preload && rule.is_registry()) note(load_key(rule.pattern));
    std::vector<std::string> directories{""};
    while (!directories.empty() && !is_over()) {
      const auto directory = std::move(directories.back());
      directories.pop_back();
      note(visit(directory, directories));
    }
    report_.complete = report_.complete && directories.empty();
    return report_;
  }

 private:
  bool is_over() const { return Activity::Clock::now() >= until_; }
  void note(const Result<void>& result) {
    if (result) return;
    report_.complete = false;
    log_warning("not loaded ahead: {}", result.error().to_string());
  }
  std::string on_volume(const std::string& path) const { return path.empty() ? root_ : root_ + "/" + path; }

  // `pattern` has no wildcards: normalise_rule() refuses them.
  Result<void> load_key(const std::string& pattern) {
    const auto path = std::string_view(pattern).substr(5);
    constexpr std::string_view kClasses = "Software\\Classes";
    const bool classes = same_name(path.substr(0, kClasses.size()), kClasses) &&
                         (path.size() == kClasses.size() || path[kClasses.size()] == '\\');
    const auto inside = classes ? path.substr(std::min(path.size(), kClasses.size() + 1)) : path;
    RS_TRY(const auto key, profile::KeyPath::parse(inside));
    const auto& hive = profile::hive_paths()[classes ? 1 : 0];
    RS_CHECK(loader_.populate_above(hive, Priority::foreground));
    auto loaded = registry_.load(hive, key, true);
    if (!loaded && loaded.error().code != ErrorCode::not_found) return loaded;
    ++report_.keys;
    return {};
  }

  Result<void> visit(const std::string& directory, std::vector<std::string>& directories) {
    RS_TRY(auto handle, volume_.open(on_volume(directory), ""));
    RS_CHECK(loader_.populate(*handle));
    RS_TRY(const auto items, volume_.list(on_volume(directory)));
    for (const auto& item : items) {
      if (is_over()) {
        report_.complete = false;
        return {};
      }
      auto path = directory.empty() ? item.name : directory + "/" + item.name;
      if (item.directory) {
        if (rules_.preloads_below(path)) directories.push_back(std::move(path));
      } else if (rules_.file(path).loading == profile::Loading::preload) {
        note(load_file(path, item.record));
      }
    }
    return {};
  }

  Result<void> load_file(const std::string& path, std::uint64_t record) {
    for (const auto& stream : loader_.unloaded_streams(record)) {
      RS_TRY(auto handle, volume_.open(on_volume(path), stream));
      RS_TRY(const auto size, handle->size());
      for (std::uint64_t offset = 0; offset < size; offset += kStep) {
        if (is_over()) return fail(ErrorCode::timeout, path + ": the time is over");
        RS_CHECK(loader_.load(*handle, {offset, std::min(kStep, size - offset)}));
      }
    }
    ++report_.files;
    return {};
  }

  Loader& loader_;
  RegistryLoader& registry_;
  ProfileVolume& volume_;
  const std::string& root_;
  const profile::Rules& rules_;
  const Activity::Clock::time_point until_;
  PreloadReport report_;
};

}  // namespace

PreloadReport preload(Loader& loader, RegistryLoader& registry, ProfileVolume& volume,
                      const std::string& profile_root, const profile::Rules& rules,
                      std::chrono::milliseconds patience) {
  if (!rules.has(profile::RuleAction::preload)) return {};
  return Preload(loader, registry, volume, profile_root, rules, patience).run();
}

}  // namespace roamstead::agent
