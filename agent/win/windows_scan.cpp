#include <windows.h>
#include <winioctl.h>

#include "agent/win/base/native_file.h"
#include "agent/win/base/windows_error.h"
#include "agent/win/scan_port.h"

namespace roamstead::agent {
namespace {

using win::Handle;
using win::open_in;

constexpr std::uint64_t kRecordBits = 48;
constexpr std::size_t kMostSecurityBytes = 64 << 10;
constexpr std::size_t kMostStreamBytes = 1 << 20;  // of what lists a file's streams
constexpr NTSTATUS kMoreThanFits = static_cast<NTSTATUS>(0x80000005);
constexpr NTSTATUS kTooSmall = static_cast<NTSTATUS>(0xC0000023);
constexpr NTSTATUS kNoSuchThing = static_cast<NTSTATUS>(0xC0000225);
// What the loader sets, too: what a system's access list says stays on the desktop.
constexpr SECURITY_INFORMATION kSecurityParts =
    OWNER_SECURITY_INFORMATION | GROUP_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION;
constexpr DWORD kRecallOnOpen = 0x0004'0000, kRecallOnAccess = 0x0040'0000;

// NTFS brings what a directory's listing says of a file up to date late, and never under its other names:
// each is asked itself. Opening for attributes alone meets nobody's share mode.
class WindowsScan final : public ScanPort {
 public:
  Result<std::vector<ScannedItem>> list(HANDLE directory, const std::string& what) override {
    std::vector<ScannedItem> items;
    RS_CHECK(win::read_directory(
        directory, what, [&](const auto& entry, const std::wstring& name) -> Result<void> {
          auto item = look(directory, name);
          if (!item && item.error().code == ErrorCode::not_found) return {};  // gone meanwhile
          if (item) {
            items.push_back(std::move(*item));
            return {};
          }
          // Never as if it were not there.
          ScannedItem listed;
          listed.name = win::narrow_text(name);
          set_id(listed, static_cast<std::uint64_t>(entry.file_id.QuadPart));
          listed.directory = is_directory(entry.attributes, entry.ea_bytes);
          listed.stamp = {listed.directory ? 0 : static_cast<std::uint64_t>(entry.end_of_file.QuadPart),
                          static_cast<std::uint64_t>(entry.written.QuadPart),
                          static_cast<std::uint64_t>(entry.changed.QuadPart), 0};
          items.push_back(std::move(listed));
          return {};
        }));
    return items;
  }

  Result<ScannedItem> look(HANDLE directory, const std::wstring& name) override {
    RS_TRY(const auto opened, open_in(directory, name == L"." ? L"" : name, {}));
    RS_TRY(const auto looked, look_at(opened.get(), win::narrow_text(name)));
    return looked.item;
  }

  Result<ItemDetails> details(HANDLE directory, const std::wstring& name) override {
    const auto text = win::narrow_text(name);
    win::OpenOptions wanted;
    wanted.access = FILE_READ_ATTRIBUTES | READ_CONTROL;
    RS_TRY(const auto opened, open_in(directory, name == L"." ? L"" : name, wanted));
    RS_TRY(auto looked, look_at(opened.get(), text));
    ItemDetails details;
    details.item = std::move(looked.item);
    details.attributes = looked.attributes;
    details.created_100ns = looked.created_100ns;
    RS_TRY(details.security, security(opened.get(), text));
    if ((looked.attributes & FILE_ATTRIBUTE_REPARSE_POINT) != 0)
      RS_CHECK(add_reparse(opened.get(), text, details));
    RS_CHECK(add_streams(opened.get(), text, details));
    if (!details.item.directory && (looked.attributes & FILE_ATTRIBUTE_ENCRYPTED) != 0)
      details.blocked = "unsupported: encrypted (EFS)";
    if ((looked.attributes & (FILE_ATTRIBUTE_OFFLINE | kRecallOnOpen | kRecallOnAccess)) != 0 &&
        !details.item.directory)
      details.blocked = "unsupported: its content lies elsewhere (a cloud, an archive), and would be fetched";
    return details;
  }

 private:
  struct Looked {
    ScannedItem item;
    std::uint32_t attributes = 0;
    std::uint64_t created_100ns = 0;
  };

  static bool is_directory(ULONG attributes, ULONG reparse_tag) {
    const bool elsewhere =
        (attributes & FILE_ATTRIBUTE_REPARSE_POINT) != 0 && win::is_name_surrogate(reparse_tag);
    return (attributes & FILE_ATTRIBUTE_DIRECTORY) != 0 && !elsewhere;
  }
  static void set_id(ScannedItem& item, std::uint64_t id) {
    item.record = id & ((std::uint64_t{1} << kRecordBits) - 1);
    item.sequence = static_cast<std::uint16_t>(id >> kRecordBits);
  }

