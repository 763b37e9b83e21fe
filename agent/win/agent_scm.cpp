#include "agent/win/agent_scm.h"

#include <windows.h>
// After it.
#include <sddl.h>
#include <wtsapi32.h>

#include <array>
#include <deque>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "agent/desktop/rotating_log.h"
#include "agent/win/agent_service.h"
#include "agent/win/base/service_entry.h"
#include "agent/win/base/windows_error.h"
#include "agent/win/event_log.h"
#include "agent/win/registry_settings.h"
#include "common/base/thread_stack.h"

namespace roamstead::agent {
namespace {

constexpr DWORD kPreshutdown_ms = 180'000;  // a last snapshot and its sending; Windows' own default
constexpr DWORD kStartHint_ms = 30'000, kSpecificError = 1;
constexpr const wchar_t* kTitle = L"Roamstead agent";
constexpr const wchar_t* kDescription =
    L"Brings users' profiles to this desktop as they are touched, and saves what changes.";

// What the service manager tells, in the order of its coming: handled by the service's own thread, because
// the handler has to return at once.
struct Notice {
  enum class Kind { stop, shut_down, log_on, log_off, suspend, resume } kind = Kind::stop;
  DWORD session = 0;
};

// There is one service in a process, and the service manager calls it without a context at first.
struct Running {
  SERVICE_STATUS_HANDLE handle = nullptr;
  std::mutex mutex;
  std::deque<Notice> notices;
  win::Handle noticed{::CreateEventW(nullptr, FALSE, FALSE, nullptr)};

  void add(Notice notice) {
    constexpr std::size_t kMost = 1000;
    {
      const std::lock_guard lock(mutex);
      if (notices.size() < kMost) notices.push_back(notice);
    }
    ::SetEvent(noticed.get());
  }
  std::optional<Notice> take() {
    const std::lock_guard lock(mutex);
    if (notices.empty()) return std::nullopt;
    const auto first = notices.front();
    notices.pop_front();
    return first;
  }
};
Running* running = nullptr;

void report(DWORD state, DWORD error = NO_ERROR) {
  static DWORD checkpoint = 0;
  SERVICE_STATUS status{};
  status.dwServiceType = SERVICE_WIN32_OWN_PROCESS;
  status.dwCurrentState = state;
  if (state == SERVICE_RUNNING)
    status.dwControlsAccepted = SERVICE_ACCEPT_STOP | SERVICE_ACCEPT_PRESHUTDOWN |
                                SERVICE_ACCEPT_SESSIONCHANGE | SERVICE_ACCEPT_POWEREVENT;
  if (state == SERVICE_START_PENDING || state == SERVICE_STOP_PENDING) {
    status.dwCheckPoint = ++checkpoint;
    status.dwWaitHint = kStartHint_ms;
  }
  if (error != NO_ERROR) {
    status.dwWin32ExitCode = ERROR_SERVICE_SPECIFIC_ERROR;
    status.dwServiceSpecificExitCode = error;
  }
  ::SetServiceStatus(running->handle, &status);
}

DWORD WINAPI control(DWORD what, DWORD event, void* data, void*) {
  using Kind = Notice::Kind;
  switch (what) {
    case SERVICE_CONTROL_STOP:
      report(SERVICE_STOP_PENDING);
      running->add({Kind::stop, 0});
      return NO_ERROR;
    case SERVICE_CONTROL_PRESHUTDOWN:
      report(SERVICE_STOP_PENDING);
      running->add({Kind::shut_down, 0});
      return NO_ERROR;
    case SERVICE_CONTROL_SESSIONCHANGE: {
      const auto session = static_cast<const WTSSESSION_NOTIFICATION*>(data)->dwSessionId;
      if (event == WTS_SESSION_LOGON) running->add({Kind::log_on, session});
      if (event == WTS_SESSION_LOGOFF) running->add({Kind::log_off, session});
      return NO_ERROR;
    }
    case SERVICE_CONTROL_POWEREVENT:
      if (event == PBT_APMSUSPEND) running->add({Kind::suspend, 0});
      if (event == PBT_APMRESUMEAUTOMATIC) running->add({Kind::resume, 0});
      return NO_ERROR;
    case SERVICE_CONTROL_INTERROGATE:
      return NO_ERROR;
    default:
      return ERROR_CALL_NOT_IMPLEMENTED;
  }
}

Result<std::string> user_of_session(DWORD session) {
  win::Handle token;
  if (::WTSQueryUserToken(session, token.put()) == 0) return win::windows_error("the user of a session");
  std::array<std::byte, sizeof(TOKEN_USER) + SECURITY_MAX_SID_SIZE> buffer{};
  DWORD length = 0;
  if (::GetTokenInformation(token.get(), TokenUser, buffer.data(), buffer.size(), &length) == 0)
    return win::windows_error("the user of a session");
  wchar_t* text = nullptr;
  if (::ConvertSidToStringSidW(reinterpret_cast<const TOKEN_USER*>(buffer.data())->User.Sid, &text) == 0)
    return win::windows_error("the user of a session");
  auto sid = win::narrow_text(text);
  ::LocalFree(text);
  return sid;
}

// Keeps the service manager patient while something takes its time.
class StillStopping {
 public:
  StillStopping()
      : thread_([this] {
          while (::WaitForSingleObject(done_.get(), kStartHint_ms / 3) == WAIT_TIMEOUT)
            report(SERVICE_STOP_PENDING);
        }) {}
  ~StillStopping() {
    ::SetEvent(done_.get());
    thread_.join();
  }
  StillStopping(const StillStopping&) = delete;
  StillStopping& operator=(const StillStopping&) = delete;

