#include "coordinator/manual/command_tree.h"

#include <CLI/CLI.hpp>

namespace roamstead::manual {
namespace {

std::string argument_of(const CLI::Option& option) {
  if (option.get_items_expected_max() == 0) return "";  // a flag
  auto type = option.get_type_name();
  // What CLI11 calls types means little to people; validators add to it behind a colon.
  auto name = type.substr(0, type.find(':'));
  if (name.empty() || name == "TEXT") return "TEXT";
  if (name == "UINT" || name == "INT" || name == "FLOAT") return "NUMBER";
  return name;
}

OptionFacts facts_of(const CLI::Option& option) {
  OptionFacts facts;
  facts.positional = option.get_positional();
  for (const auto& name : option.get_snames()) facts.names.push_back("-" + name);
  for (const auto& name : option.get_lnames()) facts.names.push_back("--" + name);
  if (facts.positional) facts.names = {option.get_name(true)};
  facts.argument = argument_of(option);
  facts.description = option.get_description();
  facts.environment = option.get_envname();
  facts.default_text = option.get_default_str();
  facts.required = option.get_required();
  facts.repeatable = option.get_items_expected_max() > 1;
  return facts;
}

}  // namespace

std::string Command::usage() const {
  std::string text = name;
  if (!commands.empty()) return text + " COMMAND";
  bool has_options = false;
  for (const auto& option : options) has_options |= !option.positional && !option.required;
  if (has_options) text += " [OPTIONS]";
  for (const auto& option : options)
    if (!option.positional && option.required) text += " " + option.names.back() + " " + option.argument;
  for (const auto& option : options) {
    if (!option.positional) continue;
    auto shown = option.names.front() + (option.repeatable ? "..." : "");
    text += option.required ? " " + shown : " [" + shown + "]";
  }
  return text;
}

Command command_tree(const CLI::App& app) {
  Command command;
  command.name = app.get_name();
  command.description = app.get_description();
  auto options = app.get_options();
  for (bool positional : {true, false})
    for (const auto* option : options)
      if (option->get_positional() == positional && !option->get_group().empty())
        command.options.push_back(facts_of(*option));
  for (const auto* each : app.get_subcommands([](const CLI::App*) { return true; }))
    if (!each->get_group().empty() && !each->get_name().empty())
      command.commands.push_back(command_tree(*each));
  return command;
}

}  // namespace roamstead::manual
