// The agent's settings from this machine's registry.
#pragma once

#include "agent/desktop/agent_settings.h"

namespace roamstead::agent {

// With this machine's folders: %ProgramData%\Roamstead\identity, state, log.
AgentSettings default_settings();
// What composition leaves to be run once: %ProgramData%\Roamstead\firstboot.
std::string firstboot_folder();
// Never fail: what cannot be read is a problem in the answer.
LocalSettings read_local_settings();
// What the coordinator sent last, as it is kept in the state directory.
settings::SentSettings read_sent_settings(LocalSettings& local);
// Both together.
LoadedSettings read_settings();

}  // namespace roamstead::agent
