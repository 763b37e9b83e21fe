// Items through Windows' own calls.
#include <windows.h>
#include <winioctl.h>

#include "agent/win/base/native_file.h"
#include "agent/win/base/windows_error.h"
#include "agent/win/item_port.h"

namespace roamstead::agent {
namespace {

using win::Handle;

class WindowsItems final : public ItemPort {
 public:
  explicit WindowsItems(std::wstring drive) : drive_(std::move(drive)) {}

  Result<ItemTimes> times(HANDLE item, const std::string& what) override {
    win::FileBasicInformation basic{};
    IO_STATUS_BLOCK io{};
    const auto status = ::NtQueryInformationFile(item, &io, &basic, sizeof basic,
                                                 win::information(win::kFileBasicInformation));
    if (status < 0) return win::status_error("read the times of " + what, status);
    return ItemTimes{static_cast<std::uint64_t>(basic.created.QuadPart),
                     static_cast<std::uint64_t>(basic.written.QuadPart)};
  }

  Result<void> set_times(HANDLE item, const ItemTimes& times, const std::string& what) override {
    return set_basic(item, times, 0, what);
  }

  Result<void> set_metadata(HANDLE item, const profile::Metadata& metadata,
                            const std::string& what) override {
    if (!metadata.security.empty()) RS_CHECK(set_security(item, metadata.security, what));
    // 0 would leave the attributes as they are.
    return set_basic(item, {metadata.created_100ns, metadata.written_100ns},
                     metadata.attributes != 0 ? metadata.attributes : FILE_ATTRIBUTE_NORMAL, what);
  }

  Result<void> make_link(HANDLE item, ByteView data, const std::string& what) override {
    RS_TRY(const auto before, times(item, what));
    IO_STATUS_BLOCK io{};
    const auto status =
        ::NtFsControlFile(item, nullptr, nullptr, nullptr, &io, FSCTL_SET_REPARSE_POINT,
                          const_cast<std::byte*>(data.data()), static_cast<ULONG>(data.size()), nullptr, 0);
    if (status < 0) return win::status_error("make the link " + what, status);
    return set_times(item, before, what);
  }

  Result<bool> is_link(HANDLE, const std::wstring& name, HANDLE item) override {
    win::FileAttributeTagInformation tag{};
    IO_STATUS_BLOCK io{};
    const auto status = ::NtQueryInformationFile(item, &io, &tag, sizeof tag,
                                                 win::information(win::kFileAttributeTagInformation));
    if (status < 0) return win::status_error("look at " + win::narrow_text(name), status);
    return (tag.attributes & FILE_ATTRIBUTE_REPARSE_POINT) != 0 && win::is_name_surrogate(tag.reparse_tag);
  }

  // Links are opened as such.
  Result<bool> describe_link(HANDLE, const std::wstring&, VolumeItem&) override { return false; }
  Result<bool> rename_item(HANDLE, const std::wstring&, HANDLE, const std::wstring&) override {
    return false;
  }
  Result<std::vector<VolumeItem>> list_links(HANDLE) override { return std::vector<VolumeItem>(); }
  Result<bool> remove_link(HANDLE, const std::wstring&) override { return false; }

  // A flush of the volume's own handle writes all its files and NTFS' log.
  Result<void> sync(HANDLE) override {
    const auto name = L"\\\\.\\" + drive_;
    const Handle volume(::CreateFileW(name.c_str(), GENERIC_READ | GENERIC_WRITE,
                                      FILE_SHARE_READ | FILE_SHARE_WRITE, nullptr, OPEN_EXISTING, 0,
                                      nullptr));
    if (!volume) return win::windows_error("open the volume " + win::narrow_text(drive_));
    if (::FlushFileBuffers(volume.get()) == 0)
      return win::windows_error("flush the volume " + win::narrow_text(drive_));
    return {};
  }

 private:
  // Times that are 0 stay, as does `attributes` 0. Times set through a handle are not changed again by what
  // was written through it.
  static Result<void> set_basic(HANDLE item, const ItemTimes& times, ULONG attributes,
                                const std::string& what) {
    win::FileBasicInformation basic{};
    basic.created.QuadPart = static_cast<LONGLONG>(times.created_100ns);
    basic.written.QuadPart = static_cast<LONGLONG>(times.written_100ns);
    basic.attributes = attributes;
    IO_STATUS_BLOCK io{};
    const auto status =
        ::NtSetInformationFile(item, &io, &basic, sizeof basic, win::information(win::kFileBasicInformation));
    if (status < 0) return win::status_error("set times and attributes of " + what, status);
    return {};
  }

  // The descriptor comes from other machines: its offsets are checked before the system sees it. Whether it
  // was inherited is kept: the system sets that flag only where it is asked to.
  static Result<void> set_security(HANDLE item, Bytes descriptor, const std::string& what) {
    using Valid = BOOLEAN(NTAPI*)(void*, ULONG, SECURITY_INFORMATION);
    static const auto valid = reinterpret_cast<Valid>(reinterpret_cast<void*>(
        ::GetProcAddress(::GetModuleHandleW(L"ntdll.dll"), "RtlValidRelativeSecurityDescriptor")));
    if (descriptor.size() < sizeof(SECURITY_DESCRIPTOR_RELATIVE) || valid == nullptr ||
        !valid(descriptor.data(), static_cast<ULONG>(descriptor.size()), 0))
      return fail(ErrorCode::corrupt, what + ": its security descriptor is damaged");
    auto& header = *reinterpret_cast<SECURITY_DESCRIPTOR_RELATIVE*>(descriptor.data());
    if ((header.Control & SE_DACL_AUTO_INHERITED) != 0) header.Control |= SE_DACL_AUTO_INHERIT_REQ;
    if ((header.Control & SE_SACL_AUTO_INHERITED) != 0) header.Control |= SE_SACL_AUTO_INHERIT_REQ;
    SECURITY_INFORMATION parts = 0;
    if (header.Owner != 0) parts |= OWNER_SECURITY_INFORMATION;
    if (header.Group != 0) parts |= GROUP_SECURITY_INFORMATION;
    if ((header.Control & SE_DACL_PRESENT) != 0) parts |= DACL_SECURITY_INFORMATION;
    const auto status = win::NtSetSecurityObject(item, parts, descriptor.data());
    if (status < 0) return win::status_error("set the security of " + what, status);
    return {};
  }

  const std::wstring drive_;
};

}  // namespace

std::unique_ptr<ItemPort> make_windows_items(const std::wstring& drive) {
  return std::make_unique<WindowsItems>(drive);
}

}  // namespace roamstead::agent
