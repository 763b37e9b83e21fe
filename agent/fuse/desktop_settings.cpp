#include "agent/fuse/desktop_settings.h"

#include <functional>
#include <nlohmann/json.hpp>

#include "agent/fuse/desktop.h"
#include "common/base/log.h"

namespace roamstead::agent {
namespace {

// What a setting is of a desktop's configuration. Times are shown in seconds, whole or not.
struct Meaning {
  const char* name;
  std::function<void(DesktopConfig&, const std::string& value)> set;
  std::function<std::string(const DesktopConfig&)> show;
  std::function<void(DesktopConfig&, const DesktopConfig& from)> copy;
};

template <class Member>
Meaning seconds(const char* name, Member member) {
  return {
      name,
      [member](DesktopConfig& config, const std::string& value) {
        std::invoke(member, config) = std::chrono::seconds(*settings::parse_number(value));
      },
      [member](const DesktopConfig& config) {
        return fmt::format(
            "{}",
            std::chrono::duration<double>(std::invoke(member, const_cast<DesktopConfig&>(config))).count());
      },
      [member](DesktopConfig& config, const DesktopConfig& from) {
        std::invoke(member, config) = std::invoke(member, const_cast<DesktopConfig&>(from));
      }};
}

const std::vector<Meaning>& meanings() {
  using C = DesktopConfig;
  static const std::vector<Meaning> all = {
      {"FillLevel",
       [](C& config, const std::string& value) {
         config.fill = parse_fill_level(value).value_or(config.fill);
       },
       [](const C& config) {
         return std::string(config.fill == FillLevel::all        ? "all"
                            : config.fill == FillLevel::metadata ? "metadata"
                                                                 : "none");
       },
       [](C& config, const C& from) { config.fill = from.fill; }},
      {"FillMiBPerSecond",
       [](C& config, const std::string& value) {
         config.session.fill_bytes_per_second = *settings::parse_number(value) << 20;
       },
       [](const C& config) { return std::to_string(config.session.fill_bytes_per_second >> 20); },
       [](C& config, const C& from) {
         config.session.fill_bytes_per_second = from.session.fill_bytes_per_second;
       }},
      seconds(
          "SnapshotIntervalSeconds", [](C & config) -> auto& { return config.session.snapshot_interval; }),
      seconds(
          "MaxLagSeconds", [](C & config) -> auto& { return config.session.sender.max_lag; }),
      seconds(
          "PatienceSeconds", [](C & config) -> auto& { return config.session.loader.patience; }),
      seconds(
          "LearnSeconds", [](C & config) -> auto& { return config.session.learn_for; }),
      seconds(
          "PrepareSeconds", [](C & config) -> auto& { return config.prepare_for; }),
  };
  return all;
}

const settings::SentSetting* find(const settings::SentSettings& sent, const char* name) {
  for (const auto& each : sent)
    if (const auto good = settings::check_sent(each); good && (*good)->name == name) return &each;
  return nullptr;
}

}  // namespace

void take_settings(DesktopConfig& config, const DesktopConfig& before, const settings::SentSettings& sent) {
  for (const auto& each : sent)
    if (const auto good = settings::check_sent(each); !good)
      log_warning("coordinator\\{}: {}", each.name, good.error().to_string());
  for (const auto& meaning : meanings()) {
    if (config.given.contains(meaning.name)) continue;
    meaning.copy(config, before);
    if (const auto* found = find(sent, meaning.name)) meaning.set(config, found->value);
  }
}

nlohmann::json describe_settings(const DesktopConfig& config, const settings::SentSettings& sent) {
  auto told = nlohmann::json::object();
  for (const auto& meaning : meanings())
    told[meaning.name] = {{"value", meaning.show(config)},
                          {"source", config.given.contains(meaning.name)   ? "command line"
                                     : find(sent, meaning.name) != nullptr ? "coordinator"
                                                                           : "default"}};
  return told;
}

}  // namespace roamstead::agent
