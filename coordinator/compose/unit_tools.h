// What the files of the units share.
#pragma once

#include <string>
#include <utility>

#include "common/registry/format.h"
#include "coordinator/compose/units.h"

namespace roamstead::compose {

inline constexpr auto kExpandString = static_cast<std::uint32_t>(registry::ValueType::expand_string);
inline constexpr auto kMultiString = static_cast<std::uint32_t>(registry::ValueType::multi_string);
inline constexpr std::uint32_t kNameCapacity = 32;  // 15 characters and the NUL

// Windows writes the computer's name in upper case, and takes it in any.
inline std::string upper_case(std::string text) {
  for (auto& c : text)
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  return text;
}

inline std::string in_control_set(const UnitContext& context, const std::string& key) {
  return context.image.control_set + "\\" + key;
}
inline std::string tcpip(const UnitContext& context) {
  return in_control_set(context, "Services\\Tcpip\\Parameters");
}

inline void add_own(OwnEdits& edits, RegistryEdit edit, std::uint32_t capacity) {
  edits.values.push_back({std::move(edit), capacity});
}

}  // namespace roamstead::compose
