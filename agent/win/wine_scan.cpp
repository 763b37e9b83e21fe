#include "agent/win/base/windows_error.h"
#include "agent/win/scan_port.h"
#include "agent/win/wine_linux.h"
#include "common/base/file_time.h"
#include "common/extract/entry_reader.h"

namespace roamstead::agent {
namespace wine_linux {
namespace {

constexpr std::size_t kMostAttributeBytes = 64 << 10;
constexpr std::uint32_t kReparsePoint = 0x400, kEncrypted = 0x4000;

class WineScan final : public ScanPort {
 public:
  Result<std::vector<ScannedItem>> list(HANDLE directory, const std::string& what) override {
    const Descriptor of(directory);
    const Descriptor own(linux_call(kOpenat, of.get(), word("."), kDirectory | kCloseOnExec));
    std::vector<ScannedItem> items;
    std::array<char, 32 << 10> buffer{};
    for (;;) {
      const auto count = linux_call(kGetdents64, own.get(), word(buffer.data()), buffer.size());
      if (count < 0) return linux_error("list " + what, count);
      if (count == 0) return items;
      for (std::int64_t at = 0; at < count;) {  // inode 8, offset 8, length 2, type 1, name
        std::uint16_t length = 0;
        std::memcpy(&length, buffer.data() + at + 16, sizeof length);
        const std::string name(buffer.data() + at + 19);
        at += length;
        if (name == "." || name == "..") continue;
        auto item = look(own, name);
        if (!item && item.error().code == ErrorCode::not_found) continue;  // gone meanwhile
        if (!item) return fail(std::move(item).error().with(what));
        items.push_back(std::move(*item));
      }
    }
  }

  Result<ScannedItem> look(HANDLE directory, const std::wstring& name) override {
    return look(Descriptor(directory), win::narrow_text(name));
  }

  Result<ItemDetails> details(HANDLE directory, const std::wstring& name) override {
    const Descriptor at(directory);
    const auto text = win::narrow_text(name);
    RS_TRY(const auto status, stat(at, text));
    ItemDetails details;
    details.item = to_item(text, status);
    if ((status.mode & kTypeMask) == kFileType)
      details.streams.push_back({"", static_cast<std::uint64_t>(status.size_bytes), status.blocks != 0});
    RS_TRY(const auto attributes, attribute(at, text, "system.ntfs_attrib"));
    if (attributes.size() >= 4) details.attributes = load_le<std::uint32_t>(attributes, 0);
    RS_TRY(const auto times, attribute(at, text, "system.ntfs_times"));
    if (times.size() >= 16) details.created_100ns = load_le<std::uint64_t>(times, 0);
    RS_TRY(details.security, attribute(at, text, "system.ntfs_acl"));
    if (extract::is_stand_in(details.security)) details.security.clear();
    if (!details.item.directory && (details.attributes & kEncrypted) != 0)
      details.blocked = "unsupported: encrypted (EFS)";
    if ((details.attributes & kReparsePoint) != 0) {
      RS_TRY(const auto reparse, attribute(at, text, "system.ntfs_reparse_data"));
      if (reparse.size() >= 8) {
        details.reparse_tag = load_le<std::uint32_t>(reparse, 0);
        details.reparse_data.assign(reparse.begin() + 8, reparse.end());
      }
    }
    RS_CHECK(add_streams(at, text, details));
    // Between two of these questions another item may have got the name.
    RS_TRY(const auto after, stat(at, text));
    if (after.inode != status.inode) return fail(ErrorCode::not_found, text + " was replaced just now");
    return details;
  }

 private:
  static Result<LinuxStatus> stat(const Descriptor& directory, const std::string& name) {
    LinuxStatus status{};
    auto result = linux_call(kNewfstatat, directory.get(), word(name.c_str()), word(&status), kNoFollow);
    // The kernel first notices that a directory or file has become a link, then looks again.
    if (result == -kIo)
      result = linux_call(kNewfstatat, directory.get(), word(name.c_str()), word(&status), kNoFollow);
    if (result < 0) return linux_error("look at " + name, result);
    return status;
  }
  static Result<ScannedItem> look(const Descriptor& directory, const std::string& name) {
    RS_TRY(const auto status, stat(directory, name));
    return to_item(name, status);
  }

  template <class Time>
  static std::uint64_t windows_time(const Time& time) {
    return static_cast<std::uint64_t>(time.seconds * 10'000'000 + time.nanoseconds / 100) + kUnixEpoch_100ns;
  }
  static ScannedItem to_item(const std::string& name, const LinuxStatus& status) {
    ScannedItem item;
    item.name = name;
    item.record = status.inode;
    item.directory = (status.mode & kTypeMask) == kDirectoryType;
    item.stamp.size_bytes = item.directory ? 0 : static_cast<std::uint64_t>(status.size_bytes);
    item.stamp.written_100ns = windows_time(status.written);
    item.stamp.changed_100ns = windows_time(status.changed);
    item.stamp.links = item.directory ? 1 : static_cast<std::uint32_t>(status.links);
    return item;
  }

  // Empty where there is none.
  static Result<Bytes> attribute(const Descriptor& directory, const std::string& name,
                                 const char* attribute) {
    const auto path = "/proc/self/fd/" + std::to_string(directory.get()) + "/" + name;
    Bytes value(512);
    for (;;) {
      const auto size = linux_call(kLgetxattr, word(path.c_str()), word(attribute), word(value.data()),
                                   static_cast<std::int64_t>(value.size()));
      if (size >= 0) {
        value.resize(static_cast<std::size_t>(size));
        return value;
      }
      if (size == -kNoData || size == -kNotSupported) return Bytes();
      if (size != -kRange || value.size() >= kMostAttributeBytes)
        return linux_error("read " + std::string(attribute) + " of " + name, size);
      value.resize(value.size() * 4);
    }
  }

  static Result<void> add_streams(const Descriptor& directory, const std::string& name,
                                  ItemDetails& details) {
    RS_TRY(const auto list, attribute(directory, name, "ntfs.streams.list"));
    for (std::size_t begin = 0; begin < list.size();) {
      auto end = begin;
      while (end < list.size() && list[end] != std::byte{0}) ++end;
      const std::string stream(as_text(ByteView(list).subspan(begin, end - begin)));
      begin = end + 1;
      if (stream.empty()) continue;
      RS_TRY(const auto status, stat(directory, name + ":" + stream));
      details.streams.push_back(
          {stream, static_cast<std::uint64_t>(status.size_bytes), status.size_bytes != 0});
    }
    return {};
  }
};

}  // namespace
}  // namespace wine_linux

std::unique_ptr<ScanPort> make_wine_scan() { return std::make_unique<wine_linux::WineScan>(); }

}  // namespace roamstead::agent
