#include "agent/win/registry/native_hive.h"

#include <array>
#include <set>

#include "agent/win/base/windows_error.h"
#include "common/base/text.h"

namespace roamstead::agent {

using profile::KeyPath;
using win::Handle;

namespace {

constexpr std::size_t kMostUnits = 16'000;  // of one name that is opened; a UNICODE_STRING has half of 64 KiB
constexpr ACCESS_MASK kForReading = KEY_READ | READ_CONTROL;
constexpr ACCESS_MASK kForWriting = KEY_READ | KEY_WRITE | READ_CONTROL;
constexpr SECURITY_INFORMATION kAllSecurity =
    OWNER_SECURITY_INFORMATION | GROUP_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION;

bool is_missing(NTSTATUS status) {
  return status == win::kStatusObjectNameNotFound || status == win::kStatusObjectPathNotFound ||
         status == win::kStatusKeyDeleted;
}

UNICODE_STRING native_text(std::wstring_view text) {
  UNICODE_STRING native{};
  native.Length = native.MaximumLength = static_cast<USHORT>(text.size() * sizeof(wchar_t));
  native.Buffer = const_cast<wchar_t*>(text.data());
  return native;
}

std::string text_of(const WCHAR* units, ULONG bytes) {
  return win::narrow_text(std::wstring_view(units, bytes / sizeof(WCHAR)));
}

// Calls with a larger buffer until it is enough. `call` gets buffer, size and where to say what is needed.
template <class Call>
NTSTATUS with_room(std::vector<std::byte>& buffer, const Call& call) {
  constexpr ULONG kMost = 1u << 30;
  if (buffer.empty()) buffer.resize(1024);
  for (;;) {
    ULONG needed = 0;
    const auto status = call(buffer.data(), static_cast<ULONG>(buffer.size()), &needed);
    if (status != win::kStatusBufferOverflow && status != win::kStatusBufferTooSmall) return status;
    if (needed <= buffer.size() || needed > kMost) return status;
    buffer.resize(needed);
  }
}

template <class Information>
const Information& as(const std::vector<std::byte>& buffer) {
  return *reinterpret_cast<const Information*>(buffer.data());
}

NTSTATUS open_absolute(const win::NativeRegistry& native, std::wstring_view path, HANDLE& handle) {
  auto name = native_text(path);
  OBJECT_ATTRIBUTES attributes{};
  attributes.Length = sizeof attributes;
  attributes.ObjectName = &name;
  attributes.Attributes = win::kObjectCaseInsensitive;
  return native.open_key(&handle, MAXIMUM_ALLOWED, &attributes, win::kOptionBackupRestore);
}

NTSTATUS make_absolute(const win::NativeRegistry& native, std::wstring_view path, HANDLE& handle) {
  auto name = native_text(path);
  OBJECT_ATTRIBUTES attributes{};
  attributes.Length = sizeof attributes;
  attributes.ObjectName = &name;
  attributes.Attributes = win::kObjectCaseInsensitive;
  return native.create_key(&handle, MAXIMUM_ALLOWED, &attributes, 0, nullptr, win::kOptionBackupRestore,
                           nullptr);
}

}  // namespace

Result<std::unique_ptr<NativeHive>> NativeHive::open(Options options, bool make) {
  RS_TRY(const auto* native, win::native_registry());
  std::unique_ptr<NativeHive> hive(new NativeHive(*native, std::move(options)));
  const auto& root = hive->options_.root;
  HANDLE handle = nullptr;
  auto status = open_absolute(*native, root, handle);
  if (make && is_missing(status)) {  // what is missing on the way too, from above
    Handle made;
    std::size_t end = 0;
    do {
      end = root.find(L'\\', end + 1);
      made.close();
      status = make_absolute(*native, std::wstring_view(root).substr(0, end), *made.put());
    } while (status >= 0 && end != std::wstring::npos);
    hive->root_ = std::move(made);
  } else {
    hive->root_ = Handle(handle);
  }
  if (status < 0) return hive->error({}, "cannot be opened", status);
  return hive;
}

NativeHive::~NativeHive() = default;

tl::unexpected<Error> NativeHive::error(const KeyPath& key, const char* what, NTSTATUS status) {
  if (is_missing(status)) {  // deleted, and perhaps made anew
    std::lock_guard lock(mutex_);
    kept_.reset();
  }
  const auto place = win::narrow_text(options_.root) + (key.is_root() ? "" : "\\" + key.text());
  if (is_missing(status)) return fail(ErrorCode::not_found, place + ": is not there");
  return win::status_error(place + ": " + what, status);
}

Result<Handle> NativeHive::open_below(HANDLE parent, std::wstring_view name, ACCESS_MASK access) {
  auto native_name = native_text(name);
  OBJECT_ATTRIBUTES attributes{};
  attributes.Length = sizeof attributes;
  attributes.RootDirectory = parent;
  attributes.ObjectName = &native_name;
  attributes.Attributes = win::kObjectCaseInsensitive | win::kObjectOpenLink;
  HANDLE handle = nullptr;
  const auto status = native_.open_key(&handle, access, &attributes, win::kOptionBackupRestore);
  if (is_missing(status)) return fail(ErrorCode::not_found, "is not there");
  if (status < 0) return win::status_error("cannot be opened", status);
  return Handle(handle);
}

// Part by part where the path is longer than one name may be.
Result<NativeHive::Shared> NativeHive::open_key(const KeyPath& key, bool write) {
  std::lock_guard lock(mutex_);
  if (write && kept_ && kept_path_ == key) return kept_;
  const auto access =
      write ? kForWriting | (options_.keeps_security ? WRITE_DAC | WRITE_OWNER : 0) : kForReading;
  auto opened = std::make_shared<Handle>();
  std::wstring part;
  const auto components = key.components();
  const auto open_part = [&](ACCESS_MASK wanted) -> Result<void> {
    HANDLE above = *opened ? opened->get() : root_.get();
    auto below = open_below(above, part, wanted);
    if (!below)
      return fail(std::move(below).error().with(win::narrow_text(options_.root) + "\\" + key.text()));
    *opened = std::move(*below);
    part.clear();
    return {};
  };
  for (const auto component : components) {
    RS_TRY(const auto name, win::wide_text(std::string(component)));
    if (part.size() + name.size() > kMostUnits) RS_CHECK(open_part(kForReading));
    part += (part.empty() ? L"" : L"\\") + name;
  }
  if (components.empty() || !part.empty()) RS_CHECK(open_part(access));
  if (write) {
    kept_path_ = key;
    kept_ = opened;
  }
  return opened;
}

Result<std::uint64_t> NativeHive::written(const KeyPath& key) {
  RS_TRY(const auto handle, open_key(key, false));
  return written_of(key, handle->get());
}

Result<std::uint64_t> NativeHive::written_of(const KeyPath& key, HANDLE handle) {
  std::vector<std::byte> buffer;
  const auto status = with_room(buffer, [&](void* out, ULONG bytes, ULONG* needed) {
    return native_.query_key(handle, win::kKeyBasicInformation, out, bytes, needed);
  });
  if (status < 0) return error(key, "cannot be queried", status);
  return static_cast<std::uint64_t>(as<win::KeyBasicInformation>(buffer).written.QuadPart);
}

// By index, so what changes in between may be missed: then all is read once more.
Result<LoadedHive::Content> NativeHive::read(const KeyPath& key, bool security) {
  RS_TRY(const auto handle, open_key(key, false));
  constexpr int kAttempts = 5;
  for (int left = kAttempts;; --left) {
    RS_TRY(auto content, read_once(key, handle->get(), security));
    RS_TRY(const auto after, written_of(key, handle->get()));
    if (after == content.entry.written_100ns || left == 0) return content;
  }
}

Result<LoadedHive::Content> NativeHive::read_once(const KeyPath& key, HANDLE handle, bool security) {
  Content content;
  std::vector<std::byte> buffer;
  const auto status = with_room(buffer, [&](void* out, ULONG bytes, ULONG* needed) {
    return native_.query_key(handle, win::kKeyFullInformation, out, bytes, needed);
  });
  if (status < 0) return error(key, "cannot be queried", status);
  const auto& facts = as<win::KeyFullInformation>(buffer);
  content.entry.written_100ns = static_cast<std::uint64_t>(facts.written.QuadPart);
  if (facts.class_bytes != 0 && std::uint64_t{facts.class_offset} + facts.class_bytes <= buffer.size())
    content.entry.class_name.assign(buffer.begin() + static_cast<std::ptrdiff_t>(facts.class_offset),
                                    buffer.begin() + static_cast<std::ptrdiff_t>(facts.class_offset) +
                                        static_cast<std::ptrdiff_t>(facts.class_bytes));
  if (security && options_.keeps_security) {
    RS_TRY(content.entry.security, read_security(handle));
  }
  if (auto read = read_subkeys(handle, content); !read)
    return fail(std::move(read).error().with("subkeys of '" + key.text() + "'"));
  if (auto read = read_values(handle, content); !read)
    return fail(std::move(read).error().with("values of '" + key.text() + "'"));
  return content;
}

Result<void> NativeHive::read_subkeys(HANDLE handle, Content& content) {
  std::vector<std::byte> buffer;
  std::set<std::u16string> seen;
  for (ULONG index = 0;; ++index) {
    const auto status = with_room(buffer, [&](void* out, ULONG bytes, ULONG* needed) {
      return native_.enumerate_key(handle, index, win::kKeyBasicInformation, out, bytes, needed);
    });
    if (status == win::kStatusNoMoreEntries) return {};
    if (is_missing(status)) return fail(ErrorCode::not_found, "the key was deleted");
    if (status < 0) return win::status_error("cannot be listed", status);
    const auto& facts = as<win::KeyBasicInformation>(buffer);
    auto name = text_of(facts.name, facts.name_bytes);
    if (seen.insert(upcase_key(name)).second) content.subkeys.push_back(std::move(name));
  }
}

Result<void> NativeHive::read_values(HANDLE handle, Content& content) {
  std::vector<std::byte> buffer;
  std::set<std::u16string> seen;
  for (ULONG index = 0;; ++index) {
    const auto status = with_room(buffer, [&](void* out, ULONG bytes, ULONG* needed) {
      return native_.enumerate_value(handle, index, win::kKeyValueFullInformation, out, bytes, needed);
    });
    if (status == win::kStatusNoMoreEntries) return {};
    if (is_missing(status)) return fail(ErrorCode::not_found, "the key was deleted");
    if (status < 0) return win::status_error("cannot be listed", status);
    const auto& facts = as<win::KeyValueFullInformation>(buffer);
    if (std::uint64_t{facts.data_offset} + facts.data_bytes > buffer.size() && facts.data_bytes != 0)
      return fail(ErrorCode::corrupt, "an answer that is longer than it can be");
    auto name = text_of(facts.name, facts.name_bytes);
    if (!seen.insert(upcase_key(name)).second) continue;
    Value value{std::move(name), facts.type, Bytes(facts.data_bytes)};
    if (facts.data_bytes != 0)
      std::copy_n(buffer.begin() + static_cast<std::ptrdiff_t>(facts.data_offset), facts.data_bytes,
                  value.data.begin());
    content.values.push_back(std::move(value));
  }
}

Result<Bytes> NativeHive::read_security(HANDLE handle) {
  std::vector<std::byte> buffer;
  ULONG length = 0;
  const auto status = with_room(buffer, [&](void* out, ULONG bytes, ULONG* needed) {
    const auto result = native_.query_security(handle, kAllSecurity, out, bytes, &length);
    *needed = length;
    return result;
  });
  if (status < 0) return win::status_error("security cannot be read", status);
  return Bytes(buffer.begin(),
               buffer.begin() + static_cast<std::ptrdiff_t>(std::min<std::size_t>(length, buffer.size())));
}

Result<bool> NativeHive::has_value(const KeyPath& key, const std::string& name) {
  RS_TRY(const auto handle, open_key(key, false));
  RS_TRY(const auto wide, win::wide_text(name));
  auto native_name = native_text(wide);
  std::array<std::byte, 64> buffer{};
  ULONG needed = 0;
  const auto status = native_.query_value(handle->get(), &native_name, win::kKeyValueBasicInformation,
                                          buffer.data(), static_cast<ULONG>(buffer.size()), &needed);
  if (status == win::kStatusObjectNameNotFound) return false;
  if (status < 0 && status != win::kStatusBufferOverflow && status != win::kStatusBufferTooSmall)
    return error(key, "cannot be asked for a value", status);
  return true;
}

Result<void> NativeHive::create(const KeyPath& key, const profile::KeyEntry& entry) {
  RS_TRY(const auto parent, open_key(key.parent(), true));
  RS_TRY(const auto wide, win::wide_text(std::string(key.name())));
  auto name = native_text(wide);
  const auto& class_name = entry.class_name;
  auto native_class = native_text(std::wstring_view(reinterpret_cast<const wchar_t*>(class_name.data()),
                                                    class_name.size() / sizeof(wchar_t)));
  OBJECT_ATTRIBUTES attributes{};
  attributes.Length = sizeof attributes;
  attributes.RootDirectory = parent->get();
  attributes.ObjectName = &name;
  attributes.Attributes = win::kObjectCaseInsensitive;
  HANDLE handle = nullptr;
  ULONG disposition = 0;
  const auto status =
      native_.create_key(&handle, kForWriting, &attributes, 0, class_name.empty() ? nullptr : &native_class,
                         win::kOptionBackupRestore, &disposition);
  if (status < 0) return error(key, "cannot be made", status);
  const Handle made(handle);
  if (disposition != win::kCreatedNewKey) return fail(ErrorCode::exists, "key '" + key.text() + "' is there");
  return entry.security.empty() ? Result<void>() : set_security(key, entry.security);
}

Result<void> NativeHive::set_security(const KeyPath& key, ByteView descriptor) {
  if (!options_.keeps_security) return {};
  constexpr std::size_t kLeastBytes = 20;
  if (descriptor.size() < kLeastBytes) return fail(ErrorCode::invalid_argument, "no security descriptor");
  const auto control = load_le<std::uint16_t>(descriptor, 2);
  SECURITY_INFORMATION what = 0;
  if (load_le<std::uint32_t>(descriptor, 4) != 0) what |= OWNER_SECURITY_INFORMATION;
  if (load_le<std::uint32_t>(descriptor, 8) != 0) what |= GROUP_SECURITY_INFORMATION;
  if ((control & SE_DACL_PRESENT) != 0)
    what |= DACL_SECURITY_INFORMATION |
            ((control & SE_DACL_PROTECTED) != 0 ? PROTECTED_DACL_SECURITY_INFORMATION
                                                : UNPROTECTED_DACL_SECURITY_INFORMATION);
  if (what == 0) return {};
  RS_TRY(const auto handle, open_key(key, true));
  auto copy = to_bytes(descriptor);
  const auto status = native_.set_security(handle->get(), what, copy.data());
  if (status < 0) return error(key, "security cannot be set", status);
  return {};
}

Result<void> NativeHive::set_written(const KeyPath& key, std::uint64_t time_100ns) {
  if (!options_.keeps_security) return {};
  RS_TRY(const auto handle, open_key(key, true));
  LARGE_INTEGER time{};
  time.QuadPart = static_cast<LONGLONG>(time_100ns);
  // A time is no change to anybody: not worth failing for.
  static_cast<void>(native_.set_key(handle->get(), win::kKeyWriteTimeInformation, &time, sizeof time));
  return {};
}

Result<void> NativeHive::set_value(const KeyPath& key, const std::string& name, std::uint32_t type,
                                   ByteView data) {
  RS_TRY(const auto handle, open_key(key, true));
  RS_TRY(const auto wide, win::wide_text(name));
  auto native_name = native_text(wide);
  const auto status = native_.set_value(handle->get(), &native_name, 0, type,
                                        const_cast<std::byte*>(data.data()), static_cast<ULONG>(data.size()));
  if (status < 0) return error(key, ("value '" + name + "' cannot be set").c_str(), status);
  return {};
}

Result<void> NativeHive::delete_value(const KeyPath& key, const std::string& name) {
  RS_TRY(const auto handle, open_key(key, true));
  RS_TRY(const auto wide, win::wide_text(name));
  auto native_name = native_text(wide);
  const auto status = native_.delete_value(handle->get(), &native_name);
  if (status < 0) return error(key, "a value cannot be deleted", status);
  return {};
}

Result<void> NativeHive::delete_key(const KeyPath& key) {
  if (key.is_root()) return fail(ErrorCode::invalid_argument, "a hive's root cannot be deleted");
  {
    std::lock_guard lock(mutex_);
    kept_.reset();
  }
  RS_TRY(const auto parent, open_key(key.parent(), true));
  RS_TRY(const auto name, win::wide_text(std::string(key.name())));
  auto deleted = delete_below(parent->get(), name, key.depth());
  if (!deleted) return fail(std::move(deleted).error().with("deleting key '" + key.text() + "'"));
  return {};
}

// A key's subkeys are deleted from the first on, until there is none.
Result<void> NativeHive::delete_below(HANDLE parent, const std::wstring& name, std::size_t depth) {
  if (depth > profile::kMaxKeyDepth) return fail(ErrorCode::unsupported, "too deep");
  RS_TRY(const auto handle, open_below(parent, name, kForReading | DELETE));
  std::vector<std::byte> buffer;
  for (;;) {
    const auto status = with_room(buffer, [&](void* out, ULONG bytes, ULONG* needed) {
      return native_.enumerate_key(handle.get(), 0, win::kKeyBasicInformation, out, bytes, needed);
    });
    if (status == win::kStatusNoMoreEntries) break;
    if (status < 0) return win::status_error("cannot be listed", status);
    const auto& facts = as<win::KeyBasicInformation>(buffer);
    RS_CHECK(
        delete_below(handle.get(), std::wstring(facts.name, facts.name_bytes / sizeof(WCHAR)), depth + 1));
  }
  const auto status = native_.delete_key(handle.get());
  if (status < 0) return win::status_error("cannot be deleted", status);
  return {};
}

Result<void> NativeHive::flush() {
  const auto status = native_.flush_key(root_.get());
  if (status < 0) return error({}, "cannot be flushed", status);
  return {};
}

// Armed before it is looked at, so that what comes in between is seen next time.
bool NativeHive::changed() {
  constexpr DWORD kThreadAgnostic = 0x10000000;  // REG_NOTIFY_THREAD_AGNOSTIC
  constexpr DWORD kAll = REG_NOTIFY_CHANGE_NAME | REG_NOTIFY_CHANGE_LAST_SET | REG_NOTIFY_CHANGE_SECURITY;
  std::lock_guard lock(watch_mutex_);
  if (watching_ && ::WaitForSingleObject(watch_event_.get(), 0) == WAIT_TIMEOUT) return false;
  if (!watch_event_) watch_event_ = Handle(::CreateEventW(nullptr, TRUE, FALSE, nullptr));
  ::ResetEvent(watch_event_.get());
  watching_ = ::RegNotifyChangeKeyValue(static_cast<HKEY>(root_.get()), TRUE, kAll | kThreadAgnostic,
                                        watch_event_.get(), TRUE) == ERROR_SUCCESS;
  return true;
}

}  // namespace roamstead::agent
