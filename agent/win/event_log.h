// Windows' event log, under the agent's name; texts are in this program's message table (agent_events.mc).
#pragma once

#include "agent/desktop/agent_events.h"
#include "common/base/result.h"

namespace roamstead::agent {

// Never fails: what the event log does not take is in the log file.
void report_event(AgentEvent event, const std::string& text);

// That the event log finds the texts; "" for both: this program.
Result<void> register_event_source();
Result<void> unregister_event_source();

// The text of an event as Windows would show it, from this program's own message table; for tests.
Result<std::string> event_text(AgentEvent event, const std::string& text);

}  // namespace roamstead::agent
