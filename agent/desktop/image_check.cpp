#include "agent/desktop/image_check.h"

namespace roamstead::agent {
namespace {

std::string list_of(const std::vector<std::string>& names) {
  constexpr std::size_t kMost = 5;
  std::string text;
  for (std::size_t at = 0; at < names.size() && at < kMost; ++at) text += (at == 0 ? "" : ", ") + names[at];
  if (names.size() > kMost) text += " and " + std::to_string(names.size() - kMost) + " more";
  return text;
}

class Report {
 public:
  // A fact that is to be false.
  void refuse(const std::string& what, const std::optional<bool>& fact, const std::string& good,
              const std::string& bad) {
    if (!fact) return unknown(what);
    add(*fact ? FindingLevel::bad : FindingLevel::good, what, *fact ? bad : good);
  }
  void refuse(const std::string& what, const std::optional<std::vector<std::string>>& fact,
              const std::string& good, const std::string& bad) {
    if (!fact) return unknown(what);
    const bool none = fact->empty();
    add(none ? FindingLevel::good : FindingLevel::bad, what, none ? good : bad + ": " + list_of(*fact));
  }
  void add(FindingLevel level, const std::string& what, const std::string& text) {
    findings.push_back({level, what, text});
  }
  void unknown(const std::string& what) {
    add(FindingLevel::note, what, "could not be found out; run this as an administrator, on Windows");
  }
  std::vector<Finding> findings;
};

}  // namespace

std::vector<Finding> check_image(const ImageFacts& facts) {
  Report report;
  report.refuse("fast startup", facts.fast_startup, "is off",
                "is on: shutting down leaves the volume in use; run 'powercfg /hibernate off'");
  report.refuse("hibernation file", facts.hibernation_file, "is not there",
                "is there: clones would wake up from it; run 'powercfg /hibernate off'");
  report.refuse("pending renames", facts.pending_renames, "none",
                "the next start would move or delete files on every clone; restart once");
  report.refuse("updates", facts.reboot_pending, "no restart is pending",
                "a restart is pending; restart once");
  report.refuse("volume", facts.volume_dirty, "is clean", "is dirty: run 'chkdsk /f', restart");
  if (!facts.san_policy) {
    report.unknown("SAN policy");
  } else if (*facts.san_policy == 1) {
    report.add(FindingLevel::good, "SAN policy", "new disks come online");
  } else {
    report.add(
        FindingLevel::note, "SAN policy",
        "is " + std::to_string(*facts.san_policy) +
            ": user data disks may stay offline; run 'diskpart' and 'san policy=OnlineAll' if there are any");
  }
  report.refuse("identity", facts.identity, "is not in the image",
                "is in the image: every clone would be this desktop; run 'roamstead-agent generalize'");
  report.refuse("sessions", facts.left_of_sessions, "nothing is left of them",
                "something is left of them; run 'roamstead-agent generalize'");
  report.refuse("profiles", facts.profiles, "none is registered",
                "users' profiles are registered; run 'roamstead-agent generalize'");
  if (!facts.service) {
    report.unknown("service");
  } else {
    const bool there = *facts.service != "absent";
    report.add(there ? FindingLevel::good : FindingLevel::bad, "service",
               there ? "is installed" : "is not installed; run 'roamstead-agent install'");
  }
  return report.findings;
}

}  // namespace roamstead::agent
