#include "agent/win/intercept/pipe_server.h"

#include <condition_variable>
#include <deque>
#include <set>
#include <thread>

#include "agent/win/intercept/security.h"
#include "agent/win/intercept/windows_parts.h"
#include "common/base/log.h"
#include "common/base/thread_stack.h"

namespace roamstead::agent {

namespace {

constexpr DWORD kReplyBuffer = 256;
constexpr ULONG_PTR kStop = 1;  // completion key

// Makes sure that this thread is itself again.
class Impersonation {
 public:
  explicit Impersonation(HANDLE pipe) : done_(::ImpersonateNamedPipeClient(pipe) != 0) {}
  ~Impersonation() {
    if (done_ && ::RevertToSelf() == 0) std::abort();  // going on as somebody else would be worse
  }
  explicit operator bool() const { return done_; }

 private:
  const bool done_;
};

Result<std::string> user_of_client(HANDLE pipe, DWORD& process) {
  if (::GetNamedPipeClientProcessId(pipe, &process) == 0)
    return fail(win::last_windows_error("which process asks"));
  RS_TRY(const auto of_process, win::sid_of_process(process));
  Impersonation client(pipe);
  HANDLE token = nullptr;
  if (!client || ::OpenThreadToken(::GetCurrentThread(), TOKEN_QUERY, TRUE, &token) == 0)
    return fail(win::last_windows_error("who asks"));
  const auto owned = win::own(token);
  RS_TRY(auto shown, win::sid_of_token(token));
  if (shown != of_process)
    return fail(ErrorCode::denied,
                "process " + std::to_string(process) + " is another user's than its token");
  return shown;
}

}  // namespace

class PipeServer::Impl {
 public:
  explicit Impl(Config config) : config_(std::move(config)) {}
  ~Impl() { stop(); }

  Result<void> start();
  void stop();
  std::size_t connections() const {
    std::lock_guard lock(mutex_);
    return clients_.size();
  }

 private:
  enum class State { connecting, reading, answering, writing };
  struct Client {
    OVERLAPPED overlapped{};
    win::OwnedHandle pipe;
    State state = State::connecting;
    std::shared_ptr<Interception> interception;  // before `caller`, which uses it
    std::unique_ptr<Interception::Caller> caller;
    intercept::Reply reply{};
    DWORD bytes = 0;
    alignas(8) std::array<std::byte, intercept::kMaxRequestBytes> message;
  };

  Result<void> listen(bool first);
  void serve();
  void complete(Client& client, bool done, DWORD bytes);
  void read(Client& client);
  void queue(Client& client);
  void work();
  void answer(Client& client);
  bool authenticate(Client& client);
  void drop(Client& client);

  const Config config_;
  win::OwnedHandle port_;
  std::thread events_;

