// Straight from the operating system. std::random_device asks the processor (RDSEED), word by word, which on
// some machines takes so long that a busy coordinator did little else.
#include <cstdlib>

#include "common/base/guid.h"
#include "common/base/log.h"

#ifdef _WIN32
#include <windows.h>
// After windows.h, which it needs.
#include <ntsecapi.h>
#else
#include <sys/random.h>

#include <cerrno>
#endif

namespace roamstead {
namespace {

// False: there is none.
bool ask_for_random(MutableByteView out) {
#ifdef _WIN32
  // As bcrypt.dll gives them, without the megabytes that it brings.
  return RtlGenRandom(out.data(), static_cast<ULONG>(out.size())) != FALSE;
#else
  while (!out.empty()) {
    const auto got = getrandom(out.data(), out.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    out = out.subspan(static_cast<std::size_t>(got));
  }
  return true;
#endif
}

}  // namespace

void fill_random(MutableByteView out) {
  if (out.empty() || ask_for_random(out)) return;
  // Ids and secrets that could be guessed would be worse than an end.
  log_error("the operating system has no random numbers");
  std::abort();
}

}  // namespace roamstead
