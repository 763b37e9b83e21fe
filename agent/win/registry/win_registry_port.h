// A user's hives on Windows: as files on the profile's volume until they are loaded, as keys below
// HKEY_USERS\<SID> and HKEY_USERS\<SID>_Classes while they are.
//
// Windows loads a user's hives at log-on and keeps their files to itself from then on, so a hive is made and
// prepared as a file, and edited through the registry once it is loaded. Its file is the registry's own then:
// saving is RegFlushKey.
//
// Under Wine, which has no hive files, this object does what the kernel does (agent/core/hive_transfer):
// load() puts what the file holds into the user's keys, flush() makes the file of the keys, unload() takes
// them away again. Keys' security, classes and times are not kept by Wine: the file's stay.
// "Software/Classes" of HKEY_CURRENT_USER is an ordinary key there, and stands for the second hive. Keys that
// Wine writes by itself
// ("Software/Wine", "Control Panel/International", "Keyboard Layout/Preload") stay the prefix's own. What
// programs changed since the last flush() is lost with the prefix's server, as with a Windows that is cut
// off.
#pragma once

#include <map>
#include <mutex>

#include "agent/core/hive_file_port.h"
#include "agent/core/hive_transfer.h"
#include "agent/win/registry/native_hive.h"

namespace roamstead::agent {

// Thread-safe.
class WinRegistryPort final : public RegistryPort {
 public:
  struct Options {
    // "S-1-5-21-…"; "": nobody has an account for it, so nobody loads the hives. Under Wine, which knows the
    // user of the process alone, that one's.
    std::string sid;
    std::string profile_root;  // on the volume
  };
  // The volume must outlive this and every hive.
  WinRegistryPort(Options options, ProfileVolume& volume, std::function<std::string()> new_staging_path);
  ~WinRegistryPort() override;

  Result<std::unique_ptr<MountedHive>> mount(const std::string& path, const profile::Entry& file) override;
  Result<std::unique_ptr<MountedHive>> make(const std::string& path, const profile::Entry& file,
                                            const profile::KeyEntry& root) override;
  Result<void> flush() override;

  // Loads what of the hives is on the volume and not loaded yet, as Windows does itself at a log-on. Under
  // Wine what is in the user's keys goes.
  Result<void> load();
  // At log-off: the last changes reach the files, and the hives that load() loaded are unloaded.
  // ErrorCode::busy while programs have keys open (on Windows).
  Result<void> unload();
  // What a hive that Windows has loaded holds, as a new file of this machine. `path` is the hive's on the
  // volume. ErrorCode::not_found when it is none that is loaded.
  Result<void> save(const std::string& path, const std::string& to);
  // Whether one of the hives is loaded, by whomever.
  Result<bool> is_loaded();

 private:
  struct Hive;

  Result<std::shared_ptr<Hive>> find_loaded(const std::string& path);
  Result<std::shared_ptr<Hive>> loaded(Hive& hive);
  Result<bool> is_mounted(const Hive& hive);
  Result<void> load_hive(Hive& hive);
  Result<void> unload_hive(Hive& hive);
  Result<void> flush_hive(Hive& hive);
  std::wstring windows_path(const Hive& hive) const;

  const Options options_;
  ProfileVolume& volume_;
  HiveFilePort files_;
  std::vector<std::shared_ptr<Hive>> hives_;  // those a profile has, in that order
};

}  // namespace roamstead::agent
