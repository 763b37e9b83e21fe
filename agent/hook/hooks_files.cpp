// Files: what takes the place of ntdll's functions.
#include "agent/hook/access.h"
#include "agent/hook/entries.h"

namespace roamstead::hook {

using namespace agent::state_map;

namespace {

constexpr ACCESS_MASK kReads = FILE_READ_DATA | FILE_EXECUTE | GENERIC_READ | GENERIC_EXECUTE;
constexpr ACCESS_MASK kWrites = FILE_WRITE_DATA | FILE_APPEND_DATA | GENERIC_WRITE;
constexpr ACCESS_MASK kBoth = GENERIC_ALL | MAXIMUM_ALLOWED;
constexpr ULONG_PTR kOpened = 1;  // FILE_OPENED
constexpr int kMostAttempts = 8;

struct Meaning {
  Op op;
  std::uint32_t wanted;
  std::uint16_t flags;
};

Meaning meaning_of(ACCESS_MASK access, ULONG disposition, ULONG options) {
  const auto flags = static_cast<std::uint16_t>(
      (options & FILE_OPEN_REPARSE_POINT) != 0 ? agent::intercept::kLinkItself : 0);
  if ((options & FILE_DELETE_ON_CLOSE) != 0 && (access & (kReads | kWrites | kBoth)) == 0)
    return {Op::remove, 0, flags};
  if (disposition == FILE_CREATE) return {Op::names, kSettled, flags};
  if (disposition == FILE_SUPERSEDE || disposition == FILE_OVERWRITE || disposition == FILE_OVERWRITE_IF ||
      (access & (kWrites | kBoth)) != 0)
    return {Op::write, kSettled | kLoaded | kRecorded, flags};
  if ((access & kReads) != 0) return {Op::content, kSettled | kLoaded, flags};
  return {Op::names, kSettled, flags};
}

// The name may have come to stand for something else between the answer and the opening.
bool may_be_stale(const Header& header, std::uint32_t generation) {
  return header.generation.load(std::memory_order_acquire) != generation ||
         header.renames.load(std::memory_order_acquire) != 0;
}

// The service may have the file open, for writing, while this program wants to share it for reading only:
// then it waits until that is over, and tries again. Where somebody else has the file it is told so.
constexpr NTSTATUS kNotShared = static_cast<NTSTATUS>(0xC0000043);  // STATUS_SHARING_VIOLATION
constexpr DWORD kLongestUse_ms = 5000;

void wait_for_service(const Header& header, const Place& place) {
  const auto until = ::GetTickCount() + kLongestUse_ms;
  while (is_in_use(header, place) && static_cast<LONG>(until - ::GetTickCount()) > 0) pause(1);
}

template <class Open>
NTSTATUS open_shared(const Header& header, const Place& place, Open open) {
  auto status = open();
  for (int attempt = 0; status == kNotShared && attempt < kMostAttempts; ++attempt) {
    const bool in_use = is_in_use(header, place);
    if (in_use) wait_for_service(header, place);
    status = open();
    if (!in_use) break;  // it may have been closed before it was looked at: once more, then that is it
  }
  return status;
}

// Opens what lies in the profile: `open` is the original call.
template <class Open>
[[gnu::noinline]] NTSTATUS open_inside(const MapView& view, const Meaning& meaning, const Place& place,
                                       HANDLE* handle, const IO_STATUS_BLOCK* done, bool directory,
                                       ULONG options, Open open) {
  if ((options & FILE_DELETE_ON_CLOSE) != 0 && meaning.op != Op::remove) {
    const auto refused = ask_about(view, Op::remove, place, 0, meaning.flags);
    if (failed(refused)) return refused;
  }
  for (int attempt = 0;; ++attempt) {
    const auto generation = view.header->generation.load(std::memory_order_acquire);
    if (meaning.wanted == 0 || attempt != 0 || !is_known(view, place, meaning.wanted)) {
      const auto refused =
          ask_about(view, meaning.op, place, attempt == 0 ? meaning.wanted : 0, meaning.flags);
      if (failed(refused)) return refused;
    }
    const auto status = open_shared(*view.header, place, open);
    if (failed(status) || handle == nullptr) return status;
    if ((meaning.op == Op::content || meaning.op == Op::write) && done->Information == kOpened &&
        may_be_stale(*view.header, generation)) {
      close(*handle);
      if (attempt == kMostAttempts) return static_cast<NTSTATUS>(agent::intercept::kRetry);
      continue;
    }
    if (directory) handle_names.note_inside(*view.header, *handle, false, place);
    return status;
  }
}

// Opened by its number: its name is known once it is open.
template <class Open>
[[gnu::noinline]] NTSTATUS open_by_number(const MapView& view, const Meaning& meaning, HANDLE* handle,
                                          Open open) {
  const auto status = open();
  if (failed(status) || handle == nullptr) return status;
  Located located;
  if (locate_handle(*view.header, *handle, false, located) != Where::inside) return status;
  handle_names.forget(*handle);
  if (is_known(view, located.place, meaning.wanted == 0 ? kSettled : meaning.wanted)) return status;
  close(*handle);  // the service may be unable to open it otherwise
  const auto refused = ask_about(view, meaning.op, located.place, meaning.wanted, meaning.flags);
  return failed(refused) ? refused : open();
}

// The rest of create_file and open_file, apart from what happens to all names outside.
template <class Open>
[[gnu::noinline]] NTSTATUS open_slowly(const MapView& view, ACCESS_MASK access, ULONG disposition,
                                       ULONG options, HANDLE* handle, const OBJECT_ATTRIBUTES* attributes,
                                       const IO_STATUS_BLOCK* done, Open open) {
  const auto meaning = meaning_of(access, disposition, options);
  if ((options & FILE_OPEN_BY_FILE_ID) != 0) return open_by_number(view, meaning, handle, open);
  Located located;
  const auto where = locate(*view.header, attributes, false, located);
  if (where == Where::too_long) return kTooLong;
  if (where == Where::inside)
    return open_inside(view, meaning, located.place, handle, done, (options & FILE_NON_DIRECTORY_FILE) == 0,
                       options, open);
  const auto status = open();
  if (where == Where::outside && !failed(status) && handle != nullptr) handle_names.note_outside(*handle);
  return status;
}

// Null where there is nothing to intercept.
const MapView* map_for_names() {
  const auto* view = map_now();
  if (view == nullptr || view->filter.is_current() ||
      view->table.number == view->header->table.load(std::memory_order_acquire))
    return view;
  return renew_map(view);
}

enum class Way { straight_on, inside, slow };
Way way_of(const MapView* view, const OBJECT_ATTRIBUTES* attributes, ULONG options, Place& place) {
  if (view == nullptr || attributes == nullptr || attributes->ObjectName == nullptr) return Way::straight_on;
  if (attributes->RootDirectory != nullptr || (options & FILE_OPEN_BY_FILE_ID) != 0) return Way::slow;
  if (find_place(*view->header, false, reinterpret_cast<const char16_t*>(attributes->ObjectName->Buffer),
                 attributes->ObjectName->Length / 2, place))
    return place.units <= kMostUnits ? Way::inside : Way::slow;
  return (options & FILE_DIRECTORY_FILE) != 0 ? Way::slow : Way::straight_on;
}

// `open` is the original call.
template <class Open>
NTSTATUS open_by_name(ACCESS_MASK access, ULONG disposition, ULONG options, HANDLE* handle,
                      const OBJECT_ATTRIBUTES* attributes, const IO_STATUS_BLOCK* done, Open open) {
  const auto* view = map_for_names();
  Place place;
  switch (way_of(view, attributes, options, place)) {
    case Way::straight_on:
      return open();
    case Way::inside:
      return open_inside(*view, meaning_of(access, disposition, options), place, handle, done,
                         (options & FILE_NON_DIRECTORY_FILE) == 0, options, open);
    default:
      return open_slowly(*view, access, disposition, options, handle, attributes, done, open);
  }
}

[[gnu::noinline]] NTSTATUS names_slowly(const MapView& view, const OBJECT_ATTRIBUTES* attributes, Op op,
                                        std::uint32_t wanted) {
  Located located;
  return decide(view, attributes, false, op, wanted, 0, located).status;
}

// 0: a name may be asked about (or deleted).
[[gnu::noinline]] NTSTATUS before_names(const OBJECT_ATTRIBUTES* attributes, Op op, std::uint32_t wanted) {
  const auto* view = map_for_names();
  Place place;
  switch (way_of(view, attributes, 0, place)) {
    case Way::straight_on:
      return 0;
    case Way::inside:
      if (wanted != 0 && is_known(*view, place, wanted)) return 0;
      return ask_about(*view, op, place, wanted);
    default:
      return names_slowly(*view, attributes, op, wanted);
  }
}

NTSTATUS ROAMSTEAD_NT delete_file(OBJECT_ATTRIBUTES* attributes) {
  if (const auto refused = before_names(attributes, Op::remove, 0); failed(refused)) return refused;
  return ROAMSTEAD_ORIGINAL(NtDeleteFile)(attributes);
}

// Directories that were opened before this library was here, or by somebody else.
[[gnu::noinline]] NTSTATUS before_listing(const MapView& view, HANDLE directory) {
  Located located;
  const auto where = locate_handle(*view.header, directory, false, located);
  if (where != Where::inside) return is_elsewhere(where) ? 0 : kTooLong;
  constexpr std::uint32_t kWanted = kSettled | kLoaded;
  return is_known(view, located.place, kWanted) ? 0 : ask_about(view, Op::content, located.place, kWanted);
}

NTSTATUS ROAMSTEAD_NT query_directory(HANDLE directory, HANDLE event, void* apc, void* context,
                                      IO_STATUS_BLOCK* done, void* information, ULONG bytes, ULONG what,
                                      BOOLEAN single, UNICODE_STRING* mask, BOOLEAN restart) {
  if (const auto* view = map_now(); view != nullptr && !handle_names.is_outside(directory))
    if (const auto refused = before_listing(*view, directory); failed(refused)) return refused;
  return ROAMSTEAD_ORIGINAL(NtQueryDirectoryFile)(directory, event, apc, context, done, information, bytes,
                                                  what, single, mask, restart);
}

NTSTATUS ROAMSTEAD_NT query_directory_ex(HANDLE directory, HANDLE event, void* apc, void* context,
                                         IO_STATUS_BLOCK* done, void* information, ULONG bytes, ULONG what,
                                         ULONG flags, UNICODE_STRING* mask) {
  if (const auto* view = map_now(); view != nullptr && !handle_names.is_outside(directory))
    if (const auto refused = before_listing(*view, directory); failed(refused)) return refused;
  return ROAMSTEAD_ORIGINAL(NtQueryDirectoryFileEx)(directory, event, apc, context, done, information, bytes,
                                                    what, flags, mask);
}

// The new name of a rename or link: full, relative to a directory, or in the same one.
Where locate_new_name(const Header& header, const NameInformation& information, ULONG bytes, Where from,
                      const Located& source, Located& target) {
  if (bytes < offsetof(NameInformation, name) ||
      bytes - offsetof(NameInformation, name) < information.name_bytes)
    return Where::outside;  // the system refuses it
  UNICODE_STRING text{static_cast<USHORT>(information.name_bytes),
                      static_cast<USHORT>(information.name_bytes), const_cast<WCHAR*>(information.name)};
  if (information.name_bytes > 0xFFFE) return Where::too_long;
  OBJECT_ATTRIBUTES attributes{};
  attributes.Length = sizeof attributes;
  attributes.ObjectName = &text;
  attributes.RootDirectory = information.root;
  if (information.root != nullptr || (text.Length != 0 && text.Buffer[0] == L'\\'))
    return locate(header, &attributes, false, target);
  if (from != Where::inside) return Where::outside;
  std::size_t units = source.place.units;
  while (units != 0 && source.buffer[units - 1] != u'\\') --units;
  const std::size_t more = text.Length / 2;
  if (units + more > kMostUnits) return Where::too_long;
  __builtin_memcpy(target.buffer, source.buffer, 2 * units);
  __builtin_memcpy(target.buffer + units, text.Buffer, 2 * more);
  target.place = {source.place.root, target.buffer, units + more};
  return Where::inside;
}

[[gnu::noinline]] NTSTATUS set_name(const MapView& view, HANDLE file, IO_STATUS_BLOCK* done,
                                    void* information, ULONG bytes, ULONG what, bool is_link) {
  const auto original = [&] {
    return ROAMSTEAD_ORIGINAL(NtSetInformationFile)(file, done, information, bytes, what);
  };
  if (information == nullptr) return original();
  Located source, target;
  const auto from = locate_handle(*view.header, file, false, source);
  const auto to = locate_new_name(*view.header, *static_cast<const NameInformation*>(information), bytes,
                                  from, source, target);
  if (from == Where::too_long || to == Where::too_long) return kTooLong;
  const bool from_outside = is_elsewhere(from), to_outside = is_elsewhere(to);
  if (from_outside && to_outside) return original();
  AskingNow asking;
  if (!asking) return original();
  if (from_outside) source.place = {};
  if (to_outside) target.place = {};
  const auto flags = static_cast<std::uint16_t>((from_outside ? agent::intercept::kFromOutside : 0) |
                                                (to_outside ? agent::intercept::kToOutside : 0));
  Conversation conversation(*view.header);
  const auto refused = conversation.ask(is_link ? Op::link : Op::rename, source.place, flags, target.place);
  if (failed(refused)) return refused;
  if (!from_outside) wait_for_service(*view.header, source.place);
  if (!to_outside) wait_for_service(*view.header, target.place);
  const auto status = original();
  if (!is_link) {
    handle_names.forget(file);
    conversation.ask(Op::rename_done, {});
  }
  return status;
}

// What is deleted, or gets another creation time, which it is known by.
[[gnu::noinline]] NTSTATUS before_setting(const MapView& view, HANDLE file, Op op, std::uint64_t value) {
  Located located;
  const auto where = locate_handle(*view.header, file, false, located);
  if (where != Where::inside) return is_elsewhere(where) ? 0 : kTooLong;
  return ask_about(view, op, located.place, 0, agent::intercept::kLinkItself, value);
}

NTSTATUS ROAMSTEAD_NT set_information(HANDLE file, IO_STATUS_BLOCK* done, void* information, ULONG bytes,
                                      ULONG what) {
  if (const auto* view = map_now(); view != nullptr) switch (what) {
      case kRenameInformation:
      case kRenameInformationBypass:
      case kRenameInformationEx:
      case kRenameInformationExBypass:
        return set_name(*view, file, done, information, bytes, what, false);
      case kLinkInformation:
      case kLinkInformationBypass:
      case kLinkInformationEx:
      case kLinkInformationExBypass:
        return set_name(*view, file, done, information, bytes, what, true);
      case kDispositionInformation:
      case kDispositionInformationEx:
        if (information != nullptr && bytes != 0 &&
            (*static_cast<const unsigned char*>(information) & 1) != 0)
          if (const auto refused = before_setting(*view, file, Op::remove, 0); failed(refused))
            return refused;
        break;
      case kBasicInformation:
        if (information != nullptr && bytes >= sizeof(BasicInformation)) {
          const auto created = static_cast<const BasicInformation*>(information)->created.QuadPart;
          if (created > 0)  // 0, -1 and -2 change nothing
            if (const auto refused =
                    before_setting(*view, file, Op::times, static_cast<std::uint64_t>(created));
                failed(refused))
              return refused;
        }
        break;
      default:
        break;
    }
  return ROAMSTEAD_ORIGINAL(NtSetInformationFile)(file, done, information, bytes, what);
}

}  // namespace

// What entries.cpp does not let pass.
extern "C" {

NTSTATUS ROAMSTEAD_NT roamstead_closely_create_file(HANDLE* handle, ACCESS_MASK access,
                                                    OBJECT_ATTRIBUTES* attributes, IO_STATUS_BLOCK* done,
                                                    LARGE_INTEGER* size, ULONG file_attributes, ULONG share,
                                                    ULONG disposition, ULONG options, void* extended,
                                                    ULONG extended_bytes) {
  return open_by_name(access, disposition, options, handle, attributes, done, [&] {
    return ROAMSTEAD_ORIGINAL(NtCreateFile)(handle, access, attributes, done, size, file_attributes, share,
                                            disposition, options, extended, extended_bytes);
  });
}

NTSTATUS ROAMSTEAD_NT roamstead_closely_open_file(HANDLE* handle, ACCESS_MASK access,
                                                  OBJECT_ATTRIBUTES* attributes, IO_STATUS_BLOCK* done,
                                                  ULONG share, ULONG options) {
  return open_by_name(access, FILE_OPEN, options, handle, attributes, done, [&] {
    return ROAMSTEAD_ORIGINAL(NtOpenFile)(handle, access, attributes, done, share, options);
  });
}

NTSTATUS ROAMSTEAD_NT roamstead_closely_query_attributes(OBJECT_ATTRIBUTES* attributes, void* information) {
  if (const auto refused = before_names(attributes, Op::names, kSettled); failed(refused)) return refused;
  return ROAMSTEAD_ORIGINAL(NtQueryAttributesFile)(attributes, information);
}

NTSTATUS ROAMSTEAD_NT roamstead_closely_query_full_attributes(OBJECT_ATTRIBUTES* attributes,
                                                              void* information) {
  if (const auto refused = before_names(attributes, Op::names, kSettled); failed(refused)) return refused;
  return ROAMSTEAD_ORIGINAL(NtQueryFullAttributesFile)(attributes, information);
}

NTSTATUS ROAMSTEAD_NT roamstead_closely_query_by_name(OBJECT_ATTRIBUTES* attributes, IO_STATUS_BLOCK* done,
                                                      void* information, ULONG bytes, ULONG what) {
  if (const auto refused = before_names(attributes, Op::names, kSettled); failed(refused)) return refused;
  return ROAMSTEAD_ORIGINAL(NtQueryInformationByName)(attributes, done, information, bytes, what);
}

}  // extern "C"

#if defined(__x86_64__)
#define ROAMSTEAD_ENTRY(name) const_cast<char*>(roamstead_enter_##name)
#else
#define ROAMSTEAD_ENTRY(name) reinterpret_cast<void*>(&roamstead_closely_##name)
#endif

void fill_file_hooks(void* (&hooks)[kHookCount]) {
  hooks[kNtCreateFile] = ROAMSTEAD_ENTRY(create_file);
  hooks[kNtOpenFile] = ROAMSTEAD_ENTRY(open_file);
  hooks[kNtQueryAttributesFile] = ROAMSTEAD_ENTRY(query_attributes);
  hooks[kNtQueryFullAttributesFile] = ROAMSTEAD_ENTRY(query_full_attributes);
  hooks[kNtQueryInformationByName] = ROAMSTEAD_ENTRY(query_by_name);
  hooks[kNtQueryDirectoryFile] = reinterpret_cast<void*>(&query_directory);
  hooks[kNtQueryDirectoryFileEx] = reinterpret_cast<void*>(&query_directory_ex);
  hooks[kNtSetInformationFile] = reinterpret_cast<void*>(&set_information);
  hooks[kNtDeleteFile] = reinterpret_cast<void*>(&delete_file);
}

}  // namespace roamstead::hook
