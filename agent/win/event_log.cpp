#include "agent/win/event_log.h"

#include <windows.h>

#include "agent/win/agent_scm.h"
#include "agent/win/base/service_entry.h"
#include "agent/win/base/windows_error.h"
#include "common/base/log.h"

namespace roamstead::agent {
namespace {

constexpr const wchar_t* kSourceKey =
    L"SYSTEM\\CurrentControlSet\\Services\\EventLog\\Application\\RoamsteadAgent";

// As message tables number: severity, then 14 bits of facility (none), then the id.
DWORD message_id(const EventDescription& event) {
  return static_cast<DWORD>(event.severity) << 30 | static_cast<DWORD>(event.event);
}

}  // namespace

void report_event(AgentEvent event, const std::string& text) {
  const auto& description = describe_event(event);
  const auto level = description.severity == EventSeverity::error     ? LogLevel::error
                     : description.severity == EventSeverity::warning ? LogLevel::warning
                                                                      : LogLevel::info;
  log_message(level, std::string(description.meaning) + " " + text);
  const auto wide = win::wide_text(text);
  const auto log = ::RegisterEventSourceW(nullptr, kAgentService);
  if (!wide || log == nullptr) return;
  constexpr WORD kTypes[] = {EVENTLOG_SUCCESS, EVENTLOG_INFORMATION_TYPE, EVENTLOG_WARNING_TYPE,
                             EVENTLOG_ERROR_TYPE};
  const wchar_t* line = wide->c_str();
  ::ReportEventW(log, kTypes[static_cast<std::size_t>(description.severity)], 0, message_id(description),
                 nullptr, 1, 0, &line, nullptr);
  ::DeregisterEventSource(log);
}

Result<void> register_event_source() {
  RS_TRY(const auto path, win::own_path());
  HKEY key = nullptr;
  auto result =
      ::RegCreateKeyExW(HKEY_LOCAL_MACHINE, kSourceKey, 0, nullptr, 0, KEY_SET_VALUE, nullptr, &key, nullptr);
  if (result != ERROR_SUCCESS)
    return win::windows_error("the event log's source", static_cast<unsigned long>(result));
  const DWORD types = EVENTLOG_ERROR_TYPE | EVENTLOG_WARNING_TYPE | EVENTLOG_INFORMATION_TYPE;
  result = ::RegSetValueExW(key, L"EventMessageFile", 0, REG_EXPAND_SZ,
                            reinterpret_cast<const BYTE*>(path.c_str()),
                            static_cast<DWORD>((path.size() + 1) * sizeof(wchar_t)));
  if (result == ERROR_SUCCESS)
    result = ::RegSetValueExW(key, L"TypesSupported", 0, REG_DWORD, reinterpret_cast<const BYTE*>(&types),
                              sizeof types);
  ::RegCloseKey(key);
  if (result != ERROR_SUCCESS)
    return win::windows_error("the event log's source", static_cast<unsigned long>(result));
  return {};
}

Result<void> unregister_event_source() {
  const auto result = ::RegDeleteKeyW(HKEY_LOCAL_MACHINE, kSourceKey);
  if (result != ERROR_SUCCESS && result != ERROR_FILE_NOT_FOUND)
    return win::windows_error("the event log's source", static_cast<unsigned long>(result));
  return {};
}

Result<std::string> event_text(AgentEvent event, const std::string& text) {
  RS_TRY(auto wide, win::wide_text(text));
  DWORD_PTR inserts[] = {reinterpret_cast<DWORD_PTR>(wide.data())};
  wchar_t* made = nullptr;
  const auto units = ::FormatMessageW(
      FORMAT_MESSAGE_ALLOCATE_BUFFER | FORMAT_MESSAGE_FROM_HMODULE | FORMAT_MESSAGE_ARGUMENT_ARRAY,
      ::GetModuleHandleW(nullptr), message_id(describe_event(event)), 0, reinterpret_cast<wchar_t*>(&made), 0,
      reinterpret_cast<va_list*>(inserts));
  if (units == 0) return win::windows_error("the text of event " + std::to_string(static_cast<int>(event)));
  auto shown = win::narrow_text(std::wstring_view(made, units));
  ::LocalFree(made);
  while (!shown.empty() && (shown.back() == '\n' || shown.back() == '\r')) shown.pop_back();
  return shown;
}

}  // namespace roamstead::agent
