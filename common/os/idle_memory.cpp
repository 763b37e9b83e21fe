#include "common/os/idle_memory.h"

#include <cstdint>
#include <cstdlib>
#include <new>
#include <utility>

#ifdef _WIN32
#include <windows.h>
#endif

namespace roamstead::os {

IdleMemory::IdleMemory(std::size_t bytes) : bytes_(bytes) {
  if (bytes == 0) return;
#ifdef _WIN32
  constexpr std::size_t kWorthASection = 64 << 10;  // below, the section itself weighs more
  if (bytes >= kWorthASection)
    section_ = ::CreateFileMappingW(INVALID_HANDLE_VALUE, nullptr, PAGE_READWRITE,
                                    static_cast<DWORD>(std::uint64_t{bytes} >> 32),
                                    static_cast<DWORD>(bytes & 0xffffffff), nullptr);
  if (section_ != nullptr) take_out();
#endif
  if (section_ != nullptr) return;
  data_ = static_cast<std::byte*>(std::calloc(bytes, 1));
  if (data_ == nullptr) throw std::bad_alloc();
}

IdleMemory::~IdleMemory() {
  if (section_ == nullptr) std::free(data_);
#ifdef _WIN32
  if (section_ == nullptr) return;
  put_away();
  ::CloseHandle(section_);
#endif
}

IdleMemory::IdleMemory(IdleMemory&& other) noexcept
    : section_(std::exchange(other.section_, nullptr)),
      data_(std::exchange(other.data_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)) {}

IdleMemory& IdleMemory::operator=(IdleMemory&& other) noexcept {
  std::swap(section_, other.section_);
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

void IdleMemory::put_away() noexcept {
#ifdef _WIN32
  if (section_ == nullptr || data_ == nullptr) return;
  ::UnmapViewOfFile(data_);
  data_ = nullptr;
#endif
}

void IdleMemory::take_out() {
#ifdef _WIN32
  if (section_ == nullptr || data_ != nullptr) return;
  data_ = static_cast<std::byte*>(::MapViewOfFile(section_, FILE_MAP_READ | FILE_MAP_WRITE, 0, 0, bytes_));
  if (data_ == nullptr) throw std::bad_alloc();
#endif
}

}  // namespace roamstead::os
