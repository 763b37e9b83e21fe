// Cloud Files for one session of the agent: folders of the profile become sync roots, and what is not loaded
// in them placeholders, from the log-on to the log-off.
#pragma once

#include "agent/core/cloud_files.h"
#include "agent/core/profile_volume.h"

namespace roamstead::agent {

class Loader;
class LoaderCloudSource;

struct CloudSessionConfig {
  std::string profile_root;  // on the volume: "Users/alice"
  Guid session;
  std::vector<std::string> folders;  // of the profile, "Documents"
  std::function<bool(const std::string& process)> excludes;
  std::function<void()> note_change;  // a program may have changed something
  CloudFilesOptions options;          // but the identity
};

// Thread-safe; begin() and end() are called once.
class CloudSession {
 public:
  // All must outlive it.
  CloudSession(Loader& loader, ProfileVolume& volume, CloudFilesPort& port, CloudSessionConfig config);
  ~CloudSession();  // stops

  // Before programs use the profile, or once there is a provider again. Folders that cannot be roots are left
  // to the other ways of loading, each with its reason in problems(). Fails where none could be one: then
  // nothing has changed.
  Result<void> begin();
  // Before the loader goes, where this lives longer. What waits is refused, the roots stay for the next one.
  void stop();
  // After everything was saved: placeholders are of no use any more, and nobody asks for them.
  void end();

  std::vector<std::string> problems() const;
  CloudFilesStatus status() const { return files_->status(); }

 private:
  Result<void> add_folder(const profile::ProfilePath& folder);
  Result<void> adopt(const profile::ProfilePath& folder);
  std::string on_volume(const profile::ProfilePath& path) const;

  Loader& loader_;
  ProfileVolume& volume_;
  const CloudSessionConfig config_;
  std::unique_ptr<LoaderCloudSource> source_;
  std::unique_ptr<CloudFiles> files_;
  std::vector<profile::ProfilePath> roots_;
  mutable std::mutex mutex_;
  std::vector<std::string> problems_;
  bool stopped_ = false;
};

}  // namespace roamstead::agent
