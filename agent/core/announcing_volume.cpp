#include "agent/core/announcing_volume.h"

#include <algorithm>

#include "common/base/text.h"

namespace roamstead::agent {

namespace {

// Says so in the map from before the file is opened until after it is closed.
class Announcement {
 public:
  Announcement(StateMapWriter& map, std::u16string name) : map_(map), name_(std::move(name)) {
    map_.begin_use(0, name_);
  }
  ~Announcement() { map_.end_use(0, name_); }
  Announcement(const Announcement&) = delete;
  Announcement& operator=(const Announcement&) = delete;

 private:
  StateMapWriter& map_;
  const std::u16string name_;
};

class AnnouncedHandle final : public VolumeHandle {
 public:
  AnnouncedHandle(std::unique_ptr<Announcement> announcement, std::unique_ptr<VolumeHandle> inner)
      : announcement_(std::move(announcement)), inner_(std::move(inner)) {}
  VolumeHandle& inner() { return *inner_; }

  std::uint64_t record() const override { return inner_->record(); }
  std::uint64_t file_number() const override { return inner_->file_number(); }
  const std::string& stream() const override { return inner_->stream(); }
  Result<std::size_t> read(std::uint64_t offset, MutableByteView out) override {
    return inner_->read(offset, out);
  }
  Result<void> write(std::uint64_t offset, ByteView data) override { return inner_->write(offset, data); }
  Result<void> truncate(std::uint64_t size_bytes) override { return inner_->truncate(size_bytes); }
  Result<std::uint64_t> size() override { return inner_->size(); }
  Result<void> sync() override { return inner_->sync(); }
  Result<ItemTimes> times() override { return inner_->times(); }
  Result<void> set_times(const ItemTimes& times) override { return inner_->set_times(times); }

 private:
  const std::unique_ptr<Announcement> announcement_;
  const std::unique_ptr<VolumeHandle> inner_;  // goes first
};

VolumeHandle& inner_of(VolumeHandle& handle) {
  auto* announced = dynamic_cast<AnnouncedHandle*>(&handle);
  return announced != nullptr ? announced->inner() : handle;
}

}  // namespace

Result<std::unique_ptr<VolumeHandle>> AnnouncingVolume::open(const std::string& path,
                                                             const std::string& stream) {
  auto* map = map_.load();
  if (map == nullptr || path.compare(0, prefix_.size(), prefix_) != 0) return volume_.open(path, stream);
  auto name = to_utf16(std::string_view(path).substr(prefix_.size()));
  if (!name) return volume_.open(path, stream);
  std::replace(name->begin(), name->end(), u'/', u'\\');
  auto announcement = std::make_unique<Announcement>(*map, std::move(*name));
  RS_TRY(auto handle, volume_.open(path, stream));
  return std::unique_ptr<VolumeHandle>(
      std::make_unique<AnnouncedHandle>(std::move(announcement), std::move(handle)));
}

Result<VolumeItem> AnnouncingVolume::stat_child(VolumeHandle& directory, const std::string& name) {
  return volume_.stat_child(inner_of(directory), name);
}

Result<void> AnnouncingVolume::publish(const std::string& staged, VolumeHandle& directory,
                                       const std::string& name) {
  return volume_.publish(staged, inner_of(directory), name);
}

}  // namespace roamstead::agent
