// What desktops ask of who makes snapshots of their disks on the host: implemented by HostSnapshots, so that
// the server knows nothing of disks and machines.
#pragma once

#include <string>

#include "common/wire/snapshot_link.h"

namespace roamstead::server {

// Thread-safe. The desktop's name comes from its certificate.
class SnapshotPort {
 public:
  virtual ~SnapshotPort() = default;
  virtual Result<wire::SnapshotOffer> offer(const std::string& desktop,
                                            const wire::SnapshotOfferRequest& request) = 0;
  // Takes as long as the hypervisor does.
  virtual Result<wire::FrozenReply> quiet(const std::string& desktop, const wire::QuietRequest& request) = 0;
  virtual Result<wire::SnapshotState> held(const std::string& desktop, const wire::HeldRequest& request) = 0;
};

}  // namespace roamstead::server
