// A hive on a test desktop as an agent keeps it: the live hive that programs change, grown by subtree from a
// version's keys, and the base hive beside the journal.
#pragma once

#include <random>
#include <set>
#include <string>

#include "common/extract/base_hive.h"
#include "common/extract/test_desktop.h"
#include "common/extract/test_keys.h"

namespace roamstead::extract {

// An empty live hive, for those that a program makes or an agent publishes.
Bytes empty_live_hive();
// Over whatever is there.
void put_file(support::NtfsImage& volume, const std::string& path, ByteView bytes);

class TestHive {
 public:
  // `path` in the profile. `base_path` on the volume; "": made on this desktop, nothing is ever loaded.
  // `version` must outlive this object.
  TestHive(TestDesktop& desktop, const std::string& path, const TestKeys& version, std::string base_path);

  // What programs see and change.
  registry::Editor& live() { return live_; }
  TestKeys live_keys() const { return TestKeys::of(live_.hive()); }
  bool has(const std::string& key) const;
  void set(const std::string& key, const std::string& name, ByteView data, std::uint32_t type = 3);
  void remove(const std::string& key);
  void remove(const std::string& key, const std::string& name);
  void secure(const std::string& key, unsigned control);

  // The agent's: into the live hive, where existing keys and values win, then (load_base) into the base hive.
  void load(const std::string& key, profile::KeyScope scope);
  void load_base();
  bool complete(const std::string& key) const;  // in the base hive

  // Writes both onto the volume. With `logged` the live hive's file stays as it was, dirty, and a log holds
  // what changed.
  void save(bool logged = false);

 private:
  std::uint32_t cell(const std::string& key) const;
  void load_into_live(const profile::KeyState& state);

  TestDesktop& desktop_;
  std::string live_path_, base_path_;
  const TestKeys& version_;
  registry::Editor live_, base_;
  std::vector<profile::KeyState> pending_;  // in the live hive, not yet in the base hive
  std::set<std::string> stubs_;             // upcased: made by the agent, known by their entry at most
  std::set<std::string> secured_;           // by programs
  std::set<std::string> removed_;           // keys, and values as "key\\\\name"
  Bytes on_volume_;                         // the live hive's file when it was last clean
  std::uint32_t sequence_ = 100;
};

}  // namespace roamstead::extract
