// Recognises the few instructions by which ntdll enters the kernel. Only a function that consists of exactly
// these is patched; one that was patched by somebody else, or looks different, is left alone.
//
// Windows 10 and later, and Wine 8, 64 bit:
//   4c 8b d1                  mov r10, rcx
//   b8 nn nn nn nn            mov eax, number
//   f6 04 25 08 03 fe 7f 01   test byte ptr [7ffe0308h], 1
//   75 03                     jne +3
//   0f 05                     syscall
//   c3                        ret
//   ...                       (int 2eh on Windows, a call of the host's dispatcher under Wine)
// The first 16 bytes do not depend on where they are: a copy of them followed by a jump to the 17th is the
// function.
//
// Windows 10 and later, 32 bit under WoW64:
//   b8 nn nn nn nn            mov eax, number
//   ba nn nn nn nn            mov edx, Wow64SystemServiceCall
//   ff d2                     call edx
//   c2 nn 00                  ret nn      (or c3)
// Likewise for the first 10 bytes.
#pragma once

#include <cstddef>
#include <cstdint>

namespace roamstead::hook {

struct Stub64 {
  static constexpr std::size_t kReadBytes = 21, kCopiedBytes = 16;
  std::uint32_t number = 0;
};
struct Stub32 {
  static constexpr std::size_t kReadBytes = 13, kCopiedBytes = 10;
  std::uint32_t number = 0;
  std::uint32_t thunk = 0;
};

namespace detail {
inline std::uint32_t word_at(const std::uint8_t* code) {
  return code[0] | std::uint32_t{code[1]} << 8 | std::uint32_t{code[2]} << 16 | std::uint32_t{code[3]} << 24;
}
inline bool matches(const std::uint8_t* code, const std::uint8_t* expected, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i)
    if (code[i] != expected[i]) return false;
  return true;
}
}  // namespace detail

// `code` has kReadBytes bytes. Patched atomically, the function must not straddle what one instruction can
// exchange: its address is a multiple of 16 (64 bit) or 8 (32 bit).
inline bool read_stub(const std::uint8_t* code, std::uintptr_t address, Stub64& stub) {
  constexpr std::uint8_t kMove[] = {0x4C, 0x8B, 0xD1, 0xB8};
  constexpr std::uint8_t kTest[] = {0xF6, 0x04, 0x25, 0x08, 0x03, 0xFE, 0x7F,
                                    0x01, 0x75, 0x03, 0x0F, 0x05, 0xC3};
  if (address % 16 != 0 || !detail::matches(code, kMove, sizeof kMove) ||
      !detail::matches(code + 8, kTest, sizeof kTest))
    return false;
  stub.number = detail::word_at(code + 4);
  return true;
}

inline bool read_stub(const std::uint8_t* code, std::uintptr_t address, Stub32& stub) {
  if (address % 8 != 0 || code[0] != 0xB8 || code[5] != 0xBA || code[10] != 0xFF || code[11] != 0xD2 ||
      (code[12] != 0xC2 && code[12] != 0xC3))
    return false;
  stub.number = detail::word_at(code + 1);
  stub.thunk = detail::word_at(code + 6);
  return true;
}

// What the first 16 bytes become: jmp [rip+2], two bytes of nothing, the address.
inline void make_jump64(std::uint64_t target, std::uint8_t (&code)[16]) {
  constexpr std::uint8_t kJump[] = {0xFF, 0x25, 0x02, 0x00, 0x00, 0x00, 0x90, 0x90};
  for (std::size_t i = 0; i < 8; ++i) code[i] = kJump[i];
  for (std::size_t i = 0; i < 8; ++i) code[8 + i] = static_cast<std::uint8_t>(target >> (8 * i));
}

// What the first 8 bytes become: jmp rel32, then what was there: who stands before the second instruction
// goes on as if nothing had happened.
inline void make_jump32(std::uint32_t from, std::uint32_t target, const std::uint8_t* former,
                        std::uint8_t (&code)[8]) {
  const auto distance = target - (from + 5);
  code[0] = 0xE9;
  for (std::size_t i = 0; i < 4; ++i) code[1 + i] = static_cast<std::uint8_t>(distance >> (8 * i));
  for (std::size_t i = 5; i < 8; ++i) code[i] = former[i];
}

}  // namespace roamstead::hook
