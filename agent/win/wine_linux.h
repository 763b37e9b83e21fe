// Linux' own system calls, which a Windows program under Wine 8 may make, on the files behind its handles:
// for the test environment. Only where win::under_wine().
#pragma once

#include <windows.h>
// After it.
#include <winternl.h>

#include <array>
#include <cstdint>
#include <string>

#include "common/base/result.h"

namespace roamstead::agent::wine_linux {

// System calls of Linux on x86-64, and their errors.
inline constexpr std::int64_t kClose = 3, kFsync = 74, kFsetxattr = 190, kLgetxattr = 192, kFgetxattr = 193,
                              kGetdents64 = 217, kOpenat = 257, kNewfstatat = 262, kUnlinkat = 263,
                              kRenameat = 264, kReadlinkat = 267, kSyncfs = 306;
inline constexpr std::int64_t kNoEntry = 2, kInterrupted = 4, kIo = 5, kNotDirectory = 20, kNoSpace = 28,
                              kRange = 34, kNoData = 61, kNotSupported = 95;
inline constexpr std::int64_t kNoFollow = 0x100;                              // AT_SYMLINK_NOFOLLOW
inline constexpr std::int64_t kDirectory = 0200000, kCloseOnExec = 02000000;  // O_…
inline constexpr char kLinkEntry = 10;                                        // DT_LNK
inline constexpr std::uint32_t kTypeMask = 0170000, kLinkType = 0120000, kDirectoryType = 0040000,
                               kFileType = 0100000;

inline std::int64_t word(const void* pointer) { return reinterpret_cast<std::int64_t>(pointer); }

// 0 or more, or an error as a negative number.
inline std::int64_t linux_call(std::int64_t number, std::int64_t first, std::int64_t second = 0,
                               std::int64_t third = 0, std::int64_t fourth = 0, std::int64_t fifth = 0) {
  std::int64_t result = 0;
  do {
    register std::int64_t r10 __asm__("r10") = fourth;
    register std::int64_t r8 __asm__("r8") = fifth;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(first), "S"(second), "d"(third), "r"(r10), "r"(r8)
                     : "rcx", "r11", "memory");
  } while (result == -kInterrupted);
  return result;
}

inline tl::unexpected<Error> linux_error(const std::string& what, std::int64_t result) {
  const auto code = result == -kNoEntry || result == -kNotDirectory ? ErrorCode::not_found
                    : result == -kNoSpace                           ? ErrorCode::full
                                                                    : ErrorCode::io;
  return fail(code, what + ": Linux error " + std::to_string(-result));
}

using HandleToFd = NTSTATUS(CDECL*)(HANDLE, unsigned access, int* descriptor, unsigned* options);

inline HandleToFd handle_to_fd() {
  static const auto function = reinterpret_cast<HandleToFd>(reinterpret_cast<void*>(
      ::GetProcAddress(::GetModuleHandleW(L"ntdll.dll"), "wine_server_handle_to_fd")));
  return function;
}

// The Linux file that a handle stands for.
class Descriptor {
 public:
  explicit Descriptor(HANDLE handle) {
    if (handle_to_fd()(handle, 0, &number_, nullptr) != 0) number_ = -1;
  }
  explicit Descriptor(std::int64_t number) : number_(static_cast<int>(number)) {}
  ~Descriptor() {
    if (number_ >= 0) linux_call(kClose, number_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  std::int64_t get() const { return number_; }

 private:
  int number_ = -1;
};

// As stat(2) fills it on x86-64.
struct LinuxStatus {
  std::uint64_t device, inode, links;
  std::uint32_t mode, user, group, padding;
  std::uint64_t special;
  std::int64_t size_bytes, piece_bytes, blocks;
  struct {
    std::int64_t seconds, nanoseconds;
  } accessed, written, changed;
  std::array<std::byte, 24> rest;
};
static_assert(sizeof(LinuxStatus) == 144);

}  // namespace roamstead::agent::wine_linux
