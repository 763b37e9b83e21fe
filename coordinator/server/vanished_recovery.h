// Desktops that vanished and whose machines are off: what their sessions did not send is read from their
// disks and kept beside the head, without anybody asking for it.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <set>
#include <thread>

#include "coordinator/server/commands.h"

namespace roamstead::server {

// Only of clones whose hypervisor says that they are off: of others nobody knows here whether they still
// write (`session recover-layer` is for those).
class VanishedRecovery {
 public:
  // Looks at this interval, on a thread of its own, until it is destroyed. What the context refers to
  // outlives it.
  VanishedRecovery(std::function<CommandContext()> context, std::chrono::milliseconds interval);
  ~VanishedRecovery();

 private:
  void run(std::chrono::milliseconds interval);
  void look();
  Result<void> recover(const CommandContext& context, const SessionInfo& session);

  const std::function<CommandContext()> context_;
  std::set<Guid> failed_;  // sessions of which it was said that they cannot be saved; of the thread
  std::mutex mutex_;
  std::condition_variable ending_;
  bool over_ = false;
  std::thread thread_;
};

}  // namespace roamstead::server
