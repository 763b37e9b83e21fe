// Change records and the batch: all differences between a session's profile and one snapshot of it.
//
// A batch is a state difference, not a story. Every `source` and `base` is a path in the tree *before* the
// batch; every `path` and `target` a path in the tree *after* it. Applying means: look up all sources in the
// tree before; take away everything deleted or moved; put the moved things where they go; then make the puts,
// parents first. So swapped names, rename-over and a folder that changes places with its own child all work.
// Keys come last: those deleted are taken away, then puts of keys are made, parents first.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "common/base/byte_range.h"
#include "common/base/guid.h"
#include "common/profile/entry.h"
#include "common/profile/path.h"
#include "common/profile/registry.h"

namespace roamstead {

template <class Archive>
void serialize(Archive& archive, ByteRange& range) {
  archive(range.offset, range.length);
}
template <class Archive>
void serialize(Archive& archive, Guid& guid) {
  for (auto& byte : guid.bytes) {
    auto value = static_cast<std::uint8_t>(byte);
    archive(value);
    byte = static_cast<std::byte>(value);
  }
}

namespace profile {

// A directory goes with everything below it (less what a Move takes out of it).
struct Delete {
  ProfilePath source;

  bool operator==(const Delete&) const = default;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(source);
  }
};

// A directory moves with everything below it, known here or not.
struct Move {
  ProfilePath source;
  ProfilePath target;

  bool operator==(const Move&) const = default;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(source, target);
  }
};

// New content of one stream ("" is the unnamed one): `size_bytes` long; inside `writes` the bytes come with
// the batch; the rest is, byte for byte, what the base file has in the stream of the same name at that
// offset, and zero beyond its end or without a base. Writes ascend, do not overlap, and end within the size.
struct StreamContent {
  std::string name;
  std::uint64_t size_bytes = 0;
  std::vector<ByteRange> writes;

  bool operator==(const StreamContent&) const = default;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(name, size_bytes, writes);
  }
};

// Makes `path` what `entry` says. A directory that is there keeps its children. Streams that `entry` lists
// and `contents` does not are the base's, unchanged; streams that `entry` does not list go.
struct Put {
  ProfilePath path;
  Entry entry;
  std::optional<ProfilePath> base;  // a file in the tree before the batch
  std::vector<StreamContent> contents;

  bool operator==(const Put&) const = default;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(path, entry, base, contents);
  }
};

using ChangeRecord = std::variant<Delete, Move, Put, DeleteKey, PutKey>;

// Something that changed and is not saved, and why; shown to the administrator.
struct HeldBack {
  std::string path;
  std::string reason;

  bool operator==(const HeldBack&) const = default;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(path, reason);
  }
};

struct Batch {
  Guid incarnation;           // zero until the sender fills it in
  std::uint64_t ordinal = 0;  // from 1, without gaps, within an incarnation
  bool quiesced = true;       // false: cut from a snapshot nobody prepared (dead guest); becomes a fork
  bool final = false;         // taken at log-out; nothing follows
  std::uint64_t taken_100ns = 0;
  Guid snapshot;  // id of the frozen layer the batch was cut from: where the next delta begins
  std::vector<ChangeRecord> records;
  std::vector<HeldBack> held_back;

  // Bytes of content that travel with the batch.
  std::uint64_t content_bytes() const;

  bool operator==(const Batch&) const = default;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(incarnation, ordinal, quiesced, final, taken_100ns, snapshot, records, held_back);
  }
};

// Refuses a batch that contradicts itself: two records with one source, two puts of one path, writes that
// overlap or exceed the size, impossible names, two puts or deletions of one key, more than kMaxBatchRecords.
// Foreign batches pass through here before anything is done with them; what only the tree can tell (a missing
// source, a cycle) is refused when it is applied.
Result<void> check_batch(const Batch& batch);
inline constexpr std::size_t kMaxBatchRecords = 2'000'000;

// A piece of a record's content that travels with the batch: one of a Put's writes, or the data of a value of
// a PutKey that is not inline. Visited in the order of `stream`.
void visit_content(const ChangeRecord& record,
                   const std::function<void(std::size_t stream, ByteRange range)>& visit);

// The bytes of a batch's writes, by record and stream. Implementations say whether they are thread-safe.
class ContentSource {
 public:
  virtual ~ContentSource() = default;
  // `record` indexes batch.records, `stream` its contents (of a Put; the range lies within one of its writes)
  // or its values (of a PutKey).
  virtual Result<void> read(std::size_t record, std::size_t stream, std::uint64_t offset,
                            MutableByteView out) = 0;
};

}  // namespace profile
}  // namespace roamstead
