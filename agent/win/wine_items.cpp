#include "agent/win/wine_items.h"

#include <algorithm>
#include <array>

#include "agent/win/base/native_file.h"
#include "agent/win/base/windows_error.h"
#include "agent/win/base/wine.h"
#include "agent/win/wine_linux.h"

namespace roamstead::agent {
namespace wine_linux {
namespace {

class WineItems final : public ItemPort {
 public:
  Result<ItemTimes> times(HANDLE item, const std::string& what) override {
    std::array<std::byte, 32> raw{};  // creation, write, access, change: little-endian, 100 ns since 1601
    RS_CHECK(get(item, "system.ntfs_times", raw, what));
    return ItemTimes{load_le<std::uint64_t>(raw, 0), load_le<std::uint64_t>(raw, 8)};
  }

  Result<void> set_times(HANDLE item, const ItemTimes& times, const std::string& what) override {
    std::array<std::byte, 16> raw{};
    store_le<std::uint64_t>(raw, 0, times.created_100ns);
    store_le<std::uint64_t>(raw, 8, times.written_100ns);
    return set(item, "system.ntfs_times", raw, what);
  }

  Result<void> set_metadata(HANDLE item, const profile::Metadata& metadata,
                            const std::string& what) override {
    std::array<std::byte, 4> attributes{};
    store_le<std::uint32_t>(attributes, 0, metadata.attributes);
    RS_CHECK(set(item, "system.ntfs_attrib", attributes, what));
    if (!metadata.security.empty()) RS_CHECK(set(item, "system.ntfs_acl", metadata.security, what));
    if (metadata.written_100ns == 0) return {};
    return set_times(item, {metadata.created_100ns, metadata.written_100ns}, what);
  }

  Result<void> make_link(HANDLE item, ByteView data, const std::string& what) override {
    RS_TRY(const auto before, times(item, what));
    RS_CHECK(set(item, "system.ntfs_reparse_data", data, what));
    return set_times(item, before, what);
  }

  Result<bool> is_link(HANDLE directory, const std::wstring& name, HANDLE) override {
    const Descriptor at(directory);
    std::array<char, 8> target{};
    const auto text = win::narrow_text(name);
    const auto result =
        linux_call(kReadlinkat, at.get(), word(text.c_str()), word(target.data()), target.size());
    return result >= 0;
  }

  Result<bool> describe_link(HANDLE directory, const std::wstring& name, VolumeItem& item) override {
    const Descriptor at(directory);
    LinuxStatus status{};
    const auto text = win::narrow_text(name);
    auto result = linux_call(kNewfstatat, at.get(), word(text.c_str()), word(&status), kNoFollow);
    // The kernel first notices that a directory or file has become a link, then looks again.
    if (result == -kIo)
      result = linux_call(kNewfstatat, at.get(), word(text.c_str()), word(&status), kNoFollow);
    if (result < 0 || (status.mode & kTypeMask) != kLinkType) return false;
    item = {text, status.inode, false, static_cast<std::uint64_t>(status.size_bytes)};
    return true;
  }

  // Wine keeps the path by which a directory was opened, and would rename to where it was then.
  Result<bool> rename_item(HANDLE from, const std::wstring& name, HANDLE to,
                           const std::wstring& new_name) override {
    const auto old_text = win::narrow_text(name), new_text = win::narrow_text(new_name);
    VolumeItem link;
    RS_TRY(const bool taken, describe_link(to, new_name, link));
    // ntfs-3g cannot refuse to replace: that nobody makes the name in between is this environment's word.
    if (taken || win::open_in(to, new_name, {}))
      return fail(ErrorCode::exists, "rename " + old_text + " to " + new_text + ": the name is taken");
    const Descriptor source(from), target(to);
    const auto result =
        linux_call(kRenameat, source.get(), word(old_text.c_str()), target.get(), word(new_text.c_str()));
    if (result < 0) return linux_error("rename " + old_text + " to " + new_text, result);
    return true;
  }

