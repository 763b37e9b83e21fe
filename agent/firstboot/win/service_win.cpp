#include "agent/firstboot/win/service_win.h"

#include <windows.h>

#include <array>
#include <atomic>

#include "agent/firstboot/win/machine_win.h"
#include "agent/win/base/service_entry.h"

namespace roamstead::firstboot {
namespace {

constexpr DWORD kSpecificError = 1;
constexpr const wchar_t* kDescription =
    L"Runs what is to run once on this desktop, reports the result, and removes itself.";

// There is one service in a process, and the service manager calls it without a context at first.
struct Service {
  std::string folder;
  WindowsMachine machine;
  SERVICE_STATUS_HANDLE handle = nullptr;
  std::atomic<bool> failed{false};
};
Service* service = nullptr;

void report(DWORD state, DWORD error = NO_ERROR) {
  SERVICE_STATUS status{};
  status.dwServiceType = SERVICE_WIN32_OWN_PROCESS;
  status.dwCurrentState = state;
  if (state == SERVICE_RUNNING) status.dwControlsAccepted = SERVICE_ACCEPT_STOP | SERVICE_ACCEPT_SHUTDOWN;
  if (error != NO_ERROR) {
    status.dwWin32ExitCode = ERROR_SERVICE_SPECIFIC_ERROR;
    status.dwServiceSpecificExitCode = error;
  }
  ::SetServiceStatus(service->handle, &status);
}

DWORD WINAPI control(DWORD what, DWORD, void*, void*) {
  switch (what) {
    case SERVICE_CONTROL_STOP:
    case SERVICE_CONTROL_SHUTDOWN:
      report(SERVICE_STOP_PENDING);
      service->machine.request_stop();
      return NO_ERROR;
    case SERVICE_CONTROL_INTERROGATE:
      return NO_ERROR;
    default:
      return ERROR_CALL_NOT_IMPLEMENTED;
  }
}

// What ends badly is an error of the service, upon which the service manager starts it again; a failed step
// is not: nothing would be run.
Result<void> serve() {
  RS_TRY(const auto outcome, Runner(os::real_file_system(), service->machine, service->folder).run());
  if (outcome == Outcome::done) return win::delete_service_entry(kServiceName);
  if (outcome == Outcome::restart) return restart_windows();
  return {};
}

// To the event log, where administrators look first; there are no texts of ours for it to be shown with.
void report_error(const Error& error) {
  const auto text = wide_text(error.to_string());
  const auto log = ::RegisterEventSourceW(nullptr, kServiceName);
  if (!text || log == nullptr) return;
  const wchar_t* line = text->c_str();
  ::ReportEventW(log, EVENTLOG_ERROR_TYPE, 0, 1, nullptr, 1, 0, &line, nullptr);
  ::DeregisterEventSource(log);
}

void WINAPI service_main(DWORD, wchar_t**) {
  service->handle = ::RegisterServiceCtrlHandlerExW(kServiceName, control, nullptr);
  if (service->handle == nullptr) return;
  report(SERVICE_RUNNING);
  const auto served = serve();
  if (!served) report_error(served.error());
  report(SERVICE_STOPPED, served ? NO_ERROR : kSpecificError);
}

}  // namespace

Result<void> run_as_service(const std::string& folder) {
  Service own;
  own.folder = folder;
  service = &own;
  std::wstring name = kServiceName;
  const std::array<SERVICE_TABLE_ENTRYW, 2> table{{{name.data(), service_main}, {nullptr, nullptr}}};
  const bool served = ::StartServiceCtrlDispatcherW(table.data()) != 0;
  service = nullptr;
  if (served) return {};
  if (::GetLastError() == ERROR_FAILED_SERVICE_CONTROLLER_CONNECT)
    return fail(ErrorCode::unavailable, "--service is for the service manager; 'run' runs the steps here");
  return windows_error("cannot serve");
}

Result<void> install_service(const std::string& folder) {
  win::ServiceEntry entry{kServiceName, kServiceTitle, kDescription, L"--service", 0};
  if (!folder.empty()) {
    RS_TRY(const auto wide, wide_text(folder));
    entry.arguments += L" --directory \"" + wide + L'"';
  }
  return win::install_service(entry);
}

Result<void> uninstall_service() { return win::uninstall_service(kServiceName); }
Result<std::string> service_status() { return win::service_status(kServiceName); }

}  // namespace roamstead::firstboot
