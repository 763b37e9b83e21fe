// A file or directory of a WinVolume, held open.
#pragma once

#include "agent/core/profile_volume.h"
#include "agent/win/base/handle.h"
#include "agent/win/item_port.h"

namespace roamstead::agent {

class WinHandle final : public VolumeHandle {
 public:
  // `item` stands for the file when `handle` is one of its alternate streams; empty otherwise. `items` must
  // outlive this.
  WinHandle(win::Handle handle, win::Handle item, std::string stream, std::uint64_t file_number,
            ItemPort& items)
      : handle_(std::move(handle)),
        item_(std::move(item)),
        stream_(std::move(stream)),
        file_number_(file_number),
        items_(items) {}

  std::uint64_t record() const override { return file_number_ & 0xFFFF'FFFF'FFFF; }
  std::uint64_t file_number() const override { return file_number_; }
  const std::string& stream() const override { return stream_; }
  Result<std::size_t> read(std::uint64_t offset, MutableByteView out) override;
  Result<void> write(std::uint64_t offset, ByteView data) override;
  Result<void> truncate(std::uint64_t size_bytes) override;
  Result<std::uint64_t> size() override;
  Result<void> sync() override;
  Result<ItemTimes> times() override { return items_.times(item(), what()); }
  Result<void> set_times(const ItemTimes& times) override { return items_.set_times(item(), times, what()); }
  HANDLE handle() const { return handle_.get(); }

 private:
  HANDLE item() const { return item_ ? item_.get() : handle_.get(); }
  std::string what() const { return "record " + std::to_string(record()); }

  win::Handle handle_, item_;
  std::string stream_;
  std::uint64_t file_number_;
  ItemPort& items_;
};

}  // namespace roamstead::agent
