#include "coordinator/compose/first_boot.h"

#include <nlohmann/json.hpp>

#include "coordinator/compose/units.h"

namespace roamstead::compose {
namespace {

void place(Edits& edits, const std::string& name, ByteView content) {
  edits.files.push_back({kFirstBootFolder + name, Bytes(content.begin(), content.end()), true, ""});
}

}  // namespace

Result<void> common_first_boot(const UnitContext& context, Edits& edits) {
  if (context.spec.scripts.empty()) return {};
  auto steps = nlohmann::json::array();
  for (const auto& script : context.spec.scripts) {
    place(edits, "scripts/" + script.name, script.content);
    steps.push_back({{"kind", "script"},
                     {"name", script.name},
                     {"attempts", script.attempts},
                     {"timeout_seconds", script.timeout_seconds}});
  }
  place(edits, "steps.json",
        as_bytes(nlohmann::json{{"format", kFirstBootFormat}, {"steps", steps}}.dump(2) + "\n"));
  return {};
}

}  // namespace roamstead::compose
