#include "common/base/event.h"

#include <algorithm>

namespace roamstead {
namespace {

constexpr EventFacts kEvents[] = {
#define ROAMSTEAD_EVENT(name, id, severity, title, meaning, action) \
  {#name, id, LogLevel::severity, title, meaning, action},
#include "common/base/events.inc"
#undef ROAMSTEAD_EVENT
};
constexpr std::size_t kIdBytes = 6;

}  // namespace

std::span<const EventFacts> events() { return kEvents; }

const EventFacts& facts_of(Event event) { return kEvents[static_cast<std::size_t>(event)]; }

const EventFacts* find_event(std::string_view id) {
  auto same = [&](const EventFacts& facts) {
    return std::equal(id.begin(), id.end(), facts.id.begin(), facts.id.end(), [](char given, char known) {
      return given == known || (given >= 'a' && given <= 'z' && given - 'a' + 'A' == known);
    });
  };
  auto found = std::find_if(std::begin(kEvents), std::end(kEvents), same);
  return found == std::end(kEvents) ? nullptr : found;
}

std::string event_text(Event event, std::string_view text) {
  return "[" + std::string(id_of(event)) + "] " + std::string(text);
}

std::string_view event_in(std::string_view text) {
  for (auto at = text.find("[RS"); at != std::string_view::npos; at = text.find("[RS", at + 1)) {
    if (text.size() < at + kIdBytes + 2 || text[at + kIdBytes + 1] != ']') continue;
    if (const auto* facts = find_event(text.substr(at + 1, kIdBytes))) return facts->id;
  }
  return {};
}

void log_event_text(Event event, const std::string& text) {
  log_message(facts_of(event).severity, event_text(event, text));
}

std::string events_page() {
  constexpr const char* kSeverities[] = {"debug", "info", "warning", "error"};
  std::string page =
      "# Events\n\n"
      "What an operator may have to act on. The id stands in brackets in log lines (in the journal also as "
      "the field `ROAMSTEAD_EVENT`) and in error\ntexts, and never changes its meaning; `roamstead explain "
      "ID` "
      "says the same as this page, which is made by\n`roamstead explain --markdown`.\n";
  for (const auto& event : kEvents) {
    page += "\n## " + std::string(event.id) + ": " + std::string(event.title) + "\n\n";
    page += "*" + std::string(kSeverities[static_cast<int>(event.severity)]) + "* — " +
            std::string(event.meaning) + "\n\n";
    page += "What to do: " + std::string(event.action) + "\n";
  }
  return page;
}

}  // namespace roamstead
