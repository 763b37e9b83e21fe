// The profile's hives in the flow: generated, imported, edited as programs edit them, and compared.
#pragma once

#include <map>

#include "agent/testing/hive_model.h"
#include "coordinator/repository/repository.h"
#include "tests/flow/flow_desktop.h"
#include "tests/flow/generated_profile.h"

namespace roamstead::flow {

// Top keys of each hive that nobody touches until everything is loaded.
inline constexpr const char* kUntouchedKey = "Software\\Vendor1";

class FlowRegistry {
 public:
  explicit FlowRegistry(Random& random);

  std::uint64_t keys() const;
  // Makes the hives in a profile that has none.
  Result<repository::VersionInfo> import(repository::Repository& repository,
                                         const std::string& profile) const;

  // Programs that have a hive of their own in memory: what they touch is loaded first, then the file is read,
  // changed and written again.
  Result<void> edit(FlowDesktop& desktop, Random& random, int round);
  // Every hive on a desktop where all is loaded, with what it ought to hold.
  Result<std::vector<std::string>> compare(FlowDesktop& desktop) const;

 private:
  Result<void> edit_hive(FlowDesktop& desktop, const profile::ProfilePath& path, support::KeyModel& model,
                         Random& random, int round);

  std::map<profile::ProfilePath, support::KeyModel> hives_;
};

}  // namespace roamstead::flow
