#include "agent/win/win_handle.h"

#include <algorithm>

#include "agent/win/base/windows_error.h"

namespace roamstead::agent {
namespace {

constexpr std::size_t kMostAtOnce = 16u << 20;

OVERLAPPED at_offset(std::uint64_t offset) {
  OVERLAPPED overlapped{};
  overlapped.Offset = static_cast<DWORD>(offset);
  overlapped.OffsetHigh = static_cast<DWORD>(offset >> 32);
  return overlapped;
}

}  // namespace

Result<std::size_t> WinHandle::read(std::uint64_t offset, MutableByteView out) {
  std::size_t done = 0;
  while (done < out.size()) {
    auto overlapped = at_offset(offset + done);
    DWORD count = 0;
    const auto want = static_cast<DWORD>(std::min(out.size() - done, kMostAtOnce));
    if (::ReadFile(handle_.get(), out.data() + done, want, &count, &overlapped) == 0) {
      if (::GetLastError() == ERROR_HANDLE_EOF) break;
      return win::windows_error("read " + what() + " at offset " + std::to_string(offset + done));
    }
    if (count == 0) break;
    done += count;
  }
  return done;
}

Result<void> WinHandle::write(std::uint64_t offset, ByteView data) {
  for (std::size_t done = 0; done < data.size();) {
    auto overlapped = at_offset(offset + done);
    DWORD count = 0;
    const auto want = static_cast<DWORD>(std::min(data.size() - done, kMostAtOnce));
    if (::WriteFile(handle_.get(), data.data() + done, want, &count, &overlapped) == 0)
      return win::windows_error("write " + what() + " at offset " + std::to_string(offset + done));
    done += count;
  }
  return {};
}

Result<void> WinHandle::truncate(std::uint64_t size_bytes) {
  FILE_END_OF_FILE_INFO end{};
  end.EndOfFile.QuadPart = static_cast<LONGLONG>(size_bytes);
  if (::SetFileInformationByHandle(handle_.get(), FileEndOfFileInfo, &end, sizeof end) == 0)
    return win::windows_error("truncate " + what());
  return {};
}

Result<std::uint64_t> WinHandle::size() {
  LARGE_INTEGER size{};
  if (::GetFileSizeEx(handle_.get(), &size) == 0) return win::windows_error("find the size of " + what());
  return static_cast<std::uint64_t>(size.QuadPart);
}

Result<void> WinHandle::sync() {
  if (::FlushFileBuffers(handle_.get()) == 0) return win::windows_error("flush " + what());
  return {};
}

}  // namespace roamstead::agent
