// Passwords and keys: bytes that are overwritten before their memory goes back.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>
#include <vector>

#include "common/base/bytes.h"

namespace roamstead::join {

// Overwrites what the compiler must not think dead.
void cleanse(void* memory, std::size_t bytes);

template <class T>
struct CleansingAllocator {
  using value_type = T;
  CleansingAllocator() = default;
  template <class U>
  CleansingAllocator(const CleansingAllocator<U>&) {}
  T* allocate(std::size_t count) { return std::allocator<T>().allocate(count); }
  void deallocate(T* memory, std::size_t count) {
    cleanse(memory, count * sizeof(T));
    std::allocator<T>().deallocate(memory, count);
  }
  bool operator==(const CleansingAllocator&) const = default;
};

// Converts to a ByteView like any vector of bytes.
using SecretBytes = std::vector<std::byte, CleansingAllocator<std::byte>>;

SecretBytes to_secret(ByteView bytes);
// UTF-16LE without an ending NUL. The text must be WTF-8.
Result<SecretBytes> secret_utf16(std::string_view text);
// 120 printable characters of one UTF-16 unit each, as Windows chooses for itself: about 780 bits, and always
// 240 bytes, so that what seals them is of one size for every machine.
inline constexpr std::size_t kMachinePasswordCharacters = 120;
SecretBytes random_machine_password();

}  // namespace roamstead::join
