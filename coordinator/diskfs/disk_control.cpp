#include "coordinator/diskfs/disk_control.h"

#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "coordinator/diskfs/disk_json.h"
#include "coordinator/diskfs/unix_socket.h"

namespace roamstead::diskcontrol {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxAnswerBytes = 1u << 20;

Result<json> parse_answer(const std::string& line) {
  auto answer = json::parse(line, nullptr, false);
  if (!answer.is_object())
    return fail(ErrorCode::protocol, "the disk's control socket answered no JSON object");
  if (auto error = answer.find("error"); error != answer.end()) return fail(error_from_json(*error));
  return answer;
}

}  // namespace

std::string default_socket(const std::string& disk_path) { return disk_path + ".control"; }

Result<DiskControl> DiskControl::connect(const std::string& socket_path) {
  RS_TRY(auto descriptor, connect_unix(socket_path));
  return DiskControl(descriptor.release());
}

DiskControl::DiskControl(DiskControl&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)), unread_(std::move(other.unread_)) {}

DiskControl& DiskControl::operator=(DiskControl&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  std::swap(unread_, other.unread_);
  return *this;
}

DiskControl::~DiskControl() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

Result<std::string> DiskControl::call(const std::string& request) {
  auto broken = [](const char* what) {
    return fail(ErrorCode::unavailable, std::string("the disk's control socket: ") + what);
  };
  auto line = request + "\n";
  for (std::size_t sent = 0; sent < line.size();) {
    auto count = ::send(descriptor_, line.data() + sent, line.size() - sent, MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return broken(std::strerror(errno));
    sent += static_cast<std::size_t>(count);
  }
  while (true) {
    if (auto end = unread_.find('\n'); end != std::string::npos) {
      auto answer = unread_.substr(0, end);
      unread_.erase(0, end + 1);
      return answer;
    }
    if (unread_.size() > kMaxAnswerBytes) return broken("an answer without end");
    std::array<char, 4096> buffer;
    auto count = ::recv(descriptor_, buffer.data(), buffer.size(), 0);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return broken(std::strerror(errno));
    if (count == 0) return broken("closed by the server");
    unread_.append(buffer.data(), static_cast<std::size_t>(count));
  }
}

Result<std::vector<vdisk::LayerInfo>> DiskControl::info() {
  RS_TRY(auto line, call(R"({"op":"info"})"));
  RS_TRY(auto answer, parse_answer(line));
  std::vector<vdisk::LayerInfo> layers;
  auto found = answer.find("layers");
  if (found == answer.end() || !found->is_array())
    return fail(ErrorCode::protocol, "an answer with layers expected");
  for (const auto& each : *found) {
    RS_TRY(auto layer, layer_from_json(each));
    layers.push_back(std::move(layer));
  }
  return layers;
}

Result<vdisk::Disk::Frozen> DiskControl::freeze() {
  RS_TRY(auto line, call(R"({"op":"freeze"})"));
  RS_TRY(auto answer, parse_answer(line));
  return frozen_from_json(answer);
}

Result<void> DiskControl::merge(std::size_t layer) {
  RS_TRY(auto line, call(json{{"op", "merge"}, {"layer", layer}}.dump()));
  RS_TRY(auto answer, parse_answer(line));
  return {};
}

Result<void> DiskControl::flush() {
  RS_TRY(auto line, call(R"({"op":"flush"})"));
  RS_TRY(auto answer, parse_answer(line));
  return {};
}

}  // namespace roamstead::diskcontrol
