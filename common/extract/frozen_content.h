// The bytes of a batch's writes and of its keys' long values, read from the frozen layer.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "common/extract/extract.h"
#include "common/extract/live_hive.h"
#include "common/extract/snapshot.h"

namespace roamstead::extract {

// Thread-safe. Keeps of hives the one that was read last, recovered again.
class FrozenContent final : public profile::ContentSource {
 public:
  // Keeps the snapshot open.
  FrozenContent(std::unique_ptr<Snapshot> snapshot, std::vector<Locator> locators,
                const profile::Batch& batch);
  // `volume` must outlive this; `name` is for messages.
  FrozenContent(const ntfs::Volume& volume, std::string name, std::vector<Locator> locators,
                const profile::Batch& batch);

  Result<void> read(std::size_t record, std::size_t stream, std::uint64_t offset,
                    MutableByteView out) override;

 private:
  struct Source {
    Locator locator;
    std::optional<profile::KeyPath> key;  // of a PutKey
    // Name and size; of values that travel in their record no size.
    std::vector<std::pair<std::string, std::uint64_t>> streams;
  };
  // A value's data, whole: what is asked for comes piece by piece.
  struct ValueData {
    std::size_t record = 0, stream = 0;
    std::shared_ptr<const LoadedHive> hive;
    Bytes scratch;
    ByteView bytes;
  };
  Result<std::shared_ptr<const ntfs::FileRecord>> open_file(const Locator& locator);
  Result<std::shared_ptr<const LoadedHive>> open_hive(const Locator& locator);
  Result<std::shared_ptr<const ValueData>> open_value(std::size_t record, std::size_t stream);

  std::unique_ptr<Snapshot> snapshot_;  // may be null
  const ntfs::Volume& volume_;
  const std::string name_;
  std::vector<Source> sources_;
  std::mutex mutex_;  // what was read last: a batch is read record by record
  std::shared_ptr<const ntfs::FileRecord> latest_;
  std::mutex hive_mutex_;
  Locator hive_locator_;
  std::shared_ptr<const LoadedHive> hive_;
  std::shared_ptr<const ValueData> value_;
};

}  // namespace roamstead::extract
