// Which of a profile's versions lie beside the head line, and what has become of them.
#pragma once

#include <vector>

#include "coordinator/repository/repository.h"

namespace roamstead::repository {

struct Fork {
  std::uint64_t version = 0;   // its last one: what the fork is called by
  std::uint64_t base = 0;      // what it left the head line at, or what was merged or discarded of it before
  std::uint64_t versions = 0;  // in a row, from after the base
  std::uint64_t records = 0;   // of all of them
  std::string desktop;         // of the last one, as are session and time
  Guid session;
  std::uint64_t committed_100ns = 0;
  std::uint64_t merged = 0;     // the version by which it came to the head line; 0: not
  std::uint64_t discarded = 0;  // the mark; 0: not

  bool is_open() const { return merged == 0 && discarded == 0; }
};

// In the order of their last versions, of all versions of a profile in order. A fork's versions that others
// build on are no forks of their own.
std::vector<Fork> forks_of(const std::vector<VersionInfo>& versions);

// A fork that can be merged or discarded, by any of its versions. ErrorCode::not_found, invalid_argument (on
// the head line, or a mark), conflict (merged or discarded already; says by which version).
Result<Fork> find_fork(const std::vector<VersionInfo>& versions, std::uint64_t version);

}  // namespace roamstead::repository
