#include "common/extract/provenance_journal.h"

#include <algorithm>

namespace roamstead::extract {

ProvenanceJournal::ProvenanceJournal(std::unique_ptr<os::File> file, Provenance provenance)
    : provenance_(std::move(provenance)),
      appended_bytes_(provenance_.valid_bytes()),
      file_(std::move(file)),
      durable_bytes_(appended_bytes_) {}

Result<std::unique_ptr<ProvenanceJournal>> ProvenanceJournal::create(os::FileSystem& files,
                                                                     const std::string& path,
                                                                     const JournalHeader& header) {
  const auto beginning = encode_header(header);
  RS_TRY(auto provenance, Provenance::parse(beginning));
  const auto directory = os::parent_directory(path);
  RS_CHECK(files.make_directories(directory));
  RS_TRY(bool exists, files.exists(path));
  if (exists) return fail(ErrorCode::exists, "provenance journal '" + path + "' is there already");
  // Whole or not at all: a crash must not leave a journal without its header.
  RS_CHECK(os::write_file_durably(files, path, beginning));
  RS_TRY(auto file, files.open(path, os::OpenMode::read_write));
  return std::unique_ptr<ProvenanceJournal>(new ProvenanceJournal(std::move(file), std::move(provenance)));
}

Result<std::unique_ptr<ProvenanceJournal>> ProvenanceJournal::begin(os::FileSystem& files,
                                                                    const std::string& path,
                                                                    const JournalHeader& header) {
  auto beginning = encode_header(header);
  RS_TRY(auto provenance, Provenance::parse(beginning));
  RS_CHECK(files.make_directories(os::parent_directory(path)));
  RS_TRY(auto file, files.open(path, os::OpenMode::create_new));
  std::unique_ptr<ProvenanceJournal> journal(new ProvenanceJournal(std::move(file), std::move(provenance)));
  journal->pending_ = std::move(beginning);
  journal->durable_bytes_ = 0;
  journal->naming_ = &files;
  return journal;
}

Result<std::unique_ptr<ProvenanceJournal>> ProvenanceJournal::open(os::FileSystem& files,
                                                                   const std::string& path) {
  RS_TRY(auto file, files.open(path, os::OpenMode::read_write));
  RS_TRY(const auto bytes, file->size());
  const auto source = [&](std::uint64_t offset, MutableByteView out) {
    return file->read_exactly(offset, out);
  };
  RS_TRY_CTX(auto provenance, path, Provenance::parse(source, bytes));
  // Bytes behind the torn record must not come back to life once new records fill the gap before them.
  if (provenance.valid_bytes() < bytes) RS_CHECK(file->truncate(provenance.valid_bytes()));
  // What was read may be in the page cache only.
  RS_CHECK(file->sync());
  return std::unique_ptr<ProvenanceJournal>(new ProvenanceJournal(std::move(file), std::move(provenance)));
}

std::unique_lock<std::shared_mutex> ProvenanceJournal::change() const {
  std::unique_lock lock(mutex_);
  used_.store(true, std::memory_order_relaxed);
  if (away_) provenance_.take_out();
  away_ = false;
  return lock;
}

void ProvenanceJournal::put_away_if_unused() {
  constexpr unsigned kCalls = 10;
  unused_calls_ = used_.exchange(false) ? 0 : unused_calls_ + 1;
  if (unused_calls_ < kCalls) return;
  std::unique_lock lock(mutex_);
  if (away_ || used_) return;
  provenance_.put_away();
  away_ = true;
}

Result<void> ProvenanceJournal::append(const Bytes& record) {
  if (appended_bytes_ + record.size() > kMaxJournalBytes)
    return fail(ErrorCode::full,
                "the provenance journal would exceed " + std::to_string(kMaxJournalBytes) + " bytes");
  RS_CHECK(provenance_.apply_encoded(record));
  pending_.insert(pending_.end(), record.begin(), record.end());
  appended_bytes_ += record.size();
  return {};
}

Result<ItemId> ProvenanceJournal::append_published(const ItemIdentity& identity,
                                                   const profile::ProfilePath& base_path,
                                                   const profile::Entry& entry) {
  const auto lock = change();
  const auto id = provenance_.last_id() + 1;
  RS_CHECK(append(encode_published(id, identity, base_path, entry)));
  return id;
}

Result<void> ProvenanceJournal::append_populated(ItemId id) {
  const auto lock = change();
  return append(encode_populated(id));
}

Result<void> ProvenanceJournal::append_withdrawn(ItemId id) {
  const auto lock = change();
  return append(encode_withdrawn(id));
}

Result<void> ProvenanceJournal::append_loaded(ItemId id, const std::string& stream, std::uint64_t first_block,
                                              const std::vector<BlockTag>& tags) {
  const auto lock = change();
  for (std::size_t at = 0; at < tags.size(); at += kMaxTagsPerRecord) {
    const auto count = std::min(kMaxTagsPerRecord, tags.size() - at);
    const auto begin = tags.begin() + static_cast<std::ptrdiff_t>(at);
    RS_CHECK(append(
        encode_loaded(id, stream, first_block + at, {begin, begin + static_cast<std::ptrdiff_t>(count)})));
  }
  return {};
}

Result<void> ProvenanceJournal::append_base_limit(ItemId id, const std::string& stream,
                                                  std::uint64_t limit_bytes) {
  const auto lock = change();
  return append(encode_base_limit(id, stream, limit_bytes));
}

Result<void> ProvenanceJournal::append_identity(ItemId id, const ItemIdentity& identity) {
  const auto lock = change();
  return append(encode_identity(id, identity));
}

Result<void> ProvenanceJournal::append_dehydrated(ItemId id) {
  const auto lock = change();
  return append(encode_dehydrated(id));
}

Result<void> ProvenanceJournal::flush() {
  std::uint64_t wanted = 0;
  {
    std::shared_lock lock(mutex_);
    wanted = appended_bytes_;
  }
  std::lock_guard flushing(flush_mutex_);
  if (failure_) return fail(*failure_);
  if (durable_bytes_ >= wanted) return {};  // whoever flushed before us took our records along
  Bytes records;
  {
    std::unique_lock lock(mutex_);
    records.swap(pending_);
  }
  auto written = file_->write_at(durable_bytes_, records);
  if (!written && written.error().code == ErrorCode::full) {
    // Nothing from there on counts yet, and the next flush writes over it.
    std::unique_lock lock(mutex_);
    pending_.insert(pending_.begin(), records.begin(), records.end());
    return fail(std::move(written).error().with("provenance journal"));
  }
  if (written) written = file_->sync();
  if (written && naming_ != nullptr) written = naming_->sync_directory(os::parent_directory(file_->path()));
  if (!written) {
    failure_ = std::move(written).error().with("provenance journal");
    return fail(*failure_);
  }
  naming_ = nullptr;
  durable_bytes_ += records.size();
  return {};
}

}  // namespace roamstead::extract
