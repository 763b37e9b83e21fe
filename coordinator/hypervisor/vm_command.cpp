#include "coordinator/hypervisor/vm_command.h"

#include <algorithm>

#include "coordinator/foreign/command.h"

namespace roamstead::hypervisor {

std::vector<std::string> placeholders() {
  return {"name",      "uuid",       "mac",       "pool", "number", "disk",  "format",
          "data_disk", "definition", "directory", "top",  "upper",  "lower", "index"};
}

Result<void> check_command(const VmCommands::Words& words) {
  if (words.empty()) return {};
  if (words[0].empty() || words[0].front() != '/' || words[0].find('{') != std::string::npos)
    return fail(ErrorCode::invalid_argument,
                "'" + words[0] + "': expected the absolute path of a program, then its arguments");
  const auto known = placeholders();
  for (const auto& word : words) {
    if (word.find('\0') != std::string::npos)
      return fail(ErrorCode::invalid_argument, "an argument with a zero character");
    for (std::size_t at = 0; (at = word.find('{', at)) != std::string::npos; ++at) {
      const auto end = word.find('}', at);
      const auto name = end == std::string::npos ? "" : word.substr(at + 1, end - at - 1);
      const bool is_word = !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || c == '_';
      });
      if (!is_word || std::find(known.begin(), known.end(), name) != known.end()) continue;
      return fail(ErrorCode::invalid_argument, "'{" + name +
                                                   "}' stands for nothing; known are {name}, "
                                                   "{uuid}, {mac}, {pool}, {number}, {disk}, {format}, "
                                                   "{data_disk}, {definition}, {directory}, {top}, {upper}, "
                                                   "{lower} and {index}");
    }
  }
  return {};
}

Substitutes substitutes_of(const Vm& vm, const std::string& directory, const std::string& top) {
  const auto disk = vm.disks.empty() ? VmDisk() : vm.disks.front();
  return {{"name", vm.name},
          {"uuid", vm.uuid.to_string()},
          {"mac", mac_text(vm.mac)},
          {"pool", vm.pool},
          {"number", std::to_string(vm.number)},
          {"disk", disk.path},
          {"format", disk.format},
          {"data_disk", vm.disks.size() > 1 ? vm.disks[1].path : ""},
          {"definition", vm.definition},
          {"directory", directory},
          {"top", top}};
}

std::string fill_in(const std::string& text, const Substitutes& substitutes) {
  std::string filled;
  for (std::size_t at = 0; at < text.size();) {
    const auto end = text[at] == '{' ? text.find('}', at) : std::string::npos;
    const auto found =
        end == std::string::npos ? substitutes.end() : substitutes.find(text.substr(at + 1, end - at - 1));
    if (found == substitutes.end()) {
      filled += text[at++];
    } else {
      filled += found->second;
      at = end + 1;
    }
  }
  return filled;
}

Result<std::string> run_for(const Vm& vm, const VmCommands::Words& words, const Substitutes& substitutes,
                            std::chrono::seconds within) {
  VmCommands::Words arguments;
  for (const auto& word : words) arguments.push_back(arguments.empty() ? word : fill_in(word, substitutes));
  foreign::CommandOptions options;
  options.within = within;
  options.environment = {"LC_ALL=C"};  // what they say is read, and shown
  RS_TRY_CTX(const auto output, "VM " + vm.name, foreign::run_command(arguments, options));
  if (output.status == 0) return output.out;
  return fail(ErrorCode::io, "VM " + vm.name + ": " + os::describe_failure(arguments[0], output));
}

std::string last_line(const std::string& text) {
  const auto end = text.find_last_not_of(" \t\r\n");
  if (end == std::string::npos) return "";
  const auto begin = text.rfind('\n', end);
  const auto line = text.substr(begin == std::string::npos ? 0 : begin + 1,
                                end + 1 - (begin == std::string::npos ? 0 : begin + 1));
  return line.substr(line.find_first_not_of(" \t"));
}

}  // namespace roamstead::hypervisor
