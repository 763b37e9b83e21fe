#include "agent/desktop/agent_events.h"

#include <algorithm>

namespace roamstead::agent {

const std::vector<EventDescription>& agent_events() {
  using Severity = EventSeverity;
  static const std::vector<EventDescription> all = {
      {AgentEvent::started, Severity::information, "RS_STARTED", "The agent has started."},
      {AgentEvent::stopped, Severity::information, "RS_STOPPED", "The agent has stopped."},
      {AgentEvent::failed, Severity::error, "RS_FAILED", "The agent cannot go on."},
      {AgentEvent::setting_left_out, Severity::warning, "RS_SETTING_LEFT_OUT", "A setting was left out."},
      {AgentEvent::logged_on, Severity::information, "RS_LOGGED_ON", "A user's profile is there."},
      {AgentEvent::log_on_failed, Severity::error, "RS_LOG_ON_FAILED", "A user's profile cannot be opened."},
      {AgentEvent::logged_off, Severity::information, "RS_LOGGED_OFF", "A user's profile is saved."},
      {AgentEvent::log_off_failed, Severity::error, "RS_LOG_OFF_FAILED",
       "A user's profile is not saved yet; it is tried again."},
      {AgentEvent::prepared, Severity::information, "RS_PREPARED", "A user's log-on is prepared."},
      {AgentEvent::prepare_failed, Severity::warning, "RS_PREPARE_FAILED",
       "A user's log-on could not be prepared."},
      {AgentEvent::cloud_files_not_used, Severity::warning, "RS_CLOUD_FILES_NOT_USED",
       "Files on demand by Windows are not used."},
      {AgentEvent::coordinator_away, Severity::warning, "RS_COORDINATOR_AWAY",
       "The coordinator cannot be reached."},
      {AgentEvent::first_boot_done, Severity::information, "RS_FIRST_BOOT_DONE",
       "What runs once at the first start is done."},
      {AgentEvent::first_boot_failed, Severity::error, "RS_FIRST_BOOT_FAILED",
       "What runs once at the first start has failed."},
  };
  return all;
}

const EventDescription& describe_event(AgentEvent event) {
  const auto& all = agent_events();
  return *std::find_if(all.begin(), all.end(),
                       [&](const EventDescription& each) { return each.event == event; });
}

}  // namespace roamstead::agent
