#include "common/extract/frozen_content.h"

#include <algorithm>

#include "common/base/text.h"

namespace roamstead::extract {

FrozenContent::FrozenContent(std::unique_ptr<Snapshot> snapshot, std::vector<Locator> locators,
                             const profile::Batch& batch)
    : FrozenContent(snapshot->volume(), snapshot->device().name(), std::move(locators), batch) {
  snapshot_ = std::move(snapshot);
}

FrozenContent::FrozenContent(const ntfs::Volume& volume, std::string name, std::vector<Locator> locators,
                             const profile::Batch& batch)
    : volume_(volume), name_(std::move(name)) {
  sources_.reserve(batch.records.size());
  for (std::size_t i = 0; i < batch.records.size(); ++i) {
    Source source{locators[i], {}, {}};
    if (const auto* put = std::get_if<profile::Put>(&batch.records[i])) {
      for (const auto& content : put->contents) source.streams.emplace_back(content.name, content.size_bytes);
    } else if (locators[i] != Locator{}) {
      if (const auto* put_key = std::get_if<profile::PutKey>(&batch.records[i])) {
        source.key = put_key->key;
        for (const auto& value : put_key->values)
          source.streams.emplace_back(value.name, value.is_inline() ? 0 : value.size_bytes);
      }
    }
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
  if (sources_[record].key) {
    RS_TRY(const auto value, open_value(record, stream));
    std::copy_n(value->bytes.begin() + static_cast<std::ptrdiff_t>(offset), out.size(), out.begin());
    return {};
  }
  RS_TRY(const auto file, open_file(sources_[record].locator));
  for (const auto& found : file->streams)
    if (found.name == name && found.size_bytes == size_bytes) return volume_.read(found, offset, out);
  return fail(ErrorCode::corrupt, name_ + ": MFT record " + std::to_string(file->reference.record) +
                                      " has no stream '" + name + "' of " + std::to_string(size_bytes) +
                                      " bytes, as the batch expects");
}

Result<std::shared_ptr<const ntfs::FileRecord>> FrozenContent::open_file(const Locator& locator) {
  const ntfs::FileReference reference{locator.record, locator.sequence};
  {
    std::lock_guard lock(mutex_);
    if (latest_ && latest_->reference == reference) return latest_;
  }
  RS_TRY(auto file, volume_.record(locator.record));
  if (file.reference != reference)
    return fail(ErrorCode::corrupt, name_ + ": MFT record " + std::to_string(locator.record) +
                                        " is not the file the batch was cut from");
  auto shared = std::make_shared<const ntfs::FileRecord>(std::move(file));
  std::lock_guard lock(mutex_);
  latest_ = shared;
  return shared;
}

Result<std::shared_ptr<const FrozenContent::ValueData>> FrozenContent::open_value(std::size_t record,
                                                                                  std::size_t stream) {
  std::lock_guard lock(hive_mutex_);
  if (value_ && value_->record == record && value_->stream == stream) return value_;
  const auto& source = sources_[record];
  const auto& [name, size_bytes] = source.streams[stream];
  auto data = std::make_shared<ValueData>();
  data->record = record;
  data->stream = stream;
  RS_TRY(data->hive, open_hive(source.locator));
  const auto& hive = data->hive->hive();
  const auto where = "value '" + name + "' of key '" + source.key->text() + "'";
  RS_TRY_CTX(const auto key, where, hive.find(source.key->text()));
  RS_TRY(const auto units, to_utf16(name));
  RS_TRY_CTX(const auto value, where, hive.find_value(key, units));
  if (!value || value->data_bytes != size_bytes)
    return fail(ErrorCode::corrupt, name_ + ": " + hive.name() + " has no " + where + " of " +
                                        std::to_string(size_bytes) + " bytes, as the batch expects");
  RS_TRY_CTX(data->bytes, where, hive.data(*value, data->scratch));
  value_ = data;
  return value_;
}

Result<std::shared_ptr<const LoadedHive>> FrozenContent::open_hive(const Locator& locator) {
  if (hive_ && hive_locator_ == locator) return hive_;
  value_ = nullptr;
  hive_ = nullptr;  // before the next one needs room
  RS_TRY(const auto file, open_file(locator));
  std::optional<Error> problem;
  // Of a file with several names, the one that its logs have too is a hive's.
  for (const auto& name : file->names) {
    if (!is_hive_name(name.name)) continue;
    RS_TRY(const auto path, volume_.path_of(name));
    RS_TRY(const auto files, find_hive_files(volume_, path));
    if (!files.hive || files.hive->reference != file->reference) continue;
    auto loaded = LoadedHive::load(volume_, files, path);
    if (!loaded) {
      problem = std::move(loaded).error();
      continue;
    }
    hive_ = std::move(*loaded);
    hive_locator_ = locator;
    return hive_;
  }
  if (problem) return fail(std::move(*problem));
  return fail(ErrorCode::corrupt, name_ + ": MFT record " + std::to_string(locator.record) +
                                      " is not the hive the batch was cut from");
}

}  // namespace roamstead::extract
