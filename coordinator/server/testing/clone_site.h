// A pool with one desktop, whose disk a test writes to as the desktop would.
#pragma once

#include <thread>

#include "common/extract/provenance.h"
#include "common/ntfs3g/library_volume.h"
#include "coordinator/compose/windows_volume.h"
#include "coordinator/server/testing/pool_site.h"
#include "coordinator/server/testing/sample_batch.h"

namespace roamstead::server {

inline constexpr const char* kRoot = "Users/alice";
inline constexpr const char* kClone = "SALES-01";

inline std::string file_of(const std::string& disk, const std::string& path) {
  const auto windows = support::must(compose::WindowsDisk::open(os::real_file_system(), disk));
  const auto found = windows->volume().lookup(path);
  if (!found) return "";
  const auto record = support::must(windows->volume().record(found->record));
  for (const auto& stream : record.streams)
    if (stream.name.empty()) {
      Bytes content(static_cast<std::size_t>(stream.size_bytes));
      support::must(windows->volume().read(stream, 0, content));
      return std::string(as_text(content));
    }
  return "";
}

inline void write_on(const std::string& disk, const std::string& path, ByteView content) {
  auto& files = os::real_file_system();
  const auto place = support::must(compose::WindowsDisk::open(files, disk))->place();
  const auto opened = support::must(vdisk::Disk::open(files, disk, vdisk::Access::write));
  vdisk::SubDevice device(*opened, place.offset_bytes, place.size_bytes, disk);
  const auto volume = support::must(ntfs3g::LibraryVolume::mount(device, ntfs3g::Access::write));
  const auto directory = support::must(volume->make_directories(os::parent_directory(path)));
  auto file = volume->find_child(directory, os::base_name(path));
  if (!file) file = volume->create(directory, os::base_name(path), ntfs3g::ItemKind::file);
  support::must(volume->truncate(support::must(file), "", 0));
  support::must(volume->write(support::must(file), "", 0, content));
  support::must(volume->unmount());
  support::must(opened->flush());
}

struct CloneSite : PoolSite {
  std::string active = disk("SALES-01.vhdx");

  // `prepare` is called before the desktop is made.
  explicit CloneSite(const std::string& section = "", const std::function<void(PoolSite&)>& prepare = {}) {
    if (prepare) prepare(*this);
    must_do(request("pool.create", section, 1));
    must_do({{"command", "assignment.add"}, {"desktop", kClone}, {"profile", "alice"}});
  }
  nlohmann::json must_do(const nlohmann::json& wanted) { return PoolSite::must(wanted); }
  // With what the clone's disk holds now.
  wire::TlsLinkOptions identity() {
    const auto folder_of = std::string("ProgramData/Roamstead/identity/");
    const auto pem = file_of(active, folder_of + "identity.pem");
    const auto certificate = pem.find("-----BEGIN CERTIFICATE");
    wire::TlsLinkOptions options;
    options.key_pem = pem.substr(0, certificate);
    options.certificate_pem = pem.substr(certificate);
    options.ca_pem = file_of(active, folder_of + "ca.pem");
    options.address = coordinator->address();
    return options;
  }
  // A session with a file that was not sent, as its disk would have it.
  wire::OpenReply work(wire::TlsLink& link) {
    const auto session = support::must(link.open({"alice", kRoot, {}}));
    write_on(active, "ProgramData/Roamstead/provenance.journal",
             extract::encode_header(
                 {session.session, "alice", session.version, kRoot, "ProgramData/Roamstead/staging"}));
    write_on(active, std::string(kRoot) + "/unsaved.txt", as_bytes("not sent"));
    return session;
  }
  void wait_until_gone() {
    while (coordinator->sessions().is_connected(kClone))
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  std::string saved_file(std::uint64_t version, const std::string& path) {
    const auto profile = support::must(coordinator->repository().find_profile("alice"));
    const auto tree = support::must(coordinator->repository().tree(profile.id, version));
    Bytes content(8);
    support::must(tree->read(path_of(path), "", 0, content));
    return std::string(as_text(content));
  }
  bool has_file(std::uint64_t version, const std::string& path) {
    const auto profile = support::must(coordinator->repository().find_profile("alice"));
    const auto tree = support::must(coordinator->repository().tree(profile.id, version));
    return tree->lookup(path_of(path)).has_value();
  }
  std::size_t versions() {
    return support::must(coordinator->repository().versions(
                             support::must(coordinator->repository().find_profile("alice")).id))
        .size();
  }
};

}  // namespace roamstead::server
