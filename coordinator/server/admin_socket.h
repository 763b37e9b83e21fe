// The coordinator's Unix socket for administrators (coordinator/admin/commands.h says what goes over it). Who
// asks is known by the kernel's word (peer.h). Mode 0600 unless groups have roles, 0666 then.
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
#include "coordinator/server/peer.h"

namespace roamstead::server {

// A thread that accepts, and one for each of at most kMaxConnections that ask.
class AdminSocket {
 public:
  static constexpr std::size_t kMaxConnections = 16;
  // More of one user's are refused, so that a viewer cannot keep administrators out.
  static constexpr std::size_t kMaxConnectionsOfUser = 8;
  using Execute = std::function<Result<nlohmann::json>(const Caller& caller, const nlohmann::json& request,
                                                       const admin::ProgressSink& progress)>;
  // Somebody without a role tried; told why already. May be empty.
  using Refused = std::function<void(const Error& why)>;

  // Listens when it returns. ErrorCode::busy when somebody else does there. `execute` is called on several
  // threads.
  static Result<std::unique_ptr<AdminSocket>> listen(const std::string& path, RoleGroups groups,
                                                     Execute execute, Refused refused = {});
  ~AdminSocket();  // waits for commands under way; removes the socket

 private:
  struct Connection {
    diskcontrol::Descriptor descriptor;
    Caller caller;
    std::atomic<bool> done{false};
    std::thread thread;
  };

  AdminSocket(std::string path, diskcontrol::Descriptor listener, RoleGroups groups, Execute execute,
              Refused refused)
      : path_(std::move(path)),
        listener_(std::move(listener)),
        groups_(std::move(groups)),
        execute_(std::move(execute)),
        refused_(std::move(refused)) {}
  void accept();
  void serve(Connection& connection);
  bool answer(const Connection& connection, const std::string& line);
  Result<Caller> admit(int descriptor) const;
  void join_ended();

  std::string path_;
  diskcontrol::Descriptor listener_;
  const RoleGroups groups_;
  Execute execute_;
  Refused refused_;
  std::atomic<bool> stopping_{false};
  std::list<std::unique_ptr<Connection>> connections_;  // of the accepting thread
  std::thread thread_;
};

}  // namespace roamstead::server
