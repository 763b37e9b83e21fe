#include "agent/fuse/control.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <list>
#include <thread>

#include "agent/fuse/file_descriptor.h"
#include "coordinator/diskfs/unix_socket.h"

namespace roamstead::agent {

using diskcontrol::Descriptor;
using nlohmann::json;

namespace {

constexpr std::size_t kLongestLine = 1 << 20;
constexpr std::size_t kMostConnections = 16;

Result<void> send_line(int socket, const json& value) {
  auto text = value.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
  for (std::size_t sent = 0; sent < text.size();) {
    auto count = ::send(socket, text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return fail(system_error(errno, "write to", "the control socket"));
    sent += static_cast<std::size_t>(count);
  }
  return {};
}

// One line, without its end; ErrorCode::unavailable when the other side closed. Each side speaks only when it
// was answered: nothing follows the line.
Result<std::string> receive_line(int socket) {
  std::string line;
  for (std::array<char, 4096> piece;;) {
    auto count = ::recv(socket, piece.data(), piece.size(), 0);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail(system_error(errno, "read from", "the control socket"));
    if (count == 0) return fail(ErrorCode::unavailable, "the desktop closed the connection");
    line.append(piece.data(), static_cast<std::size_t>(count));
    if (line.size() > kLongestLine) return fail(ErrorCode::protocol, "a line of more than 1 MiB");
    if (line.back() != '\n') continue;
    line.pop_back();
    return line;
  }
}

class SocketServer final : public ControlServer {
 public:
  SocketServer(Descriptor listener, std::string path)
      : listener_(std::move(listener)), path_(std::move(path)) {}
  ~SocketServer() override { ::unlink(path_.c_str()); }

  void serve(const Answer& answer, const std::function<bool()>& done) override {
    std::list<Connection> connections;
    while (!done()) {
      connections.remove_if([](Connection& each) { return each.finished && (each.thread.join(), true); });
      pollfd waiting[] = {{listener_.number(), POLLIN, 0}, {answered_.number(), POLLIN, 0}};
      if (::poll(waiting, 2, 200) <= 0) continue;
      std::uint64_t count = 0;
      if (waiting[1].revents != 0 && ::read(answered_.number(), &count, sizeof count) < 0) continue;
      if (waiting[0].revents == 0 || connections.size() >= kMostConnections) continue;
      auto socket = ::accept4(listener_.number(), nullptr, nullptr, SOCK_CLOEXEC);
      if (socket < 0) continue;
      auto& connection = connections.emplace_back();
      connection.socket = Descriptor(socket);
      connection.thread = std::thread([this, &connection, &answer] {
        converse(connection.socket.number(), answer);
        connection.finished = true;
      });
    }
    for (auto& each : connections) {
      ::shutdown(each.socket.number(), SHUT_RD);  // answers under way are still sent
      each.thread.join();
    }
  }

 private:
  struct Connection {
    Descriptor socket;
    std::thread thread;
    std::atomic<bool> finished{false};
  };

  void converse(int socket, const Answer& answer) {
    for (;;) {
      auto line = receive_line(socket);
      if (!line) return;
      auto request = json::parse(*line, nullptr, false);
      json reply = request.is_object()
                       ? answer(request)
                       : json{{"error", {{"code", "protocol"}, {"message", "not a JSON object"}}}};
      const auto sent = send_line(socket, reply);
      const std::uint64_t one = 1;  // perhaps it was the last request: whoever serves looks at once
      if (::write(answered_.number(), &one, sizeof one) < 0 || !sent) return;
    }
  }

  Descriptor listener_;
  Descriptor answered_{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  std::string path_;
};

ErrorCode code_from(const std::string& text) {
  for (int code = 0; code <= static_cast<int>(ErrorCode::internal); ++code)
    if (to_string(static_cast<ErrorCode>(code)) == text) return static_cast<ErrorCode>(code);
  return ErrorCode::internal;
}

}  // namespace

Result<std::unique_ptr<ControlServer>> ControlServer::listen(const std::string& socket_path) {
  RS_TRY(auto listener, diskcontrol::listen_unix(socket_path));
  return std::unique_ptr<ControlServer>(std::make_unique<SocketServer>(std::move(listener), socket_path));
}

Result<json> ask_desktop(const std::string& socket_path, const json& request) {
  RS_TRY(auto socket, diskcontrol::connect_unix(socket_path));
  RS_CHECK(send_line(socket.number(), request));
  RS_TRY(auto line, receive_line(socket.number()));
  auto reply = json::parse(line, nullptr, false);
  if (!reply.is_object()) return fail(ErrorCode::protocol, "the desktop's answer is not JSON");
  if (reply.contains("error") && reply["error"].is_object())
    return fail(code_from(reply["error"].value("code", "")), reply["error"].value("message", ""));
  return reply;
}

}  // namespace roamstead::agent
