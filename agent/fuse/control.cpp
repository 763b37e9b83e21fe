#include "agent/fuse/control.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <list>
#include <nlohmann/json.hpp>
#include <thread>

#include "agent/desktop/control_lines.h"
#include "agent/fuse/file_descriptor.h"
#include "coordinator/diskfs/unix_socket.h"

namespace roamstead::agent {

using diskcontrol::Descriptor;
using nlohmann::json;

namespace {

constexpr std::size_t kMostConnections = 16;

class SocketStream final : public ByteStream {
 public:
  explicit SocketStream(int socket) : socket_(socket) {}

  Result<std::size_t> read(MutableByteView out) override {
    for (;;) {
      const auto count = ::recv(socket_, out.data(), out.size(), 0);
      if (count >= 0) return static_cast<std::size_t>(count);
      if (errno != EINTR) return fail(system_error(errno, "read from", "the control socket"));
    }
  }

  Result<void> write(ByteView data) override {
    while (!data.empty()) {
      const auto count = ::send(socket_, data.data(), data.size(), MSG_NOSIGNAL);
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) return fail(system_error(errno, "write to", "the control socket"));
      data = data.subspan(static_cast<std::size_t>(count));
    }
    return {};
  }

 private:
  int socket_;
};

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
        SocketStream stream(connection.socket.number());
        converse(stream, answer, [this] {
          const std::uint64_t one = 1;  // perhaps it was the last request: whoever serves looks at once
          return ::write(answered_.number(), &one, sizeof one) >= 0;
        });
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

  Descriptor listener_;
  Descriptor answered_{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  std::string path_;
};

}  // namespace

Result<std::unique_ptr<ControlServer>> ControlServer::listen(const std::string& socket_path) {
  RS_TRY(auto listener, diskcontrol::listen_unix(socket_path));
  return std::unique_ptr<ControlServer>(std::make_unique<SocketServer>(std::move(listener), socket_path));
}

Result<json> ask_desktop(const std::string& socket_path, const json& request) {
  RS_TRY(auto socket, diskcontrol::connect_unix(socket_path));
  SocketStream stream(socket.number());
  return ask(stream, request);
}

}  // namespace roamstead::agent
