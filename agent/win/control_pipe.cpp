#include "agent/win/control_pipe.h"

#include <sddl.h>

#include <algorithm>
#include <atomic>
#include <list>
#include <nlohmann/json.hpp>
#include <thread>

#include "agent/win/base/windows_error.h"
#include "agent/win/base/wine.h"
#include "agent/win/pipe_security.h"

namespace roamstead::agent {

using nlohmann::json;
using win::Handle;
using win::windows_error;

namespace {

constexpr std::size_t kMostConnections = 16;
constexpr DWORD kBufferBytes = 16 << 10;
constexpr DWORD kBusyWait_ms = 2'000;
constexpr const char* kWhat = "the control pipe";

Result<Handle> make_event() {
  Handle event(::CreateEventW(nullptr, TRUE, FALSE, nullptr));
  if (!event) return windows_error("make an event");
  return event;
}

// A pipe's end, used by one thread; overlapped, so that `stop` (where there is one) ends a wait.
class PipeStream final : public ByteStream {
 public:
  PipeStream(HANDLE pipe, HANDLE event, HANDLE stop) : pipe_(pipe), event_(event), stop_(stop) {}

  Result<std::size_t> read(MutableByteView out) override {
    OVERLAPPED overlapped = begin();
    const auto started =
        ::ReadFile(pipe_, out.data(), static_cast<DWORD>(std::min<std::size_t>(out.size(), kBufferBytes)),
                   nullptr, &overlapped);
    auto count = finish(started != 0, overlapped, "read from", stop_);
    if (!count && ended_) return std::size_t{0};
    return count;
  }

  // Not stopped: an answer is short, and its reader has `kAnswerWait_ms` to take it.
  Result<void> write(ByteView data) override {
    while (!data.empty()) {
      OVERLAPPED overlapped = begin();
      const auto started = ::WriteFile(pipe_, data.data(),
                                       static_cast<DWORD>(std::min<std::size_t>(data.size(), kBufferBytes)),
                                       nullptr, &overlapped);
      RS_TRY(const auto count, finish(started != 0, overlapped, "write to", nullptr));
      data = data.subspan(count);
    }
    return {};
  }

 private:
  static constexpr DWORD kAnswerWait_ms = 10'000;
  // The service waits so long for a question: there are few connections, and anybody may open them.
  static constexpr DWORD kQuestionWait_ms = 30'000;

  OVERLAPPED begin() {
    ::ResetEvent(event_);
    OVERLAPPED overlapped{};
    overlapped.hEvent = event_;
    return overlapped;
  }

  Result<std::size_t> finish(bool started, OVERLAPPED& overlapped, const char* what, HANDLE stop) {
    if (!started && ::GetLastError() != ERROR_IO_PENDING) return broken(what);
    const HANDLE waited[] = {event_, stop};
    const bool reading = std::string_view(what).starts_with("read");
    const auto woken = ::WaitForMultipleObjects(stop != nullptr ? 2 : 1, waited, FALSE,
                                                !reading          ? kAnswerWait_ms
                                                : stop != nullptr ? kQuestionWait_ms
                                                                  : INFINITE);
    if (woken != WAIT_OBJECT_0) ::CancelIoEx(pipe_, &overlapped);
    DWORD count = 0;
    if (::GetOverlappedResult(pipe_, &overlapped, &count, TRUE) == 0) return broken(what);
    return count;
  }

  tl::unexpected<Error> broken(const char* what) {
    const auto error = ::GetLastError();
    ended_ =
        error == ERROR_BROKEN_PIPE || error == ERROR_OPERATION_ABORTED || error == ERROR_PIPE_NOT_CONNECTED;
    return windows_error(std::string(what) + " " + kWhat, error);
  }

