#include "tests/flow/flow_desktop.h"

#include "common/ntfs3g/format.h"
#include "common/volume/partition.h"

namespace roamstead::flow {

namespace {
constexpr std::chrono::milliseconds kPatience{120'000};
}

Result<void> make_golden_disk(const std::string& path, std::uint64_t size_bytes, vdisk::Format format) {
  auto& files = os::real_file_system();
  RS_CHECK(vdisk::create_disk(files, path, size_bytes, {.format = format}));
  RS_TRY(auto disk, vdisk::Disk::open(files, path, vdisk::Access::write));
  RS_TRY(const auto partition, volume::create_single_partition(*disk, "Windows"));
  vdisk::SubDevice device(*disk, partition.offset_bytes, partition.size_bytes, path + " partition 1");
  RS_CHECK(ntfs3g::format_ntfs(device, "Windows", partition.offset_bytes));
  RS_TRY(auto volume, ntfs3g::LibraryVolume::mount(device, ntfs3g::Access::write));
  // Windows marks the root as handing its access entries down, so that what is made below shows which of its
  // own entries are inherited; mkntfs does not.
  constexpr std::uint16_t kAutoInherited = 0x0400;
  RS_TRY(auto security, volume->security(ntfs3g::LibraryVolume::root()));
  if (security.size() < 20) return fail(ErrorCode::internal, "the root has no security descriptor");
  store_le<std::uint16_t>(security, 2, load_le<std::uint16_t>(security, 2) | kAutoInherited);
  RS_CHECK(volume->set_security(ntfs3g::LibraryVolume::root(), security));
  RS_CHECK(volume->make_directories("Users/Public"));
  RS_CHECK(volume->make_directories("ProgramData"));
  RS_CHECK(volume->unmount());
  return disk->flush();
}

Result<std::unique_ptr<FlowDesktop>> FlowDesktop::power_on(const std::string& disk_path,
                                                           const wire::TlsLinkOptions& link) {
  std::unique_ptr<FlowDesktop> desktop(new FlowDesktop());
  desktop->disk_path_ = disk_path;
  RS_TRY(desktop->disk_, vdisk::Disk::open(os::real_file_system(), disk_path, vdisk::Access::write));
  RS_TRY(const auto table, volume::read_partition_table(*desktop->disk_));
  if (table.partitions.empty()) return fail(ErrorCode::corrupt, disk_path + ": no partition");
  auto& first = table.partitions.front();
  desktop->partition_ = std::make_unique<vdisk::SubDevice>(*desktop->disk_, first.offset_bytes,
                                                           first.size_bytes, disk_path + " partition 1");
  RS_TRY(desktop->volume_, ntfs3g::LibraryVolume::mount(*desktop->partition_, ntfs3g::Access::write));
  desktop->profile_volume_ = std::make_unique<agent::LibraryProfileVolume>(*desktop->volume_);
  agent::DiskChainSnapshots::Options options;
  options.provenance_path = std::string(kAgentRoot) + "/provenance.journal";
  options.map_path = disk_path + ".clusters.map";
  desktop->snapshots_ = std::make_unique<agent::DiskChainSnapshots>(os::real_file_system(), *desktop->disk_,
                                                                    *desktop->volume_, options);
  RS_TRY(desktop->link_, wire::TlsLink::create(link));
  return desktop;
}

FlowDesktop::~FlowDesktop() {
  files_.reset();
  session_.reset();
}

Result<void> FlowDesktop::log_in(const std::string& profile) {
  agent::SessionConfig config;
  config.profile = profile;
  config.profile_root = kProfileRoot;
  config.agent_root = kAgentRoot;
  config.change_log_path = disk_path_ + ".change.log";
  config.snapshot_interval = std::chrono::milliseconds(0);  // only on request
  RS_TRY(session_, agent::Session::start(config, *link_, *profile_volume_, *snapshots_));
  files_ = std::make_unique<agent::ProfileFiles>(*session_, *profile_volume_);
  return {};
}

Result<agent::LogoutReport> FlowDesktop::log_out() {
  files_.reset();
  RS_TRY(auto report, session_->logout(kPatience));
  session_.reset();
  return report;
}

Result<void> FlowDesktop::fill(agent::FillLevel level) {
  session_->fill().start(level);
  if (session_->fill().wait(kPatience)) return {};
  return fail(ErrorCode::timeout,
              "not everything could be loaded: " + session_->fill().progress().last_error);
}

Result<agent::SnapshotResult> FlowDesktop::snapshot() { return session_->snapshot(true, kPatience); }

Result<void> FlowDesktop::die() {
  files_.reset();
  session_.reset();
  return volume_->unmount();
}

}  // namespace roamstead::flow
