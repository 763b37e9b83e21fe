// roamstead generate (hidden): manual pages, completions and the example configuration, for packages.
#include <iostream>

#include "coordinator/cli/verbs.h"
#include "coordinator/config/key_table.h"
#include "coordinator/config/text.h"
#include "coordinator/manual/completion.h"
#include "coordinator/manual/man_page.h"

namespace roamstead::cli {
namespace {

constexpr const char* kRepositoryNote =
    "Verbs that need a repository take it from --repo, from the variable ROAMSTEAD_REPO, or from the "
    "coordinator's configuration. They work while a coordinator has it open: what changes it is then done by "
    "the coordinator, through its administrators' socket.";

manual::Page configuration_page() {
  auto text = manual::page_head("coordinator.toml", 5, ROAMSTEAD_VERSION,
                                "configuration of the Roamstead coordinator");
  text += ".SH SYNOPSIS\n.I " + manual::escaped(config::kDefaultFile) + "\n.br\n.I " +
          manual::escaped("/etc/roamstead/conf.d/*.toml") + "\n.SH DESCRIPTION\n";
  text += manual::escaped(
      "TOML. The files of conf.d are read after the first one, in the order of their names; what comes later "
      "wins, the command line last. An unknown key or a wrong value is an error with file and line. Keys and "
      "secrets do not stand here, only where they are.\n");
  text += ".PP\n" + manual::escaped(
                        "Sizes: a whole number and B, KiB, MiB, GiB or TiB. Durations: a whole number "
                        "and ms, s, min, h or d.\n");
  text += ".SH KEYS\n";
  const config::Config defaults;
  for (const auto& key : config::keys()) {
    text += ".TP\n\\fB" + manual::escaped(key.name) +
            "\\fR = " + manual::escaped(config::toml_text(defaults, key)) + "\n";
    text += manual::escaped(std::string(key.description) + ".") +
            (key.reloadable ? " May be changed by a reload." : "") + "\n";
  }
  text += ".SH SEE ALSO\n.BR roamstead\\-coordinator (8),\n.BR roamstead\\-config (1)\n";
  return {"coordinator.toml.5", text};
}

Result<void> write_pages(const CLI::App& app, const std::string& directory) {
  manual::PageFacts facts{
      ROAMSTEAD_VERSION,
      1,
      {{"REPOSITORIES", kRepositoryNote},
       {"EXIT STATUS",
        "0 when all went well, 1 when something failed, more when the command line is wrong."}},
      {"roamstead-coordinator(8)"}};
  auto pages = manual::program_pages(manual::command_tree(app), facts);
  pages.push_back(configuration_page());
  auto& files = os::real_file_system();
  RS_CHECK(files.make_directories(directory));
  for (const auto& page : pages)
    RS_CHECK(os::write_file_durably(files, os::join_path(directory, page.file_name), as_bytes(page.content)));
  return {};
}

}  // namespace

void add_generate_verbs(CLI::App& app, Context& context) {
  auto* noun = app.add_subcommand("generate", "Texts for packages")->group("");
  noun->require_subcommand(1);
  auto out = std::make_shared<std::string>();
  context.verb(*noun, "man", "Manual pages", [&app, out] { return write_pages(app, *out); })
      ->add_option("--out", *out, "Directory for the pages")
      ->required();
  auto add = [&](const char* name, std::string (*text)(const CLI::App&)) {
    context.verb(*noun, name, "On standard output", [&app, text]() -> Result<void> {
      std::cout << text(app);
      return {};
    });
  };
  add("bash", [](const CLI::App& tree) { return manual::bash_completion(manual::command_tree(tree)); });
  add("zsh", [](const CLI::App& tree) { return manual::zsh_completion(manual::command_tree(tree)); });
  add("fish", [](const CLI::App& tree) { return manual::fish_completion(manual::command_tree(tree)); });
  add("config", [](const CLI::App&) { return config::commented_file({}, {}); });
}

}  // namespace roamstead::cli