  HANDLE pipe_, event_, stop_;
  bool ended_ = false;
};

// Of the client that is connected. Who cannot be asked is nobody.
ControlCaller caller_of(HANDLE pipe) {
  ControlCaller caller;
  ::GetNamedPipeClientProcessId(pipe, &caller.process);
  if (::ImpersonateNamedPipeClient(pipe) == 0) return caller;
  SID_IDENTIFIER_AUTHORITY authority = SECURITY_NT_AUTHORITY;
  PSID administrators = nullptr, system = nullptr;
  BOOL is_administrator = FALSE, is_system = FALSE;
  if (::AllocateAndInitializeSid(&authority, 2, SECURITY_BUILTIN_DOMAIN_RID, DOMAIN_ALIAS_RID_ADMINS, 0, 0, 0,
                                 0, 0, 0, &administrators) != 0)
    ::CheckTokenMembership(nullptr, administrators, &is_administrator);
  if (::AllocateAndInitializeSid(&authority, 1, SECURITY_LOCAL_SYSTEM_RID, 0, 0, 0, 0, 0, 0, 0, &system) != 0)
    ::CheckTokenMembership(nullptr, system, &is_system);
  if (administrators != nullptr) ::FreeSid(administrators);
  if (system != nullptr) ::FreeSid(system);
  ::RevertToSelf();
  caller.administrator = is_administrator != 0 || is_system != 0;
  return caller;
}

}  // namespace

ControlPipe::~ControlPipe() = default;

Result<Handle> ControlPipe::make_instance(bool first) {
  RS_TRY(const auto sddl, win::wide_text(kControlPipeSddl));
  PSECURITY_DESCRIPTOR descriptor = nullptr;
  if (::ConvertStringSecurityDescriptorToSecurityDescriptorW(sddl.c_str(), SDDL_REVISION_1, &descriptor,
                                                             nullptr) == 0)
    return windows_error("the security of the control pipe");
  SECURITY_ATTRIBUTES security{sizeof security, descriptor, FALSE};
  Handle instance(::CreateNamedPipeW(
      kControlPipe, PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED | (first ? FILE_FLAG_FIRST_PIPE_INSTANCE : 0),
      PIPE_TYPE_BYTE | PIPE_READMODE_BYTE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS, PIPE_UNLIMITED_INSTANCES,
      kBufferBytes, kBufferBytes, 0, &security));
  const auto error = ::GetLastError();
  ::LocalFree(descriptor);
  if (!instance && first && error == ERROR_ACCESS_DENIED)
    return fail(ErrorCode::busy, "another agent runs on this machine: its control pipe is there already");
  if (!instance) return windows_error("make the control pipe", error);
  return instance;
}

Result<std::unique_ptr<ControlPipe>> ControlPipe::listen() {
  std::unique_ptr<ControlPipe> pipe(new ControlPipe());
  RS_TRY(pipe->stop_, make_event());
  // Wine lets many processes be the first: one that answers is there.
  if (win::under_wine() && ask_agent({{"op", "ping"}}))
    return fail(ErrorCode::busy, "another agent runs on this machine and answers on its control pipe");
  RS_TRY(pipe->instance_, pipe->make_instance(true));
  return pipe;
}

void ControlPipe::stop() { ::SetEvent(stop_.get()); }

void ControlPipe::serve(const Answer& answer) {
  struct Connection {
    Handle pipe, event;
    std::thread thread;
    std::atomic<bool> finished{false};
  };
  std::list<Connection> connections;
  auto connected = make_event();
  while (connected && ::WaitForSingleObject(stop_.get(), 0) != WAIT_OBJECT_0) {
    connections.remove_if([](Connection& each) { return each.finished && (each.thread.join(), true); });
    if (connections.size() >= kMostConnections) {
      ::WaitForSingleObject(stop_.get(), 50);
      continue;
    }
    ::ResetEvent(connected->get());
    OVERLAPPED overlapped{};
    overlapped.hEvent = connected->get();
    bool there = ::ConnectNamedPipe(instance_.get(), &overlapped) != 0;
    const auto error = ::GetLastError();
    if (!there && error == ERROR_IO_PENDING) {
      const HANDLE waited[] = {connected->get(), stop_.get()};
      if (::WaitForMultipleObjects(2, waited, FALSE, INFINITE) != WAIT_OBJECT_0)
        ::CancelIoEx(instance_.get(), &overlapped);
      DWORD count = 0;
      there = ::GetOverlappedResult(instance_.get(), &overlapped, &count, TRUE) != 0;
    } else if (!there && error == ERROR_PIPE_CONNECTED) {
      there = true;
    }
    if (!there) {
      ::DisconnectNamedPipe(instance_.get());
      ::WaitForSingleObject(stop_.get(), 10);
      continue;
    }
    auto next = make_instance(false);
    auto event = make_event();
    if (!next || !event) {  // out of handles or memory: this one is turned away
      ::DisconnectNamedPipe(instance_.get());
      ::WaitForSingleObject(stop_.get(), 50);
      continue;
    }
    auto& connection = connections.emplace_back();
    connection.pipe = std::exchange(instance_, std::move(*next));
    connection.event = std::move(*event);
    connection.thread = std::thread([this, &connection, &answer] {
      const auto caller = caller_of(connection.pipe.get());
      PipeStream stream(connection.pipe.get(), connection.event.get(), stop_.get());
      converse(
          stream, [&](const json& request) { return answer(request, caller); }, [] { return true; });
      ::FlushFileBuffers(connection.pipe.get());
      ::DisconnectNamedPipe(connection.pipe.get());
      connection.finished = true;
    });
  }
  for (auto& each : connections) each.thread.join();
}

Result<json> ask_agent(const json& request) {
  Handle pipe;
  for (int attempt = 0;; ++attempt) {
    // The agent may learn who asks, and no more.
    pipe = Handle(::CreateFileW(kControlPipe, GENERIC_READ | GENERIC_WRITE, 0, nullptr, OPEN_EXISTING,
                                FILE_FLAG_OVERLAPPED | SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION,
                                nullptr));
    if (pipe) break;
    const auto error = ::GetLastError();
    if (error == ERROR_FILE_NOT_FOUND)
      return fail(
          ErrorCode::unavailable,
          "the agent does not run: start the service RoamsteadAgent, or 'roamstead-agent --foreground'");
    if (error != ERROR_PIPE_BUSY || attempt == 5) return windows_error("open the control pipe", error);
    ::WaitNamedPipeW(kControlPipe, kBusyWait_ms);
  }
  RS_TRY(const auto event, make_event());
  PipeStream stream(pipe.get(), event.get(), nullptr);
  return ask(stream, request);
}

}  // namespace roamstead::agent
