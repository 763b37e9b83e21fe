// The session's tree as batches left it, in a database in the desktop's state: what a scan compares with.
//
// It is derived: everything in it follows from the journal of provenance and from the batches cut. Each cut
// is one transaction and keeps what it changed apart until its batch is acknowledged, so that the tree is to
// be had as any of the latest cuts left it: a cut that the change log does not know of, since a crash came
// between, or took back again, is forgotten, and found again by the next scan.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "agent/scan/saved_item.h"
#include "common/os/file.h"
#include "common/profile/batch.h"

namespace roamstead::agent {

// A file beside the profile, or a hive in it, as it was copied when programs were held.
struct CopiedFile {
  std::string path;  // on the volume
  std::uint64_t record = 0;
  std::uint16_t sequence = 0;
  std::uint64_t size_bytes = 0, written_100ns = 0, changed_100ns = 0;
  std::string copy;  // name in the spool

  template <class Archive>
  void serialize(Archive& archive) {
    archive(path, record, sequence, size_bytes, written_100ns, changed_100ns, copy);
  }
};

struct CutFacts {
  Guid id;
  Guid session;
  std::uint64_t journal_bytes = 0;  // of the provenance that it was compared with
  std::vector<CopiedFile> hives;    // and the files of rules

  template <class Archive>
  void serialize(Archive& archive) {
    archive(id, session, journal_bytes, hives);
  }
};

// Not thread-safe.
class SavedTree {
 public:
  struct Change {
    std::uint64_t record = 0;
    std::optional<SavedItem> item;  // nothing: the tree no longer has it
    std::uint64_t fingerprint = 0;  // 0: to be looked at by the next scan, whatever it is
  };

  // Made when missing. ErrorCode::busy while another process has it open; ErrorCode::corrupt names it.
  static Result<std::unique_ptr<SavedTree>> open(os::FileSystem& files, const std::string& path);
  ~SavedTree();

  // The tree as the cut `id` left it; what was cut later is forgotten. A zero id: nothing was cut yet, and
  // whatever is here is of another session. ErrorCode::not_found when it is not known.
  Result<void> go_to(const Guid& id);
  const std::optional<CutFacts>& facts() const;  // of that cut; nothing: none yet
  // Everything on stable storage, or nothing.
  Result<void> add_cut(const CutFacts& facts, const std::vector<Change>& changes);
  // The cut `id` and all before are acknowledged. Nothing is done when it is not known.
  Result<void> settle(const Guid& id);
  // All that are known, oldest first: the one that is settled, and those that are not.
  Result<std::vector<CutFacts>> cuts() const;

  Result<std::optional<SavedItem>> find(std::uint64_t record) const;
  // Of all items, by record.
  Result<std::unordered_map<std::uint64_t, std::uint64_t>> fingerprints() const;
  // Records of items whose first name is in this directory.
  Result<std::vector<std::uint64_t>> children(std::uint64_t directory) const;

  // Descriptors have numbers from 1; the same bytes have the same.
  Result<std::uint32_t> number_of(ByteView security);
  Result<Bytes> security(std::uint32_t number) const;

 private:
  class Database;
  explicit SavedTree(std::unique_ptr<Database> database);
  std::unique_ptr<Database> database_;
};

}  // namespace roamstead::agent
