// What the agent tells Windows' event log: few things, each with an id that never changes its meaning.
// agent/win/agent_events.mc has the same ids as a message table, docs/agent.md says what to do about them.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace roamstead::agent {

enum class EventSeverity : std::uint8_t {
  information = 1,
  warning = 2,
  error = 3
};  // as message tables count

enum class AgentEvent : std::uint16_t {
  started = 1,
  stopped = 2,
  failed = 3,
  setting_left_out = 4,
  logged_on = 10,
  log_on_failed = 11,
  logged_off = 12,
  log_off_failed = 13,
  prepared = 14,
  prepare_failed = 15,
  cloud_files_not_used = 16,
  coordinator_away = 20,
  first_boot_done = 30,
  first_boot_failed = 31,
};

struct EventDescription {
  AgentEvent event;
  EventSeverity severity;
  const char* name;     // in the message table
  const char* meaning;  // the text there begins with it
};
const std::vector<EventDescription>& agent_events();
const EventDescription& describe_event(AgentEvent event);

// Where events go; the text says what of it is particular.
using EventSink = std::function<void(AgentEvent, const std::string&)>;

}  // namespace roamstead::agent
