// Accounts that somebody else made: a directory with a blob for each desktop, NAME.txt, of `djoin /provision`
// or `net offlinejoin provision`.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "common/os/file.h"
#include "coordinator/join/odj_blob.h"

namespace roamstead::compose {

class JoinBlobs {
 public:
  // Looks at the blobs of all these machines, and refuses them as a whole, telling all that is wrong: files
  // that are missing (their names in any case), blobs of another machine, of different domains, that cannot
  // be read.
  static Result<JoinBlobs> open(os::FileSystem& files, const std::string& directory,
                                const std::vector<std::string>& machines);

  const join::Domain& domain() const { return domain_; }
  const join::Controller& controller() const { return controller_; }
  std::uint64_t most_bytes() const { return most_bytes_; }  // of one of them, in its binary form

  struct One {
    join::Membership membership;
    join::SecretBytes data;  // the binary form, as it was in the file
  };
  // Reads it again: they are not kept in memory. May be called by several threads at once.
  Result<One> read(os::FileSystem& files, const std::string& machine) const;

 private:
  JoinBlobs() = default;

  std::map<std::string, std::string> paths_;  // by the machine's name in lower case
  join::Domain domain_;
  join::Controller controller_;
  std::uint64_t most_bytes_ = 0;
};

}  // namespace roamstead::compose
