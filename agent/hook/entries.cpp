#include "agent/hook/entries.h"

#if defined(__x86_64__)

extern "C" {
constinit std::atomic<const roamstead::hook::ScopeFilter*> roamstead_filter{nullptr};
}

namespace roamstead::hook {

// What is written out below.
struct EntryLayout {
  using Header = agent::state_map::Header;
  using Window = ScopeFilter::Window;
  static_assert(offsetof(ScopeFilter, header_) == 0 && offsetof(ScopeFilter, number_) == 8 &&
                offsetof(ScopeFilter, windows_) == 16 && offsetof(Header, table) == 48);
  static_assert(sizeof(Window) == 16 && offsetof(Window, folded) == 0 &&
                offsetof(Window, prefix_bytes) == 8 && offsetof(Window, at_bytes) == 12);
  static_assert(ScopeFilter::kCase == 0x0020002000200020);
};

}  // namespace roamstead::hook

// entry NAME, INDEX of its trampoline, register of its OBJECT_ATTRIBUTES, place of its options on the stack.
// Uses what a call may change and no argument lies in: rax, r10, r11.
asm(R"(
  .text
  .macro entry name index attributes options
  .balign 64
  .globl roamstead_enter_\name
roamstead_enter_\name:
  movq roamstead_filter(%rip), %rax
  testq %rax, %rax
  jz 3f
  testq \attributes, \attributes
  jz 3f
  cmpq $0, 8(\attributes)          # RootDirectory
  jne 3f
  movq 16(\attributes), %r10       # ObjectName
  testq %r10, %r10
  jz 3f
  .ifnb \options
  testl $0x2001, \options          # FILE_OPEN_BY_FILE_ID, FILE_DIRECTORY_FILE
  jnz 3f
  .endif
  movq (%rax), %r11                # is_current()
  movl 48(%r11), %r11d
  cmpl 8(%rax), %r11d
  jne 3f
  addq $16, %rax                   # may_be_inside()
  jmp 2f
1:
  movzwl (%r10), %r11d             # Length
  cmpl 8(%rax), %r11d
  jb 4f
  movl 12(%rax), %r11d
  addq 8(%r10), %r11               # Buffer
  movq (%r11), %r11
  orq 5f(%rip), %r11
  cmpq (%rax), %r11
  je 3f
4:
  addq $16, %rax
2:
  cmpl $0, 8(%rax)
  jne 1b
  jmp roamstead_trampolines + 32 * \index
3:
  jmp roamstead_closely_\name
  .balign 8
5:
  .quad 0x0020002000200020
  .endm
  entry create_file 0 %r8 0x48(%rsp)
  entry open_file 1 %r8 0x30(%rsp)
  entry query_attributes 2 %rcx
  entry query_full_attributes 3 %rcx
  entry query_by_name 4 %rcx
  .purgem entry
)");

#endif
