// Whether a machine is fit to become a golden image: decided here from what the platform found out.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace roamstead::agent {

// What could not be found out is not here, and is reported as such.
struct ImageFacts {
  std::optional<bool> fast_startup;                         // hibernates its kernel when it is shut down
  std::optional<bool> hibernation_file;                     // hiberfil.sys is there
  std::optional<std::vector<std::string>> pending_renames;  // files that the next start moves or deletes
  std::optional<bool> reboot_pending;                       // of updates
  std::optional<bool> volume_dirty;
  std::optional<unsigned> san_policy;  // of new disks: 1 online, 2 shared ones offline, 3, 4 offline
  std::optional<bool> identity;        // a certificate of this very machine
  std::optional<std::vector<std::string>> left_of_sessions;  // journal, change log, staged items
  std::optional<std::vector<std::string>> profiles;          // entries of ours in ProfileList
  std::optional<std::string> service;                        // "running", "stopped", "absent"
};

enum class FindingLevel { good, note, bad };

struct Finding {
  FindingLevel level = FindingLevel::good;
  std::string what;  // "fast startup"
  std::string text;  // what it is and what to do
};

// In the order of the facts; an image with a bad one is not to be used.
std::vector<Finding> check_image(const ImageFacts& facts);

}  // namespace roamstead::agent
