#include "common/extract/frozen_content.h"

namespace roamstead::extract {

FrozenContent::FrozenContent(std::unique_ptr<Snapshot> snapshot, std::vector<Locator> locators,
                             const profile::Batch& batch)
    : snapshot_(std::move(snapshot)) {
  sources_.reserve(batch.records.size());
  for (std::size_t i = 0; i < batch.records.size(); ++i) {
    Source source{locators[i], {}};
    if (const auto* put = std::get_if<profile::Put>(&batch.records[i]))
      for (const auto& content : put->contents) source.streams.emplace_back(content.name, content.size_bytes);
    sources_.push_back(std::move(source));
  }
}

Result<void> FrozenContent::read(std::size_t record, std::size_t stream, std::uint64_t offset,
                                 MutableByteView out) {
  if (record >= sources_.size() || stream >= sources_[record].streams.size())
    return fail(ErrorCode::invalid_argument, "the batch has no content for stream " + std::to_string(stream) +
                                                 " of record " + std::to_string(record));
  const auto& [name, size_bytes] = sources_[record].streams[stream];
  if (offset > size_bytes || out.size() > size_bytes - offset)
    return fail(ErrorCode::invalid_argument, std::to_string(out.size()) + " bytes at " +
                                                 std::to_string(offset) + " of a stream of " +
                                                 std::to_string(size_bytes));
  RS_TRY(const auto file, open_file(sources_[record].locator));
  for (const auto& found : file->streams)
    if (found.name == name && found.size_bytes == size_bytes)
      return snapshot_->volume().read(found, offset, out);
  return fail(ErrorCode::corrupt, snapshot_->device().name() + ": MFT record " +
                                      std::to_string(file->reference.record) + " has no stream '" + name +
                                      "' of " + std::to_string(size_bytes) + " bytes, as the batch expects");
}

Result<std::shared_ptr<const ntfs::FileRecord>> FrozenContent::open_file(const Locator& locator) {
  const ntfs::FileReference reference{locator.record, locator.sequence};
  {
    std::lock_guard lock(mutex_);
    if (latest_ && latest_->reference == reference) return latest_;
  }
  RS_TRY(auto file, snapshot_->volume().record(locator.record));
  if (file.reference != reference)
    return fail(ErrorCode::corrupt, snapshot_->device().name() + ": MFT record " +
                                        std::to_string(locator.record) +
                                        " is not the file the batch was cut from");
  auto shared = std::make_shared<const ntfs::FileRecord>(std::move(file));
  std::lock_guard lock(mutex_);
  latest_ = shared;
  return shared;
}

}  // namespace roamstead::extract
