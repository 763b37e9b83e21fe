#include "agent/firstboot/win/service_win.h"

#include <windows.h>

#include <array>
#include <atomic>
#include <vector>

#include "agent/firstboot/win/machine_win.h"

namespace roamstead::firstboot {
namespace {

constexpr DWORD kSpecificError = 1;
constexpr DWORD kStopWait_ms = 30'000, kStopLook_ms = 100;
constexpr const wchar_t* kDescription =
    L"Runs what is to run once on this desktop, reports the result, and removes itself.";

class ServiceHandle {
 public:
  explicit ServiceHandle(SC_HANDLE handle) : handle_(handle) {}
  ~ServiceHandle() {
    if (handle_ != nullptr) ::CloseServiceHandle(handle_);
  }
  ServiceHandle(const ServiceHandle&) = delete;
  ServiceHandle& operator=(const ServiceHandle&) = delete;
  SC_HANDLE get() const { return handle_; }
  explicit operator bool() const { return handle_ != nullptr; }

 private:
  SC_HANDLE handle_;
};

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

Result<void> delete_entry() {
  const ServiceHandle manager(::OpenSCManagerW(nullptr, nullptr, SC_MANAGER_CONNECT));
  if (!manager) return windows_error("cannot reach the service manager");
  const ServiceHandle entry(::OpenServiceW(manager.get(), kServiceName, DELETE));
  if (!entry) return windows_error("cannot open the own service entry");
  if (::DeleteService(entry.get()) == 0) return windows_error("cannot delete the own service entry");
  return {};
}

// What ends badly is an error of the service, upon which the service manager starts it again; a failed step
// is not: nothing would be run.
Result<void> serve() {
  RS_TRY(const auto outcome, Runner(os::real_file_system(), service->machine, service->folder).run());
  if (outcome == Outcome::done) return delete_entry();
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

Result<std::wstring> own_path() {
  std::vector<wchar_t> path(32'768);
  const auto length = ::GetModuleFileNameW(nullptr, path.data(), static_cast<DWORD>(path.size()));
  if (length == 0 || length == path.size()) return windows_error("cannot learn the own path");
  return std::wstring(path.data(), length);
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
  RS_TRY(const auto path, own_path());
  auto line = L'"' + path + L"\" --service";
  if (!folder.empty()) {
    RS_TRY(const auto wide, wide_text(folder));
    line += L" --directory \"" + wide + L'"';
  }
  const ServiceHandle manager(::OpenSCManagerW(nullptr, nullptr, SC_MANAGER_CREATE_SERVICE));
  if (!manager) return windows_error("cannot reach the service manager");
  const ServiceHandle entry(::CreateServiceW(manager.get(), kServiceName, kServiceTitle,
                                             SERVICE_CHANGE_CONFIG | SERVICE_START, SERVICE_WIN32_OWN_PROCESS,
                                             SERVICE_AUTO_START, SERVICE_ERROR_NORMAL, line.c_str(), nullptr,
                                             nullptr, nullptr, nullptr, nullptr));
  if (!entry) return windows_error("cannot make the service entry");
  std::wstring text = kDescription;
  SERVICE_DESCRIPTIONW description{text.data()};
  ::ChangeServiceConfig2W(entry.get(), SERVICE_CONFIG_DESCRIPTION, &description);
  constexpr DWORD kForget_s = 3600;
  std::array<SC_ACTION, 4> actions{{{SC_ACTION_RESTART, 5'000},
                                    {SC_ACTION_RESTART, 30'000},
                                    {SC_ACTION_RESTART, 60'000},
                                    {SC_ACTION_NONE, 0}}};
  SERVICE_FAILURE_ACTIONSW failures{kForget_s, nullptr, nullptr, static_cast<DWORD>(actions.size()),
                                    actions.data()};
  ::ChangeServiceConfig2W(entry.get(), SERVICE_CONFIG_FAILURE_ACTIONS, &failures);
  // Also where it ends by itself with an error.
  SERVICE_FAILURE_ACTIONS_FLAG flag{TRUE};
  ::ChangeServiceConfig2W(entry.get(), SERVICE_CONFIG_FAILURE_ACTIONS_FLAG, &flag);
  return {};
}

Result<void> uninstall_service() {
  const ServiceHandle manager(::OpenSCManagerW(nullptr, nullptr, SC_MANAGER_CONNECT));
  if (!manager) return windows_error("cannot reach the service manager");
  const ServiceHandle entry(
      ::OpenServiceW(manager.get(), kServiceName, DELETE | SERVICE_STOP | SERVICE_QUERY_STATUS));
  if (!entry) return windows_error("cannot open the service entry");
  SERVICE_STATUS status{};
  ::ControlService(entry.get(), SERVICE_CONTROL_STOP, &status);
  for (DWORD waited = 0; waited < kStopWait_ms; waited += kStopLook_ms) {
    if (::QueryServiceStatus(entry.get(), &status) == 0 || status.dwCurrentState == SERVICE_STOPPED) break;
    ::Sleep(kStopLook_ms);
  }
  if (::DeleteService(entry.get()) == 0) return windows_error("cannot delete the service entry");
  return {};
}

Result<std::string> service_status() {
  const ServiceHandle manager(::OpenSCManagerW(nullptr, nullptr, SC_MANAGER_CONNECT));
  if (!manager) return windows_error("cannot reach the service manager");
  const ServiceHandle entry(::OpenServiceW(manager.get(), kServiceName, SERVICE_QUERY_STATUS));
  if (!entry) {
    if (::GetLastError() == ERROR_SERVICE_DOES_NOT_EXIST) return std::string("absent");
    return windows_error("cannot open the service entry");
  }
  SERVICE_STATUS status{};
  if (::QueryServiceStatus(entry.get(), &status) == 0)
    return windows_error("cannot ask for the service's state");
  return std::string(status.dwCurrentState == SERVICE_STOPPED ? "stopped" : "running");
}

}  // namespace roamstead::firstboot
