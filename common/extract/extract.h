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
  std::string frozen_path;  // the chain up to the snapshot
  Guid below_id;  // DataWriteGuid of the layer the previous batch was cut from; zero: the session's first
                  // batch
  std::uint32_t partition = 0;  // number; 0: the first NTFS partition (or the bare disk)
  // Where the agent keeps the journal on the volume; base hives (base_hive.h) lie beside it.
  std::string provenance_path = "ProgramData/Roamstead/provenance.journal";
  // Overrides the journal's profile root, and works without a journal (then everything is content).
  std::string profile_root;
  // Whether the guest prepared the snapshot. If not, names that are in the MFT and not in the directory are
  // held back.
  bool quiesced = true;
  // Nothing follows: what rules keep for log-out is part of this one, though the session did not come to it.
  bool ended = false;
  std::uint64_t taken_100ns = 0;  // when the snapshot was taken; 0: now
};

struct Statistics {
  std::uint64_t delta_bytes = 0;  // present in the layers between
  std::uint64_t changed_bytes =
      0;  // of them, really different (the same where there is nothing to compare with)
  std::uint64_t candidate_records = 0;
  std::uint64_t files_examined = 0;
  bool map_built = false;  // by a pass over the MFT; otherwise the map of an earlier extraction went on
  bool journal_continued = false;  // the provenance journal goes on where the one below ended
  double seconds = 0;
};

// Where the content of a batch's record lies in the frozen layer (of a PutKey: the hive's file, whose logs
// lie beside it); all zero for records without content. A
// change log stores them with the batch (one for each record) and reads the content again after a restart by
// open_content.
struct Locator {
  std::uint64_t record = 0;
  std::uint16_t sequence = 0;

  bool operator==(const Locator&) const = default;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(record, sequence);
  }
};

// A batch with access to its content, which is read from the frozen layer on demand: nothing is copied. Keeps
// the chain open; the layer must stay until the batch is acknowledged. Its ContentSource is thread-safe.
class Extraction {
 public:
  virtual ~Extraction() = default;
  virtual const profile::Batch& batch() const = 0;  // incarnation and ordinal are for the caller to fill in
  virtual const std::vector<Locator>& locators() const = 0;  // as many as the batch has records
  virtual profile::ContentSource& content() = 0;
  virtual const Statistics& statistics() const = 0;
  virtual const std::optional<JournalHeader>& journal() const = 0;
};

struct ExtractorOptions {
  // The map's file, for this volume alone; can be deleted at any time. "": the map lives as long as the
  // extractor, in memory. While another process has the file open, the same.
  std::string map_path;
  // Keeps the provenance journal, as parsed, in memory between extractions, so that each reads only what was
  // appended to it.
  bool keep_journal = false;
};

// Cuts batch after batch from snapshots of one volume. It keeps the map from clusters to files (in a file,
// if it gets a place for it), so that an extraction costs what changed and not what there is. Any request can
// be made of it at any time: what the map is not of, it is made of again. Between extractions it keeps no
// layer open. Thread-safe; extractions take their turn.
class Extractor {
 public:
  using Options = ExtractorOptions;
  // `files` must outlive it.
  explicit Extractor(os::FileSystem& files, Options options = {});
  ~Extractor();

  Result<std::unique_ptr<Extraction>> extract(const Request& request);

 private:
  class Work;
  const std::unique_ptr<Work> work_;
};

// Once, without keeping anything.
Result<std::unique_ptr<Extraction>> extract(os::FileSystem& files, const Request& request);

// The content of a batch cut earlier. `frozen_path` and `partition` as they were in the request; refused with
// ErrorCode::stale when the layer at that path is not batch.snapshot. The result is thread-safe and keeps the
// chain open.
Result<std::unique_ptr<profile::ContentSource>> open_content(os::FileSystem& files,
                                                             const std::string& frozen_path,
                                                             std::uint32_t partition,
                                                             const std::vector<Locator>& locators,
                                                             const profile::Batch& batch);

}  // namespace roamstead::extract
