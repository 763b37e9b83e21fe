// The coordinator's Unix socket for administrators (coordinator/admin/commands.h says what goes over it):
// mode 0600, so only the coordinator's own user and root.
#pragma once

#include <atomic>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "coordinator/admin/commands.h"
#include "coordinator/diskfs/unix_socket.h"

namespace roamstead::server {

// A thread that accepts, and one for each of at most kMaxConnections that ask.
class AdminSocket {
 public:
  static constexpr std::size_t kMaxConnections = 16;
  using Execute = std::function<Result<nlohmann::json>(const nlohmann::json& request,
                                                       const admin::ProgressSink& progress)>;

  // Listens when it returns. ErrorCode::busy when somebody else does there. `execute` is called on several
  // threads.
  static Result<std::unique_ptr<AdminSocket>> listen(const std::string& path, Execute execute);
  ~AdminSocket();  // waits for commands under way; removes the socket

 private:
  struct Connection {
    diskcontrol::Descriptor descriptor;
    std::atomic<bool> done{false};
    std::thread thread;
  };

  AdminSocket(std::string path, diskcontrol::Descriptor listener, Execute execute)
      : path_(std::move(path)), listener_(std::move(listener)), execute_(std::move(execute)) {}
  void accept();
  void serve(Connection& connection);
  bool answer(int descriptor, const std::string& line);
  void join_ended();

  std::string path_;
  diskcontrol::Descriptor listener_;
  Execute execute_;
  std::atomic<bool> stopping_{false};
  std::list<std::unique_ptr<Connection>> connections_;  // of the accepting thread
  std::thread thread_;
};

}  // namespace roamstead::server