  mutable std::mutex mutex_;  // guards all below
  std::condition_variable wanted_;
  std::set<std::unique_ptr<Client>> clients_;
  std::deque<Client*> questions_;
  std::vector<std::thread> workers_;
  unsigned idle_ = 0;
  bool listening_ = false;
  bool stopping_ = false;
};

Result<void> PipeServer::Impl::start() {
  port_ = win::own(::CreateIoCompletionPort(INVALID_HANDLE_VALUE, nullptr, 0, 1));
  if (!port_) return fail(win::last_windows_error("a completion port"));
  RS_CHECK(listen(true));
  events_ = std::thread([this] { serve(); });
  return {};
}

void PipeServer::Impl::stop() {
  if (!events_.joinable()) return;
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wanted_.notify_all();
  ::PostQueuedCompletionStatus(port_.get(), 0, kStop, nullptr);
  events_.join();
  for (auto& worker : workers_) worker.join();
  std::lock_guard lock(mutex_);
  for (const auto& client : clients_) {
    if (::CancelIoEx(client->pipe.get(), &client->overlapped) == 0) continue;
    DWORD bytes = 0;  // its memory is in use until then
    ::GetOverlappedResult(client->pipe.get(), &client->overlapped, &bytes, TRUE);
  }
  clients_.clear();
}

Result<void> PipeServer::Impl::listen(bool first) {
  const auto name = L"\\\\.\\pipe\\" + std::wstring(reinterpret_cast<const wchar_t*>(intercept::kPipeName));
  RS_TRY(auto security, win::Security::parse(kInterceptPipeSddl));
  auto client = std::make_unique<Client>();
  client->pipe = win::own(::CreateNamedPipeW(
      name.c_str(), PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED | (first ? FILE_FLAG_FIRST_PIPE_INSTANCE : 0u),
      PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS,
      PIPE_UNLIMITED_INSTANCES, kReplyBuffer, intercept::kMaxRequestBytes, 0, security.get()));
  if (!client->pipe) return fail(win::last_windows_error("the pipe " + win::narrow(name)));
  if (::CreateIoCompletionPort(client->pipe.get(), port_.get(), 0, 0) == nullptr)
    return fail(win::last_windows_error("the pipe's completion port"));
  auto& waiting = *client;
  {
    std::lock_guard lock(mutex_);
    clients_.insert(std::move(client));
    listening_ = true;
  }
  if (::ConnectNamedPipe(waiting.pipe.get(), &waiting.overlapped) == 0) {
    const auto code = ::GetLastError();
    if (code == ERROR_PIPE_CONNECTED) {
      ::PostQueuedCompletionStatus(port_.get(), 0, 0, &waiting.overlapped);
    } else if (code != ERROR_IO_PENDING) {
      const auto error = win::last_windows_error("waiting at the pipe");
      drop(waiting);
      return fail(error);
    }
  }
  return {};
}

void PipeServer::Impl::serve() {
  release_unused_stack();
  for (;;) {
    DWORD bytes = 0;
    ULONG_PTR key = 0;
    OVERLAPPED* overlapped = nullptr;
    const bool done = ::GetQueuedCompletionStatus(port_.get(), &bytes, &key, &overlapped, INFINITE) != 0;
    if (key == kStop) return;
    if (overlapped == nullptr) continue;
    complete(*CONTAINING_RECORD(overlapped, Client, overlapped), done, bytes);
  }
}

void PipeServer::Impl::complete(Client& client, bool done, DWORD bytes) {
  const auto state = client.state;
  if (state == State::connecting) {
    {
      std::lock_guard lock(mutex_);
      listening_ = false;
    }
    if (done) read(client);
  } else if (done && state == State::reading) {
    client.bytes = bytes;
    client.state = State::answering;
    queue(client);
  } else if (done) {
    read(client);
  }
  if (!done) drop(client);
  std::unique_lock lock(mutex_);
  if (listening_ || stopping_ || clients_.size() >= config_.most_connections) return;
  lock.unlock();
  if (auto listens = listen(false); !listens) log_error("{}", listens.error().to_string());
}

// From any thread, of a client that nothing is under way for.
void PipeServer::Impl::read(Client& client) {
  client.state = State::reading;
  client.overlapped = {};
  if (::ReadFile(client.pipe.get(), client.message.data(), static_cast<DWORD>(client.message.size()), nullptr,
                 &client.overlapped) == 0 &&
      ::GetLastError() != ERROR_IO_PENDING)
    drop(client);
}

void PipeServer::Impl::queue(Client& client) {
  std::lock_guard lock(mutex_);
  if (stopping_) return;
  questions_.push_back(&client);
  if (idle_ < questions_.size() && workers_.size() < config_.most_workers)
    workers_.emplace_back([this] { work(); });
  wanted_.notify_one();
}

void PipeServer::Impl::work() {
  release_unused_stack();
  std::unique_lock lock(mutex_);
  for (;;) {
    ++idle_;
    wanted_.wait(lock, [&] { return stopping_ || !questions_.empty(); });
    --idle_;
    if (stopping_) return;
    auto& client = *questions_.front();
    questions_.pop_front();
    lock.unlock();
    answer(client);
    lock.lock();
  }
}

bool PipeServer::Impl::authenticate(Client& client) {
  DWORD process = 0;
  const auto sid = user_of_client(client.pipe.get(), process);
  if (!sid) {
    log_warning("a connection to the profile's pipe is refused: {}", sid.error().to_string());
    return false;
  }
  client.interception = config_.find(*sid);
  if (!client.interception) return false;
  client.caller = std::make_unique<Interception::Caller>(*client.interception);
  if (config_.never_loads)
    if (const auto program = win::program_of_process(process))
      client.caller->never_loads = config_.never_loads(*sid, *program);
  return true;
}

void PipeServer::Impl::answer(Client& client) {
  const auto request = parse_request(ByteView(client.message).first(client.bytes));
  if (!request || (!client.caller && !authenticate(client))) {
    if (!request) log_warning("{}", request.error().to_string());
    drop(client);
    return;
  }
  client.reply = {intercept::kMagic, intercept::kVersion, 0, request->sequence, 0, 0};
  client.reply.status = client.interception->answer(*client.caller, *request);
  client.reply.instance = client.interception->instance();
  client.state = State::writing;
  client.overlapped = {};
  if (::WriteFile(client.pipe.get(), &client.reply, sizeof client.reply, nullptr, &client.overlapped) == 0 &&
      ::GetLastError() != ERROR_IO_PENDING)
    drop(client);
}

void PipeServer::Impl::drop(Client& client) {
  std::unique_ptr<Client> last;  // its end may take the state map's lock: not under ours
  std::lock_guard lock(mutex_);
  for (auto it = clients_.begin(); it != clients_.end(); ++it)
    if (it->get() == &client) {
      last = std::move(clients_.extract(it).value());
      return;
    }
}

PipeServer::PipeServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
PipeServer::~PipeServer() = default;

Result<std::unique_ptr<PipeServer>> PipeServer::start(Config config) {
  auto impl = std::make_unique<Impl>(std::move(config));
  RS_CHECK(impl->start());
  return std::unique_ptr<PipeServer>(new PipeServer(std::move(impl)));
}

std::size_t PipeServer::connections() const { return impl_->connections(); }

}  // namespace roamstead::agent
