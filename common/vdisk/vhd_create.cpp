#include "common/vdisk/vhd_create.h"

#include <algorithm>
#include <chrono>

namespace roamstead::vdisk::vhd {
namespace {

// Room for locators before the block table: two sets of the usual size, as a new one is written beside the
// old.
constexpr std::uint64_t kLocatorRoom = 8 * 1024;

// All absent, up to the end of the last sector.
Result<void> write_empty_table(os::File& file, std::uint64_t offset, std::uint64_t bytes) {
  Bytes part(std::min<std::uint64_t>(bytes, 1u << 20), std::byte{0xff});
  for (std::uint64_t done = 0; done < bytes; done += part.size()) {
    auto count = std::min<std::uint64_t>(part.size(), bytes - done);
    RS_CHECK(file.write_at(offset + done, ByteView(part).first(count)));
  }
  return {};
}

}  // namespace

std::uint32_t NewDisk::seconds_since_2000() {
  using std::chrono::system_clock;
  auto now = system_clock::to_time_t(system_clock::now()) - kEpoch2000;
  return static_cast<std::uint32_t>(std::clamp<std::int64_t>(now, 0, 0xffffffff));
}

Result<void> create_file(os::FileSystem& files, const std::string& path, const NewDisk& disk) {
  auto footer = Footer::make(disk.type, disk.virtual_bytes, disk.id, disk.now);
  if (disk.like) {
    std::copy_n(disk.like->bytes.begin() + 40, 20, footer.bytes.begin() + 40);  // sizes and geometry
    footer.seal();
  }
  RS_TRY(auto file, files.open(path, os::OpenMode::create_new));
  if (disk.type == DiskType::fixed) {
    RS_CHECK(file->allocate(disk.virtual_bytes + kFooterBytes));
    RS_CHECK(file->write_at(disk.virtual_bytes, footer.bytes));
    return file->sync();
  }
  auto entries = (disk.virtual_bytes + disk.block_bytes - 1) / disk.block_bytes;
  auto end = kUsualHeaderOffset + kHeaderBytes;
  auto locators = disk.locators;
  if (disk.type == DiskType::differencing) {
    auto place = end;
    for (auto& each : locators) {
      each.place = {place, each.data.size()};
      place += whole_sectors(each.data.size());
    }
    end += std::max(whole_sectors(place - end), kLocatorRoom);
  }
  auto header = Header::make(end, static_cast<std::uint32_t>(entries), disk.block_bytes);
  auto table_bytes = whole_sectors(entries * 4);
  RS_CHECK(file->truncate(end + table_bytes + kFooterBytes));
  RS_CHECK(write_empty_table(*file, end, table_bytes));
  if (disk.type == DiskType::differencing) {
    header.set_parent(disk.parent_id, disk.parent_name, disk.parent_modified);
    for (std::size_t i = 0; i < locators.size(); ++i) {
      header.set_locator(i, locators[i].code, locators[i].place);
      RS_CHECK(file->write_at(locators[i].place.offset, locators[i].data));
    }
    header.seal();
  }
  RS_CHECK(file->write_at(kUsualHeaderOffset, header.bytes));
  RS_CHECK(file->write_at(0, footer.bytes));
  RS_CHECK(file->write_at(end + table_bytes, footer.bytes));
  return file->sync();
}

}  // namespace roamstead::vdisk::vhd
