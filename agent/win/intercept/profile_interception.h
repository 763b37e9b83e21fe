// One user's profile, served to his programs from log-on to log-off: state map, announcing volume, answers.
//
//   auto served = ProfileInterception::open(config, volume);
//   session = Session::start(..., served->volume(), ...);
//   served->begin(*session);        // from now on programs wait for what they touch
//   served->end();                  // before the session goes
//
// PipeServer finds it by interception(). Between open() and begin() programs that are hooked are told to try
// again later: the user's profile is on its way.
#pragma once

#include "agent/core/announcing_volume.h"
#include "agent/core/interception.h"
#include "agent/core/session.h"
#include "agent/core/worker.h"
#include "agent/win/intercept/map_sections.h"

namespace roamstead::agent {

class ProfileInterception {
 public:
  struct Config {
    std::string sid;                             // "S-1-5-21-…"
    std::string profile_folder;                  // as programs name it: "C:\Users\alice"
    std::string profile_root;                    // on the volume: "Users/alice"
    std::chrono::milliseconds patience{20'000};  // the loader's
  };
  // The volume must outlive this.
  static Result<std::unique_ptr<ProfileInterception>> open(const Config& config, ProfileVolume& volume);
  ~ProfileInterception() { end(); }

  ProfileVolume& volume() { return volume_; }
  // The session must live until end().
  void begin(Session& session);
  void end();
  std::shared_ptr<Interception> interception() const;  // null unless it has begun

 private:
  struct Map {
    explicit Map(const std::string& sid) : sections(sid) {}
    MapSections sections;
    std::unique_ptr<StateMapWriter> writer;
  };
  ProfileInterception(Config config, ProfileVolume& volume)
      : config_(std::move(config)), volume_(volume, config_.profile_root) {}
  void watch(Session& session, const std::shared_ptr<Interception>& interception);

  const Config config_;
  AnnouncingVolume volume_;
  std::shared_ptr<Map> map_;
  mutable std::mutex mutex_;
  std::shared_ptr<Interception> interception_;
  Worker watcher_;
};

// The names by which programs reach a folder: of its drive, its volume and its device, its short name.
std::vector<std::u16string> native_names(const std::string& folder);

}  // namespace roamstead::agent