  // Wine leaves out links that lead nowhere.
  Result<std::vector<VolumeItem>> list_links(HANDLE directory) override {
    std::vector<VolumeItem> links;
    const Descriptor of(directory);
    const Descriptor own(linux_call(kOpenat, of.get(), word("."), kDirectory | kCloseOnExec));
    std::array<char, 32 << 10> buffer{};
    for (;;) {
      const auto count = linux_call(kGetdents64, own.get(), word(buffer.data()), buffer.size());
      if (count < 0) return linux_error("list a directory", count);
      if (count == 0) return links;
      for (std::int64_t at = 0; at < count;) {  // inode 8, offset 8, length 2, type 1, name
        std::uint16_t length = 0;
        std::memcpy(&length, buffer.data() + at + 16, sizeof length);
        if (buffer[static_cast<std::size_t>(at) + 18] == kLinkEntry) {
          RS_TRY(const auto name, win::wide_text(buffer.data() + at + 19));
          VolumeItem item;
          RS_TRY(const bool link, describe_link(directory, name, item));
          if (link) links.push_back(std::move(item));
        }
        at += length;
      }
    }
  }

  Result<bool> remove_link(HANDLE directory, const std::wstring& name) override {
    VolumeItem item;
    RS_TRY(const bool link, describe_link(directory, name, item));
    if (!link) return false;
    const Descriptor at(directory);
    const auto text = win::narrow_text(name);
    const auto result = linux_call(kUnlinkat, at.get(), word(text.c_str()), 0);
    if (result < 0 && result != -kNoEntry) return linux_error("remove " + text, result);
    return true;
  }

  // syncfs writes what the kernel holds; ntfs-3g passes only fsync on to its device.
  Result<void> sync(HANDLE volume_root) override {
    const Descriptor root(volume_root);
    auto result = linux_call(kSyncfs, root.get());
    if (result >= 0) result = linux_call(kFsync, root.get());
    if (result < 0) return linux_error("flush the volume", result);
    return {};
  }

  static Result<void> get(HANDLE item, const char* name, MutableByteView out, const std::string& what) {
    const Descriptor descriptor(item);
    const auto result =
        linux_call(kFgetxattr, descriptor.get(), word(name), word(out.data()), static_cast<int>(out.size()));
    if (result < static_cast<std::int64_t>(out.size()))
      return linux_error("read " + std::string(name) + " of " + what, std::min<std::int64_t>(result, -1));
    return {};
  }

 private:
  static Result<void> set(HANDLE item, const char* name, ByteView data, const std::string& what) {
    const Descriptor descriptor(item);
    const auto result = linux_call(kFsetxattr, descriptor.get(), word(name), word(data.data()),
                                   static_cast<std::int64_t>(data.size()), 0);
    if (result < 0) return linux_error("set " + std::string(name) + " of " + what, result);
    return {};
  }
};

}  // namespace
}  // namespace wine_linux

Result<std::unique_ptr<ItemPort>> make_wine_items(HANDLE volume_root, const std::string& drive) {
  using namespace wine_linux;
  std::array<std::byte, 4> attributes{};
  if (handle_to_fd() == nullptr)
    return fail(ErrorCode::unsupported,
                "Wine " + win::wine_version() + " does not tell the files behind handles");
  if (!WineItems::get(volume_root, "system.ntfs_attrib", attributes, drive))
    return fail(ErrorCode::unsupported, drive + " is not an NTFS volume mounted by ntfs-3g");
  const Descriptor root(volume_root);
  const auto listed = linux_call(kFgetxattr, root.get(), word("ntfs.streams.list"), 0, 0);
  if (listed < 0 && listed != -kRange)
    return fail(
        ErrorCode::unsupported,
        drive + " does not show alternate streams: mount it with ntfs-3g -o streams_interface=windows");
  return std::unique_ptr<ItemPort>(std::make_unique<WineItems>());
}

}  // namespace roamstead::agent
