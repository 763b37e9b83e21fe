// The server side of a mounted disk's control socket.
#pragma once

#include <functional>
#include <list>
#include <thread>

#include "common/vdisk/disk.h"
#include "coordinator/diskfs/unix_socket.h"

namespace roamstead::diskfs {

// Listens from construction, answers from start() until it goes. One thread serves all connections, one
// request after another: a merge makes the others wait. The disk must outlive it.
class ControlServer {
 public:
  // `settle` brings to the disk what is still on its way there; called before each freeze and flush.
  using Settle = std::function<Result<void>()>;
  static Result<std::unique_ptr<ControlServer>> listen(vdisk::Disk& disk, const std::string& socket_path,
                                                       Settle settle = {});
  ~ControlServer();  // also removes the socket

  Result<void> start();  // after the program has become a daemon: threads do not survive that

 private:
  struct Connection {
    diskcontrol::Descriptor descriptor;
    std::string unread;
  };

  ControlServer(vdisk::Disk& disk, std::string path, diskcontrol::Descriptor listener, Settle settle)
      : disk_(disk), path_(std::move(path)), listener_(std::move(listener)), settle_(std::move(settle)) {}
  void serve(int wake);
  bool receive(Connection& connection);  // false: the connection is to be closed
  std::string answer(const std::string& request);

  vdisk::Disk& disk_;
  std::string path_;
  diskcontrol::Descriptor listener_;
  Settle settle_;
  diskcontrol::Descriptor wake_;  // written to end the thread
  std::list<Connection> connections_;
  std::thread thread_;
};

}  // namespace roamstead::diskfs
