// A program's commands and options as plain data, taken from the one place where they are declared, its CLI11
// tree. Manual pages and completions are written from this.
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace roamstead::manual {

struct OptionFacts {
  std::vector<std::string> names;  // "--json", "-r"; a positional has one name without dashes
  std::string argument;            // "FILE"; "" for a flag
  std::string description;
  std::string environment;  // variable that gives it too
  std::string default_text;
  bool positional = false;
  bool required = false;
  bool repeatable = false;
};

struct Command {
  std::string name;
  std::string description;
  std::vector<OptionFacts> options;  // positionals in their order, then the others
  std::vector<Command> commands;     // in the order in which they were declared

  // "disk create [OPTIONS] file [parent]", without what is before this command.
  std::string usage() const;
};

// Hidden commands and options (those of the group "") are left out.
Command command_tree(const CLI::App& app);

}  // namespace roamstead::manual
