// The commit record: the last object of every batch, which makes the objects before it a version. Sealed
// under the profile's key like all structure.
#pragma once

#include "coordinator/repository/pack.h"
#include "coordinator/repository/repository.h"

namespace roamstead::repository {

struct CommitRecord {
  ProfileId profile;
  VersionInfo info;
  Bytes root;  // the root directory's node (node.h)
  // When this record was written, the writer knew everything before this position of its own epoch to be
  // durable: damage there is not a torn tail. Zero epoch: nothing was.
  PackNumber durable_pack;
  std::uint64_t durable_bytes = 0;
};

// Held-back items beyond what fits are replaced by one that tells their number.
Bytes encode_commit_record(CommitRecord record);
Result<CommitRecord> parse_commit_record(ByteView bytes);

}  // namespace roamstead::repository
