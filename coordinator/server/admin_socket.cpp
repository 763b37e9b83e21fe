#include "coordinator/server/admin_socket.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "common/base/event.h"

namespace roamstead::server {
namespace {

using nlohmann::json;

constexpr int kPollMs = 200;
constexpr int kSendTimeoutS = 10;

bool send_line(int descriptor, std::string line) {
  line += '\n';
  for (std::size_t sent = 0; sent < line.size();) {
    auto count = ::send(descriptor, line.data() + sent, line.size() - sent, MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    sent += static_cast<std::size_t>(count);
  }
  return true;
}

}  // namespace

Result<std::unique_ptr<AdminSocket>> AdminSocket::listen(const std::string& path, RoleGroups groups,
                                                         Execute execute, Refused refused) {
  RS_TRY(auto listener, diskcontrol::listen_unix(path));
  if (groups.any() && ::chmod(path.c_str(), 0666) != 0)
    return fail(ErrorCode::io, path + ": cannot open it to groups with roles: " + std::strerror(errno));
  std::unique_ptr<AdminSocket> socket(
      new AdminSocket(path, std::move(listener), std::move(groups), std::move(execute), std::move(refused)));
  socket->thread_ = std::thread([raw = socket.get()] { raw->accept(); });
  return socket;
}

AdminSocket::~AdminSocket() {
  stopping_ = true;
  if (thread_.joinable()) thread_.join();
  for (auto& connection : connections_) ::shutdown(connection->descriptor.number(), SHUT_RD);
  for (auto& connection : connections_) connection->thread.join();
  ::unlink(path_.c_str());
}

void AdminSocket::accept() {
  while (!stopping_) {
    join_ended();
    pollfd wanted{listener_.number(), POLLIN, 0};
    if (::poll(&wanted, 1, kPollMs) <= 0) continue;
    diskcontrol::Descriptor accepted(::accept4(listener_.number(), nullptr, nullptr, SOCK_CLOEXEC));
    if (accepted.number() < 0) continue;
    timeval timeout{kSendTimeoutS, 0};
    ::setsockopt(accepted.number(), SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
    auto caller = admit(accepted.number());
    if (!caller) {
      send_line(accepted.number(), admin::answer_line(fail(caller.error())));
      continue;
    }
    auto connection = std::make_unique<Connection>();
    connection->caller = std::move(*caller);
    connection->descriptor = std::move(accepted);
    connection->thread = std::thread([this, raw = connection.get()] {
      serve(*raw);
      ::shutdown(raw->descriptor.number(), SHUT_RDWR);
      raw->done = true;
    });
    connections_.push_back(std::move(connection));
  }
}

Result<Caller> AdminSocket::admit(int descriptor) const {
  auto caller = caller_at(descriptor, groups_);
  if (!caller) {
    log_event(Event::admin_refused, "administrators' socket: {}", caller.error().to_string());
    if (refused_) refused_(caller.error());
    return caller;
  }
  auto of_user = std::count_if(connections_.begin(), connections_.end(), [&](const auto& connection) {
    return connection->caller.origin == caller->origin;
  });
  if (connections_.size() >= kMaxConnections || of_user >= static_cast<long>(kMaxConnectionsOfUser))
    return fail(ErrorCode::busy, "too many administrators at once");
  return caller;
}

void AdminSocket::join_ended() {
  for (auto it = connections_.begin(); it != connections_.end();) {
    if (!(*it)->done) {
      ++it;
      continue;
    }
    (*it)->thread.join();
    it = connections_.erase(it);
  }
}

void AdminSocket::serve(Connection& connection) {
  std::string unread;
  std::array<char, 4096> buffer;
  while (!stopping_) {
    auto count = ::recv(connection.descriptor.number(), buffer.data(), buffer.size(), 0);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return;
    unread.append(buffer.data(), static_cast<std::size_t>(count));
    for (auto end = unread.find('\n'); end != std::string::npos; end = unread.find('\n')) {
      auto line = unread.substr(0, end);
      unread.erase(0, end + 1);
      if (!answer(connection, line)) return;
    }
    if (unread.size() > admin::kMaxRequestBytes) {
      send_line(connection.descriptor.number(),
                admin::answer_line(fail(ErrorCode::protocol, "too long a request")));
      return;
    }
  }
}

bool AdminSocket::answer(const Connection& connection, const std::string& line) {
  auto descriptor = connection.descriptor.number();
  // Who does not take progress any more must not slow the command down, each line by the timeout.
  bool listens = true;
  auto progress = [descriptor, &listens](const admin::Progress& made) {
    if (listens) listens = send_line(descriptor, admin::progress_line(made));
  };
  auto result = [&]() -> Result<json> {
    try {  // the root of this thread: a bug in one command must not end the coordinator
      return execute_(connection.caller, json::parse(line, nullptr, false), progress);
    } catch (const std::exception& error) {
      log_event(Event::admin_command_broken, "administrator's command failed: {}", error.what());
      return fail(ErrorCode::internal, error.what());
    }
  }();
  return send_line(descriptor, admin::answer_line(result));
}

}  // namespace roamstead::server
