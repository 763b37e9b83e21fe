// What a process loads before the C library: see faulty_storage.h.
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "tests/support/faulty_storage.h"

namespace {

using roamstead::support::StoragePlan;

StoragePlan* plan = nullptr;
char directory[4096];
std::size_t directory_size = 0;

// The real one, from the library behind this one.
template <typename Function>
Function* real(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

__attribute__((constructor)) void read_environment() {
  const char* file = std::getenv(roamstead::support::kStoragePlanVariable);
  const char* below = std::getenv(roamstead::support::kStorageDirectoryVariable);
  if (file == nullptr || below == nullptr || std::strlen(below) >= sizeof directory) return;
  std::strcpy(directory, below);
  directory_size = std::strlen(directory);
  const int descriptor = ::open(file, O_RDWR | O_CLOEXEC);
  if (descriptor < 0) return;
  void* page = ::mmap(nullptr, sizeof(StoragePlan), PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  ::close(descriptor);
  if (page != MAP_FAILED) plan = static_cast<StoragePlan*>(page);
}

bool is_ours(const char* path) {
  return path != nullptr && std::strncmp(path, directory, directory_size) == 0 &&
         (path[directory_size] == '/' || path[directory_size] == 0);
}
bool is_ours(int descriptor) {
  char link[64], path[4096];
  std::snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  const auto size = ::readlink(link, path, sizeof path - 1);
  if (size <= 0) return false;
  path[size] = 0;
  return is_ours(path);
}
bool is_quiet() {
  return plan == nullptr || (plan->hangs == 0 && plan->disk_full == 0 && plan->write_error == 0 &&
                             plan->short_write == 0 && plan->sync_error == 0);
}

void wait_while_hanging() {
  if (plan->hangs == 0) return;
  ++plan->hanging;
  while (plan->hangs != 0) {
    const timespec pause{0, 5'000'000};
    ::nanosleep(&pause, nullptr);
  }
  --plan->hanging;
}

bool happens(std::uint32_t chance) {
  if (chance == 0) return false;
  thread_local unsigned state = static_cast<unsigned>(::getpid()) ^ static_cast<unsigned>(::time(nullptr)) ^
                                static_cast<unsigned>(reinterpret_cast<std::uintptr_t>(&state) >> 4);
  const auto number = static_cast<std::uint32_t>(::rand_r(&state)) % 1'000'000;
  if (number >= chance) return false;
  ++plan->faults;
  return true;
}

// Of an operation that takes up room: the error it ends with, or 0.
int fault_of_change() {
  if (happens(plan->disk_full)) return ENOSPC;
  if (happens(plan->write_error)) return EIO;
  return 0;
}

template <typename Place>
bool fails_to_change(const Place& place) {
  if (is_quiet() || !is_ours(place)) return false;
  wait_while_hanging();
  const int fault = fault_of_change();
  if (fault != 0) errno = fault;
  return fault != 0;
}

template <typename Place>
void wait_to_read(const Place& place) {
  if (is_quiet() || !is_ours(place)) return;
  wait_while_hanging();
}

int sync_through(int descriptor, int (*work)(int)) {
  if (!is_quiet() && is_ours(descriptor)) {
    wait_while_hanging();
    if (happens(plan->sync_error)) {
      errno = EIO;
      return -1;
    }
  }
  return work(descriptor);
}

// How much of a write is done, or -1.
ssize_t size_to_write(int descriptor, std::size_t size) {
  if (is_quiet() || !is_ours(descriptor)) return static_cast<ssize_t>(size);
  wait_while_hanging();
  const int fault = fault_of_change();
  if (fault != 0) {
    errno = fault;
    return -1;
  }
  if (size > 1 && happens(plan->short_write)) return static_cast<ssize_t>(size / 2);
  return static_cast<ssize_t>(size);
}

int open_through(const char* path, int flags, mode_t mode) {
  if ((flags & O_CREAT) != 0 ? fails_to_change(path) : (wait_to_read(path), false)) return -1;
  static auto* const open_real = real<int(const char*, int, ...)>("open64");
  return open_real(path, flags, mode);
}

mode_t mode_of(int flags, va_list list) {
  return (flags & (O_CREAT | O_TMPFILE)) != 0 ? static_cast<mode_t>(va_arg(list, unsigned)) : 0;
}

}  // namespace

extern "C" {

int open(const char* path, int flags, ...) {
  va_list list;
  va_start(list, flags);
  const auto mode = mode_of(flags, list);
  va_end(list);
  return open_through(path, flags, mode);
}
int open64(const char* path, int flags, ...) {
  va_list list;
  va_start(list, flags);
  const auto mode = mode_of(flags, list);
  va_end(list);
  return open_through(path, flags, mode);
}
ssize_t write(int descriptor, const void* data, size_t size) {
  const auto part = size_to_write(descriptor, size);
  static auto* const work = real<ssize_t(int, const void*, size_t)>("write");
  return part < 0 ? -1 : work(descriptor, data, static_cast<size_t>(part));
}
ssize_t pwrite64(int descriptor, const void* data, size_t size, off64_t offset) {
  const auto part = size_to_write(descriptor, size);
  static auto* const work = real<ssize_t(int, const void*, size_t, off64_t)>("pwrite64");
  return part < 0 ? -1 : work(descriptor, data, static_cast<size_t>(part), offset);
}
ssize_t pwrite(int descriptor, const void* data, size_t size, off_t offset) {
  return pwrite64(descriptor, data, size, offset);
}
ssize_t pread64(int descriptor, void* data, size_t size, off64_t offset) {
  wait_to_read(descriptor);
  static auto* const work = real<ssize_t(int, void*, size_t, off64_t)>("pread64");
  return work(descriptor, data, size, offset);
}
ssize_t pread(int descriptor, void* data, size_t size, off_t offset) {
  return pread64(descriptor, data, size, offset);
}
int fsync(int descriptor) {
  static auto* const work = real<int(int)>("fsync");
  return sync_through(descriptor, work);
}
int fdatasync(int descriptor) {
  static auto* const work = real<int(int)>("fdatasync");
  return sync_through(descriptor, work);
}
int ftruncate64(int descriptor, off64_t size) {
  static auto* const work = real<int(int, off64_t)>("ftruncate64");
  return fails_to_change(descriptor) ? -1 : work(descriptor, size);
}
int ftruncate(int descriptor, off_t size) { return ftruncate64(descriptor, size); }
int rename(const char* from, const char* to) {
  static auto* const work = real<int(const char*, const char*)>("rename");
  return fails_to_change(to) ? -1 : work(from, to);
}
int link(const char* from, const char* to) {
  static auto* const work = real<int(const char*, const char*)>("link");
  return fails_to_change(to) ? -1 : work(from, to);
}
int unlink(const char* path) {
  wait_to_read(path);
  static auto* const work = real<int(const char*)>("unlink");
  return work(path);
}
int mkdir(const char* path, mode_t mode) {
  static auto* const work = real<int(const char*, mode_t)>("mkdir");
  return fails_to_change(path) ? -1 : work(path, mode);
}

int clock_gettime(clockid_t clock, struct timespec* time) {
  static auto* const work = real<int(clockid_t, struct timespec*)>("clock_gettime");
  const int result = work(clock, time);
  if (result == 0 && clock == CLOCK_REALTIME && plan != nullptr) time->tv_sec += plan->clock_offset_s;
  return result;
}
int gettimeofday(struct timeval* time, void* zone) {
  static auto* const work = real<int(struct timeval*, void*)>("gettimeofday");
  const int result = work(time, zone);
  if (result == 0 && plan != nullptr) time->tv_sec += plan->clock_offset_s;
  return result;
}
time_t time(time_t* out) {
  struct timespec now {};
  ::clock_gettime(CLOCK_REALTIME, &now);
  if (out != nullptr) *out = now.tv_sec;
  return now.tv_sec;
}

}  // extern "C"
