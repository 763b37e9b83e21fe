#include "coordinator/manual/completion.h"

#include <functional>

namespace roamstead::manual {
namespace {

// A shell function's name.
std::string function_name(const Command& program) {
  std::string name = "_";
  for (char c : program.name) name += c == '-' ? '_' : c;
  return name;
}

// Between single quotes, in any of the shells.
std::string shell_quoted(const std::string& text) {
  std::string result = "'";
  for (char c : text) {
    if (c == '\'')
      result += "'\\''";
    else
      result += c == '\n' ? ' ' : c;
  }
  return result + "'";
}

using Visit = std::function<void(const std::string& path, const Command& command)>;

// Every command with the words that lead to it, the program's name first.
void walk(const Command& command, const std::string& before, const Visit& visit) {
  auto path = before.empty() ? command.name : before + " " + command.name;
  visit(path, command);
  for (const auto& each : command.commands) walk(each, path, visit);
}

std::vector<std::string> words_of(const Command& command) {
  std::vector<std::string> words;
  for (const auto& each : command.commands) words.push_back(each.name);
  for (const auto& option : command.options)
    if (!option.positional) words.insert(words.end(), option.names.begin(), option.names.end());
  return words;
}

std::string joined_words(const std::vector<std::string>& words) {
  std::string text;
  for (const auto& word : words) text += (text.empty() ? "" : " ") + word;
  return text;
}

}  // namespace

std::string bash_completion(const Command& program) {
  auto function = function_name(program);
  std::string text = "# Completion of " + program.name + " for bash.\n";
  text += "declare -gA " + function + "_words=(\n";
  walk(program, "", [&](const std::string& path, const Command& command) {
    text += "  [" + shell_quoted(path) + "]=" + shell_quoted(joined_words(words_of(command))) + "\n";
  });
  text += ")\n" + function + "() {\n";
  text += "  local current=${COMP_WORDS[COMP_CWORD]} path=" + program.name + " i\n";
  text += "  for ((i = 1; i < COMP_CWORD; ++i)); do\n";
  text += "    [[ -n ${" + function +
          "_words[\"$path ${COMP_WORDS[i]}\"]+set} ]] && path+=\" ${COMP_WORDS[i]}\"\n";
  text += "  done\n";
  text += "  mapfile -t COMPREPLY < <(compgen -W \"${" + function + "_words[$path]}\" -- \"$current\")\n";
  text += "  # Without a dash an option is seldom meant: files are offered then, by `-o default`.\n";
  text += "  if [[ $current != -* ]]; then\n";
  text += "    local word kept=()\n";
  text += "    for word in \"${COMPREPLY[@]}\"; do [[ $word == -* ]] || kept+=(\"$word\"); done\n";
  text += "    COMPREPLY=(\"${kept[@]}\")\n";
  text += "  fi\n";
  text += "}\n";
  text += "complete -o default -F " + function + " " + program.name + "\n";
  return text;
}

std::string zsh_completion(const Command& program) {
  auto function = function_name(program);
  // _describe takes "word:description"; a colon in the word is written with a backslash before it.
  auto described = [](const std::string& word, const std::string& description) {
    return shell_quoted(word + ":" + description) + " ";
  };
  std::string text = "#compdef " + program.name + "\n# Completion of " + program.name + " for zsh.\n";
  text += function + "() {\n  local at=" + program.name + " i\n  local -a commands options\n";
  text += "  local -A known\n  known=(\n";
  walk(program, "",
       [&](const std::string& path, const Command&) { text += "    " + shell_quoted(path) + " 1\n"; });
  text += "  )\n";
  text += "  for ((i = 2; i < CURRENT; ++i)); do\n";
  text += "    [[ -n ${known[$at ${words[i]}]} ]] && at=\"$at ${words[i]}\"\n";
  text += "  done\n  case $at in\n";
  walk(program, "", [&](const std::string& path, const Command& command) {
    std::string commands;
    std::string options;
    for (const auto& each : command.commands) commands += described(each.name, each.description);
    for (const auto& option : command.options)
      for (const auto& name : option.names)
        if (!option.positional) options += described(name, option.description);
    text += "    (" + shell_quoted(path) + ") commands=(" + commands + ") options=(" + options + ") ;;\n";
  });
  text += "  esac\n";
  text += "  if [[ ${words[CURRENT]} == -* ]]; then\n    _describe option options\n";
  text += "  elif (( ${#commands} )); then\n    _describe command commands\n";
  text += "  else\n    _files\n  fi\n}\n";
  // Read by autoload the first time, the file is the function's body.
  text += "if [[ $funcstack[1] == " + function + " ]]; then\n  " + function + " \"$@\"\nelse\n  compdef " +
          function + " " + program.name + "\nfi\n";
  return text;
}

std::string fish_completion(const Command& program) {
  auto function = "_" + function_name(program) + "_at";
  std::string text = "# Completion of " + program.name + " for fish.\n";
  text += "set -g " + function + "_known";
  walk(program, "", [&](const std::string& path, const Command&) { text += " " + shell_quoted(path); });
  text += "\nfunction " + function + " --description 'Whether these commands have been typed'\n";
  text += "    set -l at " + program.name + "\n";
  text += "    for word in (commandline -opc)[2..-1]\n";
  text += "        contains -- \"$at $word\" $" + function + "_known; and set at \"$at $word\"\n";
  text += "    end\n    test \"$at\" = \"$argv\"\nend\n";
  walk(program, "", [&](const std::string& path, const Command& command) {
    auto condition = "complete -c " + program.name + " -n " + shell_quoted(function + " " + path);
    for (const auto& each : command.commands)
      text += condition + " -f -a " + each.name + " -d " + shell_quoted(each.description) + "\n";
    for (const auto& option : command.options) {
      if (option.positional) continue;
      text += condition;
      for (const auto& name : option.names)
        text += name.rfind("--", 0) == 0 ? " -l " + name.substr(2) : " -s " + name.substr(1);
      text += (option.argument.empty() ? "" : " -r") + std::string(" -d ") +
              shell_quoted(option.description) + "\n";
    }
  });
  return text;
}

}  // namespace roamstead::manual
