#include "coordinator/manual/man_page.h"

#include <algorithm>
#include <cctype>

namespace roamstead::manual {
namespace {

std::string in_capitals(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return text;
}

std::string sentence(const std::string& text) {
  return text.empty() || text.back() == '.' || text.back() == ')' ? text : text + ".";
}

std::string bold(const std::string& text) { return "\\fB" + escaped(text) + "\\fR"; }
std::string italic(const std::string& text) { return "\\fI" + escaped(text) + "\\fR"; }

std::string section_of(const Section& section) {
  std::string text = ".SH " + section.title + "\n";
  for (std::size_t at = 0; at < section.text.size();) {
    auto end = std::min(section.text.find('\n', at), section.text.size());
    auto line = section.text.substr(at, end - at);
    text += line.empty() ? ".PP\n" : escaped(line) + "\n";
    at = end + 1;
  }
  return text;
}

std::string option_entry(const OptionFacts& option) {
  std::string text = ".TP\n";
  for (std::size_t i = 0; i < option.names.size(); ++i) {
    text += (i == 0 ? "" : ", ");
    text += option.positional ? italic(option.names[i]) : bold(option.names[i]);
  }
  if (!option.positional && !option.argument.empty()) text += " " + italic(option.argument);
  text += "\n" + escaped(sentence(option.description));
  if (option.required) text += " Required.";
  if (!option.default_text.empty() && !option.argument.empty())
    text += escaped(" By default " + option.default_text + ".");
  if (!option.environment.empty()) text += escaped(" Also by the variable " + option.environment + ".");
  return text + "\n";
}

// The commands at the end of a branch, each with its options, below the words that lead to it.
void append_commands(const Command& command, const std::string& before, std::string& text) {
  auto words = before + " " + command.name;
  if (command.commands.empty()) {
    text += ".SS " + escaped(before + " " + command.usage()) + "\n" + escaped(sentence(command.description)) +
            "\n";
    for (const auto& option : command.options)
      if (option.names.back() != "--help") text += option_entry(option);
  }
  for (const auto& each : command.commands) append_commands(each, words, text);
}

std::string see_also(const PageFacts& facts) {
  if (facts.also.empty()) return "";
  std::string text = ".SH SEE ALSO\n";
  for (std::size_t i = 0; i < facts.also.size(); ++i) {
    auto bracket = facts.also[i].find('(');
    text += ".BR " + escaped(facts.also[i].substr(0, bracket)) + " " + facts.also[i].substr(bracket) +
            (i + 1 < facts.also.size() ? ",\n" : "\n");
  }
  return text;
}

}  // namespace

std::string escaped(std::string_view text) {
  std::string result;
  bool line_begins = true;
  for (char c : text) {
    if (line_begins && (c == '.' || c == '\'')) result += "\\&";
    line_begins = c == '\n';
    if (c == '\\')
      result += "\\e";
    else if (c == '-')
      result += "\\-";
    else if (c == '"')
      result += "\\(dq";
    else
      result += c;
  }
  return result;
}

std::string page_head(const std::string& name, int section, const std::string& version,
                      const std::string& description) {
  return ".TH " + escaped(in_capitals(name)) + " " + std::to_string(section) + " \"\" \"Roamstead " +
         version + "\" \"Roamstead\"\n.SH NAME\n" + escaped(name) + " \\- " + escaped(description) + "\n";
}

Page program_page(const Command& program, const PageFacts& facts) {
  auto text = page_head(program.name, facts.section, facts.version, program.description);
  text += ".SH SYNOPSIS\n" + bold(program.name) + " [OPTIONS]\n.SH OPTIONS\n";
  for (const auto& option : program.options) text += option_entry(option);
  for (const auto& section : facts.more) text += section_of(section);
  text += see_also(facts);
  return {program.name + "." + std::to_string(facts.section), text};
}

std::vector<Page> program_pages(const Command& program, const PageFacts& facts) {
  auto number = std::to_string(facts.section);
  auto text = page_head(program.name, facts.section, facts.version, program.description);
  text += ".SH SYNOPSIS\n" + bold(program.name) + " " + italic("COMMAND") + " ...\n.SH COMMANDS\n";
  std::vector<Page> pages(1);
  auto overview = facts;
  for (const auto& command : program.commands) {
    text += ".TP\n" + bold(command.name) + "\n" + escaped(sentence(command.description)) + "\n";
    auto name = program.name + "-" + command.name;
    overview.also.push_back(name + "(" + number + ")");
    auto page = page_head(name, facts.section, facts.version, command.description);
    page += ".SH SYNOPSIS\n" + escaped(program.name + " " + command.usage()) + "\n.SH DESCRIPTION\n";
    page += escaped(sentence(command.description)) + "\n.SH COMMANDS\n";
    append_commands(command, program.name, page);
    auto one = facts;
    one.also.insert(one.also.begin(), program.name + "(" + number + ")");
    pages.push_back({name + "." + number, page + see_also(one)});
  }
  for (const auto& section : facts.more) text += section_of(section);
  pages.front() = {program.name + "." + number, text + see_also(overview)};
  return pages;
}

}  // namespace roamstead::manual
