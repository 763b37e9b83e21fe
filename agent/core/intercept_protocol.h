// What a program that is about to touch the profile asks the service, and is answered, over a named pipe in
// message mode: one message each way, fixed layout, little-endian, bounded. Description: docs/agent.md.
//
// The hook DLL uses this header too: nothing here allocates or calls.
#pragma once

#include <cstddef>
#include <cstdint>

namespace roamstead::agent::intercept {

inline constexpr std::uint32_t kMagic = 0x31'49'53'52;  // "RSI1"
inline constexpr std::uint16_t kVersion = 1;
// UTF-16 units of one name below its root. Longer ones are refused (STATUS_NAME_TOO_LONG): no program that
// uses Win32 names can make them where profiles lie.
inline constexpr std::size_t kMaxNameUnits = 4096;

// What is about to happen to `name`; when it is answered with success it may.
enum class Op : std::uint16_t {
  hello = 0,        // nothing: who is there?
  names = 1,        // is it there, with which attributes; is something made under it
  content = 2,      // its bytes are read, it is run or mapped; a directory is listed
  write = 3,        // its bytes are changed, it is emptied, it is mapped for writing; a directory is listed
  remove = 4,       // it is deleted
  rename = 5,       // it gets the name `second`; ended by rename_done
  rename_done = 6,  // of both names, whether or not it succeeded
  link = 7,         // it gets the further name `second`
  times = 8,        // it gets the creation time `value` (100 ns since 1601)
  image = 9,        // it is started as a program
  key = 10,         // the key is opened or made
  subtree = 11,     // the key and all below it are saved, renamed or copied
};

enum RequestFlag : std::uint16_t {
  kLinkItself = 1,   // the link is meant, not what it leads to
  kFromOutside = 2,  // of rename and link: `name` is empty, the item lies outside the profile
  kToOutside = 4,    // `second` is empty, the item leaves the profile
};

struct Request {
  std::uint32_t magic;
  std::uint16_t version;
  std::uint16_t op;
  std::uint32_t bytes;  // of the whole message
  std::uint32_t sequence;
  std::uint16_t root;         // of `name`
  std::uint16_t second_root;  // of `second`
  std::uint16_t flags;
  std::uint16_t reserved;
  std::uint32_t name_units;
  std::uint32_t second_units;
  std::uint64_t value;
  // name, second: UTF-16LE, separated by '\', no separator at either end
};
static_assert(sizeof(Request) == 40);
inline constexpr std::size_t kMaxRequestBytes = sizeof(Request) + 2 * 2 * kMaxNameUnits;

struct Reply {
  std::uint32_t magic;
  std::uint16_t version;
  std::uint16_t reserved;
  std::uint32_t sequence;
  std::uint32_t status;    // an NTSTATUS: 0 go on, otherwise what the program is told
  std::uint64_t instance;  // of the service: where it is not the state map's, that is opened anew
};
static_assert(sizeof(Reply) == 24);

// Named pipe, and the section with the state map's header ("%s" a SID); both in the global namespace.
inline constexpr char16_t kPipeName[] = u"RoamsteadProfile";
inline constexpr char16_t kSectionName[] = u"RoamsteadMap.";

// What programs are told. Those for things that may come right are what Windows itself says when a file
// server is away: STATUS_IO_TIMEOUT becomes ERROR_SEM_TIMEOUT (121) in every version of Windows and in Wine,
// which programs that live with homes on servers try again (SQLite, for one, has it on its list), and which
// nobody takes for "not found". ERROR_SHARING_VIOLATION, tried again even more widely, was not taken:
// installers and Office blame another user for it. Never STATUS_OBJECT_NAME_NOT_FOUND or
// STATUS_OBJECT_PATH_NOT_FOUND.
enum Status : std::uint32_t {
  kGoOn = 0,
  kRetry = 0xC00000B5,           // STATUS_IO_TIMEOUT
  kBadName = 0xC0000033,         // STATUS_OBJECT_NAME_INVALID
  kNameTooLong = 0xC0000106,     // STATUS_NAME_TOO_LONG
  kWriteProtected = 0xC00000A2,  // STATUS_MEDIA_WRITE_PROTECTED
  kFull = 0xC000007F,            // STATUS_DISK_FULL
  kOtherVolume = 0xC00000D4,     // STATUS_NOT_SAME_DEVICE: programs copy instead of renaming
  kFailed = 0xC0000185,          // STATUS_IO_DEVICE_ERROR
  kRefused = 0xC0000022,         // STATUS_ACCESS_DENIED
};

}  // namespace roamstead::agent::intercept
