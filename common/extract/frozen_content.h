// The bytes of a batch's writes, read from the frozen layer.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "common/extract/extract.h"
#include "common/extract/snapshot.h"

namespace roamstead::extract {

// Thread-safe. Keeps the snapshot open.
class FrozenContent final : public profile::ContentSource {
 public:
  FrozenContent(std::unique_ptr<Snapshot> snapshot, std::vector<Locator> locators,
                const profile::Batch& batch);

  Result<void> read(std::size_t record, std::size_t stream, std::uint64_t offset,
                    MutableByteView out) override;

 private:
  struct Source {
    Locator locator;
    std::vector<std::pair<std::string, std::uint64_t>> streams;  // name and size
  };
  Result<std::shared_ptr<const ntfs::FileRecord>> open_file(const Locator& locator);

  std::unique_ptr<Snapshot> snapshot_;
  std::vector<Source> sources_;
  std::mutex mutex_;  // the file read last: a batch is read record by record
  std::shared_ptr<const ntfs::FileRecord> latest_;
};

}  // namespace roamstead::extract
