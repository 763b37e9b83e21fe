// What the run knows about profiles: the whole content of every state that a desktop has tried to save.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include "coordinator/repository/repository.h"

namespace roamstead::chaos {

// Files by path ("d1/f7"). One of them, kStamp, says which state this is.
using Content = std::map<std::string, std::string>;
inline constexpr const char* kStamp = "stamp.txt";

struct Acknowledged {
  std::string profile;
  std::uint64_t version = 0;
  bool forked = false;
  std::string stamp;
};

// A broken promise: ends the run.
class Broken : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Thread-safe.
class ProfileStates {
 public:
  // Before it is sent: whether or not the answer comes, a version may have it.
  void add(const std::string& profile, Content content);
  // Throws Broken when no desktop ever had such a state.
  std::shared_ptr<const Content> find(const std::string& profile, const std::string& stamp) const;
  void acknowledge(Acknowledged what);
  std::vector<Acknowledged> acknowledged() const;

 private:
  mutable std::mutex mutex_;
  std::map<std::pair<std::string, std::string>, std::shared_ptr<const Content>> states_;
  std::vector<Acknowledged> acknowledged_;
};

// All files of a version, read back.
Content read_version(const repository::Tree& tree);

// Every acknowledged batch is there, on the head line or beside it as was said; every version holds, byte for
// byte, a state that a desktop had; the repository's own check finds nothing. Throws Broken.
void check_everything(const repository::Repository& repository, const std::vector<std::string>& profiles,
                      const ProfileStates& states);

}  // namespace roamstead::chaos
