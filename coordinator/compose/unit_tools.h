// What the files of the units share.
#pragma once

#include <string>
#include <utility>

#include "coordinator/compose/units.h"

namespace roamstead::compose {

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