 private:
  win::Handle done_{::CreateEventW(nullptr, TRUE, FALSE, nullptr)};
  std::thread thread_;
};

class Agent {
 public:
  static Result<std::unique_ptr<Agent>> start() {
    RS_TRY(auto faults, Faults::from_environment());
    auto local = read_local_settings();
    auto sent = read_sent_settings(local);
    std::unique_ptr<Agent> agent(new Agent(std::move(local), std::move(sent), std::move(faults)));
    RS_TRY(agent->pipe_, ControlPipe::listen());
    agent->serving_ = std::thread([raw = agent.get()] {
      release_unused_stack();
      raw->pipe_->serve([raw](const nlohmann::json& request, const ControlCaller& caller) {
        return raw->service_.answer(request, caller);
      });
    });
    agent->service_.start();
    return agent;
  }
  ~Agent() {
    if (pipe_) pipe_->stop();
    if (serving_.joinable()) serving_.join();
    service_.stop();
  }
  AgentService& service() { return service_; }
  ControlPipe& pipe() { return *pipe_; }
  void wait() { serving_.join(); }

 private:
  Agent(LocalSettings local, settings::SentSettings sent, Faults faults)
      : service_(std::move(local), std::move(sent), report_event, std::move(faults)) {
    service_.on_stop([this] {
      if (running != nullptr) return running->add({Notice::Kind::stop, 0});
      pipe_->stop();
    });
  }
  AgentService service_;
  std::unique_ptr<ControlPipe> pipe_;
  std::thread serving_;
};

// False: the service is to end.
bool handle(Agent& agent, const Notice& notice, std::map<DWORD, std::string>& users) {
  constexpr std::chrono::milliseconds kShutDown(kPreshutdown_ms - 20'000);
  using Kind = Notice::Kind;
  auto& service = agent.service();
  switch (notice.kind) {
    case Kind::stop:
      return false;  // a session stays open, and is resumed at the next start
    case Kind::shut_down: {
      const StillStopping patience;
      if (service.is_logged_on()) (void)service.log_off(kShutDown);
      return false;
    }
    case Kind::log_on: {
      const auto user = user_of_session(notice.session);
      if (!user) {
        log_warning("session {}: {}", notice.session, user.error().to_string());
        return true;
      }
      users[notice.session] = *user;
      if (!service.is_logged_on(*user)) (void)service.log_on(*user);
      return true;
    }
    case Kind::log_off: {
      const auto user = users.find(notice.session);
      if (user == users.end()) return true;
      if (service.is_logged_on(user->second)) (void)service.log_off(service.log_off_patience());
      users.erase(user);
      return true;
    }
    case Kind::suspend:
      service.flush();
      return true;
    case Kind::resume:
      service.wake();
      return true;
  }
  return true;
}

void WINAPI service_main(DWORD, wchar_t**) {
  running->handle = ::RegisterServiceCtrlHandlerExW(kAgentService, control, nullptr);
  if (running->handle == nullptr) return;
  report(SERVICE_START_PENDING);
  auto agent = Agent::start();
  if (!agent) {
    report_event(AgentEvent::failed, agent.error().to_string());
    return report(SERVICE_STOPPED, kSpecificError);
  }
  report(SERVICE_RUNNING);
  report_event(AgentEvent::started, "");
  (*agent)->service().run_first_boot();
  std::map<DWORD, std::string> users;  // by session: at a log-off Windows no longer says who it was
  for (bool go_on = true; go_on;) {
    const HANDLE waited[] = {running->noticed.get()};
    ::WaitForMultipleObjects(1, waited, FALSE, INFINITE);
    while (const auto notice = go_on ? running->take() : std::nullopt)
      go_on = handle(**agent, *notice, users);
  }
  agent->reset();
  report_event(AgentEvent::stopped, "");
  report(SERVICE_STOPPED);
}

}  // namespace

void begin_logging(bool also_shown) {
  const auto settings = read_settings().settings;
  const auto level = parse_log_level(settings.log_level);
  set_log_level(level ? *level : LogLevel::info);
  auto log = RotatingLog::open(os::real_file_system(),
                               {settings.log_directory, "agent", settings.log_kib << 10, settings.log_files});
  if (!log) {
    log_warning("no log file: {}", log.error().to_string());
    return;
  }
  std::shared_ptr<RotatingLog> file(std::move(*log));
  set_log_sink([file, also_shown](LogLevel of, const std::string& text) {
    file->write(of, text);
    if (!also_shown) return;
    std::fprintf(stderr, "roamstead-agent: %s\n", text.c_str());
    std::fflush(stderr);
  });
}

Result<void> run_as_agent_service() {
  Running own;
  running = &own;
  std::wstring name = kAgentService;
  const std::array<SERVICE_TABLE_ENTRYW, 2> table{{{name.data(), service_main}, {nullptr, nullptr}}};
  const bool served = ::StartServiceCtrlDispatcherW(table.data()) != 0;
  const auto error = ::GetLastError();
  running = nullptr;
  if (served) return {};
  if (error == ERROR_FAILED_SERVICE_CONTROLLER_CONNECT)
    return fail(ErrorCode::unavailable, "--service is for the service manager; '--foreground' serves here");
  return win::windows_error("serve", error);
}

Result<void> run_in_foreground(const std::function<void()>& ready) {
  RS_TRY(const auto agent, Agent::start());
  ready();
  agent->wait();
  return {};
}

Result<void> install_agent_service() {
  RS_CHECK(win::install_service({kAgentService, kTitle, kDescription, L"--service", kPreshutdown_ms}));
  return register_event_source();
}

Result<void> uninstall_agent_service() {
  RS_CHECK(win::uninstall_service(kAgentService));
  return unregister_event_source();
}

}  // namespace roamstead::agent
