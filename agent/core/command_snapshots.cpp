#include "agent/core/command_snapshots.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "common/base/log.h"
#include "common/base/text.h"
#include "common/os/program.h"

namespace roamstead::agent {
namespace {

using Names = std::vector<std::pair<std::string, std::string>>;

constexpr std::size_t kMostOutputBytes = 64u << 10;  // a path, and what a script may say besides
constexpr std::size_t kMostShown = 200;
constexpr std::size_t kMostLayers = 64;  // of a chain, as common/vdisk has it

std::string trimmed(const std::string& text) {
  constexpr const char* kBlank = " \t\r\n";
  const auto first = text.find_first_not_of(kBlank);
  if (first == std::string::npos) return "";
  return text.substr(first, text.find_last_not_of(kBlank) + 1 - first);
}

std::string shown(const std::string& output) {
  auto text = output.substr(0, kMostShown);
  for (auto& c : text)
    if (static_cast<unsigned char>(c) < ' ' || static_cast<unsigned char>(c) > '~') c = '?';
  return "'" + text + (output.size() > kMostShown ? "...'" : "'");
}

Result<void> check_command(const char* what, const CommandSnapshots::Command& command,
                           const std::vector<std::string>& known) {
  if (command.empty()) return {};
  const std::string context = std::string("the ") + what + " command: ";
  if (!is_absolute_path(command[0]) || command[0].find('{') != std::string::npos)
    return fail(
        ErrorCode::invalid_argument,
        context + "'" + command[0] + "': expected the absolute path of a program, then its arguments");
  for (const auto& word : command) {
    if (word.find('\0') != std::string::npos || !is_wtf8(word))
      return fail(ErrorCode::invalid_argument, context + "an argument that is no text");
    for (std::size_t at = 0; (at = word.find('{', at)) != std::string::npos; ++at) {
      const auto end = word.find('}', at);
      const auto name = end == std::string::npos ? "" : word.substr(at + 1, end - at - 1);
      const bool is_word =
          !name.empty() && std::all_of(name.begin(), name.end(), [](char c) { return c >= 'a' && c <= 'z'; });
      if (is_word && std::find(known.begin(), known.end(), name) == known.end())
        return fail(ErrorCode::invalid_argument, context + "'{" + name + "}' stands for nothing here");
    }
  }
  return {};
}

std::string filled_in(std::string word, const Names& names) {
  for (const auto& [name, value] : names) {
    const auto mark = "{" + name + "}";
    for (std::size_t at = 0; (at = word.find(mark, at)) != std::string::npos; at += value.size())
      word.replace(at, mark.size(), value);
  }
  return word;
}

bool mentions(const CommandSnapshots::Command& command, const std::string& mark) {
  return std::any_of(command.begin(), command.end(),
                     [&](const std::string& word) { return word.find(mark) != std::string::npos; });
}

// The first of the members that is there and a text.
std::string member(const nlohmann::json& object, std::initializer_list<const char*> names) {
  for (const char* name : names)
    if (const auto found = object.find(name); found != object.end() && found->is_string())
      return found->get<std::string>();
  return "";
}

}  // namespace

Result<std::unique_ptr<CommandSnapshots>> CommandSnapshots::open(os::FileSystem& files, Options options) {
  if (options.freeze.empty())
    return fail(ErrorCode::invalid_argument, "no command that freezes the desktop's disk");
  RS_CHECK(check_command("freezing", options.freeze, {"top"}));
  RS_CHECK(check_command("merging", options.merge, {"top", "upper", "lower", "index"}));
  if (options.top.empty() && mentions(options.freeze, "{top}"))
    return fail(ErrorCode::invalid_argument, "the freezing command wants {top}, which is not configured");
  if (options.here.empty() != options.there.empty())
    return fail(ErrorCode::invalid_argument, "where the layers are seen is known of one side only");
  for (auto* path : {&options.top, &options.base}) {
    if (path->empty()) continue;
    if (!is_absolute_path(*path))
      return fail(ErrorCode::invalid_argument, "'" + *path + "' is no absolute path of a layer");
    RS_TRY(*path, PathMapping().from_there(*path));  // with '/'
  }
  PathMapping mapping(options.here, options.there);
  return std::unique_ptr<CommandSnapshots>(
      new CommandSnapshots(files, std::move(options), std::move(mapping)));
}

Result<std::string> CommandSnapshots::run(const Command& command, const Names& names,
                                          std::chrono::milliseconds within) const {
  Command words;
  for (const auto& word : command) words.push_back(words.empty() ? word : filled_in(word, names));
  os::ProgramOptions options;
  options.within = within;
  options.most_output_bytes = kMostOutputBytes;
  RS_TRY(auto output, os::run_program(words, options));
  if (output.status != 0) return fail(ErrorCode::io, os::describe_failure(words[0], output));
  if (const auto said = trimmed(output.err); !said.empty()) log_info("{}: {}", words[0], shown(said));
  return std::move(output.out);
}

Result<CommandSnapshots::Answer> CommandSnapshots::parse(const std::string& output) const {
  const auto text = trimmed(output);
  Answer said;
  if (text.starts_with('{')) {
    const auto object = nlohmann::json::parse(text, nullptr, false);
    if (!object.is_object())
      return fail(ErrorCode::protocol, "it printed " + shown(text) + ", which is no JSON");
    said.path = member(object, {"path", "frozen_path"});
    said.top = member(object, {"top", "active_path"});
  } else {
    said.path = text;
  }
  const bool is_path = is_absolute_path(said.path) && said.path.size() < kMostOutputBytes / 2 &&
                       is_wtf8(said.path) &&
                       said.path.find_first_of(std::string("\n\r\0", 3)) == std::string::npos;
  if (!is_path)
    return fail(ErrorCode::protocol,
                "it printed " + shown(text) + ", not the absolute path of a frozen layer");
  Answer answer;
  RS_TRY(answer.path, mapping_.from_there(said.path));
  if (!said.top.empty()) {
    RS_TRY(answer.top, mapping_.from_there(said.top));
  }
  return answer;
}

Result<FrozenLayer> CommandSnapshots::freeze_chain() {
  Names names;
  if (!options_.top.empty()) {
    RS_TRY(auto top, mapping_.to_there(options_.top));
    names.emplace_back("top", std::move(top));
  }
  Layers before;
  if (!top_.empty()) {
    RS_TRY(before, walk(top_));
  }
  RS_TRY_CTX(const auto output, "freezing the disk", run(options_.freeze, names, options_.freeze_within));
  const auto context = "freezing the disk by " + options_.freeze[0];
  RS_TRY_CTX(auto answer, context, parse(output));
  if (answer.top.empty()) answer.top = top_;
  RS_TRY_CTX(auto frozen, context, check(answer, before));
  top_ = answer.top;
  last_ = frozen;
  frozen_.push_back(frozen.id);
  return frozen;
}

Result<FrozenLayer> CommandSnapshots::check(const Answer& answer, const Layers& before) const {
  RS_TRY(const auto info, vdisk::inspect(files_, answer.path));
  if (info.format == vdisk::Format::raw || info.format == vdisk::Format::foreign || info.id.is_zero())
    return fail(ErrorCode::unsupported,
                answer.path + ": a frozen layer has to be a VHDX, VHD or qcow2 with an id");
  const auto is_it = [&](const vdisk::LayerInfo& layer) { return layer.id == info.id; };
  const bool known =
      std::any_of(before.begin() + (before.empty() ? 0 : 1), before.end(), is_it) || info.id == last_.id;
  if (known)
    return fail(ErrorCode::conflict, answer.path + ": was frozen before; the disk was not frozen now");
  if (!answer.top.empty()) {
    RS_TRY(const auto layers, walk(answer.top));
    if (layers.size() < 2 || !is_it(layers[1]))
      return fail(ErrorCode::conflict,
                  answer.path + ": is not the layer below the chain's top " + answer.top);
  }
  // It stands on what was frozen before, so it is of the same disk.
  const auto below = before.size() > 1 ? before[1].id : last_.id;
  if (!below.is_zero()) {
    RS_TRY(const auto layers, walk(answer.path));
    if (std::none_of(layers.begin(), layers.end(), [&](const auto& layer) { return layer.id == below; }))
      return fail(ErrorCode::conflict, answer.path + ": does not stand on the layer " + below.to_string() +
                                           ", which was below the disk's top before");
  }
  return FrozenLayer{answer.path, info.id};
}

// By what the files say of themselves, without locks: others write to the top.
Result<CommandSnapshots::Layers> CommandSnapshots::walk(const std::string& from) const {
  Layers layers;
  for (auto path = from; !path.empty();) {
    if (layers.size() == kMostLayers)
      return fail(ErrorCode::unsupported, from + ": more than " + std::to_string(kMostLayers) + " layers");
    RS_TRY(auto info, vdisk::inspect(files_, path));
    path = info.parent_path;
    layers.push_back(std::move(info));
  }
  return layers;
}

Result<CommandSnapshots::Layers> CommandSnapshots::chain() {
  if (!top_.empty()) return walk(top_);
  if (last_.path.empty()) return Layers();
  RS_TRY(auto layers, walk(last_.path));
  layers.insert(layers.begin(), vdisk::LayerInfo());  // the top: nobody says where it is
  return layers;
}

bool CommandSnapshots::is_frozen(const vdisk::LayerInfo& top, const vdisk::LayerInfo& layer) const {
  if (options_.base.empty())
    return std::find(frozen_.begin(), frozen_.end(), layer.id) != frozen_.end() ||
           (!top.path.empty() && ChainSnapshots::is_frozen(top, layer));
  const auto same = files_.same_file(options_.base, layer.path);
  return !(same && *same);
}

Result<void> CommandSnapshots::merge(std::size_t index) {
  RS_TRY(const auto before, chain());
  if (index == 0 || index + 1 >= before.size()) return fail(ErrorCode::internal, "no two layers to merge");
  Names names{{"index", std::to_string(index)}};
  RS_TRY(auto top, mapping_.to_there(before[0].path));
  RS_TRY(auto upper, mapping_.to_there(before[index].path));
  RS_TRY(auto lower, mapping_.to_there(before[index + 1].path));
  names.emplace_back("top", std::move(top));
  names.emplace_back("upper", std::move(upper));
  names.emplace_back("lower", std::move(lower));
  RS_TRY_CTX([[maybe_unused]] const auto output, "merging frozen layers",
             run(options_.merge, names, options_.merge_within));
  // Believed when it is seen, or it would be tried for ever.
  RS_TRY(const auto after, chain());
  const bool kept = std::any_of(after.begin(), after.end(),
                                [&](const auto& layer) { return layer.id == before[index].id; });
  if (!kept)
    return fail(ErrorCode::conflict, options_.merge[0] + ": the layer " + before[index].path +
                                         " is gone, which should have stayed with its id");
  if (after.size() >= before.size())
    return fail(ErrorCode::conflict, options_.merge[0] + ": the chain has as many layers as before");
  return {};
}

}  // namespace roamstead::agent
