#include "agent/hook/patcher.h"

#include "agent/hook/stub_layout.h"

extern "C" {
// Used by the trampolines: number of the system call, and where the stub goes on.
std::uint32_t roamstead_numbers[32];
void* roamstead_resume[32];
#if !defined(__x86_64__)
std::uint32_t roamstead_thunks[32];
#endif
extern const char roamstead_trampolines[];
}

static_assert(roamstead::hook::kHookCount <= 32);

#if defined(__x86_64__)
asm(R"(
  .text
  .balign 32
  .globl roamstead_trampolines
roamstead_trampolines:
  .set at, 0
  .rept 32
  movq %rcx, %r10
  movl roamstead_numbers + 4 * at(%rip), %eax
  testb $1, 0x7ffe0308
  jmp *roamstead_resume + 8 * at(%rip)
  .balign 32
  .set at, at + 1
  .endr
)");
#else
asm(R"(
  .text
  .balign 32
  .globl _roamstead_trampolines
_roamstead_trampolines:
  .set at, 0
  .rept 32
  movl _roamstead_numbers + 4 * at, %eax
  movl _roamstead_thunks + 4 * at, %edx
  jmp *_roamstead_resume + 4 * at
  .balign 32
  .set at, at + 1
  .endr
)");
#endif

namespace roamstead::hook {

PatchReport patch_report;

namespace {

#if defined(__x86_64__)
using Stub = Stub64;
constexpr std::size_t kExchanged = 16;
__extension__ using Sixteen = __int128;

bool exchange(void* at, const std::uint8_t (&expected)[16], const std::uint8_t (&code)[16]) {
  std::uint64_t low, high, new_low, new_high;
  __builtin_memcpy(&low, expected, 8);
  __builtin_memcpy(&high, expected + 8, 8);
  __builtin_memcpy(&new_low, code, 8);
  __builtin_memcpy(&new_high, code + 8, 8);
  bool done;
  asm volatile("lock cmpxchg16b %1"
               : "=@ccz"(done), "+m"(*static_cast<Sixteen*>(at)), "+a"(low), "+d"(high)
               : "b"(new_low), "c"(new_high)
               : "memory");
  return done;
}

std::uintptr_t place_of(const CONTEXT& context) { return context.Rip; }
#else
using Stub = Stub32;
constexpr std::size_t kExchanged = 8;

bool exchange(void* at, const std::uint8_t (&expected)[8], const std::uint8_t (&code)[8]) {
  std::uint64_t former, now;
  __builtin_memcpy(&former, expected, 8);
  __builtin_memcpy(&now, code, 8);
  return __sync_bool_compare_and_swap(static_cast<std::uint64_t*>(at), former, now);
}

std::uintptr_t place_of(const CONTEXT& context) { return context.Eip; }
#endif

struct Patch {
  std::uint8_t* stub = nullptr;
  std::uint8_t former[kExchanged];
  std::uint8_t code[kExchanged];
};
Patch patches[kHookCount];

// The other threads of this process, stopped.
class StoppedThreads {
 public:
  ~StoppedThreads() {
    for (std::size_t i = 0; i < count_; ++i) {
      native.ResumeThread(threads_[i], nullptr);
      close(threads_[i]);
    }
  }
  // Whether none stands where it must not. Threads that begin meanwhile begin outside of any stub's middle.
  bool stop() {
    const auto self = ::GetCurrentThreadId();
    HANDLE thread = nullptr;
    for (;;) {
      HANDLE next = nullptr;
      const auto status = native.GetNextThread(
          this_process(), thread,
          THREAD_SUSPEND_RESUME | THREAD_GET_CONTEXT | THREAD_QUERY_LIMITED_INFORMATION, 0, 0, &next);
      if (thread != nullptr && !kept_) close(thread);
      if (failed(status)) return true;
      thread = next;
      kept_ = false;
      if (::GetThreadId(next) == self) continue;
      if (count_ == kMost) {
        close(next);
        return false;
      }
      if (failed(native.SuspendThread(next, nullptr))) continue;
      threads_[count_++] = next;
      kept_ = true;
      CONTEXT context{};
      context.ContextFlags = CONTEXT_CONTROL;
      if (failed(native.GetContextThread(next, &context))) continue;  // it is ending
      for (const auto& patch : patches) {
        const auto at = place_of(context) - reinterpret_cast<std::uintptr_t>(patch.stub);
        if (patch.stub != nullptr && at != 0 && at < kExchanged) return false;
      }
    }
  }

 private:
  static constexpr std::size_t kMost = 256;
  HANDLE threads_[kMost];
  std::size_t count_ = 0;
  bool kept_ = false;
};

bool set_protection(void* address, ULONG protection, ULONG& former) {
  void* base = address;
  SIZE_T bytes = kExchanged;
  return !failed(native.ProtectVirtualMemory(this_process(), &base, &bytes, protection, &former));
}

}  // namespace

void patch_all(void* const (&replacements)[kHookCount]) {
  const auto* trampolines = roamstead_trampolines;
  for (unsigned i = 0; i < kHookCount; ++i) {
    auto* stub = static_cast<std::uint8_t*>(originals[i]);
    if (stub == nullptr) {
      patch_report.absent |= 1u << i;
      continue;
    }
    Stub found;
    if (!read_stub(stub, reinterpret_cast<std::uintptr_t>(stub), found)) {
      patch_report.unknown |= 1u << i;
      continue;
    }
    roamstead_numbers[i] = found.number;
    roamstead_resume[i] = stub + Stub::kCopiedBytes;
#if defined(__x86_64__)
    make_jump64(reinterpret_cast<std::uint64_t>(replacements[i]), patches[i].code);
#else
    roamstead_thunks[i] = found.thunk;
    make_jump32(reinterpret_cast<std::uint32_t>(stub), reinterpret_cast<std::uint32_t>(replacements[i]), stub,
                patches[i].code);
#endif
    __builtin_memcpy(patches[i].former, stub, kExchanged);
    patches[i].stub = stub;
  }
  // From here on the trampolines are used; they do what the stubs do, patched or not.
  for (unsigned i = 0; i < kHookCount; ++i)
    if (patches[i].stub != nullptr) originals[i] = const_cast<char*>(trampolines) + 32 * i;

  ULONG former[kHookCount];
  for (unsigned i = 0; i < kHookCount; ++i)
    if (patches[i].stub != nullptr && !set_protection(patches[i].stub, PAGE_EXECUTE_READWRITE, former[i])) {
      patches[i].stub = nullptr;  // a process that may not change its code
      patch_report.refused |= 1u << i;
    }
  for (int attempt = 0; attempt < 50; ++attempt) {
    StoppedThreads threads;  // nothing is allocated or waited for as long as they are
    if (sizeof(void*) == 8 && !threads.stop()) continue;
    for (unsigned i = 0; i < kHookCount; ++i)
      if (patches[i].stub != nullptr && (patch_report.patched >> i & 1) == 0 &&
          exchange(patches[i].stub, patches[i].former, patches[i].code))
        patch_report.patched |= 1u << i;
    break;
  }
  // Last to first: where two lie in one page, it gets back what it had at first.
  for (unsigned i = kHookCount; i-- > 0;) {
    if (patches[i].stub == nullptr) continue;
    ULONG ignored = 0;
    set_protection(patches[i].stub, former[i], ignored);
    if ((patch_report.patched >> i & 1) == 0) patch_report.refused |= 1u << i;
  }
  ::FlushInstructionCache(::GetCurrentProcess(), nullptr, 0);
}

}  // namespace roamstead::hook
