// roamstead config: what the coordinator's configuration says, and where it says it.
#include "coordinator/cli/verbs.h"
#include "coordinator/config/key_table.h"
#include "coordinator/config/text.h"

namespace roamstead::cli {
namespace {

using nlohmann::json;

struct ConfigArguments {
  std::string file = config::kDefaultFile;
  bool effective = false;
};

Result<void> show_config(const ConfigArguments& arguments, const Context& context) {
  RS_TRY(auto loaded, config::load(os::real_file_system(), {arguments.file, false, {}}));
  auto settings = json::array();
  for (const auto& key : config::keys()) {
    auto origin = loaded.origin_of(key.name);
    if (!arguments.effective && origin.file.empty()) continue;
    json setting{{"key", key.name},
                 {"value", config::plain_text(loaded.config, key)},
                 {"origin", origin.file.empty() ? json("built in") : json(origin.file)},
                 {"reloadable", key.reloadable}};
    if (origin.line != 0) setting["line"] = origin.line;
    settings.push_back(std::move(setting));
  }
  context.print({{"files", loaded.files}, {"settings", settings}},
                config::settings_text(loaded, arguments.effective));
  return {};
}

}  // namespace

void add_config_verbs(CLI::App& app, Context& context) {
  auto arguments = std::make_shared<ConfigArguments>();
  auto* noun = app.add_subcommand("config", "The coordinator's configuration");
  noun->require_subcommand(1);
  auto* verb = context.verb(*noun, "show", "What is set, and in which file and line",
                            [arguments, &context] { return show_config(*arguments, context); });
  verb->add_flag("--effective", arguments->effective, "Also what nobody set, with what it is then");
  verb->add_option("--config", arguments->file, "The configuration file; conf.d beside it is read too")
      ->capture_default_str();
}

}  // namespace roamstead::cli
