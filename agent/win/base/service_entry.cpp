#include "agent/win/base/service_entry.h"

#include <array>
#include <vector>

#include "agent/win/base/windows_error.h"

namespace roamstead::win {
namespace {

constexpr DWORD kStopWait_ms = 30'000, kStopLook_ms = 100;

void configure(SC_HANDLE service, const ServiceEntry& entry) {
  auto text = entry.description;
  SERVICE_DESCRIPTIONW description{text.data()};
  ::ChangeServiceConfig2W(service, SERVICE_CONFIG_DESCRIPTION, &description);
  constexpr DWORD kForget_s = 3600;
  std::array<SC_ACTION, 4> actions{{{SC_ACTION_RESTART, 5'000},
                                    {SC_ACTION_RESTART, 30'000},
                                    {SC_ACTION_RESTART, 60'000},
                                    {SC_ACTION_NONE, 0}}};
  SERVICE_FAILURE_ACTIONSW failures{kForget_s, nullptr, nullptr, static_cast<DWORD>(actions.size()),
                                    actions.data()};
  ::ChangeServiceConfig2W(service, SERVICE_CONFIG_FAILURE_ACTIONS, &failures);
  // Also where it ends by itself with an error.
  SERVICE_FAILURE_ACTIONS_FLAG flag{TRUE};
  ::ChangeServiceConfig2W(service, SERVICE_CONFIG_FAILURE_ACTIONS_FLAG, &flag);
  if (entry.preshutdown_ms == 0) return;
  SERVICE_PRESHUTDOWN_INFO preshutdown{entry.preshutdown_ms};
  ::ChangeServiceConfig2W(service, SERVICE_CONFIG_PRESHUTDOWN_INFO, &preshutdown);
}

}  // namespace

Result<std::wstring> own_path() {
  std::vector<wchar_t> path(32'768);
  const auto length = ::GetModuleFileNameW(nullptr, path.data(), static_cast<DWORD>(path.size()));
  if (length == 0 || length == path.size()) return windows_error("cannot learn the own path");
  return std::wstring(path.data(), length);
}

Result<void> install_service(const ServiceEntry& entry) {
  RS_TRY(const auto path, own_path());
  const auto line = L'"' + path + L"\" " + entry.arguments;
  const ServiceHandle manager(::OpenSCManagerW(nullptr, nullptr, SC_MANAGER_CREATE_SERVICE));
  if (!manager) return windows_error("cannot reach the service manager");
  const ServiceHandle service(
      ::CreateServiceW(manager.get(), entry.name.c_str(), entry.title.c_str(),
                       SERVICE_CHANGE_CONFIG | SERVICE_START, SERVICE_WIN32_OWN_PROCESS, SERVICE_AUTO_START,
                       SERVICE_ERROR_NORMAL, line.c_str(), nullptr, nullptr, nullptr, nullptr, nullptr));
  if (!service) return windows_error("cannot make the service entry");
  configure(service.get(), entry);
  return {};
}

Result<void> delete_service_entry(const std::wstring& name) {
  const ServiceHandle manager(::OpenSCManagerW(nullptr, nullptr, SC_MANAGER_CONNECT));
  if (!manager) return windows_error("cannot reach the service manager");
  const ServiceHandle service(::OpenServiceW(manager.get(), name.c_str(), DELETE));
  if (!service) return windows_error("cannot open the own service entry");
  if (::DeleteService(service.get()) == 0) return windows_error("cannot delete the own service entry");
  return {};
}

Result<void> uninstall_service(const std::wstring& name) {
  const ServiceHandle manager(::OpenSCManagerW(nullptr, nullptr, SC_MANAGER_CONNECT));
  if (!manager) return windows_error("cannot reach the service manager");
  const ServiceHandle service(
      ::OpenServiceW(manager.get(), name.c_str(), DELETE | SERVICE_STOP | SERVICE_QUERY_STATUS));
  if (!service) return windows_error("cannot open the service entry");
  SERVICE_STATUS status{};
  ::ControlService(service.get(), SERVICE_CONTROL_STOP, &status);
  for (DWORD waited = 0; waited < kStopWait_ms; waited += kStopLook_ms) {
    if (::QueryServiceStatus(service.get(), &status) == 0 || status.dwCurrentState == SERVICE_STOPPED) break;
    ::Sleep(kStopLook_ms);
  }
  if (::DeleteService(service.get()) == 0) return windows_error("cannot delete the service entry");
  return {};
}

Result<std::string> service_status(const std::wstring& name) {
  const ServiceHandle manager(::OpenSCManagerW(nullptr, nullptr, SC_MANAGER_CONNECT));
  if (!manager) return windows_error("cannot reach the service manager");
  const ServiceHandle service(::OpenServiceW(manager.get(), name.c_str(), SERVICE_QUERY_STATUS));
  if (!service) {
    if (::GetLastError() == ERROR_SERVICE_DOES_NOT_EXIST) return std::string("absent");
    return windows_error("cannot open the service entry");
  }
  SERVICE_STATUS status{};
  if (::QueryServiceStatus(service.get(), &status) == 0)
    return windows_error("cannot ask for the service's state");
  return std::string(status.dwCurrentState == SERVICE_STOPPED ? "stopped" : "running");
}

}  // namespace roamstead::win
