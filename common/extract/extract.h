// Delta to batch: what changed in a profile between two snapshots of the volume it lies on.
#pragma once

#include <memory>
#include <string>

#include "common/extract/provenance.h"
#include "common/ntfs/volume.h"
#include "common/profile/batch.h"
#include "common/vdisk/disk.h"

namespace roamstead::extract {

struct Request {
  std::string frozen_path;   // the chain up to the snapshot
  Guid below_id;             // DataWriteGuid of the layer the previous batch was cut from; zero: the session's first batch
  std::uint32_t partition = 0;  // number; 0: the first NTFS partition (or the bare disk)
  // Where the agent keeps the journal on the volume.
  std::string provenance_path = "ProgramData/Roamstead/provenance.journal";
  // Overrides the journal's profile root, and works without a journal (then everything is content).
  std::string profile_root;
};

struct Statistics {
  std::uint64_t delta_bytes = 0;      // present in the layers between
  std::uint64_t changed_bytes = 0;    // of them, really different
  std::uint64_t candidate_records = 0;
  std::uint64_t files_examined = 0;
  double seconds = 0;
};

// A batch with access to its content, which is read from the frozen layer on demand: nothing is copied. Keeps the chain
// open; the layer must stay until the batch is acknowledged. Its ContentSource is thread-safe.
class Extraction {
 public:
  virtual ~Extraction() = default;
  virtual const profile::Batch& batch() const = 0;   // incarnation and ordinal are for the caller to fill in
  virtual profile::ContentSource& content() = 0;
  virtual const Statistics& statistics() const = 0;
  virtual const std::optional<JournalHeader>& journal() const = 0;
};

Result<std::unique_ptr<Extraction>> extract(os::FileSystem& files, const Request& request);

}  // namespace roamstead::extract
