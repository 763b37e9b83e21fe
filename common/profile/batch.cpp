#include "common/profile/batch.h"

#include <set>

namespace roamstead::profile {
namespace {

Result<void> refuse(const ProfilePath& path, const std::string& why) {
  return fail(ErrorCode::invalid_argument, "batch: '" + path.text() + "' " + why);
}

Result<void> check_put(const Put& put) {
  if (put.path.is_root() && !put.entry.is_directory())
    return refuse(put.path, "the root must stay a directory");
  if (put.entry.is_directory() && put.entry.size_bytes != 0)
    return refuse(put.path, "is a directory with a size");
  if (put.entry.kind == EntryKind::registry &&
      (put.entry.size_bytes != 0 || !put.entry.streams.empty() || !put.contents.empty()))
    return refuse(put.path, "is a hive with bytes of its own");
  std::set<std::string> listed{""};
  for (const auto& stream : put.entry.streams) {
    RS_CHECK_CTX("stream of '" + put.path.text() + "'", check_name(stream.name));
    if (!listed.insert(stream.name).second)
      return refuse(put.path, "lists stream '" + stream.name + "' twice");
  }
  std::set<std::string> seen;
  for (const auto& content : put.contents) {
    if (listed.count(content.name) == 0)
      return refuse(put.path, "has content for stream '" + content.name + "' that it does not list");
    if (!seen.insert(content.name).second)
      return refuse(put.path, "has content for stream '" + content.name + "' twice");
    std::uint64_t size = put.entry.size_bytes;
    for (const auto& stream : put.entry.streams)
      if (stream.name == content.name) size = stream.size_bytes;
    if (size != content.size_bytes)
      return refuse(put.path, "has two sizes for stream '" + content.name + "'");
    std::uint64_t at = 0;
    for (auto write : content.writes) {
      if (write.length == 0 || write.offset < at || write.length > content.size_bytes ||
          write.offset > content.size_bytes - write.length)
        return refuse(put.path, "has a write of " + std::to_string(write.length) + " bytes at " +
                                    std::to_string(write.offset) +
                                    " that is out of order or beyond the size " +
                                    std::to_string(content.size_bytes));
      at = write.end();
    }
  }
  return {};
}

}  // namespace

void visit_content(const ChangeRecord& record,
                   const std::function<void(std::size_t stream, ByteRange range)>& visit) {
  if (const auto* put = std::get_if<Put>(&record)) {
    for (std::size_t stream = 0; stream < put->contents.size(); ++stream)
      for (auto write : put->contents[stream].writes) visit(stream, write);
  } else if (const auto* key = std::get_if<PutKey>(&record)) {
    for (std::size_t value = 0; value < key->values.size(); ++value)
      if (!key->values[value].is_inline()) visit(value, {0, key->values[value].size_bytes});
  }
}

std::uint64_t Batch::content_bytes() const {
  std::uint64_t total = 0;
  for (const auto& record : records)
    visit_content(record, [&](std::size_t, ByteRange range) { total += range.length; });
  return total;
}

Result<void> check_batch(const Batch& batch) {
  if (batch.records.size() > kMaxBatchRecords)
    return fail(ErrorCode::invalid_argument, "batch: " + std::to_string(batch.records.size()) +
                                                 " records, more than " + std::to_string(kMaxBatchRecords));
  std::set<ProfilePath> sources, targets, puts;
  std::set<std::pair<std::string, std::string>> keys_deleted, keys_put;  // hive, upcased path
  for (const auto& record : batch.records) {
    if (const auto* gone = std::get_if<Delete>(&record)) {
      if (gone->source.is_root()) return refuse(gone->source, "the root cannot be deleted");
      if (!sources.insert(gone->source).second) return refuse(gone->source, "is the source of two records");
    } else if (const auto* move = std::get_if<Move>(&record)) {
      if (move->source.is_root() || move->target.is_root())
        return refuse(move->source, "the root cannot move");
      if (!sources.insert(move->source).second) return refuse(move->source, "is the source of two records");
      if (!targets.insert(move->target).second) return refuse(move->target, "is the target of two moves");
    } else if (const auto* put = std::get_if<Put>(&record)) {
      if (!puts.insert(put->path).second) return refuse(put->path, "is put twice");
      RS_CHECK(check_put(*put));
    } else if (const auto* key_gone = std::get_if<DeleteKey>(&record)) {
      RS_CHECK_CTX("batch", check_record(*key_gone));
      if (!keys_deleted.emplace(key_gone->hive.text(), upcased(key_gone->key)).second)
        return refuse(key_gone->hive, "has its key '" + key_gone->key.text() + "' deleted twice");
    } else {
      const auto& key = std::get<PutKey>(record);
      RS_CHECK_CTX("batch", check_record(key));
      if (!keys_put.emplace(key.hive.text(), upcased(key.key)).second)
        return refuse(key.hive, "has its key '" + key.key.text() + "' put twice");
    }
  }
  return {};
}

}  // namespace roamstead::profile
