// What an operator may have to act on, each with an id that never changes its meaning: it begins log lines
// and error texts ("[RS1310] profile 'alice' ..."), and `roamstead explain` says more. The table is
// events.inc.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "common/base/log.h"
#include "common/base/result.h"

namespace roamstead {

enum class Event {
#define ROAMSTEAD_EVENT(name, id, severity, title, meaning, action) name,
#include "common/base/events.inc"
#undef ROAMSTEAD_EVENT
};

struct EventFacts {
  std::string_view name;  // as the code calls it
  std::string_view id;    // "RS1310"
  LogLevel severity = LogLevel::warning;
  std::string_view title;
  std::string_view meaning;
  std::string_view action;  // what to do
};

std::span<const EventFacts> events();  // in the order of their ids
const EventFacts& facts_of(Event event);
inline std::string_view id_of(Event event) { return facts_of(event).id; }
// By its id, whatever the case; null: there is none.
const EventFacts* find_event(std::string_view id);

// "[RS1310] text"
std::string event_text(Event event, std::string_view text);
// The id of the first event that a text names; "" when it names none.
std::string_view event_in(std::string_view text);

// A message of the event's severity.
void log_event_text(Event event, const std::string& text);
template <typename... Args>
void log_event(Event event, fmt::format_string<Args...> format, Args&&... args) {
  log_event_text(event, fmt::format(format, std::forward<Args>(args)...));
}

inline tl::unexpected<Error> fail(ErrorCode code, Event event, std::string_view message) {
  return fail(code, event_text(event, message));
}

// docs/events.md: all of them, in Markdown.
std::string events_page();

}  // namespace roamstead
