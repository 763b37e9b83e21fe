#include "coordinator/diskfs/control_server.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "common/base/log.h"
#include "coordinator/diskfs/disk_json.h"

namespace roamstead::diskfs {
namespace {

using diskcontrol::Descriptor;
using nlohmann::json;

constexpr std::size_t kMaxRequestBytes = 64 * 1024;
constexpr std::size_t kMaxConnections = 16;
constexpr int kSendTimeoutS = 10;

bool send_all(int descriptor, const std::string& text) {
  for (std::size_t sent = 0; sent < text.size();) {
    auto count = ::send(descriptor, text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    sent += static_cast<std::size_t>(count);
  }
  return true;
}

Result<json> perform(vdisk::Disk& disk, const ControlServer::Settle& settle, const json& request) {
  auto op = request.is_object() ? request.value("op", json()) : json();
  if (settle && (op == "flush" || op == "freeze")) RS_CHECK(settle());
  if (op == "info") {
    auto layers = json::array();
    for (const auto& layer : disk.layers()) layers.push_back(diskcontrol::to_json(layer));
    return json{{"layers", layers}};
  }
  if (op == "flush") {
    RS_CHECK(disk.flush());
    return json::object();
  }
  if (op == "freeze") {
    RS_TRY(auto frozen, disk.freeze());
    return diskcontrol::to_json(frozen);
  }
  if (op == "merge") {
    auto layer = request.find("layer");
    if (layer == request.end() || !layer->is_number_unsigned())
      return fail(ErrorCode::invalid_argument, "merge needs the number of a layer");
    RS_CHECK(disk.merge(layer->get<std::size_t>()));
    return json::object();
  }
  return fail(ErrorCode::invalid_argument,
              "a request is an object with an op of info, flush, freeze or merge");
}

}  // namespace

Result<std::unique_ptr<ControlServer>> ControlServer::listen(vdisk::Disk& disk,
                                                             const std::string& socket_path, Settle settle) {
  RS_TRY(auto listener, diskcontrol::listen_unix(socket_path));
  return std::unique_ptr<ControlServer>(
      new ControlServer(disk, socket_path, std::move(listener), std::move(settle)));
}

ControlServer::~ControlServer() {
  if (thread_.joinable()) {
    if (::write(wake_.number(), "x", 1) != 1) log_error("{}: cannot wake the control thread", path_);
    thread_.join();
  }
  ::unlink(path_.c_str());
}

Result<void> ControlServer::start() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return fail(ErrorCode::io, path_ + ": cannot make a pipe");
  wake_ = Descriptor(ends[1]);
  thread_ = std::thread([this, wake = ends[0]] {
    Descriptor owned(wake);
    serve(wake);
  });
  return {};
}

void ControlServer::serve(int wake) {
  while (true) {
    std::vector<pollfd> polled{{wake, POLLIN, 0}, {listener_.number(), POLLIN, 0}};
    for (const auto& each : connections_) polled.push_back({each.descriptor.number(), POLLIN, 0});
    if (::poll(polled.data(), polled.size(), -1) < 0) {
      if (errno == EINTR) continue;
      return;
    }
    if (polled[0].revents != 0) return;
    std::size_t index = 2;
    for (auto it = connections_.begin(); it != connections_.end(); ++index) {
      bool keep = polled[index].revents == 0 || receive(*it);
      it = keep ? std::next(it) : connections_.erase(it);
    }
    if (polled[1].revents == 0) continue;
    Descriptor accepted(::accept4(listener_.number(), nullptr, nullptr, SOCK_CLOEXEC));
    if (accepted.number() < 0) continue;
    // Who does not take his answer does not hold up the others for long.
    timeval timeout{kSendTimeoutS, 0};
    ::setsockopt(accepted.number(), SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
    if (connections_.size() < kMaxConnections) connections_.push_back({std::move(accepted), ""});
  }
}

bool ControlServer::receive(Connection& connection) {
  std::array<char, 4096> buffer;
  auto count = ::recv(connection.descriptor.number(), buffer.data(), buffer.size(), MSG_DONTWAIT);
  if (count < 0) return errno == EINTR || errno == EAGAIN;
  if (count == 0) return false;
  connection.unread.append(buffer.data(), static_cast<std::size_t>(count));
  for (auto end = connection.unread.find('\n'); end != std::string::npos;
       end = connection.unread.find('\n')) {
    auto line = connection.unread.substr(0, end);
    connection.unread.erase(0, end + 1);
    if (!send_all(connection.descriptor.number(), answer(line) + "\n")) return false;
  }
  return connection.unread.size() <= kMaxRequestBytes;
}

std::string ControlServer::answer(const std::string& request) {
  auto done = perform(disk_, settle_, json::parse(request, nullptr, false));
  json reply;
  if (done) {
    reply = std::move(*done);
    reply["ok"] = true;
  } else {
    reply["error"] = diskcontrol::to_json(done.error());
  }
  return reply.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace roamstead::diskfs
