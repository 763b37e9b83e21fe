// A profile served to unmodified programs: a FUSE file system over the profile's directory on the desktop's
// volume.
//
// Every access goes to the volume; directories are populated when first looked into, content is loaded when
// first read or changed, through the session's loader. We are the volume's only writer, so the kernel may
// cache what it saw.
#pragma once

#include <memory>
#include <string>

#include "agent/core/session.h"
#include "agent/fuse/posix_volume.h"

namespace roamstead::agent {

class ProfileMount {
 public:
  // Mounts; requests are served once run() is called. `note_change` is called whenever a program changes
  // something.
  static Result<std::unique_ptr<ProfileMount>> mount(Loader& loader, PosixVolume& volume,
                                                     const std::string& profile_root,
                                                     const std::string& mount_point,
                                                     std::function<void()> note_change);
  ~ProfileMount();

  // Starts the threads that serve requests.
  void start();
  // ErrorCode::busy while programs have files open below; then nothing changes. Returns when all requests are
  // answered.
  Result<void> unmount();

  class Impl;

 private:
  explicit ProfileMount(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace roamstead::agent
