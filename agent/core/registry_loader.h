// Brings the profile's hives to the desktop key by key, as loader.h brings its files.
//
// A hive is published with its root's values and its top keys by name. A key that is not loaded exists in the
// hive that programs use, with its class and security but empty; loading it puts its values there and its
// subkeys below it. Which keys are loaded, and what they were, the base hive tells
// (common/extract/base_hive.h, with the laws); it and the live hive are all the state there is, so a process
// that is killed leaves nothing to be remembered. Keys are loaded from above: a key's parent is complete
// before it is.
//
// What programs made, changed or deleted in the live hive stays: their values win over the version's; a key
// that they deleted does not come back when something below or above it is loaded.
//
// Thread-safe. Two threads that want the same key fetch it once.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <shared_mutex>

#include "agent/core/activity.h"
#include "agent/core/gate.h"
#include "agent/core/loaded_keys.h"
#include "agent/core/profile_volume.h"
#include "agent/core/registry_port.h"
#include "common/extract/base_hive.h"
#include "common/extract/provenance.h"

namespace roamstead::agent {

struct RegistryLoaderOptions {
  std::chrono::milliseconds patience{20'000};
  std::uint64_t write_bytes = 1 << 20;  // filling writes a hive when it has fetched so much
};

struct RegistryProgress {
  std::uint64_t hives = 0;
  std::uint64_t keys_loaded = 0;  // complete on this desktop, by this process or one before
  std::uint64_t keys_known = 0;   // by name only
  std::uint64_t fetches = 0;
  std::uint64_t fetched_bytes = 0;
};

class RegistryLoader {
 public:
  // Where the hives lie on the volume, and whose they are.
  struct Place {
    Guid session;              // public id
    std::string profile_root;  // on the volume
    std::string journal_path;  // on the volume; the base hives lie beside it
  };
  // Runs `work` while no program has the file at that path of the volume open, nor opens it; ErrorCode::busy
  // while one has.
  using Exclusively =
      std::function<Result<void>(const std::string& path, const std::function<Result<void>()>& work)>;

  RegistryLoader(wire::CoordinatorLink& link, const Guid& session_secret, ProfileVolume& volume,
                 RegistryPort& port, Gate& gate, Activity& activity, Place place,
                 RegistryLoaderOptions options = {});

  // Published by a process before this one, by their paths in the version.
  Result<void> recover(const std::map<profile::ProfilePath, profile::Entry>& hives);
  // A hive file at `staged`, with the root complete.
  Result<extract::ItemIdentity> stage(const profile::ProfilePath& hive, const profile::Entry& entry,
                                      const std::string& staged);
  // For a hive that a process before this one staged or published: what published() needs to be at hand.
  Result<void> prepare(const profile::ProfilePath& hive, const profile::Entry& entry);
  // The hive has its name: its base hive is made, if it is not there. The caller passes the gate.
  Result<void> published(const profile::ProfilePath& hive);
  // Loads again what a process before this one had put into a live hive but not into its base hive: programs
  // may delete it from now on, and that must be seen.
  Result<void> finish_interrupted();

  // The key is complete in the live hive (or is not in the version, or was deleted here); with `subtree`
  // everything below it too. ErrorCode::not_found when there is no such hive; unavailable, timeout, busy.
  Result<void> load(const profile::ProfilePath& hive, const profile::KeyPath& key, bool subtree);
  // Loads some of what is left, at most about write_bytes; less when `go_on` says false. Whether anything was
  // left.
  Result<bool> fill(const profile::ProfilePath& hive, const std::function<bool()>& go_on);

  std::vector<profile::ProfilePath> hives() const;
  bool is_loaded(const profile::ProfilePath& hive, const profile::KeyPath& key) const;
  RegistryProgress progress() const;
  // Who serves the volume to programs; {} when that ends (waits for what is under way).
  void set_exclusively(Exclusively exclusively);

 private:
  struct State;

  std::shared_ptr<State> find(const profile::ProfilePath& hive) const;
  std::shared_ptr<State> add(const profile::ProfilePath& hive, const profile::Entry& entry);
  Result<bool> open_base(State& state);
  // The first key on the way to `key` that is not complete; nothing when all are, or the rest is not the
  // version's.
  Result<std::optional<profile::KeyPath>> missing_on_the_way(State& state, const profile::KeyPath& key);
  Result<std::vector<profile::KeyPath>> placeholders(State& state, const profile::KeyPath& top);
  Result<void> load_key(State& state, const profile::KeyPath& key);
  Result<bool> bring(State& state, const profile::KeyPath& top, const std::function<bool()>& go_on);
  Result<void> bring_marked(State& state, std::vector<profile::KeyPath>& wanted,
                            const std::function<bool()>& go_on);
  static Result<bool> has_content(MountedHive& live, const profile::KeyPath& path);
  Result<LoadedKeys> fetch(State& state, const profile::KeyPath& key, profile::KeyScope scope);
  Result<void> write(State& state, const std::vector<LoadedKeys>& loads);
  Result<void> write_once(State& state, const std::vector<LoadedKeys>& loads);
  Result<void> write_base(
      State& state, const std::vector<std::pair<const LoadedKeys*, std::vector<profile::KeyState>>>& parts);
  std::string live_path(const State& state) const;

  ProfileVolume& volume_;
  RegistryPort& port_;
  Gate& gate_;
  Activity& activity_;
  const Place place_;
  const RegistryLoaderOptions options_;
  KeySource source_;
  std::atomic<std::uint64_t> fetches_{0}, fetched_bytes_{0};

  mutable std::mutex mutex_;                             // the map
  std::map<std::string, std::shared_ptr<State>> hives_;  // by upcased path; shared with calls under way
  std::shared_mutex exclusively_mutex_;                  // shared while it is used
  Exclusively exclusively_;
};

}  // namespace roamstead::agent