  static Result<Looked> look_at(HANDLE item, const std::string& name) {
    RS_TRY(const auto id,
           win::query_file<win::FileInternalInformation>(item, win::kFileInternalInformation, name));
    RS_TRY(const auto basic,
           win::query_file<win::FileBasicInformation>(item, win::kFileBasicInformation, name));
    RS_TRY(const auto standard,
           win::query_file<win::FileStandardInformation>(item, win::kFileStandardInformation, name));
    ULONG tag = 0;
    if ((basic.attributes & FILE_ATTRIBUTE_REPARSE_POINT) != 0) {
      RS_TRY(const auto tagged, win::query_file<win::FileAttributeTagInformation>(
                                    item, win::kFileAttributeTagInformation, name));
      tag = tagged.reparse_tag;
    }
    Looked looked;
    looked.item.name = name;
    set_id(looked.item, static_cast<std::uint64_t>(id.index.QuadPart));
    looked.item.directory = is_directory(basic.attributes, tag);
    looked.item.stamp = {
        looked.item.directory ? 0 : static_cast<std::uint64_t>(standard.end_of_file.QuadPart),
        static_cast<std::uint64_t>(basic.written.QuadPart),
        static_cast<std::uint64_t>(basic.changed.QuadPart), looked.item.directory ? 1 : standard.links};
    looked.attributes = basic.attributes;
    looked.created_100ns = static_cast<std::uint64_t>(basic.created.QuadPart);
    return looked;
  }

  static Result<Bytes> security(HANDLE item, const std::string& name) {
    Bytes descriptor(512);
    for (;;) {
      ULONG needed = 0;
      const auto status = win::NtQuerySecurityObject(item, kSecurityParts, descriptor.data(),
                                                     static_cast<ULONG>(descriptor.size()), &needed);
      if (status >= 0) {
        if (needed != 0 && needed < descriptor.size()) descriptor.resize(needed);
        return descriptor;
      }
      if (status != kTooSmall || needed <= descriptor.size() || needed > kMostSecurityBytes)
        return win::status_error("read the security of " + name, status);
      descriptor.resize(needed);
    }
  }

  static Result<void> add_reparse(HANDLE item, const std::string& name, ItemDetails& details) {
    Bytes buffer(MAXIMUM_REPARSE_DATA_BUFFER_SIZE);
    IO_STATUS_BLOCK io{};
    const auto status = ::NtFsControlFile(item, nullptr, nullptr, nullptr, &io, FSCTL_GET_REPARSE_POINT,
                                          nullptr, 0, buffer.data(), static_cast<ULONG>(buffer.size()));
    if (status == win::kStatusNotReparsePoint) return {};  // no more
    if (status < 0) return win::status_error("read where " + name + " leads", status);
    if (io.Information < 8) return {};
    details.reparse_tag = load_le<std::uint32_t>(buffer, 0);
    details.reparse_data.assign(buffer.begin() + 8,
                                buffer.begin() + static_cast<std::ptrdiff_t>(io.Information));
    return {};
  }

  static Result<void> add_streams(HANDLE item, const std::string& name, ItemDetails& details) {
    std::vector<std::uint64_t> buffer(1024);  // aligned as the entries are
    IO_STATUS_BLOCK io{};
    for (;;) {
      const auto status = ::NtQueryInformationFile(item, &io, buffer.data(),
                                                   static_cast<ULONG>(buffer.size() * sizeof(std::uint64_t)),
                                                   win::information(win::kFileStreamInformation));
      if (status == kNoSuchThing) return {};
      if (status >= 0) break;
      if ((status != kMoreThanFits && status != kTooSmall) ||
          buffer.size() * sizeof(std::uint64_t) >= kMostStreamBytes)
        return win::status_error("list the streams of " + name, status);
      buffer.resize(buffer.size() * 4);
    }
    if (io.Information == 0) return {};  // a directory without any
    const auto* at = reinterpret_cast<const std::byte*>(buffer.data());
    for (;;) {
      const auto& entry = *reinterpret_cast<const win::FileStreamInformation*>(at);
      const std::wstring_view full(entry.name, entry.name_bytes / sizeof(wchar_t));  // ":name:$DATA"
      const auto end = full.rfind(L':');
      if (end != std::wstring_view::npos && end >= 1 && full.substr(end) == L":$DATA")
        details.streams.push_back({win::narrow_text(full.substr(1, end - 1)),
                                   static_cast<std::uint64_t>(entry.size.QuadPart),
                                   entry.allocation_bytes.QuadPart != 0});
      if (entry.next_entry == 0) return {};
      at += entry.next_entry;
    }
  }
};

}  // namespace

std::unique_ptr<ScanPort> make_windows_scan() { return std::make_unique<WindowsScan>(); }

}  // namespace roamstead::agent
