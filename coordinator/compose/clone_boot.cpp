#include "coordinator/compose/clone_boot.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "coordinator/compose/pool_store.h"

namespace roamstead::compose {
namespace {

constexpr std::size_t kMostDetailBytes = 1000;

// For a terminal and the log: one line, of a bounded length.
std::string shown(std::string text) {
  if (text.size() > kMostDetailBytes) text.resize(kMostDetailBytes);
  for (auto& c : text)
    if (static_cast<unsigned char>(c) < ' ' || c == '\x7f') c = ' ';
  return text;
}

std::string text_of(const nlohmann::json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

}  // namespace

std::string_view to_string(BootState state) {
  switch (state) {
    case BootState::made:
      return "made";
    case BootState::started:
      return "started";
    case BootState::ready:
      return "ready";
    case BootState::failed_first_boot:
      break;
  }
  return "failed-first-boot";
}

Result<CloneBoot> parse_first_boot_state(std::string_view json, std::size_t steps) {
  constexpr std::size_t kMostSteps = 1000;
  const auto wrong = [](const char* what) {
    return fail(ErrorCode::corrupt, std::string("firstboot/state.json: ") + what);
  };
  const auto state = nlohmann::json::parse(json, nullptr, false);
  if (!state.is_object()) return wrong("is no JSON object");
  const auto format = state.find("format");
  if (format == state.end() || *format != 1) return wrong("is of another format than 1");
  const auto list = state.find("steps");
  if (list == state.end() || !list->is_array() || list->size() > kMostSteps)
    return wrong("has no list of steps");
  CloneBoot boot;
  boot.state = BootState::started;
  const auto whole = text_of(state, "status");
  std::size_t done = 0;
  for (const auto& step : *list) {
    if (!step.is_object()) return wrong("a step is no object");
    const auto status = text_of(step, "status");
    if (status == "done") ++done;
    if (status != "failed") continue;
    boot.state = BootState::failed_first_boot;
    boot.detail = "step '" + text_of(step, "name") + "' failed";
    if (const auto why = text_of(step, "error"); !why.empty())
      boot.detail += ": " + why;
    else if (const auto exit = step.find("exit"); exit != step.end() && exit->is_number_integer())
      boot.detail += " with exit status " + exit->dump();
  }
  if (boot.state != BootState::failed_first_boot && whole == "failed") {
    boot.state = BootState::failed_first_boot;
    boot.detail = text_of(state, "error");
  }
  // Older writers said nothing of the whole.
  if (boot.state == BootState::started && (whole == "done" || whole.empty()) && done == list->size() &&
      done >= steps)
    boot.state = BootState::ready;
  boot.detail = shown(boot.detail);
  return boot;
}

Result<CloneBoot> PoolStore::boot(const std::string& clone) const {
  std::lock_guard guard(mutex_);
  auto statement = database_->prepare("SELECT state, detail, since FROM clone_boots WHERE name = ?");
  RS_TRY(const bool found, statement.bind(clone).step());
  if (!found) return CloneBoot{};
  return CloneBoot{static_cast<BootState>(std::min<std::uint64_t>(statement.integer(0), 3)),
                   statement.text(1), statement.integer(2)};
}

Result<std::map<std::string, CloneBoot>> PoolStore::boots() const {
  std::lock_guard guard(mutex_);
  auto statement = database_->prepare("SELECT name, state, detail, since FROM clone_boots");
  std::map<std::string, CloneBoot> all;
  for (;;) {
    RS_TRY(const bool more, statement.step());
    if (!more) return all;
    all[statement.text(0)] = {static_cast<BootState>(std::min<std::uint64_t>(statement.integer(1), 3)),
                              statement.text(2), statement.integer(3)};
  }
}

Result<bool> PoolStore::set_boot(const std::string& clone, const CloneBoot& boot) {
  bool known = false;
  RS_CHECK(group_.run([&](database::Database& database) -> Result<void> {
    known = false;
    auto found = database.prepare("SELECT name FROM clones WHERE name = ?");
    RS_TRY(known, found.bind(clone).step());
    if (!known) return {};
    return database.prepare("INSERT OR REPLACE INTO clone_boots VALUES(?, ?, ?, ?)")
        .bind(found.text(0))
        .bind(static_cast<std::uint64_t>(boot.state))
        .bind(shown(boot.detail))
        .bind(boot.since_100ns)
        .run();
  }));
  return known;
}

}  // namespace roamstead::compose
