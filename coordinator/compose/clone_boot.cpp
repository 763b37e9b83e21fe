#include "coordinator/compose/clone_boot.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "common/base/file_time.h"
#include "common/base/log.h"
#include "coordinator/compose/pool_store.h"
#include "coordinator/compose/windows_volume.h"

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

// Of steps.json or state.json: the object, with a list of steps that are objects.
Result<nlohmann::json> parse_first_boot(const std::string& name, std::string_view text) {
  constexpr std::size_t kMostSteps = 1000;
  const auto wrong = [&](const char* what) { return fail(ErrorCode::corrupt, name + " " + what); };
  auto object = nlohmann::json::parse(text, nullptr, false);
  if (!object.is_object()) return wrong("is no JSON object");
  const auto format = object.find("format");
  if (format == object.end() || *format != 1) return wrong("is of another format than 1");
  const auto steps = object.find("steps");
  if (steps == object.end() || !steps->is_array() || steps->size() > kMostSteps)
    return wrong("has no list of steps");
  for (const auto& step : *steps)
    if (!step.is_object()) return wrong("has a step that is no object");
  return object;
}

CloneBoot compare(const nlohmann::json& wanted, const nlohmann::json& reached) {
  CloneBoot boot{BootState::started, "", 0};
  const auto whole = text_of(reached, "status");
  std::size_t done = 0;
  for (const auto& step : reached["steps"]) {
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
  if (boot.state == BootState::started && whole == "failed") {
    boot.state = BootState::failed_first_boot;
    boot.detail = text_of(reached, "error");
  }
  if (boot.state == BootState::started && whole == "done" && done == reached["steps"].size() &&
      done >= wanted["steps"].size())
    boot.state = BootState::ready;
  return boot;
}

// A file of the first start on a volume; "" where it is not there.
Result<std::string> text_on(const ntfs::Volume& volume, const std::string& name) {
  constexpr std::uint64_t kMostBytes = 256u << 10;
  const auto path = "ProgramData/Roamstead/firstboot/" + name;
  const auto found = volume.lookup(path);
  if (!found)
    return found.error().code == ErrorCode::not_found ? Result<std::string>("") : fail(found.error());
  RS_TRY(const auto record, volume.record(found->record));
  for (const auto& stream : record.streams) {
    if (!stream.name.empty()) continue;
    if (stream.size_bytes > kMostBytes) return fail(ErrorCode::full, path + ": larger than 256 KiB");
    Bytes content(static_cast<std::size_t>(stream.size_bytes));
    RS_CHECK(volume.read(stream, 0, content));
    return std::string(as_text(content));
  }
  return std::string();
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

CloneBoot judge_first_boot(std::string_view steps, std::string_view state) {
  CloneBoot boot;
  if (steps.empty()) {
    boot.state = BootState::ready;  // there is nothing to do
    return boot;
  }
  auto judged = [&]() -> Result<CloneBoot> {
    RS_TRY(const auto wanted, parse_first_boot("steps.json", steps));
    if (state.empty()) return CloneBoot{BootState::started, "", 0};
    RS_TRY(const auto reached, parse_first_boot("state.json", state));
    return compare(wanted, reached);
  }();
  if (judged)
    boot = std::move(*judged);
  else
    boot = {BootState::failed_first_boot, judged.error().to_string(), 0};
  boot.detail = shown(boot.detail);
  return boot;
}

Result<void> note_first_boot(PoolStore& store, const std::string& desktop, CloneBoot boot) {
  RS_TRY(const auto known, store.boot(desktop));
  if (known.state == boot.state && known.detail == boot.detail) return {};
  boot.since_100ns = now_100ns();
  RS_TRY(const bool is_clone, store.set_boot(desktop, boot));
  if (is_clone)
    log_info("desktop '{}': {}{}", desktop, to_string(boot.state),
             boot.detail.empty() ? "" : " (" + boot.detail + ")");
  return {};
}

Result<std::optional<CloneBoot>> read_first_boot(os::FileSystem& files, const std::string& disk) {
  RS_TRY(const auto windows, WindowsDisk::open(files, disk));
  RS_TRY(const auto state, text_on(windows->volume(), "state.json"));
  if (state.empty()) return std::nullopt;
  RS_TRY(const auto steps, text_on(windows->volume(), "steps.json"));
  return judge_first_boot(steps, state);
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
