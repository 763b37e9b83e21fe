#include "common/firstboot/steps.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "common/base/text.h"

namespace roamstead::firstboot {
namespace {

using nlohmann::json;

constexpr std::pair<StepKind, std::string_view> kKinds[] = {
    {StepKind::script, "script"},
    {StepKind::format_data_disk, "format-data-disk"},
    {StepKind::assign_drive_letter, "assign-drive-letter"},
    {StepKind::activate, "activate"}};

tl::unexpected<Error> wrong_name(const std::string& name, const char* why) {
  return fail(ErrorCode::invalid_argument, "'" + name + "' cannot be the name of a step: " + why);
}

// JSON holds no lone surrogates, which WTF-8 does.
bool is_utf8(const std::string& text) {
  if (!is_wtf8(text)) return false;
  for (std::size_t at = 0; at + 1 < text.size(); ++at)
    if (text[at] == '\xED' && static_cast<unsigned char>(text[at + 1]) >= 0xA0) return false;
  return true;
}

// Throws what nlohmann::json throws where a key is missing or of another type.
Step step_from(const json& each) {
  Step step;
  const auto kind = each.at("kind").get<std::string>();
  step.kind = parse_step_kind(kind);
  step.name = each.at("name").get<std::string>();
  step.attempts = each.at("attempts").get<std::uint32_t>();
  step.timeout_seconds = each.at("timeout_seconds").get<std::uint32_t>();
  if (step.kind == StepKind::format_data_disk) {
    step.disk_bytes = each.at("disk_bytes").get<std::uint64_t>();
    const auto table = each.at("table").get<std::string>();
    if (table != "gpt" && table != "mbr") throw std::invalid_argument("'table' is neither gpt nor mbr");
    step.mbr = table == "mbr";
  }
  if (step.kind == StepKind::format_data_disk || step.kind == StepKind::assign_drive_letter) {
    const auto letter = each.at("letter").get<std::string>();
    step.label = each.at("label").get<std::string>();
    for (const auto& good : {check_letter(letter), check_label(step.label)})
      if (!good) throw std::invalid_argument(good.error().to_string());
    step.letter = letter[0];
  }
  if (step.attempts == 0 || step.attempts > kMostAttempts)
    throw std::invalid_argument("'attempts' is not 1 to " + std::to_string(kMostAttempts));
  if (step.timeout_seconds == 0 || step.timeout_seconds > kLongestTimeout_s)
    throw std::invalid_argument("'timeout_seconds' is not 1 to " + std::to_string(kLongestTimeout_s));
  if (step.kind == StepKind::script)
    if (auto good = check_script_name(step.name); !good)
      throw std::invalid_argument(good.error().to_string());
  return step;
}

}  // namespace

std::string_view to_string(StepKind kind) {
  for (const auto& [each, text] : kKinds)
    if (each == kind) return text;
  return "unknown";
}

StepKind parse_step_kind(std::string_view text) {
  for (const auto& [kind, each] : kKinds)
    if (each == text) return kind;
  return StepKind::unknown;
}

Result<void> check_script_name(const std::string& name) {
  const auto dot = name.rfind('.');
  const auto ending = dot == std::string::npos ? "" : name.substr(dot);
  if (ending != ".cmd" && ending != ".bat" && ending != ".ps1" && ending != ".exe")
    return wrong_name(name, "a script's ends in .cmd, .bat, .ps1 or .exe");
  if (!is_utf8(name) || name.size() > 255 || dot == 0) return wrong_name(name, "Windows has no such names");
  const auto bad = [](char c) {
    return static_cast<unsigned char>(c) < 0x20 ||
           std::string_view("<>:\"|?*/\\%").find(c) != std::string_view::npos;
  };
  if (std::any_of(name.begin(), name.end(), bad))
    return wrong_name(name, "it has one of < > : \" | ? * / \\ %, or a control character");
  return {};
}

Result<void> check_label(const std::string& label) {
  const auto units = to_utf16(label);
  const auto bad = [](char16_t c) {
    return c < 0x20 || std::u16string_view(u"\"*/:<>?\\|").find(c) != std::u16string_view::npos;
  };
  if (!units || !is_utf8(label) || units->empty() || units->size() > kLongestLabel ||
      std::any_of(units->begin(), units->end(), bad))
    return fail(
        ErrorCode::invalid_argument,
        "'" + label + "' cannot be a volume's label: 1 to 32 characters, none of \" * / : < > ? \\ |");
  return {};
}

Result<void> check_letter(const std::string& text) {
  if (text.size() == 1 && text[0] >= 'D' && text[0] <= 'Z') return {};
  return fail(ErrorCode::invalid_argument, "'" + text + "' is no drive letter from D to Z");
}

std::string steps_json(const std::vector<Step>& steps) {
  auto list = json::array();
  for (const auto& step : steps) {
    json each{{"kind", to_string(step.kind)},
              {"name", step.name},
              {"attempts", step.attempts},
              {"timeout_seconds", step.timeout_seconds}};
    if (step.kind == StepKind::format_data_disk) {
      each["disk_bytes"] = step.disk_bytes;
      each["table"] = step.mbr ? "mbr" : "gpt";
    }
    if (step.kind == StepKind::format_data_disk || step.kind == StepKind::assign_drive_letter) {
      each["letter"] = std::string(1, step.letter);
      each["label"] = step.label;
    }
    list.push_back(std::move(each));
  }
  return json{{"format", kFormat}, {"steps", list}}.dump(2) + "\n";
}

Result<std::vector<Step>> parse_steps(std::string_view text, const std::string& source) {
  std::string where = source;
  try {
    const auto all = json::parse(text);
    if (const auto format = all.at("format").get<int>(); format != kFormat)
      return fail(ErrorCode::unsupported, source + ": format " + std::to_string(format) +
                                              ", which only a newer version of this program reads");
    const auto& list = all.at("steps");
    if (!list.is_array() || list.size() > kMostSteps)
      return fail(ErrorCode::corrupt,
                  source + ": 'steps' is not a list of at most " + std::to_string(kMostSteps) + " steps");
    std::vector<Step> steps;
    std::vector<std::u16string> names;
    for (std::size_t at = 0; at < list.size(); ++at) {
      where = source + ": step " + std::to_string(at + 1);
      steps.push_back(step_from(list[at]));
      names.push_back(upcase_key(steps.back().name));
    }
    std::sort(names.begin(), names.end());
    if (std::adjacent_find(names.begin(), names.end()) != names.end())
      return fail(ErrorCode::corrupt, source + ": two steps have one name");
    return steps;
  } catch (const std::exception& error) {
    return fail(ErrorCode::corrupt, where + ": " + error.what());
  }
}

}  // namespace roamstead::firstboot
