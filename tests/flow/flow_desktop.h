// A desktop in this process: a clone of the golden disk, its NTFS volume in the library, the agent's core on
// top.
#pragma once

#include <memory>
#include <string>

#include "agent/library/disk_chain_snapshots.h"
#include "agent/library/profile_files.h"
#include "common/wire/tls_link.h"

namespace roamstead::flow {

inline constexpr const char* kProfileRoot = "Users/alice";
inline constexpr const char* kAgentRoot = "ProgramData/Roamstead";

// A GPT disk with one NTFS partition.
Result<void> make_golden_disk(const std::string& path, std::uint64_t size_bytes, vdisk::Format format);

class FlowDesktop {
 public:
  // Powers on: opens the disk and mounts its volume.
  static Result<std::unique_ptr<FlowDesktop>> power_on(const std::string& disk_path,
                                                       const wire::TlsLinkOptions& link);
  ~FlowDesktop();

  Result<void> log_in(const std::string& profile);
  Result<agent::LogoutReport> log_out();
  // Loads all names, or all names and content, that are not loaded yet.
  Result<void> fill(agent::FillLevel level);
  Result<agent::SnapshotResult> snapshot();
  // Ends the session where it stands, without a word to the coordinator, and unmounts the volume.
  Result<void> die();

  agent::Session& session() { return *session_; }
  agent::ProfileFiles& files() { return *files_; }
  ntfs3g::LibraryVolume& volume() { return *volume_; }
  wire::CoordinatorLink& link() { return *link_; }
  vdisk::Disk& disk() { return *disk_; }

 private:
  FlowDesktop() = default;

  std::string disk_path_;
  std::unique_ptr<vdisk::Disk> disk_;
  std::unique_ptr<vdisk::SubDevice> partition_;
  std::unique_ptr<ntfs3g::LibraryVolume> volume_;
  std::unique_ptr<agent::LibraryProfileVolume> profile_volume_;
  std::unique_ptr<agent::DiskChainSnapshots> snapshots_;
  std::unique_ptr<wire::TlsLink> link_;
  std::unique_ptr<agent::Session> session_;
  std::unique_ptr<agent::ProfileFiles> files_;
};

}  // namespace roamstead::flow
